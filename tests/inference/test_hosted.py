"""A file in a process of its own: what is said to it and what it may do to us, by hosts that are the test's scripts."""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exports import ARCH

from archsearch._utils.toolchain import Interpreter
from archsearch.errors import InputError
from archsearch.inference import host
from archsearch.inference.hosted import Hosted

HELLO = {"runtime": "r", "version": "1", "shape": [1, 3, 8, 8], "batch": 1,
         "input": {"dtype": "float32"}, "output": {"dtype": "float32"}}  # fmt: skip
SCRIPT = f"""
import json, os, signal, sys
import numpy as np
def say(about, values=b""):
    sys.stdout.buffer.write(json.dumps(about).encode() + b"\\n" + values)
    sys.stdout.buffer.flush()
def order():
    return json.loads(sys.stdin.buffer.readline())
hello = {HELLO!r}
"""


def hosted(tmp_path: Path, script: str) -> Hosted:
    """A host that is this script."""
    (tmp_path / "m.tflite").touch()
    return Hosted("litert", tmp_path / "m.tflite", Interpreter((sys.executable, "-c", SCRIPT + script)), 1)


def said(caught: pytest.ExceptionInfo[InputError], tmp_path: Path) -> str:
    message = str(caught.value)
    assert message.isprintable()
    start = f"{tmp_path / 'm.tflite'}: "
    assert message.startswith(start)
    return message.removeprefix(start)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "its runtime died (SIGSEGV)"),
        ("sys.exit('no such operator: 77')", "its runtime died (exit status 1): no such operator: 77"),
        ("print('a\\nb\\x1b[31mc', file=sys.stderr); os._exit(3)", "its runtime died (exit status 3): b?[31mc"),
        ("say({'error': 'ValueError: no\\x1b such file'})", "its runtime says ValueError: no? such file"),
    ],
)
def test_a_runtime_that_does_not_open_the_file(tmp_path: Path, script: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        hosted(tmp_path, script)
    assert said(caught, tmp_path) == words


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("order(); os.kill(os.getpid(), signal.SIGABRT)", "its runtime died (SIGABRT)"),
        ("order(); sys.stdin.buffer.read(4 * 200 * 192); say({'error': 'of shape 3'})", "its runtime says of shape 3"),
        ("order(); say({'shape': [2, 4]}, b'few'); os.abort()", "its runtime died (SIGABRT)"),
        ("sys.exit('at once')", "its runtime died (exit status 1): at once"),
    ],
)
def test_a_runtime_that_does_not_answer(tmp_path: Path, script: str, words: str) -> None:
    network = hosted(tmp_path, f"say(hello); {script}")
    with pytest.raises(InputError) as caught:
        network(torch.zeros(200, *ARCH.input_shape))
    assert said(caught, tmp_path) == words
    del network, caught
    gc.collect()  # nothing is left that warns


def test_pixels_and_logits_go_to_and_fro(tmp_path: Path) -> None:
    network = hosted(
        tmp_path,
        "say(hello)\n"
        "while True:\n"
        "    shape = order()['run']\n"
        "    pixels = np.frombuffer(sys.stdin.buffer.read(4 * int(np.prod(shape))), np.float32).reshape(shape)\n"
        "    say({'shape': [shape[0], 4]}, np.ascontiguousarray(pixels[:, 0, 0, :4]).tobytes())\n",
    )
    assert network.about == HELLO
    pixels = torch.rand(7, 3, 8, 8)
    for some in (pixels, pixels.permute(0, 1, 3, 2), pixels[:1]):
        assert torch.equal(network(some), some[:, 0, 0, :4])
    network.close()
    network.close()


def test_the_file_and_the_threads_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.tflite").touch()
    with pytest.raises(InputError) as caught:
        Hosted(
            "litert",
            Path("m.tflite"),
            Interpreter((sys.executable, "-c", "import sys; sys.exit(str(sys.argv[2:]))")),
            3,
        )
    assert str(["litert", str(tmp_path / "m.tflite"), "3"]) in str(caught.value)


def test_a_format_that_the_host_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="its runtime says KeyError: 'nonsense'"):
        Hosted("nonsense", tmp_path / "m", Interpreter((sys.executable, "-P")), 1)


# host.py itself


class Sums:
    """A runtime that adds up pixels, and notes how many images it had."""

    def __init__(self, batch: int | None) -> None:
        self.batch, self.seen = batch, list[int]()

    def feed(self, pixels: Any) -> Any:
        return pixels

    def step(self, fed: Any) -> Any:
        self.seen.append(len(fed))
        return fed.sum((2, 3))


@pytest.mark.parametrize(
    ("batch", "count", "seen"), [(1, 3, [1, 1, 1]), (4, 6, [4, 4]), (4, 4, [4]), (None, 70, [64, 6]), (64, 1, [64])]
)
def test_batches_are_as_the_file_has_them(batch: int | None, count: int, seen: list[int]) -> None:
    network, pixels = Sums(batch), np.random.default_rng(0).random((count, 3, 5, 5), np.float32)
    assert np.array_equal(host.run(network, pixels), pixels.sum((2, 3)))
    assert network.seen == seen


class Integers:
    """An interpreter of LiteRT's interface: gives back what it was given."""

    def __init__(self, dtype: type, quantization: tuple[float, int]) -> None:
        self.tensor = {"index": 0, "shape": np.array([1, 1, 1, 4]), "dtype": dtype, "quantization": quantization}

    def set_tensor(self, index: int, value: Any) -> None:
        assert value.dtype == self.tensor["dtype"]
        self.value = value

    def invoke(self) -> None:
        self.done = True

    def get_tensor(self, index: int) -> Any:
        return self.value


@pytest.mark.parametrize(
    ("dtype", "scale", "zero", "step"),
    [(np.int8, 1 / 255, -128, 1 / 255), (np.uint8, 1 / 255, 0, 1 / 255), (np.float32, 0.0, 0, 0.0)],
)
def test_pixels_become_integers_by_scale_and_zero_point(dtype: type, scale: float, zero: int, step: float) -> None:
    network = host.LiteRT.__new__(host.LiteRT)
    made = Integers(dtype, (scale, zero))
    network.interpreter = made
    network.source = network.sink = made.tensor
    network.about = {side: host.LiteRT._about(made.tensor) for side in ("input", "output")}
    pixels = np.array([[[[0, 0.3, 0.999, 1]]]], np.float32)
    found = network.step(network.feed(pixels))
    assert found.dtype == np.float32
    assert np.abs(found - pixels).max() <= step / 2 + 1e-6
    beyond = network.step(network.feed(pixels + 1))
    assert step == 0 or beyond.max() <= 1 + 1e-6  # not around to the other end
    assert json.loads(json.dumps(network.about)) == network.about


def test_what_an_error_of_a_runtime_says() -> None:
    assert host._words(RuntimeError("two\n lines")) == "RuntimeError: two lines"
    assert len(host._words(RuntimeError("x" * 9999))) == 400
