"""Who goes on, against a straightforward reference."""

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState

from archsearch.rungs import CURVE, SIZE, Rungs, goes_on, rung_epochs

RESULT = st.tuples(st.integers(0, 8).map(lambda x: x / 8), st.integers(1, 8).map(float))


def reference(mine, peers, reduction):
    """Peel fronts off until mine is on one; it may stay if all that was peeled fits the quota."""

    def beats(a, b):
        return a[0] >= b[0] and a[1] <= b[1] and a != b

    left, peeled, first = [*peers, mine], 0, True
    while True:
        now = [p for p in left if not any(beats(q, p) for q in left)]
        peeled += len(now)
        if mine in now:
            return first or peeled <= (len(peers) + 1) / reduction
        left, first = [p for p in left if p not in now], False


@given(RESULT, st.lists(RESULT, max_size=15), st.sampled_from([1.5, 2.0, 3.0, 4.0]))
def test_goes_on_like_the_reference(mine, peers, reduction):
    assert goes_on(*mine, peers, reduction) == reference(mine, peers, reduction)


@given(RESULT, st.lists(RESULT, max_size=15))
def test_what_nothing_dominates_is_never_stopped(mine, peers):
    dominated = any(a >= mine[0] and s <= mine[1] and (a, s) != mine for a, s in peers)
    assert dominated or goes_on(*mine, peers, 1000.0)


def test_a_small_network_is_not_stopped_by_large_better_ones():
    large = [(0.9 + i / 1000, 1e6 + i) for i in range(50)]
    assert goes_on(0.3, 1e3, large, 3.0)
    assert not goes_on(0.3, 2e6, large, 3.0)


@pytest.mark.parametrize(
    ("epochs", "grace", "reduction", "expected"),
    [(20, 2, 3, (2, 6, 18)), (200, 12, 3, (12, 36, 108)), (5, 5, 2, ()), (4, 1, 1.3, (1, 2, 3))],
)
def test_rung_epochs(epochs, grace, reduction, expected):
    assert rung_epochs(epochs, grace, reduction) == expected


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
    assert rungs.goes_on(other, mine.number, 1, 0.1, 200)
    assert not rungs.goes_on(other, mine.number, 2, 0.1, 200)
    assert rungs.goes_on(other, mine.number, 2, 0.95, 150)
    assert rungs.goes_on(other, mine.number, 2, 0.1, 50)


def test_the_first_at_a_rung_goes_on():
    study = optuna.create_study(directions=["maximize", "minimize"])
    trial = trained(study, [[1, 0.1]], 10)
    assert Rungs(9, 1).goes_on(study, trial.number, 1, 0.1, 10)
