"""What any `nn.Module` costs: its state by name, and one evaluation-mode forward pass, traced operation by operation.

The trace counts what `network.cost` counts.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterable
from math import prod
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from archsearch.errors import InputError, one_line
from archsearch.network.cost import Cost, Layer
from archsearch.network.layers import Shape
from archsearch.nn.inputs import Inputs, inputs_of, listed
from archsearch.nn.state import Entry, entries, of_entries
from archsearch.nn.torch_private import CAN_TRACE
from archsearch.nn.trace import Trace, forward

_ZOOS = ("torchvision.models.", "timm.models.")


class Traced(NamedTuple):
    """What one module costs.

    Without a forward pass `traced` is False, and `cost.macs`, `cost.peak` and `attention_macs` say nothing.

    Args:
        attention_macs: products of two activations, which are not in `cost.macs`.
        uncounted: operators that may multiply in a way that is not known: with them `cost.macs` is too small.
    """

    cost: Cost
    layers: tuple[Layer, ...]
    traced: bool
    note: str = ""
    attention_macs: int = 0
    uncounted: tuple[str, ...] = ()


def measure_module(factory: Callable[[], object], what: str, shape: Shape | Inputs | None) -> Traced:
    """Build a module without memory where that works, else on the CPU, and count it.

    The auxiliary classifiers of torchvision's and timm's models are used in training only, and left out.

    Args:
        factory: makes the module; called again on the CPU where the first try on the meta device fails.
        what: the factory's name for messages.
        shape: one input without the batch, (3, 224, 224), or several; None to count the state only.

    Raises:
        InputError: the factory fails or gives no module, or lazy layers cannot be materialised.
    """
    inputs = inputs_of(shape)
    faults = []
    for device in ("meta", "cpu"):
        try:
            module = _build(factory, what, device)
            return _measure(module, what, inputs)
        except _ForwardFailed as failed:
            faults.append(failed)
        except InputError:
            if device == "cpu":
                raise
    fault = faults[-1]
    if fault.lazy:
        raise InputError(f"{what}: has lazy layers and its forward pass fails: {fault}")
    return _state_only(fault.module, f"its forward pass at {listed(inputs)} fails: {fault}")


class _ForwardFailed(Exception):
    def __init__(self, module: nn.Module, error: BaseException) -> None:
        self.module = module
        self.lazy = _is_lazy(module)
        super().__init__(one_line(error))


def _build(factory: Callable[[], object], what: str, device: str) -> nn.Module:
    try:
        with warnings.catch_warnings(), torch.device(device):
            warnings.simplefilter("ignore")  # it is not our code
            module = factory()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - it is not our code
        raise InputError(f"{what} raised {one_line(error)}") from None
    if not isinstance(module, nn.Module):
        raise InputError(f"{what} gives {type(module).__name__}, not a torch.nn.Module")
    return module


def _measure(module: nn.Module, what: str, inputs: Inputs) -> Traced:
    if not inputs:
        if _is_lazy(module):
            raise InputError(f"{what}: has lazy layers, which take their size from an input: give --input-shape")
        return _state_only(module)
    if not CAN_TRACE:
        return _state_only(module, f"torch {torch.__version__} cannot trace its forward pass")
    try:
        trace = _forward(module, inputs)
    except Exception as error:  # noqa: BLE001 - it is not our code
        raise _ForwardFailed(module, error) from None
    cost, layers = _counted(module, trace)
    uncounted = tuple(trace.uncounted)
    note = f"MACs of {', '.join(uncounted)} are not known" if uncounted else ""
    return Traced(cost, layers, True, note, trace.attention_macs, uncounted)


def _state_only(module: nn.Module, note: str = "") -> Traced:
    return Traced(*_counted(module, None), False, note)


def _counted(module: nn.Module, trace: Trace | None) -> tuple[Cost, tuple[Layer, ...]]:
    """The cost without auxiliary classifiers, which are counted apart."""
    state = entries(module)
    auxiliary = _auxiliaries(module)
    deployed = [entry for entry in state if not entry.name.startswith(auxiliary)]
    work = trace.macs_by_module if trace else {}
    macs = sum(count for name, count in work.items() if not f"{name}.".startswith(auxiliary))
    cost = of_entries(deployed, macs, trace.peak() if trace else 0)
    params = sum(entry.tensor.numel() for entry in state if entry.parameter)
    return cost._replace(aux_params=params - cost.params), _layers(deployed, trace, module)


def _auxiliaries(module: nn.Module) -> tuple[str, ...]:
    """How the names of everything inside auxiliary classifiers begin."""
    return tuple(
        f"{path}.{name}.".lstrip(".")
        for path, part in module.named_modules()
        if type(part).__module__.startswith(_ZOOS)
        for name, _ in part.named_children()
        if name.lower().startswith("aux")
    )


def _is_lazy(module: nn.Module) -> bool:
    tensors = [*module.parameters(), *module.buffers()]
    return any(isinstance(tensor, UninitializedParameter | UninitializedBuffer) for tensor in tensors)


def _layers(state: Iterable[Entry], trace: Trace | None, module: nn.Module) -> tuple[Layer, ...]:
    """One row for every module that owns parameters or works with them."""
    params: dict[str, int] = {}
    for name, tensor, parameter in state:
        owner = name.rpartition(".")[0]
        params[owner] = params.get(owner, 0) + (prod(tensor.shape) if parameter else 0)
    macs, sizes = (trace.macs_by_module, trace.sizes) if trace else ({}, {})
    owners = dict.fromkeys([*params, *macs, *sizes])
    names = {name: getattr(part, "original_name", type(part).__name__) for name, part in module.named_modules()}
    return tuple(
        Layer(name, names.get(name, ""), params.get(name, 0), macs.get(name, 0), sizes.get(name, 0)) for name in owners
    )


def _forward(module: nn.Module, inputs: Inputs) -> Trace:
    """One evaluation-mode pass over a batch of one."""
    with contextlib.suppress(NotImplementedError):  # an exported graph has one mode and refuses
        module.eval()
    batch = _batch(module, inputs)
    # Lazy layers take their size in a pass of its own, so that what they do is not counted.
    if _is_lazy(module):
        with torch.no_grad():
            module(*batch)
    return forward(module, batch)


def _batch(module: nn.Module, inputs: Inputs) -> list[torch.Tensor]:
    """Zeros, in the dtype of the module's first floating parameter where an input has none of its own."""
    held = [*module.parameters(), *module.buffers()]
    device = held[0].device if held else torch.device("cpu")
    own = next((tensor.dtype for _, tensor, _ in entries(module) if tensor.is_floating_point()), torch.float32)
    return [
        torch.zeros(1, *one.shape, device=device, dtype=getattr(torch, one.dtype) if one.dtype else own)
        for one in inputs
    ]
