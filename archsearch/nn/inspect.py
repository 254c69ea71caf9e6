"""What `archsearch check` can be pointed at, and what each kind of target measures.

    net.toml                 an architecture file
    ref:resnet-course-small  a textbook network that comes with archsearch
    pkg.mod:make_model       anything callable that gives a torch.nn.Module
    torchvision:resnet18     a model of torchvision
    timm:mobilenetv3_small_050   a model of timm
    model.safetensors        a weights file, also a torch state dict
    model.onnx, model.pt2    any other file of a model

Files are read without torch, and nothing in them is run.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archsearch._utils.formats import FORMATS
from archsearch.errors import InputError, one_line
from archsearch.network.arch import Arch
from archsearch.network.blocks import unknown
from archsearch.network.cost import layers
from archsearch.network.file_size import SAFETENSORS, Written
from archsearch.network.layers import Shape
from archsearch.network.limits import measures
from archsearch.nn.files import is_model_folder, measure_file
from archsearch.nn.inputs import Inputs, inputs_of, listed, one_image
from archsearch.nn.measured import Measured, by, stored

if TYPE_CHECKING:
    from archsearch.nn.profile import Traced

__all__ = ["IMAGENET", "Measured", "measure_target"]

IMAGENET: Shape = (3, 224, 224)


def measure_target(
    target: str, dtype: str | None = None, input_shape: Shape | Inputs | None = None, form: str = SAFETENSORS
) -> Measured:
    """Measure any target.

    Args:
        dtype: the precision at which bytes are counted; None: fp32, and the bytes on disk of any other file.
        input_shape: (channels, height, width) instead of the target's own. Factories have none of their own:
            without one there are no MACs and no activations. They also take several inputs, other than images too.
        form: the format whose bytes are counted, which for another than safetensors are those of architectures alone.

    Raises:
        InputError: there is no such target, or it cannot be measured; one line that says why.
    """
    kind, _, rest = target.partition(":")
    counted_at = dtype or "fp32"
    written = Written(counted_at, form)
    if kind == "ref":
        return _arch(target, _reference(rest), written, one_image(target, input_shape))
    if kind in _LIBRARIES:
        _require_safetensors(target, form)
        return _LIBRARIES[kind](target, rest, counted_at, one_image(target, input_shape))
    path = Path(target)
    if path.is_file() and path.suffix == ".toml":
        return _arch(target, Arch.load(path), written, one_image(target, input_shape))
    if path.is_file() or is_model_folder(path):
        asked = written if dtype or form != SAFETENSORS else None
        return measure_file(target, path, asked, one_image(target, input_shape))
    if rest and path.suffix != ".toml" and not kind.endswith((".toml", "/")) and "/" not in kind:
        _require_safetensors(target, form)
        return _factory(target, kind, rest, counted_at, inputs_of(input_shape))
    if rest and kind.endswith(".py") and Path(kind).is_file():
        raise InputError(
            f"{target}: name the module, not its file: {Path(kind).stem}:{rest}, with PYTHONPATH={Path(kind).parent}"
        )
    if path.suffix or "/" in target:
        raise InputError(f"{target}: there is no such file")
    raise InputError(
        f"{target!r} is no target: give an architecture, weights or model file, ref:NAME, pkg.mod:callable,"
        " torchvision:NAME or timm:NAME"
    )


def _arch(target: str, arch: Arch, written: Written, shape: Shape | None) -> Measured:
    if shape:
        arch = arch.adapted(shape, arch.classes)
    cost = arch.cost
    return Measured(
        target, f"{arch.id}, {by(arch.input_shape)}, {arch.classes} classes",
        measures(cost, written), tuple(layers(arch.parts(), arch.input_shape)), _aux(cost.aux_params), written.dtype,
        size_format=written.form,
    )  # fmt: skip


def _require_safetensors(target: str, form: str) -> None:
    """Raises InputError where the bytes of a module are asked for in another format."""
    if form != SAFETENSORS:
        raise InputError(
            f"{target}: the bytes of {FORMATS[form].words} files are counted of architectures, not of modules:"
            " leave --size-format out, or check the file itself"
        )


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
        values = stored(cost.params, cost.size_bytes(dtype))
    else:
        values = measures(cost, Written(dtype)) | ({"macs": None} if traced.uncounted else {})
    return Measured(target, what, values, traced.layers, note, dtype, traced.attention_macs)


def _torchvision(target: str, name: str, dtype: str, shape: Shape | None) -> Measured:
    from torchvision import models

    if name not in models.list_models():
        raise InputError(f"torchvision has no model {unknown(name, models.list_models())}")
    from archsearch.nn.profile import measure_module

    shape = shape or IMAGENET
    takes = inspect.signature(models.get_model_builder(name)).parameters
    # The backbone's weights are downloaded unless they are refused by name.
    nothing = {key: None for key in ("weights", "weights_backbone") if key in takes}
    traced = measure_module(lambda: models.get_model(name, **nothing), target, shape)
    return _traced(target, f"torchvision, {by(shape)}", traced, dtype)


def _timm(target: str, name: str, dtype: str, shape: Shape | None) -> Measured:
    try:
        timm = importlib.import_module("timm")
    except ModuleNotFoundError as error:
        raise InputError(f"{target}: needs {error.name}: pip install 'archsearch[timm]'") from None
    if not timm.is_model(name):
        raise InputError(f"timm has no model {unknown(name, timm.list_models())}")
    from archsearch.nn.profile import measure_module

    configured = timm.models.get_pretrained_cfg(name)
    shape = shape or (tuple(configured.input_size) if configured else IMAGENET)
    traced = measure_module(lambda: timm.create_model(name, pretrained=False), target, shape)
    return _traced(target, f"timm, {by(shape)}", traced, dtype)


_LIBRARIES: dict[str, Callable[[str, str, str, Shape | None], Measured]] = {"torchvision": _torchvision, "timm": _timm}


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
            raise InputError(
                f"{target}: there is no module {error.name!r} here or among the installed: say where it lies, such as"
                " by PYTHONPATH=src"
            ) from None
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
    factory: Callable[[], object] = found
    return factory
