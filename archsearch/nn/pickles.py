"""The tensors of files by `torch.save` and `torch.jit.save`: names, shapes and dtypes, without torch.

The pickle in such a file is read with a stand-in for every class and function it names, so nothing of it is run.
"""

from __future__ import annotations

import io
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

from archsearch.errors import InputError, one_line
from archsearch.network.cost import Layer
from archsearch.nn.measured import Counted, Stored, by

_WIDTHS = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "C64": 8, "C128": 16,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1, "Q32": 4, "F8": 1,
}  # fmt: skip
_DTYPES = {
    "double": "F64", "float64": "F64", "float": "F32", "float32": "F32", "half": "F16", "float16": "F16",
    "bfloat16": "BF16", "complexfloat": "C64", "complex64": "C64", "complexdouble": "C128", "complex128": "C128",
    "long": "I64", "int64": "I64", "int": "I32", "int32": "I32", "short": "I16", "int16": "I16", "char": "I8",
    "int8": "I8", "byte": "U8", "uint8": "U8", "bool": "BOOL", "qint8": "I8", "quint8": "I8", "qint32": "Q32",
}  # fmt: skip
_REBUILD = ("_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_qtensor")
_CLASS = re.compile(r"^class (\w+)\(Module\):\n  __parameters__ = \[(.*)\]", re.MULTILINE)
_PACKED = "__torch__.torch.classes."


class Tensor(tuple[Any, ...]):
    """(storage, offset, shape, dtype): equal where two names share one tensor."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        """What a subclass of torch.Tensor keeps beside its values is left out."""

    @property
    def stored(self) -> Stored:
        """Its shape, dtype and bytes."""
        return Stored(self[2], self[3], prod(self[2]) * _WIDTHS.get(self[3], 1))


class Opaque(dict[Any, Any]):
    """Stands for an object of any class: `path` names the class, `state` is what it was saved with."""

    path = ""

    def __init__(self, *args: object) -> None:
        super().__init__()
        self.state: object = args

    def __hash__(self) -> int:  # type: ignore[override]  # a dict has none
        return id(self)

    def __setstate__(self, state: object) -> None:
        self.state = state

    def __call__(self, *_: object) -> Opaque:
        return self

    def append(self, _: object) -> None:
        """Lists of other classes are not kept."""

    extend = add = append


def archive(path: Path) -> list[str]:
    """The names in a zip file, without its top folder; none where it is no zip file."""
    try:
        with zipfile.ZipFile(path) as file:
            return [name.partition("/")[2] for name in file.namelist()]
    except (zipfile.BadZipFile, OSError):
        return []


def read(path: Path, member: str = "data.pkl") -> Any:
    """The object in a zip file by torch, of dicts, lists, plain values, `Tensor` and `Opaque`. Raises InputError."""
    try:
        with zipfile.ZipFile(path) as file:
            name = next(name for name in file.namelist() if name.partition("/")[2] == member)
            return _Reader(file, name).load()
    except Exception as error:  # noqa: BLE001 - a pickle may be broken in any way
        raise InputError(f"{path}: no state dict: it is broken or not by torch: {one_line(error)}") from None


class _Reader(pickle.Unpickler):
    def __init__(self, file: zipfile.ZipFile, name: str) -> None:
        super().__init__(io.BytesIO(file.read(name)))
        top = name.partition("/")[0]
        folder = "constants" if name.endswith("/constants.pkl") else "data"
        self._prefix = f"{top}/{folder}/"
        self._sizes = {member.filename: member.file_size for member in file.infolist()}

    def find_class(self, module: str, name: str) -> Any:
        """A stand-in, whatever is named."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch._utils" and name in _REBUILD:
            return _tensor
        if module in ("torch._utils", "torch._tensor") and name.startswith(
            ("_rebuild_parameter", "_rebuild_from_type")
        ):
            return _parameter if name.startswith("_rebuild_parameter") else _subclass
        return type(name, (Opaque,), {"path": f"{module}.{name}"})

    def persistent_load(self, pid: Any) -> tuple[str, str]:
        """A storage as (its name in the file, its dtype). Raises ValueError where its bytes are not in the file."""
        _, kind, key, _, values = pid
        dtype = _DTYPES.get(kind.path.rpartition(".")[2].removesuffix("Storage").lower(), "U8")
        member = next((self._prefix + name for name in (str(key), f"{key}.storage")), "")
        if self._sizes.get(member, 0) < values * _WIDTHS[dtype]:
            raise ValueError(f"the bytes of storage {key!r} are not in it")
        return member, dtype


def _tensor(storage: tuple[str, str], offset: int, shape: tuple[int, ...], *rest: Any) -> Tensor:
    name, dtype = storage
    named = next((one.path for one in rest if isinstance(one, type) and issubclass(one, Opaque)), "")
    kind = named.rpartition(".")[2]
    dtype = "F8" if kind.startswith("float8") else _DTYPES.get(kind, dtype)
    if not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"a tensor has the shape {shape}")
    return Tensor((name, offset, tuple(shape), dtype))


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _subclass(function: Any, kind: Any, args: tuple[Any, ...], *_: Any) -> Any:
    return function(*args)


def described(tensor: Any) -> Tensor:
    """A tensor of torch as what stands for it."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    key = str(tensor.untyped_storage().data_ptr())
    return _tensor((key, _DTYPES.get(dtype, "F8")), int(tensor.storage_offset()), tuple(tensor.shape))


def tensors(tree: object, seen: set[int] | None = None) -> Iterator[Tensor]:
    """Every tensor in an object."""
    seen = set() if seen is None else seen
    if isinstance(tree, Tensor):
        yield tree
        return
    if not isinstance(tree, dict | list | tuple) or id(tree) in seen:
        return
    seen.add(id(tree))
    inner = [*tree.values(), getattr(tree, "state", None)] if isinstance(tree, dict) else tree
    for value in inner:
        yield from tensors(value, seen)


def torchscript(path: Path) -> Counted:
    """The parameters of a file by `torch.jit.save`, as its code declares them; tied ones once.

    What `torch.jit.freeze` has made constants counts too. Raises InputError for a broken file.
    """
    root = read(path)
    declared = _declared(path)
    found: dict[Tensor, str] = {}
    packed = []
    for name, owner in _objects(root, "", set()):
        if owner.path.startswith(_PACKED):
            packed.append(name)
        for key in declared.get(owner.path, ()):
            value = owner.state.get(key) if isinstance(owner.state, dict) else None
            if isinstance(value, Tensor):
                found.setdefault(value, f"{name}.{key}".removeprefix("."))
    if not found:
        constants = [one for one in tensors(read(path, "constants.pkl")) if one[3][0] in "FBC" and one[3] != "BOOL"]
        found = {one: f"constant {i}" for i, one in enumerate(constants)}
    rows = tuple(Layer(name, by(one[2]), prod(one[2]), 0, 0) for one, name in found.items())
    if packed:
        return Counted(notes=(f"{packed[0]}: packed weights of a quantised module",))
    total = sum(row.params for row in rows)
    return Counted(total, None, rows, ("pkg.mod:callable, which builds the module, counts macs",))


def _declared(path: Path) -> Mapping[str, list[str]]:
    """The names of parameters by the class that TorchScript's code gives them to."""
    found = {}
    with zipfile.ZipFile(path) as file:
        for name in file.namelist():
            inner = name.partition("/")[2]
            if inner.startswith("code/") and inner.endswith(".py"):
                module = inner[len("code/") : -len(".py")].replace("/", ".")
                for kind, names in _CLASS.findall(file.read(name).decode(errors="replace")):
                    found[f"{module}.{kind}"] = re.findall(r'"([^"]+)"', names)
    return found


def _objects(value: object, name: str, seen: set[int]) -> Iterator[tuple[str, Opaque]]:
    if not isinstance(value, Opaque) or id(value) in seen:
        return
    seen.add(id(value))
    yield name, value
    if isinstance(value.state, dict):
        for key, inner in value.state.items():
            yield from _objects(inner, f"{name}.{key}".removeprefix("."), seen)
