"""What `archsearch check` can be pointed at, and what each kind of target measures.

    net.toml                 an architecture file
    ref:resnet-course-small  a textbook network that comes with archsearch
    pkg.mod:make_model       anything callable that gives a torch.nn.Module
    torchvision:resnet18     a model of torchvision
    model.safetensors        a weights file, also a torch state dict

Files that describe a network, and safetensors, are read without torch.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archsearch.errors import InputError, one_line
from archsearch.network.arch import Arch
from archsearch.network.blocks import unknown
from archsearch.network.cost import Layer, layers
from archsearch.network.file_size import SCALE_SUFFIX
from archsearch.network.layers import Shape
from archsearch.network.limits import LIMITS, measures
from archsearch.nn.inputs import Inputs, inputs_of, listed, one_image

if TYPE_CHECKING:
    from archsearch.nn.profile import Traced

IMAGENET: Shape = (3, 224, 224)
_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
_STATE_KEYS = ("state_dict", "model_state_dict", "model")
_HEADER_LIMIT = 100_000_000  # what safetensors itself accepts


@dataclass(frozen=True)
class Measured:
    """A target's figures at one dtype, for one image.

    values: by the measures of `limits.LIMITS`; None where there is nothing to measure it on.
    attention_macs: products of two activations, which are not in `values`; None where no forward pass was followed.
    """

    target: str
    what: str
    values: Mapping[str, int | None]
    layers: tuple[Layer, ...] = ()
    note: str = ""
    attention_macs: int | None = None


def measure_target(target: str, dtype: str = "fp32", input_shape: Shape | Inputs | None = None) -> Measured:
    """Measure any target.

    Args:
        dtype: the precision at which bytes are counted; a weights file's bytes are those on disk.
        input_shape: (channels, height, width) instead of the target's own. Factories have none of their own:
            without one there are no MACs and no activations. They also take several inputs, other than images too.

    Raises:
        InputError: there is no such target, or it cannot be measured; one line that says why.
    """
    kind, _, rest = target.partition(":")
    if kind == "ref":
        return _arch(target, _reference(rest), dtype, one_image(target, input_shape))
    if kind == "torchvision":
        return _torchvision(target, rest, dtype, one_image(target, input_shape) or IMAGENET)
    path = Path(target)
    if path.is_file():
        return _file(target, path, dtype, one_image(target, input_shape))
    if rest and path.suffix != ".toml" and not kind.endswith((".toml", "/")) and "/" not in kind:
        return _factory(target, kind, rest, dtype, inputs_of(input_shape))
    if path.suffix or "/" in target:
        raise InputError(f"{target}: there is no such file")
    raise InputError(
        f"{target!r} is no target: give an architecture or weights file, ref:NAME, pkg.mod:callable or torchvision:NAME"
    )


def _arch(target: str, arch: Arch, dtype: str, shape: Shape | None) -> Measured:
    if shape:
        arch = arch.adapted(shape, arch.classes)
    cost = arch.cost
    return Measured(
        target, f"{arch.id}, {_by(arch.input_shape)}, {arch.classes} classes",
        measures(cost, dtype), tuple(layers(arch.parts(), arch.input_shape)), _aux(cost.aux_params),
    )  # fmt: skip


def _aux(params: int) -> str:
    return f"auxiliary classifiers, not deployed: {params:,} parameters" if params else ""


def _reference(name: str) -> Arch:
    try:
        references = importlib.import_module("archsearch.network.zoo")
    except ModuleNotFoundError:
        raise InputError(f"ref:{name}: this version of archsearch has no reference networks") from None
    arch: Arch = references.load(name).arch
    return arch


def _traced(target: str, what: str, traced: Traced, dtype: str) -> Measured:
    cost = traced.cost
    note = "; ".join(filter(None, (_aux(cost.aux_params), traced.note)))
    if not traced.traced:
        return Measured(target, what, _stored(cost.params, cost.size_bytes(dtype)), traced.layers, note)
    values = measures(cost, dtype) | ({"macs": None} if traced.uncounted else {})
    return Measured(target, what, values, traced.layers, note, traced.attention_macs)


def _stored(params: int, size: int) -> dict[str, int | None]:
    """What is known of parameters alone: those, and their bytes."""
    unknown = {limit.measure: None for limit in LIMITS}
    return {**unknown, "params": params, "size_bytes": size}


def _torchvision(target: str, name: str, dtype: str, shape: Shape) -> Measured:
    from torchvision import models

    if name not in models.list_models():
        raise InputError(f"torchvision has no model {unknown(name, models.list_models())}")
    from archsearch.nn.profile import measure_module

    traced = measure_module(lambda: models.get_model(name, weights=None), target, shape)
    return _traced(target, f"torchvision, {_by(shape)}", traced, dtype)


def _factory(target: str, module: str, name: str, dtype: str, inputs: Inputs) -> Measured:
    make = _callable(target, module, name)
    from archsearch.nn.profile import measure_module

    traced = measure_module(make, target, inputs)
    hint = "" if inputs else "MACs and activations need an input: give --input-shape 3,224,224"
    measured = _traced(target, f"module, {listed(inputs)}" if inputs else "module", traced, dtype)
    return measured if traced.note or not hint else _noted(measured, "; ".join(filter(None, (measured.note, hint))))


def _noted(measured: Measured, note: str) -> Measured:
    from dataclasses import replace

    return replace(measured, note=note)


def _callable(target: str, module: str, name: str) -> Callable[[], object]:
    """The factory behind `pkg.mod:callable`; a module that is no factory stands for itself."""
    from torch import nn

    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(f"{error.name}.")):
            raise InputError(f"{target}: there is no module {error.name!r} here or among the installed") from None
        raise InputError(f"{target}: importing {module!r} needs {error.name!r}, which is not installed") from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - it is not our code
        raise InputError(f"{target}: importing {module!r} raised {one_line(error)}") from None
    for part in name.split("."):
        if not hasattr(found, part):
            known = [key for key, value in vars(found).items() if callable(value) and not key.startswith("_")]
            raise InputError(f"{target}: {module!r} has no callable {unknown(part, known)}")
        found = getattr(found, part)
    if isinstance(found, nn.Module):
        return lambda: found
    if not callable(found):
        raise InputError(f"{target}: {name!r} is {type(found).__name__}, not a callable that gives a torch.nn.Module")
    return found  # type: ignore[no-any-return]


def _file(target: str, path: Path, dtype: str, shape: Shape | None) -> Measured:
    if path.suffix == ".toml":
        return _arch(target, Arch.load(path), dtype, shape)
    with path.open("rb") as file:
        start = file.read(9)
    if start[:4] == b"PK\x03\x04" or start[:1] == b"\x80":
        return _weights(target, path, _torch_state(path), {}, dtype, shape)
    if start[8:9] == b"{":
        return _weights(target, path, *_safetensors(path), dtype, shape)
    raise InputError(f"{target}: neither an architecture (.toml), nor safetensors, nor a torch state dict")


def _weights(
    target: str, path: Path, tensors: Mapping[str, Shape], metadata: Mapping[str, str], dtype: str, shape: Shape | None
) -> Measured:
    """Bytes on disk, parameters from the tensors; the rest from the architecture, where archsearch wrote one."""
    params = {name: prod(dims) for name, dims in tensors.items() if not _is_extra(name, tensors)}
    total, size = sum(params.values()), path.stat().st_size
    if "arch" not in metadata:
        rows = tuple(Layer(name, _by(tensors[name]), count, 0, 0) for name, count in params.items())
        note = "" if not shape else "weights of no known architecture: --input-shape says nothing here"
        return Measured(target, "weights on disk", _stored(total, size), rows, note)
    arch = _arch(target, Arch.from_toml(metadata["arch"], target), dtype, shape)
    if (wanted := arch.values["params"]) != total:
        raise InputError(f"{target}: its tensors hold {total:,} parameters, its architecture has {wanted:,}")
    return Measured(target, f"weights on disk, {arch.what}", {**arch.values, "size_bytes": size}, arch.layers)


def _is_extra(name: str, tensors: Iterable[str]) -> bool:
    """Whether a tensor is no parameter by its name: running statistics, or the scale of a quantised one."""
    scaled = name.endswith(SCALE_SUFFIX) and name.removesuffix(SCALE_SUFFIX) in tensors
    return scaled or name.rpartition(".")[2] in _BUFFERS


def _safetensors(path: Path) -> tuple[dict[str, Shape], dict[str, str]]:
    """Shapes and metadata of a safetensors file, from its header alone."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > min(_HEADER_LIMIT, path.stat().st_size - 8):
                raise ValueError("its header is cut off")
            header = json.loads(file.read(length))
        metadata = header.pop("__metadata__", {})
        shapes = {name: _entry(name, entry, path.stat().st_size - 8 - length) for name, entry in header.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: no readable safetensors file: {error}") from None
    return shapes, {str(key): str(value) for key, value in metadata.items()}


def _entry(name: str, entry: Any, size: int) -> Shape:
    """One tensor's shape. Raises ValueError where its bytes are not in the file."""
    begin, end = entry["data_offsets"]
    shape = tuple(entry["shape"])
    if not all(type(dim) is int and dim >= 0 for dim in shape):
        raise ValueError(f"{name!r} has the shape {shape}")
    if not 0 <= begin <= end <= size:
        raise ValueError(f"the bytes of {name!r} are not in it")
    return shape


def _torch_state(path: Path) -> dict[str, Shape]:
    """Shapes of a state dict's tensors, tied ones once. Nothing is unpickled but tensors and plain values."""
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - torch.load raises nearly anything for a file that is not its own
        refused = "weights_only" in str(error).lower() or "Unsupported" in str(error)
        why = "it holds pickled objects other than tensors, which are refused" if refused else one_line(error)
        raise InputError(f"{path}: no state dict: {why}; save module.state_dict() or safetensors") from None
    if isinstance(state, dict):
        state = next((state[key] for key in _STATE_KEYS if isinstance(state.get(key), dict)), state)
    if not isinstance(state, dict) or not any(isinstance(value, torch.Tensor) for value in state.values()):
        raise InputError(f"{path}: holds no state dict (names to tensors): save module.state_dict() or safetensors")
    seen: set[tuple[int, int, Shape]] = set()
    shapes: dict[str, Shape] = {}
    for name, tensor in state.items():
        if not isinstance(tensor, torch.Tensor):
            continue
        key = (tensor.untyped_storage().data_ptr(), int(tensor.storage_offset()), tuple(tensor.shape))
        if key not in seen or tensor.numel() == 0:
            shapes[str(name)] = tuple(tensor.shape)
        seen.add(key)
    return shapes


def _by(shape: Shape) -> str:
    return "x".join(map(str, shape))
