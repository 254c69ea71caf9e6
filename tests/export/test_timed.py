"""Milliseconds of networks with random weights: written once, measured once, kept, and by whom."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from exports import ARCH
from toolchains import kinds

from archsearch._utils.formats import file_name
from archsearch.errors import InputError, NotMeasurable
from archsearch.export import timed
from archsearch.export.converted import Resident, once
from archsearch.export.timed import Stopwatch, milliseconds_of, random_network, require, settled, write_random
from archsearch.inference import latency
from archsearch.inference.hosted import host
from archsearch.inference.latency import SECONDS, UNKNOWN, Known, Latency
from archsearch.inference.latency_cache import machine
from archsearch.network.budget import Budget
from archsearch.network.stage import Stage
from archsearch.network.timing import Timing

OTHER = replace(ARCH, stages=(Stage("basic", 12),))
WORK = (0.08, 0.02)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the networks that were written, to files with a byte for a parameter."""
    found: list[str] = []

    def write(path: Path, arch: Any, timing: Timing, data_dir: Path, graph: Any, convert: Any) -> None:
        found.append(arch.id)
        path.write_bytes(b"x" * arch.cost.params)

    monkeypatch.setattr(timed, "write_random", write)
    return found


@pytest.fixture
def board(tmp_path: Path) -> Timing:
    """A machine on which a file of a thousand bytes takes a millisecond."""
    script = tmp_path / "measure.sh"
    script.write_text("wc -c < \"$1\" | awk '{ print $1 / 1000 }'\n")
    return Timing(command=f"sh {script} {{file}}")


def test_each_network_is_written_and_measured_once(tmp_path: Path, board: Timing, written: list[str]) -> None:
    stopwatch = Stopwatch(board, tmp_path)
    assert stopwatch.known(ARCH) is None
    assert stopwatch(ARCH) == ARCH.cost.params / 1000
    assert stopwatch(OTHER) == OTHER.cost.params / 1000
    again = Stopwatch(board, tmp_path)
    assert (again(ARCH), again.known(OTHER)) == (ARCH.cost.params / 1000, OTHER.cost.params / 1000)
    assert Stopwatch(replace(board, precision="int8"), tmp_path).known(ARCH) is None
    assert written == [ARCH.id, OTHER.id]


def test_another_recipe_is_the_same_network(tmp_path: Path, board: Timing, written: list[str]) -> None:
    stopwatch = Stopwatch(board, tmp_path)
    assert stopwatch(ARCH) == stopwatch(replace(ARCH, recipe={"lr": 0.1}))
    assert written == [ARCH.id]


Measure = Callable[..., Latency]


def here(monkeypatch: pytest.MonkeyPatch, measure: Measure) -> None:
    """This machine's runtime and clock are made up."""
    hosted = SimpleNamespace(work=("product", "bytes"), about={"shape": [-1, *ARCH.input_shape]}, close=lambda: None)
    monkeypatch.setattr(timed, "host", lambda path, threads, data_dir: hosted)
    monkeypatch.setattr(timed, "measure", measure)


def test_a_busy_machine_is_asked_again_with_the_same_file(
    tmp_path: Path, written: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [1, 2]
    said: list[str] = []

    def measure(*args: Any) -> Latency:
        if left:
            raise NotMeasurable(f"busy {left.pop()}")
        return Latency(5.0, 6.0, 4.9, 5.1, 50, WORK)

    here(monkeypatch, measure)
    stopwatch = Stopwatch(Timing(), tmp_path)
    assert stopwatch(ARCH, lambda error: not said.append(str(error))) == 5.0
    assert (said, written) == (["busy 2", "busy 1"], [ARCH.id])
    left.append(3)
    with pytest.raises(NotMeasurable, match="busy 3"):
        stopwatch(OTHER)
    assert stopwatch.known(OTHER) is None


def test_a_slow_network_gets_more_time_and_the_quiet_machine_is_remembered(
    tmp_path: Path, written: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[float, Known]] = []

    def measure(hosted: Any, shape: Any, seconds: float, known: Known) -> Latency:
        asked.append((seconds, known))
        loose, narrow = Latency(50.0, 51.0, 0.0, math.inf, 4, WORK), Latency(49.0, 50, 48.5, 49.5, 60, WORK)
        return loose if len(asked) == 1 else narrow

    here(monkeypatch, measure)
    stopwatch = Stopwatch(Timing(), tmp_path)
    assert stopwatch(ARCH) == 49.0
    assert stopwatch(OTHER) == 49.0
    assert asked == [(SECONDS, UNKNOWN), (3.0, UNKNOWN), (SECONDS, WORK)]


def test_a_limit_holds_on_the_machine_on_which_it_was_made(tmp_path: Path) -> None:
    timing = settled(Budget(max_latency=5)).timing
    assert timing == Timing(machine=machine())
    board = Timing(command="ssh pi measure.sh {file}")
    assert settled(Budget(max_latency=5, timing=board)).timing == board
    assert settled(Budget(max_params=5)) == Budget(max_params=5)
    with pytest.raises(InputError, match=r"limited on another machine \(a Pi\), this is "):
        Stopwatch(Timing(machine="a Pi"), tmp_path)
    with pytest.raises(InputError, match=r"says no \{file\}"):
        require(Budget(max_latency=5, timing=Timing(command="true")), tmp_path)
    require(Budget(max_params=5), tmp_path)


def test_the_lock_is_held_once(tmp_path: Path, board: Timing, written: list[str]) -> None:
    stopwatch = Stopwatch(board, tmp_path)
    with stopwatch.alone(), stopwatch.alone():
        assert stopwatch(ARCH) > 0
    assert (tmp_path / timed.LOCK).exists()


def test_values_live_through_a_deep_network() -> None:
    deep = replace(ARCH, stages=(Stage("nin", 8, 12), Stage("basic", 8, 12)))
    network = random_network(deep)
    assert not network.training
    with torch.no_grad():
        spread = network(torch.randn(64, *ARCH.input_shape)).std().item()
    assert 0.01 < spread < 100


def test_chance_elsewhere_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timed, "Writer", lambda *args, **more: lambda path, variant: None)
    before = torch.random.get_rng_state()
    write_random(tmp_path / "model.onnx", ARCH, Timing(), tmp_path)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_real_file_by_a_real_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DRIFT", "SPREAD"):
        monkeypatch.setattr(latency, name, math.inf)  # whatever runs beside the tests
    write_random(tmp_path / "model.onnx", ARCH, Timing(), tmp_path)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"images": np.full((2, *ARCH.input_shape), 0.5, np.float32)})
    assert np.isfinite(logits).all()
    stopwatch = Stopwatch(Timing(), tmp_path)
    found = stopwatch(ARCH)
    assert found > 0
    assert stopwatch.known(ARCH) == found


@pytest.mark.parametrize("kind", kinds("litert", "executorch", slow=True))
def test_a_converter_that_stays_writes_what_another_would(tmp_path: Path, kind: str) -> None:
    timing, pixels = Timing(kind), torch.rand(1, *ARCH.input_shape, generator=torch.Generator().manual_seed(0))
    with closing(Resident()) as resident:
        for arch in (OTHER, ARCH, OTHER):
            answers = []
            for name, convert in (("stays", resident), ("ends", once)):
                path = tmp_path / name / file_name(timing.kind, "fp32")
                path.parent.mkdir(exist_ok=True)
                write_random(path, arch, timing, tmp_path, convert=convert)
                hosted = host(path, 1, tmp_path)
                answers.append(hosted(pixels))
                hosted.close()
            assert torch.equal(*answers)


def test_what_check_is_pointed_at(tmp_path: Path, board: Timing, written: list[str]) -> None:
    ARCH.dump(tmp_path / "net.toml")
    (tmp_path / "model.onnx").write_bytes(b"x" * 4000)
    (tmp_path / "model.tflite").write_bytes(b"x")
    assert milliseconds_of(str(tmp_path / "net.toml"), board, None, tmp_path) == ARCH.cost.params / 1000
    assert milliseconds_of(str(tmp_path / "model.onnx"), board, None, tmp_path) == 4
    assert milliseconds_of("ref:lenet5", board, None, tmp_path) > 40
    wide = ARCH.adapted((3, 16, 16), ARCH.classes)
    assert milliseconds_of(str(tmp_path / "net.toml"), board, (3, 16, 16), tmp_path) == wide.cost.params / 1000
    assert written[-1] == wide.id
    for target in (str(tmp_path / "model.tflite"), "torchvision:resnet18"):
        with pytest.raises(InputError, match=r"is measured on architectures, .* on files of ONNX Runtime"):
            milliseconds_of(target, board, None, tmp_path)
