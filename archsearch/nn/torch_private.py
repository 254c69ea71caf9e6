"""All that uses torch's private parts, each with a plain way for versions of torch that lack it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

try:
    from torch.utils._python_dispatch import TorchDispatchMode
except ImportError:
    TorchDispatchMode = None  # type: ignore[assignment, misc]

CAN_TRACE = TorchDispatchMode is not None
DispatchMode: Any = TorchDispatchMode if CAN_TRACE else object
"""A context manager whose `__torch_dispatch__` is told of every operator; nothing where not `CAN_TRACE`."""

_IMAGES_AS_JSON = (
    '[1, {"type": "builtins.tuple", "context": "null", "children_spec": [{"type": "builtins.tuple", "context": "null",'
    ' "children_spec": [{"type": null, "context": null, "children_spec": []}]}, {"type": "builtins.dict", "context":'
    ' "[]", "children_spec": []}]}]'
)
_TENSOR_AS_JSON = '[1, {"type": null, "context": null, "children_spec": []}]'


def foreach(name: str, tensors: Sequence[Tensor], *others: Any, **options: Any) -> list[Tensor]:
    """A method of every tensor, by torch's fused kernels where it has them.

    Args:
        name: of the tensor's method: add, mul_, norm.
        others: its arguments; a list or tuple has one for each tensor.
    """
    fused = getattr(torch, f"_foreach_{name}", None)
    if fused is not None:
        return list(fused(tensors, *others, **options) or tensors)
    columns = [other if isinstance(other, list | tuple) else [other] * len(tensors) for other in others]
    return [getattr(tensor, name)(*rest, **options) for tensor, *rest in zip(tensors, *columns, strict=True)]


def memory_of(tensor: Tensor) -> int:
    """A number that tensors share whose memory is the same, while one of them lives; on the meta device too."""
    storage = tensor.untyped_storage()
    return int(getattr(storage, "_cdata", None) or id(storage))


def written_by(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], outputs: Sequence[Tensor]) -> list[Tensor]:
    """The arguments of an operator that it writes to; without a schema those that it returns."""
    schema = getattr(func, "_schema", None)
    if schema is None:
        given = [*args, *kwargs.values()]
        return [output for output in outputs if any(output is value for value in given)]
    values = {argument.name: value for argument, value in zip(schema.arguments, args, strict=False)} | dict(kwargs)
    written = [values.get(argument.name) for argument in schema.arguments if _is_written(argument)]
    return [value for value in written if isinstance(value, Tensor)]


def _is_written(argument: Any) -> bool:
    return argument.alias_info is not None and bool(argument.alias_info.is_write)


def call_specs() -> tuple[str, str]:
    """How `torch.export` writes down that a function takes images alone, and that it returns one tensor."""
    try:
        from torch.utils import _pytree

        trees = _pytree.tree_structure(((0,), {})), _pytree.tree_structure(0)
        return _pytree.treespec_dumps(trees[0]), _pytree.treespec_dumps(trees[1])
    except (ImportError, AttributeError):
        return _IMAGES_AS_JSON, _TENSOR_AS_JSON


def leaves(tree: Any) -> Iterator[Any]:
    """What lies in nested lists, tuples and dicts, in order."""
    if isinstance(tree, Mapping):
        tree = tuple(tree.values())
    if isinstance(tree, list | tuple):
        for branch in tree:
            yield from leaves(branch)
    else:
        yield tree
