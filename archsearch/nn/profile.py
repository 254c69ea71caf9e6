"""What any `nn.Module` costs: its state by name, and one evaluation-mode forward pass, traced operation by operation.

The trace counts what `network.cost` counts. MACs are those of convolutions and of products with a parameter.
For the peak every operation reads its inputs and writes a new tensor, in-place ones too; views share their
base's memory; a tensor lives from the operation that writes it to the last one that reads it. Parameters and
integer tensors (pooling indices) are not activations.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterable, Iterator
from math import prod
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from archsearch.errors import InputError, one_line
from archsearch.network.cost import Cost, Layer, of_tensors
from archsearch.network.layer_cost import Tensor
from archsearch.network.layers import Shape
from archsearch.nn.torch_private import CAN_TRACE, DispatchMode, leaves, memory_of, written_by

_PRODUCTS = {torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.bmm, torch.ops.aten.baddbmm}


class Traced(NamedTuple):
    """What one module costs. Without a forward pass `cost.macs` and `cost.peak` say nothing and `traced` is False."""

    cost: Cost
    layers: tuple[Layer, ...]
    traced: bool
    note: str = ""


def measure_module(
    factory: Callable[[], object], what: str, shape: Shape | None, *, auxiliaries: tuple[str, ...] = ()
) -> Traced:
    """Build a module without memory where that works, else on the CPU, and count it.

    Args:
        factory: makes the module; called again on the CPU where the first try on the meta device fails.
        what: the factory's name for messages.
        shape: one input without the batch, (3, 224, 224); None to count the state only.
        auxiliaries: how the names of children that are used in training only begin; they are left out.

    Raises:
        InputError: the factory fails or gives no module, or lazy layers cannot be materialised.
    """
    faults = []
    for device in ("meta", "cpu"):
        try:
            module = _build(factory, what, device)
            return _measure(module, what, shape, auxiliaries)
        except _ForwardFailed as failed:
            faults.append(failed)
        except InputError:
            if device == "cpu":
                raise
    fault = faults[-1]
    if fault.lazy:
        raise InputError(f"{what}: has lazy layers and its forward pass fails: {fault}")
    return _state_only(fault.module, auxiliaries, f"its forward pass at {_by(shape or ())} fails: {fault}")


class _ForwardFailed(Exception):
    def __init__(self, module: nn.Module, error: BaseException) -> None:
        self.module = module
        self.lazy = _is_lazy(module)
        super().__init__(one_line(error))


def _build(factory: Callable[[], object], what: str, device: str) -> nn.Module:
    try:
        with warnings.catch_warnings(), torch.device(device):
            warnings.simplefilter("ignore")
            module = factory()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - it is not our code
        raise InputError(f"{what} raised {one_line(error)}") from None
    if not isinstance(module, nn.Module):
        raise InputError(f"{what} gives {type(module).__name__}, not a torch.nn.Module")
    return module


def _measure(module: nn.Module, what: str, shape: Shape | None, auxiliaries: tuple[str, ...]) -> Traced:
    if shape is None:
        if _is_lazy(module):
            raise InputError(f"{what}: has lazy layers, which take their size from an input: give --input-shape")
        return _state_only(module, auxiliaries)
    if not CAN_TRACE:
        return _state_only(module, auxiliaries, f"torch {torch.__version__} cannot trace its forward pass")
    try:
        trace = _forward(module, shape)
    except Exception as error:  # noqa: BLE001 - it is not our code
        raise _ForwardFailed(module, error) from None
    tensors = _state(module, auxiliaries)
    cost = _with_aux(of_tensors(tensors, shape, trace.macs, trace.peak()), module)
    return Traced(cost, _layers(tensors, trace, module), True)


def _state_only(module: nn.Module, auxiliaries: tuple[str, ...], note: str = "") -> Traced:
    tensors = _state(module, auxiliaries)
    return Traced(_with_aux(of_tensors(tensors, (), 0, 0), module), _layers(tensors, None, module), False, note)


def _with_aux(cost: Cost, module: nn.Module) -> Cost:
    """The parameters that were left out are the auxiliary classifiers'."""
    return cost._replace(aux_params=sum(part.numel() for part in module.parameters()) - cost.params)


def _is_lazy(module: nn.Module) -> bool:
    tensors = [*module.parameters(), *module.buffers()]
    return any(isinstance(tensor, UninitializedParameter | UninitializedBuffer) for tensor in tensors)


def _state(module: nn.Module, auxiliaries: tuple[str, ...]) -> list[Tensor]:
    """Every tensor that a weights file would hold, tied ones once, under the first of their names."""
    kept = {name for name, _ in module.named_parameters()}
    saved = set(module.state_dict(keep_vars=True)) | kept
    named = [*module.named_parameters(), *module.named_buffers()]
    return [
        Tensor(name, tuple(tensor.shape), _kind(tensor, name in kept))
        for name, tensor in named
        if name in saved and not (auxiliaries and name.startswith(auxiliaries))
    ]


def _kind(tensor: torch.Tensor, parameter: bool) -> str:
    if parameter:
        return "param"
    return "buffer" if tensor.is_floating_point() else "counter"


def _layers(tensors: Iterable[Tensor], trace: _Trace | None, module: nn.Module) -> tuple[Layer, ...]:
    """One row for every module that owns parameters or works with them."""
    params: dict[str, int] = {}
    for name, shape, kind in tensors:
        owner = name.rpartition(".")[0]
        params[owner] = params.get(owner, 0) + (prod(shape) if kind == "param" else 0)
    macs, sizes = (trace.macs_by_module, trace.sizes) if trace else ({}, {})
    owners = dict.fromkeys([*params, *macs, *sizes])
    names = {name: type(part).__name__ for name, part in module.named_modules()}
    return tuple(
        Layer(name, names.get(name, ""), params.get(name, 0), macs.get(name, 0), sizes.get(name, 0)) for name in owners
    )


def _forward(module: nn.Module, shape: Shape) -> _Trace:
    """One evaluation-mode pass over a batch of one."""
    held = next((tensor for tensor in module.parameters()), None)
    device = held.device if held is not None else torch.device("cpu")
    module.eval()
    image = torch.zeros(1, *shape, device=device)
    # Lazy layers take their size in a pass of its own, so that what they do is not counted.
    if _is_lazy(module):
        with torch.no_grad():
            module(image)
    trace = _Trace(module, image)
    with torch.no_grad(), warnings.catch_warnings(), trace, trace.names(module):
        warnings.simplefilter("ignore")
        trace.finish(module(image))
    return trace


class _Value:
    """A tensor's content between the operation that writes it and the last one that reads it."""

    __slots__ = ("born", "died", "size")

    def __init__(self, size: int, born: int) -> None:
        self.size = size
        self.born = self.died = born


class _Trace(DispatchMode):  # type: ignore[misc]
    """Follows every operation below autograd; composite ones arrive as the operations they are made of."""

    def __init__(self, module: nn.Module, image: torch.Tensor) -> None:
        super().__init__()
        self.clock = 0
        self.macs = 0
        self.macs_by_module: dict[str, int] = {}
        self.sizes: dict[str, int] = {}
        self._path: list[str] = [""]
        self._weights = {memory_of(tensor) for tensor in (*module.parameters(), *module.buffers())}
        self._alive: dict[int, _Value] = {}
        self._values: list[_Value] = []
        self._keep: list[torch.Tensor] = []  # a freed tensor's address would be given to another one
        self._write(image)

    @contextlib.contextmanager
    def names(self, module: nn.Module) -> Iterator[None]:
        """Know in which submodule an operation happens."""
        handles = []
        for name, part in module.named_modules():
            handles.append(part.register_forward_pre_hook(lambda *_, name=name: self._path.append(name)))
            handles.append(part.register_forward_hook(lambda *_: _nothing(self._path.pop())))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        inputs = _tensors((args, kwargs))
        outputs = _tensors(result)
        self.clock += 1
        for tensor in inputs:
            self._read(tensor)
        written = {memory_of(tensor) for tensor in written_by(func, args, kwargs or {}, outputs)}
        known = {memory_of(tensor) for tensor in inputs}
        for tensor in outputs:
            if memory_of(tensor) in written or memory_of(tensor) not in known:
                self._write(tensor)
        self._count(func, args, inputs, outputs)
        return result

    def finish(self, result: object) -> None:
        """The outputs live to the end."""
        for tensor in _tensors(result):
            self._read(tensor)

    def peak(self) -> int:
        """The largest number of values that are alive in one operation."""
        change = [0] * (self.clock + 2)
        for value in self._values:
            # What nobody reads (indices, saved statistics) is a by-product of one kernel, no layer's output.
            if value.died > value.born or value.born == self.clock:
                change[value.born] += value.size
                change[value.died + 1] -= value.size
        peak = now = 0
        for step in change:
            now += step
            peak = max(peak, now)
        return peak

    def _write(self, tensor: torch.Tensor) -> None:
        self._keep.append(tensor)
        if not tensor.is_floating_point():
            return
        value = _Value(tensor.numel(), self.clock)
        self._values.append(value)
        self._alive[memory_of(tensor)] = value

    def _read(self, tensor: torch.Tensor) -> None:
        if (value := self._alive.get(memory_of(tensor))) is not None:
            value.died = self.clock

    def _count(self, func: Any, args: Any, inputs: list[torch.Tensor], outputs: list[torch.Tensor]) -> None:
        owner = self._path[-1]
        macs = self._macs(func.overloadpacket, args, inputs, outputs)
        self.macs += macs
        self.macs_by_module[owner] = self.macs_by_module.get(owner, 0) + macs
        size = sum(tensor.numel() for tensor in (*inputs, *outputs[:1]) if memory_of(tensor) not in self._weights)
        self.sizes[owner] = max(self.sizes.get(owner, 0), size)

    def _macs(self, packet: Any, args: Any, inputs: list[torch.Tensor], outputs: list[torch.Tensor]) -> int:
        if packet is torch.ops.aten.convolution:
            transposed = args[6]  # every input value is spread over one window
            values = inputs[0] if transposed else outputs[0]
            return values.numel() * prod(inputs[1].shape[1:])
        if packet in _PRODUCTS and any(memory_of(tensor) in self._weights for tensor in inputs[-2:]):
            return outputs[0].numel() * inputs[-2].shape[-1]
        return 0


def _tensors(tree: object) -> list[torch.Tensor]:
    return [leaf for leaf in leaves(tree) if isinstance(leaf, torch.Tensor)]


def _nothing(_: object) -> None:
    """A forward hook that returns something replaces the module's output."""


def _by(shape: Shape) -> str:
    return "x".join(map(str, shape))
