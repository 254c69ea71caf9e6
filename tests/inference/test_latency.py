"""Milliseconds: the interval of a median, machines that are busy, and the runtimes that are always here."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from archsearch._utils.toolchain import HERE
from archsearch.errors import InputError, NotMeasurable
from archsearch.export import Images, Source, export
from archsearch.inference import latency, open_runner
from archsearch.inference.hosted import Hosted, host
from archsearch.inference.latency import Latency, drift_of, interrupted, interval, measure, slowness_of, summary

SHAPE = (3, 8, 8)


class Fake:
    """A machine by a clock of its own: every run takes what `network` says, the fixed work what `reference` says."""

    def __init__(self, network: Iterator[float], reference: Iterator[float]) -> None:
        self.now = 0.0
        self.asked: list[str] = []
        self._values = {"network": network, "reference": reference}

    def milliseconds(self, shape: tuple[int, ...], seconds: float, least: int) -> list[float]:
        assert (shape, least) == (SHAPE, 1)
        return self._block("network", seconds)

    def reference(self, seconds: float) -> list[float]:
        return self._block("reference", seconds)

    def _block(self, what: str, seconds: float) -> list[float]:
        self.asked.append(what)
        end, found = self.now + seconds, list[float]()
        while not found or self.now < end:
            found.append(next(self._values[what]))
            self.now += found[-1] / 1000
        return found


def always(*values: float) -> Iterator[float]:
    while True:
        yield from values


def in_blocks(*blocks: tuple[int, float]) -> Iterator[float]:
    """So many runs of so many milliseconds, one behind the other; the last one for ever."""
    for number, value in blocks:
        yield from [value] * number
    yield from always(blocks[-1][1])


def timed(monkeypatch: pytest.MonkeyPatch, fake: Fake, seconds: float = 0.5, known: float | None = None) -> Latency:
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
    found = summary([float(n) for n in range(100, 0, -1)], reference=0.3)
    assert found == Latency(median=50.5, p95=95, low=40, high=61, runs=100, reference=0.3)


def test_a_quiet_machine_is_asked_until_the_median_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(always(5.0, 5.1), always(0.3))
    found = timed(monkeypatch, fake)
    assert (found.median, found.reference) == (pytest.approx(5.05, abs=0.06), 0.3)
    assert found.width <= 0.05
    assert fake.asked == ["reference", *["network", "reference"] * 3]
    assert fake.now < 0.5


def test_a_network_that_varies_is_asked_until_the_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(always(5.0, 9.0), always(0.3))
    assert timed(monkeypatch, fake).width > 0.05
    assert 0.4 < fake.now < 0.6


def test_a_slow_network_is_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(always(2000.0), always(0.3))
    found = timed(monkeypatch, fake)
    assert (found.runs, found.median, found.width) == (1, 2000.0, math.inf)


@pytest.mark.parametrize(("blocks", "drift"), [([[0.3] * 9] * 4, 0.0), ([[0.3] * 9, [0.4] * 9], 1 / 3)])
def test_what_slows_the_fixed_work_down(blocks: list[list[float]], drift: float) -> None:
    assert drift_of(blocks) == pytest.approx(drift)
    assert drift_of([]) == 0


def test_short_runs_are_interrupted_less_often() -> None:
    blocks = [[0.5] * 19 + [4.5]] * 4  # once in 10 milliseconds
    assert interrupted(blocks, 0.2) == pytest.approx(0.02, abs=0.001)
    assert interrupted(blocks, 10) == pytest.approx(1 - math.exp(-1))
    assert interrupted([[0.5] * 9], 10) == 0


@pytest.mark.parametrize(("known", "slowness"), [(0.3, 1 / 3), (0.5, -0.2), (None, 0.0)])
def test_a_machine_that_was_faster(known: float | None, slowness: float) -> None:
    assert slowness_of([[0.4] * 9, [0.5] * 9], known) == pytest.approx(slowness)


@pytest.mark.parametrize(
    ("reference", "known", "words"),
    [
        ((*[0.3] * 9, 1.2), None, "about 8\\d% of its runs were interrupted"),
        ((*[0.3] * 43, *[0.4] * 43), 0.2, "took up to 33% longer"),
        ((0.4,), 0.3, "takes 33% longer than the 0.3 ms known of it"),
    ],
)
def test_a_busy_machine_is_refused_after_three_attempts(
    monkeypatch: pytest.MonkeyPatch, reference: tuple[float, ...], known: float | None, words: str
) -> None:
    fake = Fake(always(5.0), always(*reference))
    with pytest.raises(NotMeasurable, match=f"^not measurable on this busy machine, in 3 attempts: .*{words}"):
        timed(monkeypatch, fake, known=known)
    assert fake.asked == ["reference", *["network", "reference"] * 3] * 3


def test_a_network_that_is_slower_from_one_moment_to_the_next_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(in_blocks(*[(10, 5.0), (10, 6.5)] * 99), always(0.3))
    with pytest.raises(NotMeasurable, match="it took up to 30% longer from one moment to the next"):
        timed(monkeypatch, fake)


def test_interruptions_do_not_matter_to_a_short_network(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(always(*[0.2] * 19, 4.2), always(*[0.3] * 19, 4.3))
    assert timed(monkeypatch, fake).median == 0.2


def test_a_machine_that_was_busy_for_a_moment_is_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(in_blocks((20, 7.0), (1, 5.0)), in_blocks((40, 0.3), (40, 0.5), (1, 0.3)))
    assert timed(monkeypatch, fake).median == 5.0
    assert len(fake.asked) == 2 * 7


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
    runs, work = hosted.milliseconds(SHAPE, 0.05, least=7), hosted.reference(0.01)
    assert len(runs) >= 7
    assert len(work) >= 3
    assert min(*runs, *work) > 0
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
