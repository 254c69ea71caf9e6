"""ParetoSampler keeps its promises in any study; its parts agree with brute force."""

import itertools
import math
import subprocess
import sys
import threading
import time
import zlib

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from threadpoolctl import threadpool_info, threadpool_limits

from archsearch.errors import Infeasible, NothingFeasible, SpaceExhausted
from archsearch.sampler import ParetoSampler, engine, surrogate
from archsearch.sampler.dims import Categorical, Ordered, Range, dim_of
from archsearch.sampler.fidelity import PAIRS, extrapolate
from archsearch.sampler.gain import expected_gain, expected_improvement, staircase, top
from archsearch.sampler.history import PROPOSAL, Observation
from archsearch.sampler.space import Space

optuna.logging.set_verbosity(optuna.logging.ERROR)

DIMS = {
    "width": IntDistribution(8, 64, step=8),
    "depth": IntDistribution(1, 20),
    "op": CategoricalDistribution(["conv", "sep", "skip"]),
    "kernel": CategoricalDistribution([3, 5, 7]),
    "rate": FloatDistribution(1e-4, 1e-1, log=True),
}


def size(params):
    factor = {"conv": 9, "sep": 2, "skip": 1}[params["op"]]
    return params["width"] ** 2 * params["depth"] * factor + params["kernel"] ** 2


def accuracy(params):
    return 1 - 1 / math.log(size(params) + 10) - 0.02 * (params["op"] == "skip")


def study_with(sampler, **kwargs):
    return optuna.create_study(directions=["maximize", "minimize"], sampler=sampler, **kwargs)


def run(study, trials, dims=None):
    for _ in range(trials):
        trial = study.ask(dims or DIMS)
        study.tell(trial, (accuracy(trial.params), size(trial.params)))


def identities(study):
    return [tuple(sorted(trial.params.items())) for trial in study.trials]


# ---- the closed form


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_expected_gain_against_monte_carlo(seed):
    rng = np.random.default_rng(seed)
    known, level = rng.uniform(0, 1, 6), rng.uniform(0, 0.8, 6)
    corner, ceiling = (1.1, 0.1), 1.0
    log_size, mean, std = np.array([rng.uniform(0, 1)]), np.array([rng.uniform(-2, 0)]), np.array([0.4])
    y = ceiling - np.exp(mean + std * rng.standard_normal(20_000))
    edges = np.linspace(log_size[0], corner[0], 4_001)
    middles = (edges[1:] + edges[:-1]) / 2
    best = np.array([max([corner[1], *level[known <= t]]) for t in middles])
    heights, counts = np.unique(best, return_counts=True)
    gains = sum(np.maximum(y - h, 0) * n for h, n in zip(heights, counts, strict=True)) * np.diff(edges)[0]
    got = expected_gain(log_size, mean, std, ceiling, staircase(known, level, corner))
    assert got[0] == pytest.approx(gains.mean(), abs=4 * gains.std() / math.sqrt(len(y)) + 1e-3)


def test_expected_improvement_is_zero_for_certain_losers_and_the_difference_for_certain_winners():
    got = expected_improvement(np.log([0.5, 0.1]), np.array([1e-6, 1e-6]), np.array([0.2, 0.2]))
    assert got == pytest.approx([0.0, 0.1], abs=1e-6)


def test_staircase_keeps_what_rises():
    edges, heights = staircase([3.0, 1.0, 2.0, 4.0, 1.0], [0.5, 0.4, 0.3, 0.9, 0.2], (4.0, 0.1))
    assert heights.tolist() == [0.1, 0.4, 0.5]
    assert edges.tolist() == [-math.inf, 1.0, 3.0, 4.0]


def test_at_the_top_only_what_beats_the_best_counts():
    steps = top(staircase([1.0, 3.0], [0.4, 0.5], (4.0, 0.1)))
    accuracy, log_size = np.array([0.45, 0.6, 0.6]), np.array([1.0, 1.0, 3.5])
    got = expected_gain(log_size, np.log(1 - accuracy), np.full(3, 1e-6), 1.0, steps)
    assert got == pytest.approx([0.0, 3 * 0.1, 0.5 * 0.1], abs=1e-6)


def test_a_surrogate_is_learnt_in_one_thread_and_others_get_theirs_back(monkeypatch):
    seen = []

    def learn(*args, of=surrogate.learn):
        seen.append(blas_threads())
        return of(*args)

    monkeypatch.setattr(surrogate, "learn", learn)
    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        run(study_with(ParetoSampler(DIMS, size, 1e5, seed=0, start=4)), 6)
        assert blas_threads() == before
    assert seen
    assert all(set(threads) == {1} for threads in seen)


def test_what_is_learnt_may_lie_at_its_bound_without_a_warning():
    """One would be an error here, and on a user's screen; filters of warnings are for all threads or none."""
    chosen = np.linspace(0, 400, 45).round()
    dims, shared = Space({"a": IntDistribution(0, 400)}).encode([{"a": int(a)} for a in chosen])
    inputs = np.column_stack([dims, shared, np.log(1 + chosen) / math.log(401)])
    assert surrogate.learn(inputs, chosen / 1000, (1, 1)).values[0] == pytest.approx(surrogate.LEAST)


def blas_threads():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


# ---- dims and spaces


def test_numbers_in_a_categorical_are_ordered_on_a_log_scale():
    dim = dim_of(CategoricalDistribution([8, 2, 4]))
    assert isinstance(dim, Ordered)
    assert [dim.encode(v)[0] for v in (2, 4, 8)] == pytest.approx([0, 0.5, 1])


def test_truths_and_texts_are_not():
    assert isinstance(dim_of(CategoricalDistribution([True, False])), Categorical)
    assert isinstance(dim_of(CategoricalDistribution(["1", 2])), Categorical)


@pytest.mark.parametrize("distribution", list(DIMS.values()))
def test_draws_and_moves_stay_inside(distribution):
    rng, dim = np.random.default_rng(0), dim_of(distribution)
    value = dim.draw(rng)
    for _ in range(200):
        moved = dim.move(value, rng)
        assert distribution._contains(distribution.to_internal_repr(moved))
        assert moved != value
        assert len(dim.encode(moved)) == dim.width
        value = moved if rng.random() < 0.5 else dim.draw(rng)


def test_whole_numbers_stay_whole():
    dim = dim_of(IntDistribution(16, 256, step=16))
    assert isinstance(dim, Range)
    assert all(type(value) is int for value in dim.values())
    assert dim.values()[-1] == 256


def test_dims_of_one_kind_share_columns():
    same = {f"op{i}": CategoricalDistribution(["a", "b"]) for i in range(4)}
    space = Space(same)
    _, shared = space.encode([{f"op{i}": "ab"[i < 3] for i in range(4)}])
    assert shared[0] / math.sqrt(0.5) == pytest.approx([0.25, 0.75])


# ---- promises


def test_every_proposal_fits_and_is_new():
    study = study_with(ParetoSampler(DIMS, size, 20_000, seed=1))
    run(study, 30)
    assert all(size(trial.params) < 20_000 for trial in study.trials)
    assert len(set(identities(study))) == 30


def test_it_learns():
    def shortfall(params):
        return 1 / math.log(size(params) + 10) + 0.3 * (params["op"] != "sep") + abs(params["kernel"] - 5) / 20

    study = study_with(ParetoSampler(DIMS, size, 1e5, seed=0))
    for _ in range(35):
        trial = study.ask(DIMS)
        study.tell(trial, (1 - shortfall(trial.params), size(trial.params)))
    late = [trial.params for trial in study.trials[20:]]
    assert sum(p["op"] == "sep" for p in late) >= 12
    assert sum(p["kernel"] == 5 for p in late) >= 10


SLOTS = {f"op{i}": CategoricalDistribution(list("abcd")) for i in range(5)}


def work(params):
    """A figure whose log lies anywhere between 1 and 9, and that no dim tells."""
    return [math.exp(1 + zlib.crc32(repr(sorted(params.items())).encode()) % 801 / 100)]


def slots_of(sampler):
    study = study_with(sampler)
    for _ in range(20):
        trial = study.ask(SLOTS)
        study.tell(trial, (math.log(work(trial.params)[0]) / 10, 100))
    return study


def test_it_learns_from_features():
    for seed in range(3):
        found = slots_of(ParetoSampler(SLOTS, lambda _: 100, seed=seed, features=work)).trials[10:]
        assert all(trial.values[0] > 0.8 for trial in found)  # one in eight candidates is so good


@pytest.mark.parametrize("figure", [-1.0, math.nan])
def test_a_feature_that_is_none_is_named(figure):
    with pytest.raises(ValueError, match=f"features gave {figure}: a feature is a number, none below zero"):
        slots_of(ParetoSampler(SLOTS, lambda _: 100, start=2, features=lambda _: [figure]))


def test_a_feature_that_is_always_the_same_changes_nothing():
    runs = [slots_of(ParetoSampler(SLOTS, lambda _: 100, features=one)) for one in (None, lambda _: [7])]
    assert identities(runs[0]) == identities(runs[1])


def test_what_all_trainings_cost_alike_changes_nothing():
    def cost(params):
        return 1.0 + params["width"] * params["depth"]

    def proposed(training_cost):
        study = study_with(ParetoSampler(DIMS, size, 1e5, start=4, training_cost=training_cost))
        run(study, 12)
        return identities(study)

    assert proposed(lambda _: 7.0) == proposed(None)
    assert proposed(lambda params: 4 * cost(params)) == proposed(cost)  # any unit will do


def test_of_two_that_promise_the_same_the_cheaper_is_trained():
    dims = {**DIMS, "slow": CategoricalDistribution([False, True])}

    def slow_ones(training_cost):
        study = study_with(ParetoSampler(dims, size, 1e5, start=4, training_cost=training_cost))
        run(study, 24, dims)
        return sum(trial.params["slow"] for trial in study.trials[4:])

    assert slow_ones(lambda params: 100.0 if params["slow"] else 1.0) <= 2
    assert slow_ones(lambda params: 1.0 if params["slow"] else 100.0) >= 18


@pytest.mark.parametrize("cost", [0.0, -1.0, math.nan, math.inf])
def test_a_training_that_costs_nothing_is_named(cost):
    study = study_with(ParetoSampler(DIMS, size, 1e5, start=2, training_cost=lambda _: cost))
    with pytest.raises(ValueError, match=f"training_cost gave {cost}: it is a positive number"):
        run(study, 3)


def test_the_start_covers_log_size():
    study = study_with(ParetoSampler(DIMS, size, 1e5, seed=0, start=8))
    run(study, 8)
    logs = sorted(math.log(size(trial.params)) for trial in study.trials)
    whole = math.log(1e5) - math.log(8 * 8 + 9)
    assert max(b - a for a, b in itertools.pairwise(logs)) < whole / 3


def test_every_third_proposal_after_the_start_looks_at_the_best_accuracy_alone(monkeypatch):
    looked = []
    monkeypatch.setattr(engine, "top", lambda steps: looked.append(len(study.trials) - 1) or top(steps))
    study = study_with(ParetoSampler(DIMS, size, 1e5, seed=0, start=4))
    run(study, 12)
    assert looked == [6, 9]


def test_optimize_and_define_by_run_with_inactive_dims():
    dims = {"deep": CategoricalDistribution([False, True]), "second": IntDistribution(1, 50)}

    def live(params):
        return {"deep", "second"} if params["deep"] else {"deep"}

    def objective(trial):
        deep = trial.suggest_categorical("deep", [False, True])
        second = trial.suggest_int("second", 1, 50) if deep else 0
        return 0.5 + second / 100, 100 + second

    sampler = ParetoSampler(dims, lambda p: 100 + p["deep"] * p["second"], active=live, start=4)
    study = study_with(sampler)
    study.optimize(objective, n_trials=25)
    assert sum(not trial.params["deep"] for trial in study.trials) <= 1
    assert len({tuple(sorted(trial.params.items())) for trial in study.trials}) == 25


def test_equal_keys_are_one_network():
    dims = {"deep": CategoricalDistribution([False, True]), "second": IntDistribution(1, 50)}
    sampler = ParetoSampler(
        dims, lambda p: 100 + p["deep"] * p["second"], key=lambda p: p["deep"] and p["second"], start=4
    )
    study = study_with(sampler)
    for _ in range(20):
        trial = study.ask(dims)
        study.tell(trial, (0.5, 1.0))
    assert sum(not trial.params["deep"] for trial in study.trials) <= 1


def test_one_seed_gives_one_run_and_another_another():
    runs = []
    for seed in (3, 3, 4):
        study = study_with(ParetoSampler(DIMS, size, 1e5, seed=seed))
        run(study, 13)
        runs.append(identities(study))
    assert runs[0] == runs[1] != runs[2]


def test_minimised_and_single_objectives():
    study = optuna.create_study(direction="minimize", sampler=ParetoSampler(DIMS, size, 1e5, start=4))
    study.optimize(lambda t: -accuracy({n: t._suggest(n, d) for n, d in DIMS.items()}), n_trials=8)
    assert len(set(identities(study))) == 8


def test_equal_accuracies_do_no_harm():
    study = study_with(ParetoSampler(DIMS, size, 1e5, start=3))
    for _ in range(8):
        study.tell(study.ask(DIMS), (0.5, 1.0))
    assert len(set(identities(study))) == 8


# ---- the end of a space


def test_small_space_is_proposed_whole_then_exhausted():
    dims = {"a": IntDistribution(1, 4), "b": IntDistribution(1, 4)}
    study = study_with(ParetoSampler(dims, lambda p: p["a"] * p["b"], 9, start=3))
    fit = sum(a * b < 9 for a in range(1, 5) for b in range(1, 5))
    for _ in range(fit):
        trial = study.ask(dims)
        study.tell(trial, (trial.params["a"] / 10, 1.0))
    with pytest.raises(SpaceExhausted):
        study.ask(dims)
    assert len(set(identities(study)) - {()}) == fit
    assert study.trials[-1].state == TrialState.FAIL


def test_nothing_fits_names_the_smallest_cost():
    study = study_with(ParetoSampler(DIMS, size, 50))
    with pytest.raises(NothingFeasible, match=r"smallest cost found is 73, the limit is 50"):
        study.optimize(lambda t: (t.suggest_int("width", 8, 64, step=8), 1), n_trials=1)


def test_infeasible_costs_are_walked_down():
    dims = {f"d{i}": IntDistribution(0, 9) for i in range(8)}

    def cost(params):
        total = sum(params.values())
        if params["d0"] > 0:
            raise Infeasible(params["d0"])
        return 1 + total

    study = study_with(ParetoSampler(dims, cost, 12, start=3))
    trials = [study.ask(dims) for _ in range(6)]
    assert all(t.params["d0"] == 0 and sum(t.params.values()) < 11 for t in trials)


def test_one_in_ten_thousand_within_a_second():
    dims = {f"stage{i}.width": IntDistribution(16, 512, step=16) for i in range(6)}

    def cost(params):
        widths = list(params.values())
        return sum(9 * a * b for a, b in zip([3, *widths], widths, strict=False))

    rng, space = np.random.default_rng(0), Space(dims)
    limit = float(np.quantile([cost(space.draw(rng)) for _ in range(20_000)], 1e-4))
    study = study_with(ParetoSampler(dims, cost, limit, start=3))
    start = time.process_time()
    trial = study.ask(dims)
    assert time.process_time() - start < 1.0
    assert cost(trial.params) < limit


def test_only_given_candidates_are_proposed():
    rng, space = np.random.default_rng(0), Space(DIMS)
    some = [space.draw(rng) for _ in range(30)]
    fit = [params for params in some if size(params) < 50_000]
    study = study_with(ParetoSampler(DIMS, size, 50_000, start=4, candidates=some))
    study.enqueue_trial({"op": fit[3]["op"]})
    run(study, len(fit))
    assert len(fit) > 5
    assert all(trial.params in fit for trial in study.trials)
    assert study.trials[0].params["op"] == fit[3]["op"]
    assert len(set(identities(study))) == len(fit)


# ---- workers


def test_running_trials_are_not_proposed_again():
    study = study_with(ParetoSampler(DIMS, size, 1e5, start=4))
    run(study, 6)
    waiting = [study.ask(DIMS) for _ in range(8)]
    assert len({tuple(sorted(t.params.items())) for t in waiting}) == 8


def test_a_proposal_is_seen_before_its_dims_are_suggested(tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    dims = {"a": IntDistribution(1, 3)}
    one = study_with(ParetoSampler(dims, lambda p: p["a"]), storage=url, study_name="s")
    two = optuna.load_study(storage=url, study_name="s", sampler=ParetoSampler(dims, lambda p: p["a"]))
    trials = [one.ask(), two.ask(), one.ask()]
    assert len({t.suggest_int("a", 1, 3) for t in trials}) == 3
    with pytest.raises(SpaceExhausted):
        two.ask()


def test_racing_workers_never_share_a_network():
    dims = {"a": IntDistribution(0, 400)}
    storage = optuna.storages.InMemoryStorage()
    study_with(None, storage=storage, study_name="s")
    asked = []

    def work():
        sampler = ParetoSampler(dims, lambda p: 1.0 + p["a"], seed=7, start=4)
        study = optuna.load_study(storage=storage, study_name="s", sampler=sampler)
        for _ in range(8):
            trial = study.ask(dims)
            asked.append(trial.params["a"])
            study.tell(trial, (trial.params["a"] / 1000, 1.0))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(asked)) == 32


def test_threads_may_share_a_sampler():
    study = study_with(ParetoSampler(DIMS, size, 1e5, start=4))

    def objective(trial):
        params = {name: trial._suggest(name, d) for name, d in DIMS.items()}
        return accuracy(params), size(params)

    study.optimize(objective, n_trials=16, n_jobs=4)
    assert len(set(identities(study))) == 16


def test_making_a_sampler_loads_neither_torch_nor_scikit_learn():
    code = "import sys, archsearch.sampler; print({'torch', 'sklearn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_who_meets_its_own_network_in_another_trial_yields(monkeypatch):
    dims = {"a": IntDistribution(1, 2)}
    study = study_with(ParetoSampler(dims, lambda p: p["a"]))
    write = study.set_user_attr
    taken = []

    def write_and_be_overtaken(name, value):
        write(name, value)
        if name.startswith(PROPOSAL) and not taken:
            taken.append(int(value["params"]["a"]))
            rival = optuna.trial.create_trial(params={"a": taken[0]}, distributions=dims, values=[0.5, 1.0])
            study.add_trial(rival)

    monkeypatch.setattr(study, "set_user_attr", write_and_be_overtaken)
    assert study.ask(dims).params["a"] != taken[0]


# ---- enqueued, foreign and broken trials


def test_enqueued_trials_are_taken_as_they_are():
    study = study_with(ParetoSampler(DIMS, size, 1_000))
    whole = {"width": 64, "depth": 20, "op": "conv", "kernel": 7, "rate": 0.01}
    study.enqueue_trial(whole)
    study.enqueue_trial({"kernel": 7})
    assert study.ask(DIMS).params == whole
    part = study.ask(DIMS).params
    assert part["kernel"] == 7
    assert size(part) < 1_000


def test_a_trial_that_is_run_again_keeps_what_it_had():
    """As Optuna's RetryFailedTrialCallback adds it: waiting, with the parameters of the trial that failed."""
    study = study_with(ParetoSampler(DIMS, size, 1_000))
    known = {"width": 16, "kernel": 7}
    again = optuna.trial.create_trial(
        state=TrialState.WAITING, params=known, distributions={name: DIMS[name] for name in known}
    )
    study.add_trial(again)
    part = study.ask(DIMS).params
    assert {name: part[name] for name in known} == known
    assert size(part) < 1_000
    assert study.ask(DIMS).params != part


def test_trials_of_other_samplers_count():
    study = study_with(optuna.samplers.RandomSampler(seed=0))
    run(study, 12)
    study.sampler = ParetoSampler(DIMS, size, 1e5)
    run(study, 3)
    assert len(set(identities(study))) == 15


def test_only_misfits_before_it():
    study = study_with(optuna.samplers.RandomSampler(seed=0))
    run(study, 12)
    study.sampler = ParetoSampler(DIMS, size, 100)
    assert size(study.ask(DIMS).params) < 100


def test_no_limit():
    study = study_with(ParetoSampler(DIMS, size, start=3))
    run(study, 6)
    assert len(set(identities(study))) == 6


WIDE = {f"d{i}": IntDistribution(1, 100) for i in range(4)}


def product(params):
    """Up to 10^8, of which random draws and their mutants meet next to none near the limit."""
    size = math.prod(params.values())
    if size >= 5e7:
        raise Infeasible(size / 5e7)
    return size


def test_networks_that_others_trained_are_on_the_front_without_a_limit(monkeypatch):
    """A fresh sampler, as of a resumed run or another worker, has not met them itself."""
    study = optuna.create_study(directions=["maximize", "minimize"])
    known = [(2, 2, 2, 2), (20, 30, 20, 30), (84, 84, 84, 84), *((9, 9, 9, n) for n in range(1, 12))]
    for dims in known:
        params = dict(zip(WIDE, dims, strict=True))
        values = (0.5 + math.log(product(params)) / 50, product(params))
        study.add_trial(optuna.trial.create_trial(params=params, distributions=WIDE, values=values))
    seen = []
    monkeypatch.setattr(engine, "staircase", lambda sizes, *rest: seen.append(np.exp(sizes)) or staircase(sizes, *rest))
    study.sampler = ParetoSampler(WIDE, product, seed=0)
    study.ask(WIDE)
    assert sorted(np.rint(seen[0])) == sorted(math.prod(dims) for dims in known)


def test_unknown_dims_are_refused_by_name():
    study = study_with(ParetoSampler(DIMS, size, 1e5))
    with pytest.raises(ValueError, match="asked ParetoSampler for 'other'"):
        study.ask().suggest_int("other", 1, 2)
    with pytest.raises(ValueError, match="'width'"):
        study.ask().suggest_int("width", 1000, 2000)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({}, size), "distributions is empty"),
        ((DIMS, size, 0), "max_cost=0"),
        ((DIMS, size, math.nan), "max_cost=nan"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        ParetoSampler(*arguments)


# ---- stopped trials


def record(number, state, final, curve):
    return Observation(number, state, {}, number, 1.0, final, curve)


def test_stopped_trials_go_on_as_the_finished_did():
    done = [record(i, TrialState.COMPLETE, 0.1 + 0.8 * i / 10, ((2.0, i / 10),)) for i in range(PAIRS)]
    stopped = record(99, TrialState.PRUNED, None, ((1.0, 0.1), (2.0, 0.25)))
    ((who, level, doubt),) = extrapolate([*done, stopped])
    assert who is stopped
    assert level == pytest.approx(0.3)
    assert doubt == pytest.approx(0.0, abs=1e-9)
    assert extrapolate([*done[1:], stopped]) == []


def study_with_efforts(told):
    """Thirty trials, every other one trained four times as long, for 0.1 more."""
    sampler = ParetoSampler(DIMS, size)
    study = study_with(sampler)
    for i in range(30):
        trial = study.ask(DIMS)
        effort = 4.0 if i % 2 else 1.0
        if told:
            trial.set_user_attr("effort", effort)
        study.tell(trial, (accuracy(trial.params) + 0.05 * math.log2(effort), size(trial.params)))
    return sampler, study


def test_the_surrogate_sees_how_long_trials_were_trained():
    """What it believes of networks is what they reach when trained like the others."""
    off = {}
    for told in (True, False):
        sampler, study = study_with_efforts(told)
        engine = sampler._engine({})
        records = sampler._others(study, study.ask(DIMS)._cached_frozen_trial)
        done = [record for record in records if record.accuracy is not None]
        assert {record.effort for record in done} == ({1.0, 4.0} if told else {1.0})
        engine._span = engine._reach(done)
        engine._efforts = told
        model, known = engine._believe(engine._known(done), done)
        level = model.typical(engine._inputs(known.params, known.log_size))
        off[told] = np.abs(level - [accuracy(params) for params in known.params]).mean()
    assert off[True] < 0.02 < 0.04 < off[False]


def test_efforts_of_one_and_nonsense_change_no_proposal():
    found = []
    for effort in (None, 1.0, -3.0, "long"):
        study = study_with(ParetoSampler(DIMS, size))
        for _ in range(12):
            trial = study.ask(DIMS)
            if effort is not None:
                trial.set_user_attr("effort", effort)
            study.tell(trial, (accuracy(trial.params), size(trial.params)))
        found.append(identities(study))
    assert found[0] == found[1] == found[2] == found[3]


def test_stopped_and_failed_trials_are_not_proposed_again():
    study = study_with(ParetoSampler(DIMS, size, 1e5, start=4))
    for i in range(16):
        trial = study.ask(DIMS)
        trial.set_user_attr("curve", [[1, 0.5 * accuracy(trial.params)]])
        if i % 3 == 2:
            study.tell(trial, state=TrialState.PRUNED if i % 2 else TrialState.FAIL)
        else:
            study.tell(trial, (accuracy(trial.params), size(trial.params)))
    assert len(set(identities(study))) == 16


# ---- never outside the budget


def small_study(seed):
    rng = np.random.default_rng(seed)
    dims = {f"d{i}": random_dim(rng) for i in range(int(rng.integers(1, 4)))}
    weights = {name: float(rng.uniform(0.5, 3)) for name in dims}
    refuse = rng.random() < 0.3

    def cost(params):
        total = 1 + sum(w * (zlib.crc32(str(params[name]).encode()) % 4) for name, w in weights.items())
        if refuse and total > 10:
            raise Infeasible(total - 10)
        return total

    return dims, cost, float(rng.uniform(1.5, 15))


def random_dim(rng):
    kind = int(rng.integers(4))
    if kind == 0:
        return CategoricalDistribution(["a", "b", "c"][: int(rng.integers(1, 4))])
    if kind == 1:
        return CategoricalDistribution([0, 1, 5][: int(rng.integers(1, 4))])
    if kind == 2:
        return IntDistribution(1, int(rng.integers(1, 12)))
    return FloatDistribution(0.0, 1.0, step=0.25)


def check_small_space(seed, start=3):
    dims, cost, limit = small_study(seed)
    study = study_with(ParetoSampler(dims, cost, limit, seed=seed, start=start))
    seen = set()
    for _ in range(6):
        try:
            trial = study.ask(dims)
        except (NothingFeasible, SpaceExhausted):
            assert count_feasible(dims, cost, limit) == len(seen)
            return
        assert cost(trial.params) < limit
        seen.add(tuple(trial.params.values()))
        study.tell(trial, (len(seen) % 3 / 3, 1.0))
        assert len(seen) == len(study.trials)


def count_feasible(dims, cost, limit):
    def fits(params):
        try:
            return cost(params) < limit
        except Infeasible:
            return False

    return sum(fits(params) for params in Space(dims).all())


@settings(max_examples=60)
@given(st.integers(0, 2**31))
def test_random_small_spaces_stay_inside(seed):
    check_small_space(seed)


@pytest.mark.slow
def test_many_small_spaces_stay_inside():
    for seed in range(1_500):
        check_small_space(seed, start=10 if seed % 10 else 3)
