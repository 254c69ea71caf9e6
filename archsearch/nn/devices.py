"""What a device is and does: which one, in which precision, how fast, how much memory, how repeatable."""

from __future__ import annotations

import gc
import os
import resource
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from archsearch.errors import InputError


def resolve_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one, else the CPU; else any of cpu, cuda, cuda:1, mps that is there.

    Raises:
        InputError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"unknown device {name!r}: use auto, cpu, cuda, cuda:1 or mps") from None
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(device.type, False):
        raise InputError(f"device {name!r} is not available here: use auto or cpu")
    return device


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """bfloat16 where the hardware computes in it, None where float32 is faster."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else None
    if device.type == "cpu":
        flags = torch.backends.cpu.get_cpu_capability(), _cpu_flags()
        return torch.bfloat16 if flags[0].startswith("AVX512") and flags[1] & {"avx512_bf16", "amx_bf16"} else None
    return None


def autocast(device: torch.device) -> torch.autocast:
    """The precision of a device's forward passes, where no step is captured."""
    dtype = autocast_dtype(device)
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)


def _cpu_flags() -> set[str]:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((set(line.split()) for line in lines if line.startswith("flags")), set())


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the device's memory does not suffice."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def free_memory(device: torch.device) -> None:
    """Give back what only the allocator still holds."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def peak_memory(device: torch.device) -> int:
    """Bytes: on CUDA the most that tensors took since `reset_peak`; elsewhere the most the process ever took."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def reset_peak(device: torch.device) -> None:
    """Start `peak_memory` anew where that is possible."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


@contextmanager
def determinism(wanted: bool, device: torch.device) -> Iterator[None]:
    """With `wanted`, only operations that repeat to the last bit on this device; what has none raises RuntimeError.

    Without it, and on the CPU always, sums may be taken in another order with another number of threads; on CUDA
    also from run to run. cuDNN is never asked to choose its kernels by timing them: that costs a candidate more
    than its training (benchmarks/RESULTS.md).
    """
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    if wanted and device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(wanted or before[0])
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]


@contextmanager
def full_float32() -> Iterator[None]:
    """Convolutions in float32 on CUDA too, where cuDNN would round their inputs to 10 bits (TF32).

    An accuracy of one device is that of another then, but for an image at the border of two classes.
    """
    cudnn = torch.backends.cudnn
    with cudnn.flags(enabled=cudnn.enabled, deterministic=cudnn.deterministic, allow_tf32=False):
        yield


class Stopwatch:
    """Seconds by the name of what they went into. On CUDA taken from events: nothing waits for the device.

    Attributes:
        laps: their number by name.
    """

    def __init__(self, device: torch.device) -> None:
        self.laps: Counter[str] = Counter()
        self._made = time.perf_counter()
        self._cuda = device.type == "cuda"
        self._seconds: dict[str, float] = defaultdict(float)
        self._events: list[tuple[str, torch.cuda.Event]] = []
        self._last = 0.0
        self.start()

    def start(self) -> None:
        """What came since the last lap belongs to nothing."""
        self.lap("")

    def lap(self, name: str) -> None:
        """The time since the last lap went into `name`."""
        self.laps[name] += 1
        if self._cuda:
            event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # of torch
            event.record()
            self._events.append((name, event))
            return
        now = time.perf_counter()
        self._seconds[name] += now - self._last
        self._last = now

    @property
    def elapsed(self) -> float:
        """Seconds since the watch was made."""
        return time.perf_counter() - self._made

    def seconds(self) -> dict[str, float]:
        """Everything so far, by name; on CUDA waits for the device."""
        if self._events:
            torch.cuda.synchronize()
            for (_, before), (name, after) in zip(self._events, self._events[1:], strict=False):
                self._seconds[name] += before.elapsed_time(after) / 1000
            self._events = self._events[-1:]
        return {name: value for name, value in self._seconds.items() if name}
