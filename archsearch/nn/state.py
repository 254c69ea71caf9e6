"""A module's state: every tensor that a weights file would hold, packed weights of quantised layers too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any, NamedTuple

import torch
from torch import nn

from archsearch.errors import InputError
from archsearch.network.cost import Cost, of_tensors
from archsearch.network.file_size import FixedTensor
from archsearch.network.layer_cost import Tensor
from archsearch.nn.torch_private import leaves, memory_of


class Entry(NamedTuple):
    """One tensor of a state; `parameter`: it was or could be trained."""

    name: str
    tensor: torch.Tensor
    parameter: bool


def entries(module: nn.Module) -> list[Entry]:
    """Every tensor that a weights file would hold, tied ones once, under the first of their names.

    Raises:
        InputError: a packed weight that does not say what it holds.
    """
    kept = {name for name, _ in module.named_parameters()}
    state = module.state_dict(keep_vars=True)
    named = [*module.named_parameters(), *module.named_buffers()]
    found = [
        Entry(name, tensor, name in kept or tensor.is_quantized)
        for name, tensor in named
        if name in kept or name in state
    ]
    known = {id(tensor) for _, tensor in named}
    return [*found, *_packed({name: value for name, value in state.items() if id(value) not in known}),
            *_constants(module, not kept)]  # fmt: skip


def of_entries(found: Sequence[Entry], macs: int, peak: int) -> Cost:
    """The cost of a state; real numbers have the width of the size dtype, all others that of their own dtype."""
    plain = [
        Tensor(name, tuple(tensor.shape), _kind(tensor, kept)) for name, tensor, kept in found if _is_plain(tensor)
    ]
    fixed = [entry for entry in found if not _is_plain(entry.tensor)]
    cost = of_tensors(plain, (), macs, peak)
    params = sum(entry.tensor.numel() for entry in fixed if entry.parameter)
    buffers = sum(entry.tensor.numel() for entry in fixed if not entry.parameter)
    return cost._replace(params=cost.params + params, buffers=cost.buffers + buffers, fixed=tuple(map(_fixed, fixed)))


def _is_plain(tensor: torch.Tensor) -> bool:
    if tensor.dtype is torch.int64 and tensor.dim() == 0:
        return True
    return tensor.is_floating_point() and tensor.element_size() > 1


def _kind(tensor: torch.Tensor, parameter: bool) -> str:
    if not tensor.is_floating_point():
        return "counter"
    return "param" if parameter else "buffer"


def _fixed(entry: Entry) -> FixedTensor:
    shape = tuple(entry.tensor.shape)
    chars = len(entry.name) + len(",".join(map(str, shape)))
    if entry.tensor.is_complex():
        return FixedTensor(chars, prod(shape), 0, 2 * prod(shape))
    scales = 16 * shape[entry.tensor.q_per_channel_axis()] if _has_scales(entry.tensor) else 0
    return FixedTensor(chars, prod(shape), prod(shape) * entry.tensor.element_size() + scales, 0)


def _has_scales(tensor: torch.Tensor) -> bool:
    return tensor.is_quantized and tensor.qscheme() in (
        torch.per_channel_affine, torch.per_channel_affine_float_qparams, torch.per_channel_symmetric,
    )  # fmt: skip


def _packed(state: dict[str, Any]) -> Iterator[Entry]:
    """The tensors of quantised layers, which are neither parameters nor buffers to torch."""
    owners = {_owner(name) for name, value in state.items() if _is_packed(name, value)}
    for name, value in state.items():
        if _owner(name) not in owners:
            continue
        inside = {(memory_of(tensor), tensor.shape): tensor for tensor in _unpacked(name, value)}
        for i, tensor in enumerate(inside.values()):
            about = name.rpartition(".")[2] in ("scale", "zero_point")
            yield Entry(f"{name}.{i}" if i else name, tensor, not about)


def _owner(name: str) -> str:
    return name.rpartition(".")[0]


def _is_packed(name: str, value: Any) -> bool:
    if name.endswith("_extra_state"):
        return False
    if isinstance(value, torch.Tensor):
        return value.is_quantized
    return any(isinstance(leaf, torch.Tensor | torch.ScriptObject) for leaf in leaves(value))


def _unpacked(name: str, value: Any) -> Iterator[torch.Tensor]:
    for leaf in leaves(value):
        if isinstance(leaf, torch.Tensor):
            yield leaf
        elif isinstance(leaf, torch.ScriptObject):
            try:
                inside = leaf.__getstate__()
            except Exception as error:
                raise InputError(
                    f"the packed weights {name} cannot be counted: count the module unquantised"
                ) from error
            yield from _unpacked(name, inside)


def _constants(module: nn.Module, frozen: bool) -> Iterator[Entry]:
    """The tensors in the graphs of scripted modules; where those were frozen, they are the parameters.

    Raises:
        InputError: such a graph holds packed weights, which do not say what is in them.
    """
    for path, part in module.named_modules():
        graph: Any = getattr(part, "graph", None) if isinstance(part, torch.jit.ScriptModule) else None
        if "quantized::" in str(graph):
            raise InputError("a scripted quantised module hides its weights: count it before torch.jit.script")
        found = graph.findAllNodes("prim::Constant") if graph is not None else ()
        nodes = [node for node in found if node.hasAttribute("value")]
        for i, node in enumerate(node for node in nodes if node.kindOf("value") == "t"):
            tensor = node.t("value")
            yield Entry(f"{path}.constant{i}".lstrip("."), tensor, frozen and tensor.dim() > 0)
