"""Who goes on, against a straightforward reference."""

import itertools
import math

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState

from archsearch import pareto
from archsearch.sampler.asha import CURVE, SIZE, Rungs, goes_on, rung_epochs

RESULT = st.tuples(st.integers(0, 8).map(lambda x: x / 8), st.integers(1, 8).map(float))


def reference(mine, peers, reduction):
    """Peel fronts off until mine is on one; its places go to those with the widest gap between neighbours."""

    def beats(a, b):
        return a[0] >= b[0] and a[1] <= b[1] and a != b

    left, ahead = [*peers, mine], 0
    while True:
        now = [p for p in left if not any(beats(q, p) for q in left)]
        if mine in now:
            quota = max(1, (len(peers) + 1) / reduction)
            return ahead + 1 + more_alone(mine, now, far_ends=quota >= 2) <= quota
        ahead += len(now)
        left = [p for p in left if p not in now]


def more_alone(mine, front, far_ends):
    """How many of a front (smallest first) have a wider gap around them than its last entry."""
    ordered = sorted(range(len(front)), key=lambda i: (front[i][1], -front[i][0]))
    spans = [max(c) - min(c) or 1 for c in zip(*((a, math.log(s)) for a, s in front), strict=True)]
    gaps = [0.0] * len(front)
    for left, right in itertools.pairwise(ordered):
        (a, s), (b, t) = front[left], front[right]
        gap = abs(a - b) / spans[0] + abs(math.log(s / t)) / spans[1]
        gaps[left] += gap * (1 + (left == ordered[0]))
        gaps[right] += gap * (1 + (right == ordered[-1]))
    if far_ends:
        gaps[ordered[0]] = gaps[ordered[-1]] = math.inf
    return sum(gap > gaps[-1] + 1e-9 for gap in gaps)


@given(RESULT, st.lists(RESULT, min_size=3, max_size=15))
def test_the_ends_of_the_front_go_on_once_there_are_two_places(mine, peers):
    best = all(a < mine[0] for a, s in peers)
    smallest = all(s > mine[1] for a, s in peers)
    assert goes_on(*mine, peers, 2.0) or not (best or smallest)


@given(RESULT, st.lists(RESULT, max_size=15), st.sampled_from([1.5, 2.0, 3.0, 4.0]))
def test_goes_on_like_the_reference(mine, peers, reduction):
    assert goes_on(*mine, peers, reduction) == reference(mine, peers, reduction)


@given(RESULT, st.lists(RESULT, min_size=1, max_size=15), st.sampled_from([2.0, 3.0]))
def test_a_better_rank_goes_first(mine, peers, reduction):
    ranks = pareto.ranks([(-a, s) for a, s in (*peers, mine)])
    if (ranks <= ranks[-1]).sum() <= (len(peers) + 1) / reduction:
        assert goes_on(*mine, peers, reduction)
    if (ranks < ranks[-1]).sum() >= max(1, (len(peers) + 1) / reduction):
        assert not goes_on(*mine, peers, reduction)


@given(RESULT, st.lists(RESULT, max_size=15), st.floats(0.1, 1), st.floats(8.5, 1e6))
def test_a_larger_network_never_lowers_the_rank(mine, peers, accuracy, size):
    others = [*peers, (accuracy, size)]
    ranks = [pareto.ranks([(-a, s) for a, s in (*some, mine)])[-1] for some in (peers, others)]
    assert ranks[0] == ranks[1]


def test_at_most_a_share_of_a_crowded_front_goes_on():
    front = [((i + 0.45 * math.sin(i * i)) / 100, 1000.0 * 1.1 ** (i + 0.4 * math.sin(7 * i))) for i in range(40)]
    passed = sum(goes_on(*front[i], front[:i] + front[i + 1 :], 4.0) for i in range(40))
    assert passed == 10


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
    assert rungs.goes_on(other.trials, mine.number, 1, 0.1, 200)
    assert not rungs.goes_on(other.trials, mine.number, 2, 0.1, 200)
    assert rungs.goes_on(other.trials, mine.number, 2, 0.95, 150)
    assert rungs.goes_on(other.trials, mine.number, 2, 0.1, 50)


def test_the_first_at_a_rung_goes_on():
    study = optuna.create_study(directions=["maximize", "minimize"])
    trial = trained(study, [[1, 0.1]], 10)
    assert Rungs(9, 1).goes_on(study.trials, trial.number, 1, 0.1, 10)
