"""A block that breaks in one network of its space, for tests of what a search survives."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archsearch.network import Custom, Expr, LeafCost, Shape, block, conv, seq

SPACE = """
[stem]
type = "conv"
width = 4
[[stage]]
block = "trap"
width = {{ choice = {widths} }}
stride = 2
[stage.trap]
how = "{how}"
at = {at}
[head]
type = "linear"
"""


@dataclass(frozen=True, slots=True)
class Trap(Custom):
    """Passes its input on, but where `at` channels come in it does what `how` says."""

    how: str
    at: int

    def cost(self, shape: Shape) -> LeafCost:
        return LeafCost(out=shape, view=True)

    def build(self, shape: Shape) -> Any:
        return _module(self.how if self.at in (shape[0], 0) else "nothing")


@block("trap")
def trap(c_in: int, width: int, stride: int, *, how: str = "nothing", at: int = 8) -> Expr:
    """A convolution, then the trap."""
    return seq(conv(width, 3, stride), Trap(how, at))


def _module(how: str) -> Any:
    from torch import nn

    class Sprung(nn.Module):
        def forward(self, x: Any) -> Any:
            return globals()[f"_{how}"](x)

    return Sprung()


def _nothing(x: Any) -> Any:
    return x


def _slow(x: Any) -> Any:
    time.sleep(0.02)
    return x


def _raise(x: Any) -> Any:
    raise ValueError("the trap is sprung\nsecond line")


def _backward(x: Any) -> Any:
    import torch

    class Broken(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            raise KeyError("backward trap")

    return Broken.apply(x)


def _nan(x: Any) -> Any:
    return x * float("nan")


def _segfault(x: Any) -> Any:
    ctypes.string_at(0)


def _exit(x: Any) -> Any:
    os._exit(3)


def _kill(x: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def _once(x: Any) -> Any:
    """Dies the first time that anybody comes by."""
    marker = Path("sprung")
    if not marker.exists():
        marker.touch()
        _kill(x)
    return x


def install(folder: Path, how: str, at: int = 8, widths: str = "[4, 8, 12, 16]") -> None:
    """Make the block known to every process that has `folder` on its path, and write `trap.toml` there."""
    (folder / "trap_blocks.py").write_text(Path(__file__).read_text())
    about = folder / "trap_blocks-0.1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: trap-blocks\nVersion: 0.1\n")
    (about / "entry_points.txt").write_text("[archsearch.blocks]\ntrap = trap_blocks\n")
    (folder / "trap.toml").write_text(SPACE.format(how=how, at=at, widths=widths))
