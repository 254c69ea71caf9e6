"""A training step as one CUDA graph: small networks are bound by kernel launches, and a graph has one.

Capture costs well under a second. Where it fails, or where the captured step does not do what the plain one does,
the plain one is used, with a warning. Not for the CPU.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

_WARM_UP = 3
_TOLERANCE = 0.02

Stepper = Callable[[Tensor, Tensor], Tensor]


class GraphWarning(UserWarning):
    """A step could not be captured."""


def graphed(
    step: Stepper, module: nn.Module, optimiser: torch.optim.Optimizer, images: Tensor, labels: Tensor
) -> Stepper:
    """The step, captured for batches of the shapes of `images` and `labels`; itself where that does not work.

    Module and optimiser are as before afterwards: the warm-up passes that a capture needs would else change
    weights, momenta and the statistics of BatchNorm.

    Args:
        step: trains `module` by `optimiser`, whose learning rate must be a tensor on the device, and waits for nothing.
    """
    before = _State(module, optimiser)
    try:
        replay = _capture(step, before, optimiser, images, labels)
        trouble = _differs(step, replay, module, before, images, labels)
    except RuntimeError as error:
        trouble = str(error).splitlines()[0]
    before.restore()
    optimiser.zero_grad(set_to_none=True)
    if trouble:
        warnings.warn(f"no CUDA graph for this network: {trouble}", GraphWarning, stacklevel=2)
        return step
    return replay


class CapturedStep:
    """A step that is captured anew for images of another size; on CUDA only, elsewhere it is the step itself."""

    def __init__(
        self, step: Stepper, module: nn.Module, optimiser: torch.optim.Optimizer, device: torch.device
    ) -> None:
        self._plain, self._module, self._optimiser = step, module, optimiser
        self._on_cuda = device.type == "cuda"
        self._size: torch.Size | None = None
        self._step = step

    def prepare(self, images: Tensor, labels: Tensor) -> bool:
        """Capture the step if it was not yet for images of this size; whether it did."""
        if not self._on_cuda or images.shape[1:] == self._size:
            return False
        self._step = graphed(self._plain, self._module, self._optimiser, images, labels)
        self._size = images.shape[1:]
        return True

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """The batch's mean loss, on the device."""
        return self._step(images, labels)


def _capture(
    step: Stepper, before: _State, optimiser: torch.optim.Optimizer, images: Tensor, labels: Tensor
) -> Stepper:
    mine = images.clone(memory_format=torch.preserve_format), labels.clone()
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # of torch
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(_WARM_UP):
            step(*mine)
    torch.cuda.current_stream().wait_stream(side)
    before.restore()
    optimiser.zero_grad(set_to_none=True)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = step(*mine)

    def replay(images: Tensor, labels: Tensor) -> Tensor:
        if images.shape != mine[0].shape:
            return step(images, labels)
        mine[0].copy_(images)
        mine[1].copy_(labels)
        graph.replay()
        return loss.clone()

    return replay


def _differs(step: Stepper, replay: Stepper, module: nn.Module, before: _State, images: Tensor, labels: Tensor) -> str:
    """How a replayed step differs from a plain one; empty if it does not, or if dropout makes any two differ."""
    if any(isinstance(part, nn.Dropout) and part.p > 0 for part in module.modules()):
        return ""
    found = []
    for one in (step, replay):
        before.restore()
        found.append((float(one(images, labels)), [value.detach().clone() for value in _floats(module)]))
    before.restore()
    (plain, weights), (captured, others) = found
    gap = max(float((a - b).abs().max() / (a.abs().max() + 1e-6)) for a, b in zip(weights, others, strict=True))
    if abs(plain - captured) > _TOLERANCE * abs(plain) or gap > _TOLERANCE:
        return f"its loss is {captured:.4g} instead of {plain:.4g}, its weights differ by up to {gap:.2g}"
    return ""


def _floats(module: nn.Module) -> list[Tensor]:
    return [value for value in module.state_dict().values() if value.is_floating_point()]


class _State:
    """Copies of everything that a step changes; what the optimiser makes later is set to zero."""

    def __init__(self, module: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        self._tensors = [(value, value.clone()) for value in module.state_dict().values()]
        self._optimiser = optimiser
        self._kept: dict[tuple[Any, str], Tensor] = {
            (param, name): value.clone()
            for param, values in optimiser.state.items()
            for name, value in values.items()
            if isinstance(value, Tensor)
        }

    @torch.no_grad()
    def restore(self) -> None:
        """Put everything back, in place, since a graph holds the addresses."""
        for value, copy in self._tensors:
            value.copy_(copy)
        for param, values in self._optimiser.state.items():
            for name, value in values.items():
                if isinstance(value, Tensor):
                    kept = self._kept.get((param, name))
                    value.zero_() if kept is None else value.copy_(kept)
