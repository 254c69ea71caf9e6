"""A search under a limit on milliseconds, by a clock that is a formula: what is measured, trained, rejected, said."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from archsearch import Arch, Budget, search
from archsearch.errors import ExportFailed, InputError, NothingFeasible, NotMeasurable
from archsearch.network.timing import Timing
from archsearch.report.tables import rejects_table
from archsearch.space.domain import Domain
from archsearch.space.reader import parse_space
from archsearch.study.observers import Counts, Observer
from archsearch.study.records import Reject
from archsearch.workers import latencies
from archsearch.workers.latencies import FIRST, IN_VAIN, Latencies, candidates
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
    [[stage]]
    block = "nin"
    width = { int = [8, 40], step = 8 }
    depth = { int = [0, 2] }
    stride = 2
    [head]
    type = "linear"
    """,
    "timed",
)


def formula(arch: Arch, report: Callable[[int, float], None]) -> float:
    """Larger is better, with a fixed deviation for each network."""
    accuracy = 1 - 1 / math.log(arch.cost.params) - 0.1 * int(arch.id[:4], 16) / 0xFFFF
    report(1, accuracy)
    return accuracy


def milliseconds(arch: Arch) -> float:
    """Of a machine that multiplies a million times in a millisecond, and takes a while for every layer."""
    return arch.cost.macs / 1e6 + 0.05 * len(arch.stages)


class Clock:
    """A stopwatch whose machine is as `of` says, busy the first `busy` times of each network."""

    def __init__(self, of: Callable[[Arch], float] = milliseconds, busy: int = 0) -> None:
        self.of, self.busy = of, busy
        self.asked: list[Arch] = []
        self.waits = 0
        self.held = 0

    def known(self, arch: Arch) -> float | None:
        return None

    def __call__(self, arch: Arch, again: Callable[[NotMeasurable], bool]) -> float:
        for _ in range(self.busy):
            self.waits += 1
            if not again(NotMeasurable("not measurable on this busy machine")):
                raise NotMeasurable("not measurable on this busy machine")
        self.asked.append(arch)
        return self.of(arch)

    @contextmanager
    def alone(self) -> Iterator[None]:
        self.held += 1
        yield


class Log(Observer):
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.rejects: list[Reject] = []

    def noted(self, line: str) -> None:
        self.lines.append(line)

    def checked(self, counts: Counts, reject: Reject | None) -> None:
        self.rejects += [reject] if reject else []


@pytest.fixture
def limit() -> float:
    """The median of the space."""
    found = sorted(map(milliseconds, candidates(Domain(SPACE, SHAPE, CLASSES), Budget())))
    return found[len(found) // 2]


def timed(limit: float, clock: Clock, log: Log | None = None, **options: Any) -> Result:
    budget = options.pop("budget", Budget(max_latency=limit))
    options = {"evaluate": formula, "sampler": "random", "trials": 12, **options}
    return search(
        SPACE, input_shape=SHAPE, classes=CLASSES, budget=budget, stopwatch=clock, observers=[log] if log else [],
        progress=False, **options,
    )  # fmt: skip


@pytest.mark.parametrize("sampler", ["pareto", *STOCK])
def test_nothing_over_the_limit_is_trained(sampler: str, limit: float) -> None:
    clock, log, trained = Clock(), Log(), list[Arch]()

    def evaluate(arch: Arch, report: Callable[[int, float], None]) -> float:
        assert arch.cost.parts in {one.cost.parts for one in clock.asked}  # measured before
        trained.append(arch)
        return formula(arch, report)

    result = timed(limit, clock, log, sampler=sampler, evaluate=evaluate, trials=15)
    assert len(trained) == 15
    assert max(map(milliseconds, trained)) < limit
    assert [record.more["latency_ms"] for record in result.records] == [milliseconds(arch) for arch in trained]
    assert "latency_ms" in result.front
    broke = [reject.broke for reject in log.rejects]
    assert broke
    assert all(words.startswith(f"latency_ms>={limit!r}") for words in broke)
    assert result.counts.over_budget == result.counts.broke["latency_ms"] == len(broke)
    if sampler in STOCK:
        counts = result.counts
        assert counts.checked == counts.over_budget + counts.duplicates + counts.trained


def test_what_is_clearly_over_is_not_measured(limit: float) -> None:
    clock, log = Clock(), Log()
    timed(limit, clock, log, sampler="pareto", trials=15)
    guessed = [reject for reject in log.rejects if "predicted" in reject.broke]
    seen = [reject for reject in log.rejects if "predicted" not in reject.broke]
    assert len(guessed) > len(seen)
    assert {reject.latency_ms for reject in guessed} == {None}
    assert all(reject.latency_ms and reject.latency_ms >= limit for reject in seen)
    assert FIRST <= len(clock.asked) <= FIRST + len(seen) + 15
    assert len({arch.cost.parts for arch in clock.asked}) == len(clock.asked)  # each once
    assert "latency_ms" not in rejects_table(guessed)
    assert not seen or rejects_table(seen)["latency_ms"].min() >= limit


def test_it_is_said_what_was_measured(limit: float) -> None:
    log = Log()
    timed(limit, Clock(), log, trials=1)
    first, second = log.lines[:2]
    assert first == f"measuring up to {FIRST} networks before the first training (ONNX Runtime, fp32, 1 thread)"
    assert re.match(rf"{FIRST} networks measured in \d s: .* for one image; others are predicted, median error", second)


def test_what_is_far_over_the_limit_is_left_out_for_others(limit: float) -> None:
    low, clock, lines = limit / 4, Clock(), list[str]()
    Latencies(Budget(max_latency=low, timing=Timing()), clock, lines.append).begin(
        Domain(SPACE, SHAPE, CLASSES), math.inf
    )
    assert 0.8 * FIRST < len(clock.asked) <= FIRST
    assert sum(milliseconds(arch) < 4 * low for arch in clock.asked) > 2 * FIRST / 3
    assert lines[1].startswith(f"{len(clock.asked)} networks measured")


def test_what_a_busy_machine_refuses_is_tried_behind_the_others(limit: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latencies.time, "sleep", lambda seconds: None)
    domain = Domain(SPACE, SHAPE, CLASSES)
    slow = {arch.cost.parts for arch in candidates(domain, Budget()) if arch.cost.macs > 1e6 * limit}

    class Shaken(Clock):
        """Large networks are never measured."""

        def __call__(self, arch: Arch, again: Callable[[NotMeasurable], bool]) -> float:
            while arch.cost.parts in slow:
                self.waits += 1
                if not again(NotMeasurable("not measurable on this busy machine")):
                    raise NotMeasurable("not measurable on this busy machine")
            return super().__call__(arch, again)

    clock, lines = Shaken(), list[str]()
    Latencies(Budget(max_latency=limit, timing=Timing()), clock, lines.append).begin(domain, math.inf)
    assert sum(line.startswith("measuring up to") for line in lines) == 1
    assert clock.waits > 0
    assert clock.waits % 3 == 0
    assert len(clock.asked) >= FIRST / 2
    assert not slow & {arch.cost.parts for arch in clock.asked}


def test_one_that_is_never_measured_does_not_hold_up_a_small_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latencies.time, "sleep", lambda seconds: None)
    domain = Domain(SPACE, SHAPE, CLASSES)
    few = sorted(candidates(domain, Budget()), key=lambda arch: arch.cost.macs)[:3]
    monkeypatch.setattr(latencies, "candidates", lambda domain, budget: few)

    class Shaken(Clock):
        """The first network is never measured."""

        def __call__(self, arch: Arch, again: Callable[[NotMeasurable], bool]) -> float:
            if arch.id != few[0].id:
                return super().__call__(arch, again)
            while again(NotMeasurable("not measurable on this busy machine")):
                self.waits += 1
            raise NotMeasurable("not measurable on this busy machine")

    clock, lines = Shaken(), list[str]()
    Latencies(Budget(max_latency=99, timing=Timing()), clock, lines.append).begin(domain, math.inf)
    assert [arch.id for arch in clock.asked] == [arch.id for arch in few[1:]]
    assert [line.split(" before")[0] for line in lines if "up to" in line] == ["measuring up to 3 networks"]


def test_a_study_that_goes_on_knows_its_milliseconds(limit: float) -> None:
    import optuna

    study = optuna.create_study(directions=["maximize", "minimize"])
    timed(limit, Clock(), trials=4, study=study)
    clock = Clock()
    result = timed(limit, clock, trials=8, study=study)
    assert len(result.records) == 8
    assert max(record.more["latency_ms"] for record in result.records) < limit
    done = timed(limit, Clock(), trials=8, study=study)
    assert len(done.records) == 8


def test_a_study_that_is_done_measures_nothing(limit: float) -> None:
    import optuna

    study = optuna.create_study(directions=["maximize", "minimize"])
    timed(limit, Clock(), trials=2, study=study)
    clock = Clock()
    timed(limit, clock, trials=2, study=study)
    assert clock.asked == []


def test_a_busy_machine_is_waited_for(limit: float, monkeypatch: pytest.MonkeyPatch) -> None:
    slept = list[float]()
    monkeypatch.setattr(latencies.time, "sleep", slept.append)
    clock, log = Clock(busy=2), Log()
    result = timed(limit, clock, log, trials=3)
    assert result.counts.trained == 3
    assert clock.waits == 2 * len(clock.asked)
    assert set(slept) == {0.5, 1.0}
    waiting = [line for line in log.lines if "what is not measured is not trained" in line]
    assert len(waiting) == len(clock.asked)
    assert waiting[0].endswith("not measurable on this busy machine")


def test_time_is_up_while_it_waits(limit: float) -> None:
    clock = Clock(busy=9)
    result = timed(limit, clock, trials=3, timeout=0.5)
    assert (result.reason, result.counts.trained, clock.asked) == ("timeout", 0, [])


@pytest.mark.parametrize("sampler", ["pareto", "random"])
def test_nothing_is_fast_enough(sampler: str) -> None:
    clock = Clock(lambda arch: 7 + milliseconds(arch))
    with pytest.raises(NothingFeasible, match=r"measured, .* the fastest takes 7.* ms, the limit is under 5 ms"):
        timed(5, clock, sampler=sampler)
    assert len(clock.asked) <= FIRST + IN_VAIN


def test_what_cannot_be_shipped_is_left_out(limit: float) -> None:
    def of(arch: Arch) -> float:
        if arch.stages[0].block == "basic":
            raise ExportFailed("this network cannot be exported: no such operator")
        return milliseconds(arch)

    log = Log()
    result = timed(limit, Clock(of), log, trials=6)
    assert all("basic" not in record.summary for record in result.records)
    assert any(line.endswith("is left out: this network cannot be exported: no such operator") for line in log.lines)
    assert math.inf in {reject.latency_ms for reject in log.rejects}


def test_nothing_can_be_shipped() -> None:
    def of(arch: Arch) -> float:
        raise ExportFailed("this network cannot be exported: no such operator")

    with pytest.raises(ExportFailed, match="no such operator"):
        timed(5, Clock(of))


def test_a_board_that_never_answered_ends_the_search() -> None:
    budget = Budget(max_latency=5, timing=Timing(command="ssh pi measure.sh {file}"))
    with pytest.raises(InputError, match="busy machine"):
        timed(5, Clock(busy=1), budget=budget)


def test_other_limits_go_first(limit: float) -> None:
    clock = Clock()
    timed(limit, clock, trials=5, budget=Budget(max_params=4000, max_latency=limit))
    assert max(arch.cost.params for arch in clock.asked) < 4000


def test_what_is_known_is_neither_guessed_nor_measured_again(limit: float) -> None:
    clock = Clock()
    found = Latencies(Budget(max_latency=limit), clock, print)
    arch = candidates(Domain(SPACE, SHAPE, CLASSES), Budget())[0]
    assert found.over(arch) is None  # nobody knows
    found.keep(arch, limit)
    assert found.over(arch) == limit
    assert found.measured(arch, math.inf) == limit
    assert (clock.asked, found.of(arch)) == ([], {"latency_ms": limit})
