"""One file in its own runtime, in a process of its own: `python host.py RUNTIME FILE THREADS [IMPORT ...]`.

Runs in the interpreter that has the runtime. Numpy and the runtime are all it needs, but for RUNTIME torch, which is
archsearch's own; IMPORT is then what registers its blocks. A line of JSON and, where it says a shape, float32 values
go each way:

    -> {"runtime": ..., "version": ..., "input": {...}, "batch": 1 or null}        once, after the file was opened
    <- {"run": [n, c, h, w]} and the pixels                                        -> {"shape": [n, classes]}, logits
    <- {"time": {"shape": [c, h, w], "footprint": ..., "seconds": ...}}            -> {"work": [[...]], "runs": [[...]]}
    <- {"ram": [c, h, w]}                                                          -> {"bytes": ... or null}

`{"error": ...}` comes back instead of an answer. A runtime that dies takes this process along, and no other.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import lzma
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # numpy's, which the reference counts on; no runtime uses it
import numpy as np

_MOST_BYTES = 2**31
"""What an ONNX file can hold, unpacked."""
_MOMENT, _READ = 0.003, 2**19
"""Seconds of runs between two pieces of fixed work; bytes that this reads at least, since few are read too fast."""
Step = Callable[[], Any]


class _Floats:
    """A network that takes and gives float32. `feed`: from pixels to what `step` takes; that gives logits."""

    about: Mapping[str, Any] = {"input": {"dtype": "float32"}, "output": {"dtype": "float32"}}

    def feed(self, pixels: Any) -> Any:
        return pixels


class LiteRT:
    """A `.tflite` file, as `_Floats`; int8 values are converted by the scale and zero point that it says."""

    package = "ai-edge-litert"

    def __init__(self, path: str, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.interpreter = Interpreter(model_path=path, num_threads=threads)
        self.interpreter.allocate_tensors()
        (self.source,) = self.interpreter.get_input_details()
        (self.sink,) = self.interpreter.get_output_details()
        self.shape = [int(n) for n in self.source["shape"]]
        self.batch: int | None = self.shape[0]
        self.about = {side: self._about(tensor) for side, tensor in (("input", self.source), ("output", self.sink))}

    @staticmethod
    def _about(tensor: dict[str, Any]) -> dict[str, Any]:
        scale, zero = tensor["quantization"]
        return {"dtype": np.dtype(tensor["dtype"]).name, "scale": float(scale), "zero_point": int(zero)}

    def feed(self, pixels: Any) -> Any:
        about = self.about["input"]
        if about["dtype"] == "float32":
            return pixels
        info = np.iinfo(about["dtype"])
        return np.clip(np.round(pixels / about["scale"]) + about["zero_point"], info.min, info.max).astype(info.dtype)

    def step(self, fed: Any) -> Any:
        self.interpreter.set_tensor(self.source["index"], fed)
        self.interpreter.invoke()
        found = self.interpreter.get_tensor(self.sink["index"])
        about = self.about["output"]
        if about["dtype"] == "float32":
            return found
        return (found.astype(np.float32) - about["zero_point"]) * np.float32(about["scale"])


class ExecuTorch(_Floats):
    """A `.pte` file."""

    package = "executorch"

    def __init__(self, path: str, threads: int) -> None:
        import torch
        from executorch.extension.pybindings import portable_lib
        from executorch.runtime import Runtime

        # The only way to its number of threads; without it, in another version, all cores compute.
        if reset := getattr(portable_lib, "_unsafe_reset_threadpool", None):
            reset(threads)
        self.torch = torch
        self.program = Runtime.get().load_program(path)
        self.method = self.program.load_method("forward")
        meta = self.method.metadata.input_tensor_meta(0)
        self.shape = [int(n) for n in meta.sizes()]
        self.batch: int | None = self.shape[0]

    def feed(self, pixels: Any) -> Any:
        return [self.torch.from_numpy(pixels)]

    def step(self, fed: Any) -> Any:
        (found,) = self.method.execute(fed)
        return found.float().numpy().copy()


class OpenVINO(_Floats):
    """An `.xml` file and its `.bin`, computed in fp32: the CPU plugin would take bf16 where it can."""

    package = "openvino"

    def __init__(self, path: str, threads: int) -> None:
        import openvino

        hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
        self.model = openvino.Core().compile_model(path, "CPU", hints)
        shape = self.model.input(0).partial_shape
        self.shape = [-1 if n.is_dynamic else n.get_length() for n in shape]
        self.batch: int | None = None if self.shape[0] == -1 else self.shape[0]
        self.request = self.model.create_infer_request()

    def step(self, fed: Any) -> Any:
        self.request.infer({0: fed})
        return np.array(self.request.get_output_tensor(0).data)


class Ncnn(_Floats):
    """A `.param` file and its `.bin`, computed in fp32."""

    package = "ncnn"

    def __init__(self, path: str, threads: int) -> None:
        import ncnn

        self.ncnn, self.net = ncnn, ncnn.Net()
        options = self.net.opt
        options.num_threads = threads
        options.use_vulkan_compute = options.use_fp16_packed = options.use_fp16_storage = False
        options.use_fp16_arithmetic = options.use_bf16_storage = False
        for what, found in (
            ("param", self.net.load_param(path)),
            ("bin", self.net.load_model(path.removesuffix(".param") + ".bin")),
        ):
            if found != 0:
                raise ValueError(f"ncnn does not load its .{what} file (status {found}): a layer that it does not know")
        self.names = self.net.input_names()[0], self.net.output_names()[0]
        self.shape = [1, -1, -1, -1]
        self.batch: int | None = 1

    def feed(self, pixels: Any) -> Any:
        return self.ncnn.Mat(np.ascontiguousarray(pixels[0])).clone()

    def step(self, fed: Any) -> Any:
        with self.net.create_extractor() as extractor:
            extractor.input(self.names[0], fed)
            status, found = extractor.extract(self.names[1])
            if status != 0:
                raise ValueError(f"ncnn does not compute it (status {status})")
            return np.array(found).reshape(1, -1)


class Onnx(_Floats):
    """An `.onnx` file, or one packed by xz."""

    package = "onnxruntime"

    def __init__(self, path: str, threads: int) -> None:
        raw = Path(path).read_bytes()
        if path.endswith(".xz"):
            raw = lzma.LZMADecompressor().decompress(raw, max_length=_MOST_BYTES)
        self.raw, self.threads = raw, threads
        self.session = self._session()
        (source,) = self.session.get_inputs()
        self.name = source.name
        self.shape = [n if isinstance(n, int) else -1 for n in source.shape]
        self.batch: int | None = None if self.shape[0] == -1 else self.shape[0]

    def _session(self, **options: Any) -> Any:
        import onnxruntime

        wanted = onnxruntime.SessionOptions()
        for key, value in {"log_severity_level": 4, "intra_op_num_threads": self.threads, **options}.items():
            setattr(wanted, key, value)
        return onnxruntime.InferenceSession(self.raw, wanted, providers=["CPUExecutionProvider"])

    def feed(self, pixels: Any) -> Any:
        return {self.name: pixels}

    def step(self, fed: Any) -> Any:
        return self.session.run(None, fed)[0]

    def ram(self, shape: list[int]) -> int | None:
        """The most that the arena hands out beside the weights; None where the profiler does not tell, before 1.32."""
        with tempfile.TemporaryDirectory() as folder:
            session = self._session(enable_profiling=True, profile_file_prefix=f"{folder}/profile")
            fed = self.feed(np.zeros((self.batch or 1, *shape), np.float32))
            for _ in range(2):  # the second time by the plan of memory that the first one made
                session.run(None, fed)
            events = [event.get("args", {}) for event in json.loads(Path(session.end_profiling()).read_text())]
        said = [event for event in events if "mem_in_use_peak" in event]
        if not said:
            return None
        held, peaks = ([int(event[f"mem_{name}"]) for event in said] for name in ("bytes_in_use", "in_use_peak"))
        weights = held[0] - int(said[0]["mem_in_use_delta"])
        return (peaks[-1] if peaks[-1] > peaks[0] else max(held)) - weights  # a peak may be that of loading


class Torch(_Floats):
    """A `.safetensors` or `.pt2` file by archsearch itself."""

    package = "torch"

    def __init__(self, path: str, threads: int) -> None:
        sys.path.append(str(Path(__file__).resolve().parents[2]))
        import torch

        from archsearch.inference.runner import open_runner
        from archsearch.network.blocks.imports import load

        for one in sys.argv[4:]:
            load(one)
        torch.set_num_threads(threads)
        self.torch, runner = torch, open_runner(path)
        self.predict = runner.predict
        self.shape = [-1, *runner.arch.input_shape]
        self.batch: int | None = None

    def feed(self, pixels: Any) -> Any:
        return self.torch.from_numpy(pixels)

    def step(self, fed: Any) -> Any:
        with self.torch.no_grad():
            return self.predict(fed).numpy()


RUNTIMES: dict[str, Any] = {
    "litert": LiteRT, "executorch": ExecuTorch, "openvino": OpenVINO, "ncnn": Ncnn, "onnx": Onnx, "torch": Torch,
}  # fmt: skip


def run(network: Any, pixels: Any) -> Any:
    """float32 (n, c, h, w) to float32 (n, classes), in batches as the file has them; the last one is filled up."""
    size = network.batch or 64
    found = []
    for start in range(0, len(pixels), size):
        batch = pixels[start : start + size]
        short = size - len(batch) if network.batch else 0
        if short:
            batch = np.concatenate([batch, np.zeros((short, *batch.shape[1:]), np.float32)])
        logits = np.asarray(network.step(network.feed(np.ascontiguousarray(batch))), np.float32)
        found.append(logits[: len(logits) - short])
    return np.concatenate(found)


def moments(step: Step, work: Sequence[Step], seconds: float) -> tuple[list[list[float]], list[list[float]]]:
    """Milliseconds of the parts of fixed work, and of runs between each two of it, for so many seconds."""
    start = time.perf_counter()
    fixed, runs = [[clock(part)[0] for part in work]], list[list[float]]()
    while not runs or time.perf_counter() - start < seconds:
        runs.append(clock(step, _MOMENT))
        fixed.append([clock(part)[0] for part in work])
    return fixed, runs


def clock(step: Step, seconds: float = 0.0) -> list[float]:
    """Milliseconds of single calls for so many seconds, at least one. The first call, with cold caches, is none."""
    step()
    start, found = time.perf_counter(), list[float]()
    while not found or time.perf_counter() - start < seconds:
        before = time.perf_counter()
        step()
        found.append(1000 * (time.perf_counter() - before))
    return found


def network_step(network: Any, shape: list[int]) -> Step:
    """One image through a network."""
    fed = network.feed(np.random.default_rng(0).random((network.batch or 1, *shape), np.float32))
    return lambda: network.step(fed)


@functools.cache
def fixed_work(threads: int, footprint: int) -> list[Step]:
    """By so many threads: a product of matrices, which others on a core disturb; bytes read, as others in memory do."""
    random = np.random.default_rng(0)
    squares = random.random((threads, 2, 160, 160), np.float32)
    read = random.random((threads, max(1, footprint // 4096 // threads), 1024), np.float32)
    vector = random.random(1024, np.float32)

    def product(thread: int) -> None:
        squares[thread, 0] @ squares[thread, 1]

    def reading(thread: int) -> None:
        for _ in range(max(1, _READ // footprint)):
            read[thread] @ vector

    each: Any = map if threads == 1 else ThreadPoolExecutor(threads).map
    return [functools.partial(lambda part: list(each(part, range(threads))), part) for part in (product, reading)]


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:400]


def main() -> None:
    """Answer on what was standard output until the other side closes; runtimes that print reach standard error."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    kind, path, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])

    def answer(about: dict[str, Any], values: bytes = b"") -> None:
        answers.write(json.dumps(about).encode() + b"\n" + values)
        answers.flush()

    try:
        network = RUNTIMES[kind](path, threads)
        version = importlib.metadata.version(network.package)
    except Exception as error:  # noqa: BLE001 - six runtimes, as many kinds of errors
        answer({"error": _words(error)})
        return
    answer({"runtime": network.package, "version": version, "shape": network.shape, "batch": network.batch,
            "numpy": np.__version__, **network.about})  # fmt: skip
    while line := sys.stdin.buffer.readline():
        order = json.loads(line)
        try:
            if "run" in order:
                shape = order["run"]
                raw = sys.stdin.buffer.read(4 * int(np.prod(shape)))
                logits = run(network, np.frombuffer(raw, np.float32).reshape(shape))
                answer({"shape": list(logits.shape)}, logits.tobytes())
            elif "time" in order:
                shape, footprint, seconds = (order["time"][key] for key in ("shape", "footprint", "seconds"))
                fixed, runs = moments(network_step(network, shape), fixed_work(threads, footprint), seconds)
                answer({"work": fixed, "runs": runs})
            else:
                answer({"bytes": network.ram(order["ram"]) if hasattr(network, "ram") else None})
        except Exception as error:  # noqa: BLE001 - as above
            answer({"error": _words(error)})


if __name__ == "__main__":
    main()
