"""Archives of `torch.export`, and what of one from elsewhere may reach `torch.export.load`.

`torch.export.load` unpickles, evaluates strings with sympy and calls any function of torch by its name. So an
archive is rebuilt before: raw tensors and a graph of `aten` operators are copied over, every string in it is
checked, and whatever a network of ours does not need (pickles, guards, stack traces, sample inputs) is left out.
"""

from __future__ import annotations

import io
import json
import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from archsearch.errors import InputError, one_line
from archsearch.nn.torch_private import call_specs

METADATA = "archsearch.json"
_GRAPH, _EXTRA = "models/model.json", f"extra/{METADATA}"
_CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
_SAMPLE = "data/sample_inputs/model.pt"
_TENSOR = re.compile(r"data/(?:weights/weight|constants/tensor)_\d+", re.A)
_PLAIN = ("archive_format", "archive_version", "byteorder", "version", ".data/version", ".data/serialization_id")

_OPERATOR = re.compile(
    r"torch\.ops\.aten\.\w+\.\w+|torch\.sym_(?:int|max|min)|_operator\.(?:add|sub|mul|floordiv|neg|getitem)", re.A
)
_SIZE = re.compile(
    r"(?:Symbol|Mul|Add|Integer|positive|nonnegative|integer|True|[su]\d+|[\d\s()+,='-]|\*(?!\*))*", re.A
)
_WORD = re.compile(r"[\w.+-]*", re.A)
_MODES = {"none", "tanh"}
"""What a string argument of an operator may be; a file name is none of these."""
_FORBIDDEN = {"as_operator", "as_graph", "as_custom_obj"}
_IN, _OUT = call_specs()


def load(path: Path, *, trusted: bool = False) -> tuple[dict[str, str], Any]:
    """The metadata of an archive, and its network as a function of pixels.

    Args:
        trusted: load the file as it is, as a user of it would.

    Raises:
        InputError: no archive of `torch.export`, none that archsearch wrote, or one that holds anything else.
    """
    try:
        members = _members(path)
        metadata = json.loads(members[_EXTRA]) if _EXTRA in members else {}
        safe = path if trusted else _rebuilt(members)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given buffer is not writable")  # torch 2.11, of its own reading
            network = torch.export.load(safe).module()
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001 - those of zip files, JSON, torch and sympy
        raise InputError(f"{path}: no .pt2 file of a network: {one_line(error)}") from None
    if not isinstance(metadata, dict):
        raise InputError(f"{path}: its metadata is no JSON object")
    return {str(key): str(value) for key, value in metadata.items()}, network


def _members(path: Path) -> dict[str, bytes]:
    """The files of the archive by their names below its top folder."""
    with zipfile.ZipFile(path) as archive:
        # torch compresses nothing: what unpacks to more than the file has was made to fill memory.
        if sum(member.file_size for member in archive.infolist()) > path.stat().st_size:
            raise ValueError("its parts are larger than it is")
        found = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
        if len(found) != len(archive.namelist()):
            raise ValueError("two of its files have one name")
    return found


def _rebuilt(members: dict[str, bytes]) -> io.BytesIO:
    """The archive again, from nothing but what was checked. Raises ValueError, KeyError, TypeError."""
    known = {_GRAPH, _EXTRA, _SAMPLE, *_CONFIGS, *_PLAIN}
    odd = sorted(name for name in members if name not in known and not _TENSOR.fullmatch(name))
    if odd:
        raise ValueError(f"it holds {odd[0]!r}")
    kept = {name: members[name] for name in members if name in _PLAIN or _TENSOR.fullmatch(name)}
    for name in _CONFIGS:
        kept[name] = json.dumps(_config(json.loads(members[name]))).encode()
    kept[_GRAPH] = json.dumps(_program(json.loads(members[_GRAPH]))).encode()
    kept[_SAMPLE] = b""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in kept.items():
            archive.writestr(f"model/{name}", data)
    buffer.seek(0)
    return buffer


def _config(config: dict[str, Any]) -> dict[str, Any]:
    """Where tensors lie: raw ones only."""
    for name, entry in config["config"].items():
        if entry["use_pickle"] is not False or not re.fullmatch(r"(?:weight|tensor)_\d+", entry["path_name"], re.A):
            raise ValueError(f"{name!r} is no plain tensor")
    _check_words(config)
    return config


def _program(program: dict[str, Any]) -> dict[str, Any]:
    """The graph, without what only debugging and other calling conventions need."""
    module = program["graph_module"]
    module["metadata"], module["treespec_namedtuple_fields"] = {}, {}
    for node in module["graph"]["nodes"]:
        node["metadata"] = {}
    signature = {"inputs": [], "outputs": [], "in_spec": "", "out_spec": "", "forward_arg_names": [_images(module)]}
    module["module_call_graph"] = [{"fqn": "", "signature": signature}]
    program["guards_code"] = []
    _check_words(program)
    signature["in_spec"], signature["out_spec"] = _IN, _OUT
    return program


def _images(module: dict[str, Any]) -> str:
    names = [spec["user_input"]["arg"]["as_tensor"]["name"] for spec in module["signature"]["input_specs"]
             if "user_input" in spec]  # fmt: skip
    if len(names) != 1:
        raise ValueError(f"it takes {len(names)} inputs, not images alone")
    return str(names[0])


def _check_words(value: Any) -> None:
    """Raise ValueError unless every string of a JSON value is harmless where it stands."""
    for key, text in _strings(value, ""):
        if not _harmless(key, text):
            raise ValueError(f"{key} {text[:80]!r} is nothing that a network of archsearch has")


def _harmless(key: str, text: str) -> bool:
    if key in _FORBIDDEN:
        return False
    if key == "as_string":
        return text in _MODES
    if key == "expr_str":
        return len(text) < 300 and _SIZE.fullmatch(text) is not None
    return (_OPERATOR if key == "target" else _WORD).fullmatch(text) is not None


def _strings(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Every string with the key under which it stands, keys themselves included."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield "key", name
            if name in _FORBIDDEN and inner is not None:
                yield name, str(inner)
            yield from _strings(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner, key)
