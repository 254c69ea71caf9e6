"""One evaluation-mode forward pass, followed operation by operation.

MACs are those of convolutions and of products with a weight. A weight is what depends on parameters and buffers
alone: a parametrised weight is one as well, and computing it costs nothing, as it is computed once for all images.
Products of two activations are counted apart. For the peak every operation reads its inputs and writes a new
tensor, in-place ones too; views share their base's memory; a tensor lives from the operation that writes it to the
last one that reads it. Weights and integer tensors (pooling indices) are not activations.
"""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from archsearch.nn.products import Product, is_opaque, product_of
from archsearch.nn.torch_private import DispatchMode, leaves, memory_of, written_by

_EMPTY = ("aten.zeros", "aten.empty", "aten.rand", "aten.normal", "aten.new_zeros", "aten.new_empty")


class Origin(IntEnum):
    """What a tensor's content depends on: of several inputs the largest counts."""

    MADE = 0  # a state that the pass starts from: zeros or random numbers; also what it has from elsewhere
    WEIGHT = 1
    ACTIVATION = 2


def forward(module: nn.Module, inputs: Sequence[torch.Tensor]) -> Trace:
    """Follow one pass over a batch of one, without the fused kernels that hide what they multiply."""
    trace = Trace(module, inputs)
    with torch.no_grad(), warnings.catch_warnings(), _plain_kernels(), trace, trace.names(module):
        warnings.simplefilter("ignore")  # what a module of others warns of is no news here
        trace.finish(module(*inputs))
    return trace


@contextlib.contextmanager
def _plain_kernels() -> Iterator[None]:
    """On the CPU fused kernels of oneDNN and of attention are one operation where the meta device has many."""
    libraries = (torch.backends.mkldnn, torch.backends.cudnn)
    before = [library.enabled for library in libraries]
    fast = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        for library in libraries:
            setattr(library, "enabled", False)  # noqa: B010 - torch's stubs take it for a constant
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for library, enabled in zip(libraries, before, strict=True):
            setattr(library, "enabled", enabled)  # noqa: B010 - as above


class _Value:
    """A tensor's content between the operation that writes it and the last one that reads it."""

    __slots__ = ("born", "died", "size")

    def __init__(self, size: int, born: int) -> None:
        self.size = size
        self.born = self.died = born


class Trace(DispatchMode):  # type: ignore[misc]  # object where torch has none
    """Follows every operation below autograd; composite ones arrive as the operations they are made of."""

    def __init__(self, module: nn.Module, inputs: Sequence[torch.Tensor]) -> None:
        super().__init__()
        self.clock = 0
        self.attention_macs = 0
        self.uncounted: dict[str, None] = {}  # operators that may multiply in a way that is not known
        self.macs_by_module: dict[str, int] = {}
        self.sizes: dict[str, int] = {}
        self._path: list[str] = [""]
        self._origins = {memory_of(tensor): Origin.WEIGHT for tensor in _held(module)}
        self._alive: dict[int, _Value] = {}
        self._values: list[_Value] = []
        self._keep: list[torch.Tensor] = []  # a freed tensor's address would be given to another one
        for tensor in inputs:
            self._write(tensor, Origin.ACTIVATION)

    @contextlib.contextmanager
    def names(self, module: nn.Module) -> Iterator[None]:
        """Know in which submodule an operation happens. Scripted ones take no hooks."""
        handles = []
        for name, part in module.named_modules():
            if isinstance(part, torch.jit.ScriptModule):
                continue
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
        name = str(getattr(func, "overloadpacket", func))
        products = product_of(name, args, _tensors(args), outputs)
        origin = self._result(name, products, inputs)
        for tensor in inputs:
            # Zeros that a weight is computed from are no activation either.
            if origin is Origin.ACTIVATION or self._origin(tensor) is not Origin.MADE:
                self._read(tensor)
        self._count(name, products, inputs, outputs)
        written = {memory_of(tensor) for tensor in written_by(func, args, kwargs or {}, outputs)}
        known = {memory_of(tensor) for tensor in inputs}
        for tensor in outputs:
            if memory_of(tensor) in written or memory_of(tensor) not in known:
                self._write(tensor, origin)
        return result

    def finish(self, result: object) -> None:
        """The outputs live to the end."""
        for tensor in _outputs(result):
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

    def _write(self, tensor: torch.Tensor, origin: Origin) -> None:
        self._keep.append(tensor)
        self._origins[memory_of(tensor)] = origin
        if origin is Origin.WEIGHT or not (size := _size(tensor)):
            return
        value = _Value(size, self.clock)
        self._values.append(value)
        self._alive[memory_of(tensor)] = value

    def _read(self, tensor: torch.Tensor) -> None:
        if (value := self._alive.get(memory_of(tensor))) is not None:
            value.died = self.clock

    def _origin(self, tensor: torch.Tensor | None) -> Origin:
        return Origin.WEIGHT if tensor is None else self._origins.get(memory_of(tensor), Origin.MADE)

    def _result(self, name: str, products: Sequence[Product], inputs: Sequence[torch.Tensor]) -> Origin:
        """What the outputs of an operation depend on."""
        if not inputs or name.endswith("_like") or name.startswith("aten.new_"):
            return Origin.MADE if name.startswith(_EMPTY) else Origin.WEIGHT
        if any(self._origin(side) is not Origin.WEIGHT for product in products for side in product[1:3]):
            return Origin.ACTIVATION
        return max(self._origin(tensor) for tensor in inputs)

    def _count(
        self, name: str, products: Sequence[Product], inputs: Sequence[torch.Tensor], outputs: Sequence[torch.Tensor]
    ) -> None:
        owner = self._path[-1]
        for product in products:
            sides = {self._origin(product.left), self._origin(product.right)}
            if sides == {Origin.WEIGHT}:
                continue
            if product.convolution or len(sides) > 1:
                self.macs_by_module[owner] = self.macs_by_module.get(owner, 0) + product.macs
            else:
                self.attention_macs += product.macs
        if not products and is_opaque(name, self._mixes(inputs)):
            self.uncounted[name] = None
        live = (tensor for tensor in (*inputs, *outputs[:1]) if self._origin(tensor) is not Origin.WEIGHT)
        self.sizes[owner] = max(self.sizes.get(owner, 0), sum(tensor.numel() for tensor in live))

    def _mixes(self, inputs: Iterable[torch.Tensor]) -> bool:
        matrices = {self._origin(tensor) for tensor in inputs if tensor.dim() > 1}
        return Origin.WEIGHT in matrices and len(matrices) > 1


def _held(module: nn.Module) -> Iterator[torch.Tensor]:
    """Every tensor that a module holds before the pass, as plain attributes too."""
    yield from (*module.parameters(), *module.buffers())
    for part in module.modules():
        yield from _tensors(tuple(vars(part).values()))


def _size(tensor: torch.Tensor) -> int:
    """Values at the size dtype: a complex one is two; integers are none, unless they stand for real numbers."""
    if tensor.is_complex():
        return 2 * tensor.numel()
    return tensor.numel() if tensor.is_floating_point() or tensor.is_quantized else 0


def _tensors(tree: object) -> list[torch.Tensor]:
    return [leaf for leaf in leaves(tree) if isinstance(leaf, torch.Tensor)]


def _outputs(result: object, depth: int = 8) -> Iterator[torch.Tensor]:
    """The tensors of whatever a module returns: tensors, lists, dicts, dataclasses and other objects with fields."""
    for leaf in leaves(result):
        if isinstance(leaf, torch.Tensor):
            yield leaf
        elif depth and (dataclasses.is_dataclass(leaf) or hasattr(leaf, "__dict__")):
            yield from _outputs(tuple(vars(leaf).values()) if hasattr(leaf, "__dict__") else _slots(leaf), depth - 1)


def _slots(value: Any) -> tuple[Any, ...]:
    return tuple(getattr(value, field.name) for field in dataclasses.fields(value))


def _nothing(_: object) -> None:
    """A forward hook that returns something replaces the module's output."""
