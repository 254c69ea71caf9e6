"""Who goes on, against a straightforward reference."""

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState

from archsearch import pareto
from archsearch.sampler.asha import CURVE, SIZE, Rungs, Standing, default_grace, rung_epochs, standing

RESULT = st.tuples(st.integers(0, 8).map(lambda x: x / 8), st.integers(1, 8).map(float))


def beats(a, b):
    return a[0] >= b[0] and a[1] <= b[1] and a != b


def reference(mine, peers, reduction):
    """Peel fronts off until mine is on one: it passes on the first, and where all so far fit into the share."""
    left, ahead, first = [*peers, mine], 0, True
    while True:
        now = [p for p in left if not any(beats(q, p) for q in left)]
        ahead += len(now)
        if mine in now:
            return first or ahead <= (len(peers) + 1) / reduction
        left, first = [p for p in left if p not in now], False


def goes_on(mine, peers, reduction):
    return standing(*mine, peers, reduction).goes_on


@given(RESULT, st.lists(RESULT, max_size=15), st.sampled_from([1.5, 2.0, 3.0, 4.0]))
def test_goes_on_like_the_reference(mine, peers, reduction):
    assert goes_on(mine, peers, reduction) == reference(mine, peers, reduction)


@given(RESULT, st.lists(RESULT, max_size=15), st.sampled_from([1.5, 2.0, 3.0, 4.0]))
def test_what_nobody_dominates_is_never_stopped(mine, peers, reduction):
    found = standing(*mine, peers, reduction)
    assert found.dominators == sum(beats(peer, mine) for peer in peers)
    assert found.peers == len(peers)
    assert found.goes_on or found.dominators


@given(RESULT, st.lists(RESULT, min_size=1, max_size=15), st.sampled_from([2.0, 3.0]))
def test_a_better_rank_goes_first(mine, peers, reduction):
    ranks = pareto.ranks([(-a, s) for a, s in (*peers, mine)])
    ahead = (ranks <= ranks[-1]).sum() <= (len(peers) + 1) / reduction
    assert goes_on(mine, peers, reduction) == (ahead or ranks[-1] == 0)


@given(RESULT, st.lists(RESULT, max_size=15), st.floats(0.1, 1), st.floats(8.5, 1e6))
def test_a_larger_network_never_lowers_the_rank(mine, peers, accuracy, size):
    others = [*peers, (accuracy, size)]
    ranks = [pareto.ranks([(-a, s) for a, s in (*some, mine)])[-1] for some in (peers, others)]
    assert ranks[0] == ranks[1]


def test_a_small_network_is_not_stopped_by_large_better_ones():
    large = [(0.9 + i / 1000, 1e6 + i) for i in range(50)]
    assert goes_on((0.3, 1e3), large, 3.0)
    assert not goes_on((0.3, 2e6), large, 3.0)


@pytest.mark.parametrize(
    ("epochs", "grace", "reduction", "expected"),
    [
        (20, 2, 3, (2, 6)),
        (200, 12, 3, (12, 36, 108)),
        (5, 5, 2, ()),
        (4, 1, 1.3, (1, 2)),
        (5, 4, 2, ()),
        (3, 2, 2, (2,)),
        (30, 10, 2, (10, 20)),
    ],
)
def test_rung_epochs(epochs, grace, reduction, expected):
    assert rung_epochs(epochs, grace, reduction) == expected


@given(st.integers(1, 300), st.integers(1, 300), st.floats(1.1, 10))
def test_every_rung_can_save_a_third(epochs, grace, reduction):
    assert all(3 * (epochs - at) >= epochs for at in rung_epochs(epochs, grace, reduction))


@pytest.mark.parametrize(("epochs", "rungs"), [(1, ()), (2, ()), (3, (2,)), (4, (2,)), (5, (2,)), (20, (7,))])
def test_by_default_no_network_is_judged_by_its_first_epoch(epochs, rungs):
    assert rung_epochs(epochs, default_grace(epochs), 2.0) == rungs


@pytest.mark.parametrize(("grace", "reduction"), [(0, 3), (1, 1), (1, 0.5), (1, float("nan"))])
def test_bad_options_are_named(grace, reduction):
    with pytest.raises(ValueError, match=r"grace=|reduction="):
        Rungs(20, grace, reduction)


def trained(study, curve, size, state=None):
    trial = study.ask()
    trial.set_user_attr(SIZE, size)
    trial.set_user_attr(CURVE, curve)
    if state is TrialState.COMPLETE:
        study.tell(trial, (curve[-1][1], size))
    elif state is not None:
        study.tell(trial, state=state)
    return trial


def test_peers_of_every_state_are_read_from_the_storage(tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    study = optuna.create_study(storage=url, study_name="s", directions=["maximize", "minimize"])
    trained(study, [[1, 0.5], [2, 0.9]], 100, TrialState.COMPLETE)
    trained(study, [[1, 0.6], [2, 0.8]], 100, TrialState.PRUNED)
    trained(study, [[1, 0.7], [2, 0.85]], 100)
    study.ask()
    other = optuna.load_study(storage=url, study_name="s")
    mine = trained(other, [[1, 0.1], [2, 0.1]], 200)
    rungs = Rungs(epochs=8, grace=2, reduction=2)
    assert rungs.standing(other.trials, mine.number, 1, 0.1, 200) == Standing(True, 0, 0)
    assert rungs.standing(other.trials, mine.number, 2, 0.1, 200) == Standing(False, 3, 3)
    assert rungs.standing(other.trials, mine.number, 2, 0.95, 150) == Standing(True, 0, 3)
    assert rungs.standing(other.trials, mine.number, 2, 0.1, 50) == Standing(True, 0, 3)


def test_the_first_at_a_rung_goes_on():
    study = optuna.create_study(directions=["maximize", "minimize"])
    trial = trained(study, [[1, 0.1]], 10)
    assert Rungs(9, 1).standing(study.trials, trial.number, 1, 0.1, 10).goes_on
