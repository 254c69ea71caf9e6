"""The search loop with a formula in place of training: counts, limits, ends, resume, the true front."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archsearch import Arch, Budget, SearchSpace, StopTraining, search
from archsearch.errors import InputError, NothingFeasible, SpecError, TrainingFailed
from archsearch.evaluation import Evaluation, Report
from archsearch.report.tables import USAGE_COLUMNS
from archsearch.sampler.asha import Rungs
from archsearch.space.reader import load_space, parse_space
from archsearch.study.leases import Seat
from archsearch.study.observers import Candidate, Counts, Observer
from archsearch.study.records import Record, Reject
from archsearch.study.storage import records, status
from archsearch.workers import loop
from archsearch.workers.local import Result

SHAPE, CLASSES = (1, 8, 8), 10
STOCK = ("tpe", "nsga2", "random")
SPACE = parse_space(
    """
    [stem]
    type = "conv"
    width = { choice = [4, 8, 16] }
    [[stage]]
    block = { choice = ["basic", "nin"] }
    width = { choice = [8, 16, 32, 64] }
    kernel = { choice = [1, 3] }
    down = { choice = ["stride", "max"] }  # without a stride both unroll to the same layers
    [[stage]]
    block = "nin"
    width = { int = [8, 40], step = 8 }
    depth = { int = [0, 2] }
    stride = 2
    [head]
    type = "linear"
    """,
    "formula",
)


def formula(arch: Arch, report: Callable[[int, float], None]) -> float:
    """Larger is better, with a fixed deviation for each network so that the front has gaps."""
    luck = int(arch.id[:4], 16) / 0xFFFF
    accuracy = 1 - 1 / math.log(arch.cost.params) - 0.1 * luck
    report(1, accuracy / 2)
    report(2, accuracy)
    return accuracy


def run(space: SearchSpace = SPACE, evaluate: Any = formula, **options: Any) -> Result:
    options = {"sampler": "random", "trials": 12, **options}
    return search(space, evaluate=evaluate, input_shape=SHAPE, classes=CLASSES, **options)


def every(space: SearchSpace) -> dict[str, Arch]:
    """All networks of a space by id."""
    found = {}
    todo: list[list[Any]] = [[]]
    while todo:
        answers = todo.pop()
        given = iter(answers)
        try:
            arch = space.draw(lambda name, dim, given=given: _next(given, dim), SHAPE, CLASSES)
        except _Open as open_dim:
            todo += [[*answers, value] for value in open_dim.values]
            continue
        found[arch.id] = arch
    return found


class _Open(Exception):
    def __init__(self, values: Sequence[Any]) -> None:
        self.values = values


def _next(given: Iterator[Any], dim: Any) -> Any:
    try:
        return next(given)
    except StopIteration:
        raise _Open(dim.values) from None


def quiet(epoch: int, accuracy: float) -> None:
    """A report that nobody reads."""


def true_front(archs: Sequence[Arch]) -> set[str]:
    scored = [(arch.cost.params, formula(arch, quiet), arch.id) for arch in archs]
    return {
        name
        for size, accuracy, name in scored
        if not any((s <= size and a >= accuracy) and (s < size or a > accuracy) for s, a, _ in scored)
    }


class Log(Observer):
    """Notes every call, and what stood in the study at that time."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def started(self, history: Sequence[Record], counts: Counts) -> None:
        self.calls.append(("started", len(history)))

    def checked(self, counts: Counts, reject: Reject | None) -> None:
        self.calls.append(("checked", counts.over_budget, counts.duplicates, reject))

    def training(self, candidate: Candidate) -> None:
        self.calls.append(("training", candidate.arch.id))

    def epoch(self, candidate: Candidate, epoch: int, accuracy: float, metrics: Mapping[str, float]) -> None:
        self.calls.append(("epoch", candidate.arch.id, epoch))

    def measured(self, candidate: Candidate, record: Record, history: Sequence[Record]) -> None:
        self.calls.append(("measured", record.arch, len(history)))

    def finished(self, record: Record, history: Sequence[Record], counts: Counts) -> None:
        self.calls.append(("finished", record.arch, len(history), counts.trained))

    def ended(self, history: Sequence[Record], counts: Counts) -> None:
        self.calls.append(("ended", len(history)))

    def names(self, *wanted: str) -> list[str]:
        return [call[0] for call in self.calls if call[0] in wanted]


@pytest.mark.parametrize("sampler", STOCK)
def test_counts_sum_up(sampler: str) -> None:
    found = run(sampler=sampler, budget=Budget(max_params=9000), trials=8)
    counts = found.counts
    assert found.reason == "trials"
    assert counts.trained == len(found.records) == 8
    assert counts.over_budget > 0
    assert counts.checked == counts.over_budget + counts.duplicates + counts.trained + counts.failed
    assert counts.broke == {"params": counts.over_budget}


def test_pareto_counts_all_it_weighs() -> None:
    found = run(sampler="pareto", budget=Budget(max_params=3000), trials=10)
    counts = found.counts
    assert found.reason == "trials"
    assert counts.trained == len({record.arch for record in found.records}) == 10
    assert counts.over_budget > 0
    assert counts.checked >= counts.over_budget + counts.duplicates + counts.trained + counts.failed
    assert all(record.params < 3000 for record in found.records)


@pytest.mark.parametrize("sampler", ["pareto", *STOCK])
def test_trials_is_a_total_and_no_network_is_trained_twice(sampler: str) -> None:
    trained: list[str] = []

    def evaluate(arch: Arch, report: Any) -> float:
        trained.append(arch.id)
        return formula(arch, report)

    found = run(evaluate=evaluate, sampler=sampler, trials=12, budget=Budget(max_params=8000))
    assert len(trained) == len(set(trained)) == 12
    assert [record.arch for record in found.records] == trained
    assert [record.trial for record in found.records] == list(range(12))


def test_duplicates_are_counted() -> None:
    """`down` without a stride changes nothing: two draws, one network."""
    assert run(trials=60).counts.duplicates > 0


def test_defaults_are_the_contract() -> None:
    """24 trials, the sampler `pareto`, no limit."""
    found = search(SPACE, evaluate=formula, input_shape=SHAPE, classes=CLASSES)
    same = run(sampler="pareto", trials=24, seed=0, budget=Budget())
    assert found.counts.over_budget == 0
    assert [r.arch for r in found.records] == [r.arch for r in same.records]
    assert len(found.records) == 24


LIMITS = [
    *(("max_size", dtype) for dtype in ("fp32", "fp16", "bf16", "int8")),
    *(("max_activation", dtype) for dtype in ("fp32", "fp16", "bf16", "int8")),
    ("max_params", "fp32"),
    ("max_macs", "fp32"),
]


def measured(arch: Arch, limit: str, dtype: str) -> int:
    cost = arch.cost
    return {
        "max_params": cost.params,
        "max_size": cost.size_bytes(dtype),
        "max_macs": cost.macs,
        "max_activation": cost.peak_activation_bytes(dtype),
    }[limit]


@pytest.mark.parametrize("sampler", ["pareto", "random"])
@pytest.mark.parametrize(("limit", "dtype"), LIMITS)
def test_every_limit_is_strict(limit: str, dtype: str, sampler: str) -> None:
    """The limit is the size of a network of the space, which must not be trained, nor anything above it."""
    sizes = sorted({measured(arch, limit, dtype) for arch in every(SPACE).values()})
    bound = sizes[len(sizes) // 2]
    trained: list[int] = []

    def evaluate(arch: Arch, report: Any) -> float:
        trained.append(measured(arch, limit, dtype))
        return formula(arch, report)

    log = Log()
    budget = Budget(**{limit: bound}, size_dtype=dtype)
    found = run(evaluate=evaluate, sampler=sampler, budget=budget, trials=10, observers=[log])
    assert len(trained) == 10
    assert max(trained) < bound
    column = {"max_size": "size_bytes", "max_activation": "peak_activation_bytes"}.get(limit, limit[4:])
    assert [getattr(record, column) for record in found.records] == trained
    rejects = [call[3] for call in log.calls if call[0] == "checked" and call[3]]
    assert rejects
    assert all(reject.broke == f"{column}>={bound}" for reject in rejects)


@pytest.mark.parametrize("sampler", ["pareto", "tpe", "random"])
def test_nothing_is_trained_at_or_below_a_lower_limit(sampler: str, tmp_path: Path) -> None:
    sizes = sorted({arch.cost.params for arch in every(SPACE).values()})
    least, most = sizes[len(sizes) // 3], sizes[-len(sizes) // 4]
    log, study = Log(), _study(tmp_path, new=True)
    budget = Budget(max_params=most, min_params=least)
    found = run(sampler=sampler, budget=budget, trials=8, observers=[log], study=study)
    assert len(found.records) == 8
    assert all(least < record.params < most for record in found.records)
    rejects = [call[3] for call in log.calls if call[0] == "checked" and call[3]]
    small, large = f"params<={least}", f"params>={most}"
    assert {reject.broke for reject in rejects} == {small, large}
    assert all((reject.broke == small) == (reject.params <= least) for reject in rejects)
    assert found.counts.broke == {"params": len(rejects)}
    for record in found.records:
        constraints = study.trials[record.trial].constraints
        assert constraints["params"] == pytest.approx(record.params / most - 1)
        assert constraints["min_params"] == pytest.approx(1 - record.params / least)


def test_a_network_of_exactly_the_limit_is_rejected() -> None:
    only = parse_space('[stem]\ntype = "none"\n[[stage]]\nblock = "nin"\nwidth = 8\n[head]\ntype = "linear"\n', "one")
    params = next(iter(every(only).values())).cost.params
    with pytest.raises(NothingFeasible):
        run(only, budget=Budget(max_params=params))
    assert len(run(only, budget=Budget(max_params=params + 1), trials=1).records) == 1


def test_two_limits_hold_together() -> None:
    found = run(budget=Budget(max_params=4000, max_macs=60_000), trials=15, sampler="pareto")
    assert all(record.params < 4000 and record.macs < 60_000 for record in found.records)
    assert set(found.counts.broke) == {"params", "macs"}
    assert found.counts.over_budget <= sum(found.counts.broke.values())


def test_rejects_are_distinct_and_say_what_they_broke() -> None:
    log = Log()
    found = run(budget=Budget(max_params=2500, max_macs=40_000), trials=15, observers=[log])
    rejects = [call[3] for call in log.calls if call[0] == "checked" and call[3]]
    archs = every(SPACE)
    assert len({reject.arch for reject in rejects}) == len(rejects) == found.counts.over_budget
    for reject in rejects:
        cost = archs[reject.arch].cost
        assert (reject.params, reject.macs, reject.size_bytes) == (cost.params, cost.macs, cost.size_bytes("fp32"))
        broke = [name for name, bad in (("params>=2500", cost.params >= 2500), ("macs>=40000", cost.macs >= 40_000))
                 if bad]  # fmt: skip
        assert reject.broke == "; ".join(broke)


@pytest.mark.parametrize("sampler", ["pareto", *STOCK])
@pytest.mark.parametrize(
    ("budget", "words"),
    [
        (Budget(max_params=10), "{params:,} parameters, the limit is under 10 parameters"),
        (Budget(max_size=50), "kB, the limit is under 50 B"),
        (Budget(max_size=50, size_dtype="int8"), "kB, the limit is under 50 B"),
        (Budget(max_macs=10), "{macs:,} MACs, the limit is under 10 MACs"),
        (Budget(max_activation=10), "of activations, the limit is under 10 B of activations"),
        (
            Budget(min_params=10**6),
            "largest candidate has {most:,} parameters, the limit is above 1,000,000 parameters",
        ),
    ],
)
def test_nothing_feasible_names_the_nearest(budget: Budget, words: str, sampler: str) -> None:
    archs = every(SPACE).values()
    smallest = {"params": min(a.cost.params for a in archs), "macs": min(a.cost.macs for a in archs)}
    smallest["most"] = max(a.cost.params for a in archs)
    log = Log()
    with pytest.raises(NothingFeasible) as caught:
        run(budget=budget, sampler=sampler, observers=[log])
    assert words.format(**smallest) in str(caught.value)
    assert "'formula'" in str(caught.value)
    assert log.calls == []


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samplers that cannot know that nothing is left give up sooner."""
    monkeypatch.setattr(loop, "_RANDOM_DRAWS", 3000)


@pytest.mark.usefixtures("few_draws")
@pytest.mark.parametrize("sampler", ["pareto", "random"])
def test_limits_that_only_together_leave_nothing(sampler: str) -> None:
    """The smallest network by parameters has a large map, the one of few MACs has more parameters."""
    space = parse_space(
        """
        [stem]
        type = "none"
        [[stage]]
        block = "nin"
        width = 8
        kernel = { choice = [1, 3] }
        stride = { choice = [1, 4] }
        points = 1
        [head]
        type = "linear"
        """,
        "apart",
    )
    archs = list(every(space).values())
    params, macs = min(a.cost.params for a in archs), min(a.cost.macs for a in archs)
    budget = Budget(max_params=params + 1, max_macs=macs + 1)
    if any(budget.check(a.cost).ok for a in archs):
        budget = Budget(max_macs=macs + 1, max_activation=min(a.cost.peak_activation_bytes("fp32") for a in archs) + 1)
    fits = [a for a in archs if budget.check(a.cost).ok]
    if fits:
        assert {r.arch for r in run(space, budget=budget, sampler=sampler).records} == {a.id for a in fits}
        return
    with pytest.raises(NothingFeasible, match="not all limits at once"):
        run(space, budget=budget, sampler=sampler)


def test_no_network_for_these_images() -> None:
    """Six halvings of 8x8 pixels leave nothing."""
    stage = '[[stage]]\nblock = "nin"\nwidth = 8\nstride = 2\ndown = "max"\n'
    space = parse_space('[stem]\ntype = "none"\n' + 6 * stage + '[head]\ntype = "linear"\n', "deep")
    with pytest.raises(SpecError, match="no candidate makes a network"):
        run(space)


@pytest.mark.parametrize("sampler", ["pareto", "tpe", "random"])
def test_candidates_without_a_network_are_rejected_with_the_reason(sampler: str) -> None:
    stage = '[[stage]]\nblock = "nin"\nwidth = 8\ndepth = { int = [0, 1] }\nstride = 2\ndown = "max"\n'
    space = parse_space('[stem]\ntype = "none"\n' + 5 * stage + '[head]\ntype = "linear"\n', "deep")
    log = Log()
    found = run(space, sampler=sampler, trials=3, observers=[log], seed=1)
    assert found.reason == "trials"
    assert found.counts.over_budget == found.counts.broke["no network"] > 0
    rejects = [call[3] for call in log.calls if call[0] == "checked" and call[3]]
    assert all(r.broke.startswith("no network: stage") and r.arch == "" and r.params is None for r in rejects)


@pytest.mark.parametrize("cost", [0, -1.0, float("nan"), float("inf"), "much", None])
def test_a_training_cost_that_is_none_is_named_before_anything_is_trained(cost: Any) -> None:
    trained: list[str] = []

    def evaluate(arch: Arch, report: Any) -> float:
        trained.append(arch.id)
        return 0.5

    with pytest.raises(InputError, match=f"training_cost gave {cost!r} for [0-9a-f]+: it is a positive number"):
        run(evaluate=evaluate, sampler="pareto", training_cost=lambda arch: cost)
    assert trained == []


def test_cheap_trainings_are_preferred() -> None:
    def work(**options: Any) -> int:
        return sum(record.macs for record in run(sampler="pareto", trials=20, **options).records)

    assert work(training_cost=lambda arch: arch.cost.macs) < 0.8 * work()


@pytest.mark.usefixtures("few_draws")
@pytest.mark.parametrize("sampler", ["pareto", "random"])
def test_an_exhausted_space_ends_the_search(sampler: str) -> None:
    archs = [arch for arch in every(SPACE).values() if arch.cost.params < 900]
    found = run(sampler=sampler, trials=1000, budget=Budget(max_params=900))
    assert found.reason == "exhausted"
    assert {record.arch for record in found.records} == {arch.id for arch in archs}
    again = run(sampler=sampler, trials=1, budget=Budget(max_params=900))
    assert again.reason == "trials"


@pytest.mark.parametrize("sampler", ["pareto", "tpe"])
def test_ten_failures_in_a_row_end_the_search(sampler: str) -> None:
    def evaluate(arch: Arch, report: Any) -> float:
        report(1, 0.1)
        raise TrainingFailed("the loss is not finite in epoch 1")

    found = run(evaluate=evaluate, sampler=sampler)
    assert found.reason == "failures"
    assert found.counts.failed == len(found.records) == 10
    assert found.counts.trained == 0
    assert len({record.arch for record in found.records}) == 10
    assert {(r.state, r.reason, r.val_accuracy) for r in found.records} == {
        ("failed", "the loss is not finite in epoch 1", None)
    }
    assert found.front.empty
    assert found.trials.val_accuracy.isna().all()


def test_a_worker_that_joins_late_counts_the_failures_of_its_run() -> None:
    def evaluate(arch: Arch, report: Any) -> float:
        raise TrainingFailed("no")

    study = optuna.create_study(directions=["maximize", "minimize"])
    assert len(run(evaluate=evaluate, study=study).records) == 10
    late = run(evaluate=evaluate, study=study, seat=Seat(before=frozenset()))
    assert (late.reason, len(late.records)) == ("failures", 10)
    resumed = run(evaluate=evaluate, study=study)
    assert (resumed.reason, len(resumed.records)) == ("failures", 20)


@pytest.mark.parametrize("sampler", ["pareto", "tpe"])
def test_failures_between_successes_do_not_end_it_nor_count_as_trials(sampler: str) -> None:
    calls = 0

    def evaluate(arch: Arch, report: Any) -> float:
        nonlocal calls
        calls += 1
        if calls % 4:
            raise TrainingFailed("no")
        return formula(arch, report)

    found = run(evaluate=evaluate, trials=5, sampler=sampler)
    assert found.reason == "trials"
    assert (found.counts.trained, found.counts.failed) == (5, 15)
    assert set(found.front.arch) <= {r.arch for r in found.records if r.state == "complete"}


@pytest.mark.parametrize("sampler", ["pareto", "nsga2"])
def test_a_stopped_training_keeps_its_last_accuracy(sampler: str) -> None:
    def evaluate(arch: Arch, report: Any) -> float:
        report(1, 0.9)
        report(3, 0.25)
        raise StopTraining("weak for its size")

    found = run(evaluate=evaluate, trials=4, sampler=sampler)
    assert found.reason == "trials"
    assert found.counts.trained == 4
    for record in found.records:
        assert (record.state, record.reason) == ("stopped", "weak for its size")
        assert (record.val_accuracy, record.epochs) == (0.25, 3)
        assert record.curve == [[1, 0.9], [3, 0.25]]
    assert found.front.empty


def test_what_an_evaluation_says_is_recorded_however_it_ends() -> None:
    ends = iter([TrainingFailed("no"), StopTraining("rung"), None])
    seen: list[Mapping[str, float]] = []

    class Metrics(Observer):
        def epoch(self, candidate: Candidate, epoch: int, accuracy: float, metrics: Mapping[str, float]) -> None:
            seen.append(metrics)

    def evaluate(arch: Arch, report: Report) -> Evaluation:
        report(1, 0.5, {"train_loss": 2.0})
        report(2, 0.6)
        found, end = Evaluation(0.75, {"step_seconds": 1.5}, before=100.0), next(ends)
        if end is None:
            return found
        end.evaluation = found
        raise end

    found = run(evaluate=evaluate, trials=2, observers=[Metrics()])
    assert [(r.state, r.val_accuracy) for r in found.records] == [
        ("failed", None),
        ("stopped", 0.6),
        ("complete", 0.75),
    ]
    assert [r.usage for r in found.records] == [{"step_seconds": 1.5}] * 3
    assert all(100 <= r.train_seconds < 160 for r in found.records)
    assert [r.curve for r in found.records] == [[[1, 0.5], [2, 0.6]]] * 3
    assert seen == [{"train_loss": 2.0}, {}] * 3


def test_only_complete_candidates_are_on_the_front() -> None:
    calls = 0

    def evaluate(arch: Arch, report: Any) -> float:
        nonlocal calls
        calls += 1
        if calls % 2:
            report(1, 0.999)
            raise StopTraining("stop")
        return formula(arch, report)

    found = run(evaluate=evaluate, trials=12)
    complete = [record for record in found.records if record.state == "complete"]
    assert set(found.front.arch) == true_front([every(SPACE)[record.arch] for record in complete])


def test_the_timeout_starts_no_further_candidate() -> None:
    def evaluate(arch: Arch, report: Any) -> float:
        time.sleep(0.15)
        return formula(arch, report)

    found = run(evaluate=evaluate, trials=1000, timeout=0.3)
    assert found.reason == "timeout"
    assert 1 <= found.counts.trained <= 3


def test_a_timeout_ends_a_long_row_of_draws() -> None:
    """One network in the budget, found at once; the next draws find nothing new and are cut off."""
    bound = sorted({arch.cost.params for arch in every(SPACE).values()})[0] + 1
    began = time.monotonic()
    found = run(sampler="tpe", trials=1000, timeout=0.5, budget=Budget(max_params=bound))
    assert found.reason in ("timeout", "exhausted")
    assert time.monotonic() - began < 10


def _study(path: Path, *, new: bool = False) -> optuna.Study:
    url = f"sqlite:///{path / 'study.db'}"
    if new:
        return optuna.create_study(study_name="s", storage=url, directions=["maximize", "minimize"])
    return optuna.load_study(study_name="s", storage=url)


@pytest.mark.parametrize("sampler", ["pareto", "random"])
def test_resume_goes_on_to_the_total(tmp_path: Path, sampler: str) -> None:
    first = run(sampler=sampler, trials=6, study=_study(tmp_path, new=True), budget=Budget(max_params=9000))
    trained: list[str] = []

    def evaluate(arch: Arch, report: Any) -> float:
        trained.append(arch.id)
        return formula(arch, report)

    log = Log()
    second = run(evaluate=evaluate, sampler=sampler, trials=11, study=_study(tmp_path), counts=first.counts,
                 budget=Budget(max_params=9000), observers=[log])  # fmt: skip
    assert log.calls[0] == ("started", 6)
    assert len(trained) == 5
    assert not set(trained) & {record.arch for record in first.records}
    assert [r.arch for r in second.records] == [*(r.arch for r in first.records), *trained]
    assert second.counts.trained == 11
    assert records(_study(tmp_path)) == list(second.records)
    third = run(sampler=sampler, trials=11, study=_study(tmp_path))
    assert (third.reason, len(third.records)) == ("trials", 11)


def test_resume_does_not_count_a_known_reject_again() -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])
    log, budget = Log(), Budget(max_params=700)
    first = run(study=study, trials=2, budget=budget, observers=[log])
    known = {call[3].arch for call in log.calls if call[0] == "checked" and call[3]}
    later = Log()
    run(study=study, trials=8, budget=budget, counts=first.counts, rejected=known, observers=[later])
    assert not known & {call[3].arch for call in later.calls if call[0] == "checked" and call[3]}
    assert known


@pytest.mark.parametrize("sampler", ["pareto", "tpe"])
def test_an_interrupt_leaves_a_valid_study(tmp_path: Path, sampler: str) -> None:
    calls = 0

    def evaluate(arch: Arch, report: Any) -> float:
        nonlocal calls
        calls += 1
        if calls == 4:
            report(1, 0.5)
            raise KeyboardInterrupt
        return formula(arch, report)

    log = Log()
    with pytest.raises(KeyboardInterrupt):
        run(evaluate=evaluate, sampler=sampler, study=_study(tmp_path, new=True), observers=[log])
    assert log.calls[-1] == ("ended", 3)
    states = [status(trial) for trial in _study(tmp_path).get_trials()]
    assert states == ["complete"] * 3 + ["lost"]
    found = run(sampler=sampler, study=_study(tmp_path), trials=7)
    assert len({record.arch for record in found.records}) == 7
    assert found.records[3].arch == _study(tmp_path).get_trials()[3].user_attrs["arch"]  # first what was interrupted


def test_counts_sum_up_again_after_an_interrupt() -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])

    class Keep(Observer):
        counts: Counts

        def ended(self, history: Sequence[Record], counts: Counts) -> None:
            self.counts = counts

    def evaluate(arch: Arch, report: Any) -> float:
        if len(records(study)) == 3:
            raise KeyboardInterrupt
        return formula(arch, report)

    keep = Keep()
    with pytest.raises(KeyboardInterrupt):
        run(evaluate=evaluate, study=study, observers=[keep])
    counts = run(study=study, trials=8, counts=keep.counts).counts
    assert counts.trained == 8
    assert counts.checked == counts.over_budget + counts.duplicates + counts.trained + counts.failed


def test_counts_that_a_kill_left_behind_follow_the_study() -> None:
    """The study is written before `run.json`: a kill in between leaves counts of one candidate fewer."""
    study = optuna.create_study(directions=["maximize", "minimize"])
    run(study=study, trials=5)
    counts = run(study=study, trials=6, counts=Counts(checked=7, trained=4, duplicates=3)).counts
    assert counts.trained == 6
    assert counts.checked == counts.over_budget + counts.duplicates + counts.trained + counts.failed


def test_an_error_of_the_evaluation_goes_through_and_saves_the_rest() -> None:
    def evaluate(arch: Arch, report: Any) -> float:
        if len(records(study)) == 2:
            raise ZeroDivisionError
        return formula(arch, report)

    study = optuna.create_study(directions=["maximize", "minimize"])
    log = Log()
    with pytest.raises(ZeroDivisionError):
        run(evaluate=evaluate, study=study, observers=[log])
    assert log.calls[-1] == ("ended", 2)
    assert len(records(study)) == 2


@pytest.mark.parametrize("sampler", ["pareto", *STOCK])
def test_same_seed_same_candidates(sampler: str) -> None:
    one, two, other = (run(sampler=sampler, seed=seed, trials=8, budget=Budget(max_params=9000)) for seed in (5, 5, 6))
    assert [(r.arch, r.val_accuracy) for r in one.records] == [(r.arch, r.val_accuracy) for r in two.records]
    assert one.counts == two.counts
    # All sizes of a small space are known, so `pareto` may well begin alike from every seed.
    assert sampler == "pareto" or [r.arch for r in one.records] != [r.arch for r in other.records]


def test_observers_are_called_in_order() -> None:
    log, twin = Log(), Log()
    found = run(trials=3, budget=Budget(max_params=2000), observers=[log, twin])
    assert log.calls == twin.calls
    assert log.calls[0] == ("started", 0)
    assert log.calls[-1] == ("ended", 3)
    steps = log.names("training", "epoch", "measured", "finished")
    assert steps == ["training", "epoch", "epoch", "measured", "finished"] * 3
    for i, record in enumerate(found.records):
        own = [call for call in log.calls if record.arch in call[1:2]]
        assert own == [
            ("training", record.arch),
            ("epoch", record.arch, 1),
            ("epoch", record.arch, 2),
            ("measured", record.arch, i + 1),
            ("finished", record.arch, i + 1, i + 1),
        ]


def test_measured_comes_before_the_study_names_the_candidate() -> None:
    """What an observer saves in `measured` is there whenever the study has the candidate."""
    study = optuna.create_study(directions=["maximize", "minimize"])
    seen: list[tuple[int, int]] = []

    class Watch(Observer):
        def measured(self, candidate: Candidate, record: Record, history: Sequence[Record]) -> None:
            seen.append((len(history), len(records(study))))

        def finished(self, record: Record, history: Sequence[Record], counts: Counts) -> None:
            seen.append((len(history), len(records(study))))

    run(study=study, trials=2, observers=[Watch()])
    assert seen == [(1, 0), (1, 1), (2, 1), (2, 2)]


def test_the_result_is_two_tables() -> None:
    found = run(trials=8)
    base = ["arch", "val_accuracy", "params", "size_bytes", "macs", "peak_activation_bytes", "epochs", "train_seconds",
            "trial", "seed", "summary"]  # fmt: skip
    assert list(found.front.columns) == base
    assert list(found.trials.columns) == [*base, "state", "reason", *USAGE_COLUMNS]
    assert list(found.trials.arch) == [record.arch for record in found.records]
    assert found.front.params.is_monotonic_increasing
    assert all(a < b for a, b in pairwise(found.front.val_accuracy))


def test_records_say_what_was_searched() -> None:
    found = run(trials=5, seed=9, budget=Budget(max_size=1e6, size_dtype="fp16"))
    archs = every(SPACE)
    for record in found.records:
        arch = archs[record.arch]
        assert record.summary == arch.summary
        assert record.size_bytes == arch.cost.size_bytes("fp16")
        assert record.peak_activation_bytes == arch.cost.peak_activation_bytes("fp16")
        assert record.seed == 9
        assert record.epochs == 2
        assert record.train_seconds >= 0


def test_the_study_shows_feasible_trials_with_their_params() -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])
    found = run(study=study, trials=4, budget=Budget(max_params=5000))
    for trial, record in zip(study.get_trials(), found.records, strict=True):
        assert trial.values == [record.val_accuracy, record.params]
        assert {"stem.width", "stage1.block"} <= set(trial.params) <= set(SPACE.dims)
        assert max(trial.system_attrs["constraints"]) < 0
        assert trial.user_attrs["arch"] == record.arch


@pytest.mark.usefixtures("few_draws")
def test_a_space_of_one_network() -> None:
    only = parse_space('[stem]\ntype = "none"\n[[stage]]\nblock = "nin"\nwidth = 8\n[head]\ntype = "linear"\n', "one")
    for sampler in ("pareto", "random"):
        found = run(only, sampler=sampler, trials=3)
        assert (found.reason, len(found.records)) == ("exhausted", 1)


def test_an_unknown_sampler_is_refused() -> None:
    with pytest.raises(InputError, match=r"'magic'.*pareto.*tpe.*random"):
        run(sampler="magic")


@st.composite
def spaces(draw: st.DrawFn) -> SearchSpace:
    """Spaces of a few dozen networks, constants and dims mixed, with an optional second stage."""

    def dim(values: list[Any]) -> str:
        some = draw(st.lists(st.sampled_from(values), min_size=1, max_size=3, unique=True))
        return repr(some[0]).replace("'", '"') if len(some) == 1 else f"{{ choice = {some!r} }}".replace("'", '"')

    lines = ["[stem]", 'type = "conv"', f"width = {dim([2, 3, 4, 8])}"]
    for _ in range(draw(st.integers(0, 2))):
        low, high = sorted(draw(st.tuples(st.integers(0, 2), st.integers(0, 2))))
        lines += ["[[stage]]", f"block = {dim(['basic', 'nin', 'resnin'])}", f"width = {dim([2, 4, 6, 16])}"]
        lines += [f"depth = {{ int = [{low}, {high}] }}", f"stride = {dim([1, 2])}"]
    lines += ["[head]", f"type = {dim(['linear', 'nin'])}"]
    return parse_space("\n".join(lines), "random")


@settings(max_examples=20, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(space=spaces(), share=st.floats(0.1, 1), sampler=st.sampled_from(["pareto", "random"]))
def test_the_front_is_that_of_brute_force(space: SearchSpace, share: float, sampler: str) -> None:
    archs = sorted(every(space).values(), key=lambda arch: arch.cost.params)
    limit = archs[int(share * (len(archs) - 1))].cost.params + 1
    inside = [arch for arch in archs if arch.cost.params < limit][:60]
    found = run(space, sampler=sampler, budget=Budget(max_params=inside[-1].cost.params + 1), trials=len(inside))
    # Networks of equal size beyond the 60 are inside as well.
    inside = [arch for arch in archs if arch.cost.params <= inside[-1].cost.params]
    if len(inside) == len(found.records):
        assert {record.arch for record in found.records} == {arch.id for arch in inside}
        assert set(found.front.arch) == true_front(inside)
    else:
        assert set(found.front.arch) == true_front([a for a in inside if a.id in {r.arch for r in found.records}])
    assert len(found.records) == min(len(inside), found.counts.trained)


def test_an_interrupt_right_after_the_result_still_counts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    finish = loop.finish

    def interrupted(*args: Any) -> None:
        finish(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "finish", interrupted)
    counts, study = Counts(), optuna.create_study(directions=["maximize", "minimize"])
    with pytest.raises(KeyboardInterrupt):
        search(
            load_space("resnin"), evaluate=lambda arch, report: 0.5, input_shape=(1, 8, 8), classes=10,
            sampler="random", trials=2, study=study, counts=counts, observers=[Last(counts)],
        )  # fmt: skip
    assert len(study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))) == 1
    assert counts.checked - counts.over_budget - counts.duplicates == 1


class Last(Observer):
    """Keeps the last counts."""

    def __init__(self, counts: Counts) -> None:
        self.counts = counts

    def ended(self, history: Any, counts: Counts) -> None:
        vars(self.counts).update(vars(counts))


def crossing(arch: Arch, report: Callable[[int, float], None]) -> float:
    """Learning curves that cross: what leads after two epochs is another network than at the end."""
    luck = int(arch.id[:4], 16) / 0xFFFF
    end = 1 - 1 / math.log(arch.cost.params) - 0.2 * luck
    for epoch in (1, 2, 3, 4):
        report(epoch, end * (1 - 0.6 * (1 - luck) ** epoch))
    return end


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_who_is_stopped_was_beaten_there_in_size_and_accuracy(seed: int) -> None:
    result = run(evaluate=crossing, trials=30, seed=seed, rungs=Rungs(6, 2, 2.0))
    stopped = [record for record in result.records if record.state == "stopped"]
    assert stopped
    for record in stopped:
        epoch = record.epochs
        peers = [(dict(map(tuple, other.curve))[epoch], other) for other in result.records[: record.trial]
                 if other.epochs >= epoch]  # fmt: skip
        beating = [other for score, other in peers if score >= record.curve[-1][1] and other.params <= record.params]
        assert beating
        assert record.reason == (
            f"stopped after {epoch} of 6 epochs: {len(beating)} of {len(peers)} others"
            " were no larger and no less accurate there"
        )
