"""How many threads a step takes, from how long steps took."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch

from archsearch.training.thread_tuner import ThreadTuner


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


class Machine:
    """A machine whose steps take so many seconds by so many threads, which compute for a share of them."""

    def __init__(self, tuner: ThreadTuner, **seconds: float) -> None:
        self.tuner, self.counts = tuner, list[int]()
        self.seconds = {int(name.removeprefix("by")): value for name, value in seconds.items()}

    def run(self, steps: int, share: float) -> list[int]:
        """The threads of each step."""
        begun = len(self.counts)
        for _ in range(steps):
            count, wall = self.tuner.count, self.seconds[self.tuner.count]
            assert torch.get_num_threads() == count
            self.counts.append(count)
            self.tuner.note(wall, share * count * wall)
        return self.counts[begun:]


def started(most: int, lines: list[str]) -> ThreadTuner:
    tuner = ThreadTuner(most, lines.append)
    tuner.start()
    return tuner


def test_a_quiet_machine_keeps_all_threads() -> None:
    lines: list[str] = []
    assert set(Machine(started(4, lines), by4=0.5).run(200, share=0.7)) == {4}
    assert lines == []


def test_a_busy_machine_gets_one_and_says_so_once() -> None:
    lines: list[str] = []
    tuner = started(2, lines)
    machine = Machine(tuner, by2=10.0, by1=0.6)
    assert machine.run(1, share=0.24) == [2]  # not even a core of its own: one step is enough
    assert set(machine.run(100, share=0.33)) == {1}
    assert lines == [
        "this machine is busy: a training step took 16.7 times as long by 2 threads as by 1,"
        " so 1 it is until cores are free"
    ]
    tuner.start()
    assert set(machine.run(10, share=0.33)) == {1}, "the next training knows"
    machine.seconds[2] = 0.4
    assert machine.run(10, share=0.95)[-1] == 2, "its core is its own again"
    machine.seconds[2] = 10.0
    assert machine.run(10, share=0.24)[-1] == 1
    assert len(lines) == 1


def test_threads_that_wait_for_other_reasons_stay() -> None:
    """A network of small layers: one thread is slower, and is rarely tried."""
    lines: list[str] = []
    counts = Machine(started(2, lines), by2=0.3, by1=0.4).run(5000, share=0.6)
    assert 0 < counts.count(1) < 0.04 * len(counts)
    assert lines == []


def test_a_machine_that_becomes_busy_is_noticed_at_once() -> None:
    machine = Machine(started(2, []), by2=0.3, by1=0.4)
    machine.run(40, share=0.6)  # a try in vain, and the rest after it
    machine.seconds = {2: 8.0, 1: 0.6}
    assert machine.run(3, share=0.3) == [2, 1, 1]


def test_a_second_thread_without_a_core_is_given_up_at_once() -> None:
    machine = Machine(started(2, []), by2=10.0, by1=0.6)
    machine.run(20, share=0.3)
    counts = machine.run(5000, share=0.95)
    assert 0 < 10.0 * counts.count(2) < 0.04 * 0.6 * len(counts)
    assert all(pair != (2, 2) for pair in pairwise(counts))


def test_many_cores_are_halved() -> None:
    machine = Machine(started(16, []), by16=8.0, by8=2.0, by4=1.0, by2=1.1, by1=2.0)
    assert machine.run(100, share=0.3)[-1] == 4


def test_another_shape_ends_a_try() -> None:
    tuner = started(2, [])
    tuner.note(10.0, 4.0)
    assert tuner.count == 1
    tuner.fresh()
    assert (tuner.count, torch.get_num_threads()) == (2, 2)


@pytest.mark.parametrize(("how", "threads"), [({"little": True}, 1), ({"fixed": True}, 2)])
def test_what_does_not_choose(how: dict[str, bool], threads: int) -> None:
    tuner = ThreadTuner(2)
    tuner.start(**how)
    for _ in range(10):
        tuner.note(10.0, 1.0)
        assert torch.get_num_threads() == threads
    assert tuner.count == 2


def test_steps_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    tuner = ThreadTuner(2)
    noted: list[tuple[float, float]] = []
    monkeypatch.setattr(tuner, "note", lambda wall, cpu: noted.append((wall, cpu)))
    with tuner:
        sum(range(100_000))
    [(wall, cpu)] = noted
    assert 0 < cpu < 10 * wall
