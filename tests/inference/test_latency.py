"""Milliseconds: the interval of a median, machines that are busy, and the runtimes that are always here."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from archsearch._utils.toolchain import HERE
from archsearch.errors import InputError, NotMeasurable
from archsearch.export import Images, Source, export
from archsearch.inference import latency, open_runner
from archsearch.inference.hosted import Hosted, host
from archsearch.inference.latency import (
    Known,
    Latency,
    Moment,
    Work,
    interval,
    measure,
    quiet,
    spread_of,
    summary,
)

SHAPE = (3, 8, 8)


WORK = (0.08, 0.02)
"""Milliseconds of the fixed work of a quiet machine."""
Moments = Iterator[tuple[float, tuple[float, float]]]
"""Of a network in a moment, and of the fixed work behind it."""


class Fake:
    """A machine by a clock of its own: three runs a moment, which take what `moments` say."""

    def __init__(self, moments: Moments) -> None:
        self.now, self.asked = 0.0, 0
        self._moments = moments
        self._work = WORK

    def moments(self, shape: tuple[int, ...], seconds: float) -> tuple[list[Work], list[list[float]]]:
        assert shape == SHAPE
        self.asked += 1
        end, work, runs = self.now + seconds, [self._work], list[list[float]]()
        while not runs or self.now < end:
            value, self._work = next(self._moments)
            runs.append([value] * 3)
            work.append(self._work)
            self.now += (3 * value + sum(self._work)) / 1000
        return work, runs


def always(*values: float) -> Moments:
    """A quiet machine."""
    while True:
        yield from ((value, WORK) for value in values)


def mixed(quiet: int, busy: int, value: float = 5.0, slower: Work = (1.5, 1.0), by: float = 1.4) -> Moments:
    """So many moments at their own speed, so many in which the fixed work takes `slower` times as long."""
    disturbed = (WORK[0] * slower[0], WORK[1] * slower[1])
    while True:
        yield from [(value, WORK)] * quiet
        yield from [(by * value, disturbed)] * busy


def timed(monkeypatch: pytest.MonkeyPatch, fake: Fake, seconds: float = 0.5, known: Known = WORK) -> Latency:
    monkeypatch.setattr(latency, "time", SimpleNamespace(perf_counter=lambda: fake.now))
    return measure(fake, SHAPE, seconds, known)


@pytest.mark.parametrize(
    ("n", "ranks"), [(6, (1, 6)), (10, (2, 9)), (20, (6, 15)), (100, (40, 61)), (5000, (2431, 2570))]
)
def test_the_interval_of_a_median_is_that_of_the_tables(n: int, ranks: tuple[int, int]) -> None:
    assert interval(range(1, n + 1)) == ranks


def test_fewer_than_six_runs_say_nothing() -> None:
    assert interval([1.0] * 5) == (0.0, math.inf)
    assert summary([2.0]).width == math.inf


def test_the_interval_has_the_median_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    intervals = [interval(sorted(random.exponential(size=30))) for _ in range(1000)]
    assert 0.94 < np.mean([low <= math.log(2) <= high for low, high in intervals]) < 0.985


def test_the_figures_of_runs() -> None:
    found = summary([float(n) for n in range(100, 0, -1)], WORK)
    assert found == Latency(median=50.5, p95=95, low=40, high=61, runs=100, work=WORK)


def test_a_quiet_machine_is_asked_until_the_median_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(always(5.0, 5.1))
    found = timed(monkeypatch, fake)
    assert (found.median, found.work) == (pytest.approx(5.05, abs=0.06), WORK)
    assert found.width <= 0.05
    assert found.runs >= 24
    assert fake.now < 0.25


def test_a_machine_that_nobody_knows_is_looked_at_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(always(5.0, 5.1))
    timed(monkeypatch, fake, known=(WORK[0], None))
    assert 1.3 < fake.now < 1.6


def test_a_network_that_varies_is_asked_until_the_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(always(5.0, 5.9))
    assert timed(monkeypatch, fake).width > 0.05
    assert 0.4 < fake.now < 0.6


def test_a_slow_network_has_one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(always(2000.0))
    found = timed(monkeypatch, fake)
    assert (found.runs, found.median, found.width) == (3, 2000.0, math.inf)


@pytest.mark.parametrize("slower", [(1.5, 1.0), (1.0, 1.3), (2.0, 2.0)])
@pytest.mark.parametrize("known", [WORK, (WORK[0], None), (None, None)])
def test_what_is_disturbed_does_not_count(monkeypatch: pytest.MonkeyPatch, slower: Work, known: Known) -> None:
    fake = Fake(mixed(3, 17, value=0.3, slower=slower))
    found = timed(monkeypatch, fake, known=known)
    assert (found.median, found.p95, found.work) == (0.3, 0.3, WORK)


def test_a_moment_counts_between_two_that_were_quiet() -> None:
    slow = (0.1, 0.02)
    moments = [Moment(WORK, [5.0], WORK), Moment(WORK, [6.0], slow), Moment(slow, [7.0], WORK)]
    assert quiet(moments, WORK) == moments[:1]
    assert quiet(moments) == moments[:1]  # the fastest says what is quiet
    assert quiet(moments, (0.05, 0.02)) == []
    assert quiet([]) == []


@given(st.lists(st.tuples(st.floats(0.5, 2), st.floats(0.5, 2), st.floats(0.1, 9)), min_size=1, max_size=60))
def test_a_networks_own_time_does_not_decide_what_counts(values: list[tuple[float, float, float]]) -> None:
    moments = [Moment((a, b), [c], (b, a)) for a, b, c in values]
    others = [Moment((a, b), [10 - c], (b, a)) for a, b, c in values]
    assert [one.before for one in quiet(moments)] == [one.before for one in quiet(others)]
    for known in [(None, None), (1.0, None), (1.0, 1.0)]:
        assert all(max(m.before[0], m.after[0]) <= 1.1 * (known[0] or 2) for m in quiet(moments, known))


@pytest.mark.parametrize(
    ("moments", "words"),
    [
        (mixed(1, 29), r"was disturbed in \d+ of \d+ moments, and took up to 50% longer"),
        (mixed(1, 29, slower=(1.0, 1.25)), "took up to 25% longer"),
        (always(5.0, 5.0, 6.5, 6.5), "it took 30% longer from one moment to the next"),
    ],
)
def test_a_busy_machine_is_refused(monkeypatch: pytest.MonkeyPatch, moments: Moments, words: str) -> None:
    fake = Fake(moments)
    with pytest.raises(NotMeasurable, match=f"^not measurable on this busy machine: .*{words}"):
        timed(monkeypatch, fake)
    assert 1.3 < fake.now < 1.6


def test_a_machine_that_is_busy_for_a_while_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = (WORK[0] * 1.6, WORK[1])
    fake = Fake(chain([(7.0, slow)] * 40, always(5.0)))
    assert timed(monkeypatch, fake).median == 5.0
    assert fake.now > 0.8


@pytest.mark.parametrize(("values", "spread"), [([1.0] * 7 + [9.0], 0.0), ([1.0, 2.0] * 9, 1.0), ([1.0, 2.0] * 3, 0.0)])
def test_the_spread_of_quarters(values: list[float], spread: float) -> None:
    assert spread_of(values) == pytest.approx(spread)


@pytest.fixture(scope="module")
def files(source: Source, images: Images, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the formats that are always here."""
    folder = tmp_path_factory.mktemp("files")
    for kind in ("safetensors", "pt2", "onnx"):
        export(source, folder / f"model.{kind}", images, kind)
    return folder


@pytest.mark.parametrize("kind", ["safetensors", "pt2", "onnx"])
def test_a_process_of_its_own_answers_as_this_one_does(files: Path, images: Images, kind: str) -> None:
    path = files / f"model.{kind}"
    pixels = images.validation[0][:7].float() / 255
    hosted = host(path, 1, Path("data"))
    torch.testing.assert_close(hosted(pixels), open_runner(path)(images.validation[0])[:7], rtol=1e-4, atol=1e-4)
    assert hosted.about["runtime"] == ("onnxruntime" if kind == "onnx" else "torch")
    assert hosted.about["shape"] == [-1, *SHAPE]
    hosted.close()


def test_what_is_timed_here(files: Path) -> None:
    hosted = host(files / "model.onnx", 2, Path("data"))
    work, runs = hosted.moments(SHAPE, 0.05)
    assert len(work) == len(runs) + 1 > 2
    assert min(min(one) for one in [*work, *runs]) > 0
    assert hosted.work[0] != hosted.work[1]
    hosted.close()


def test_onnx_runtime_says_its_arena_and_torch_nothing(files: Path, source: Source) -> None:
    import onnxruntime

    hosted = {kind: host(files / f"model.{kind}", 1, Path("data")) for kind in ("onnx", "safetensors")}
    told = hosted["onnx"].ram(SHAPE)
    if tuple(map(int, onnxruntime.__version__.split(".")[:2])) >= (1, 32):
        assert told is not None
        # The image is the caller's, norms are folded, what is 8 channels wide may be padded.
        assert 0.3 < told / source.arch.cost.peak_activation_bytes("fp32") < 6
    assert hosted["safetensors"].ram(SHAPE) is None
    for one in hosted.values():
        one.close()


def test_blocks_of_a_users_own_reach_the_process(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = tmp_path / "seen"
    blocks = tmp_path / "mine.py"
    blocks.write_text(f"open({str(seen)!r}, 'a').close()")
    monkeypatch.setattr("archsearch.inference.hosted.loaded", lambda: (str(blocks),))
    host(source.path, 1, Path("data")).close()
    assert seen.exists()


def test_a_file_that_is_none_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"x\.onnx: its runtime says \w+: "):
        Hosted("onnx", tmp_path / "x.onnx", HERE, 1)
