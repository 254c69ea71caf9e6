"""What a trained network knows, put into another one: layer by layer, channel by channel, as near to the same function
as the two allow."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from archsearch.network.arch import Arch
from archsearch.network.kin import SKIP, Kinship, Layer, kinship
from archsearch.network.layers import Conv


@torch.no_grad()
def inherit(module: nn.Module, child: Arch, parent: Arch, tensors: Mapping[str, Tensor]) -> float:
    """Put a trained network's state into a module that was initialised; the share of its parameters that was taken.

    Channels are taken by index. What is new starts so that the old outputs stay what they were: old outputs do not
    read new channels, larger kernels are zero around the old one, residual branches of new blocks are zero, shortcuts
    and new blocks without one pass their input on. New outputs stay as they were initialised.

    Args:
        tensors: the parent's state by name, of any float type; what is not there is not taken.
    """
    kin = kinship(child, parent)
    state = module.state_dict()
    for mine, theirs in kin.pairs:
        if theirs is None:
            _begin(mine, kin, state)
            continue
        for tensor in mine.tensors:
            old, fresh = tensors.get(f"{theirs.path}.{tensor.name}"), state[f"{mine.path}.{tensor.name}"]
            if old is not None:
                fresh.copy_(embedded(old, fresh))
    return kin.share


def _begin(layer: Layer, kin: Kinship, state: Mapping[str, Tensor]) -> None:
    """A layer without a relative: zero where a new block's branch ends; shortcuts, and what lies in no new branch, pass
    on what they can of their input."""
    is_new = layer.block in kin.new_blocks
    if is_new and layer.ends:
        for tensor in layer.tensors:
            if tensor.kind == "param":
                state[f"{layer.path}.{tensor.name}"].zero_()
        return
    in_branch = is_new and any(other.ends for other, _ in kin.pairs if other.block == layer.block)
    if isinstance(layer.leaf, Conv) and (layer.role == (SKIP,) or not (layer.role or in_branch)):
        kernel = state[f"{layer.path}.weight"]
        same = torch.eye(min(kernel.shape[:2])) if layer.leaf.groups == 1 else torch.ones(kernel.shape[:2])
        kernel.copy_(embedded(same[..., None, None], kernel))


def embedded(old: Tensor, fresh: Tensor) -> Tensor:
    """A tensor of the shape of `fresh` with `old` in it, by index, kernels about their centres; cut where it is larger.

    Weights are (outputs, inputs, ...). To the old outputs all that is new is zero; new outputs are those of `fresh`.
    """
    if not old.ndim:
        return old
    while old.ndim > fresh.ndim:  # a linear layer is a 1x1 convolution of one pixel
        old = old[..., old.shape[-1] // 2]
    old = _recoloured(old.reshape(*old.shape, *(1,) * (fresh.ndim - old.ndim)), fresh)
    found = fresh.clone()
    if fresh.ndim > 1:
        found[: len(old)] = 0
    windows = [_window(i, *sizes) for i, sizes in enumerate(zip(old.shape, fresh.shape, strict=True))]
    found[tuple(here for _, here in windows)] = old[tuple(there for there, _ in windows)].to(fresh)
    return found


def _window(dim: int, old: int, new: int) -> tuple[slice, slice]:
    """Which part of a dimension is taken, and where it comes: the first channels, the middle of a kernel."""
    size = min(old, new)
    starts = ((old - size) // 2, (new - size) // 2) if dim > 1 else (0, 0)
    return slice(starts[0], starts[0] + size), slice(starts[1], starts[1] + size)


def fitted_to(tensor: Tensor, wanted: Tensor) -> Tensor | None:
    """A tensor for a place, None if it does not fit; kernels for colour and for grey images become each other's."""
    found = _recoloured(tensor, wanted)
    return found if found.shape == wanted.shape else None


def _recoloured(kernel: Tensor, wanted: Tensor) -> Tensor:
    """A kernel for as many channels as `wanted`, if one of them is for colour and the other for grey images.

    A grey pixel is one with three equal channels: kernels are summed for it, and divided evenly for the way back.
    """
    if kernel.ndim == wanted.ndim == 4 and (kernel.shape[1], wanted.shape[1]) == (3, 1):
        return kernel.sum(1, keepdim=True)
    if kernel.ndim == wanted.ndim == 4 and (kernel.shape[1], wanted.shape[1]) == (1, 3):
        return kernel.expand(-1, 3, -1, -1) / 3
    return kernel
