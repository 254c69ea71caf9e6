"""What two networks have in common, layer by layer: what one of them can begin with where the other is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

from archsearch.network.arch import Arch
from archsearch.network.blocks.registry import lookup
from archsearch.network.cost import measure
from archsearch.network.layer_cost import Tensor, leaf_cost
from archsearch.network.layers import (
    Act,
    Add,
    Aux,
    Combinator,
    Concat,
    Conv,
    Dropout,
    Expr,
    Leaf,
    Linear,
    Mul,
    Norm,
    Seq,
    Shape,
)

SKIP, GATE = "skip", "gate"
_IDEMPOTENT, _FROM_ZERO = ("relu", "relu6"), ("sigmoid", "hardsigmoid")


class Layer(NamedTuple):
    """A layer with a state: the path of its module, and whose state it can take.

    `block`: its place in the network, such as `stage1.0`; `role`: where in the block; layers of equal `key` are
    relatives. `ends`: a residual branch ends with it.
    """

    path: str
    block: str
    role: tuple[str, ...]
    leaf: Leaf
    tensors: tuple[Tensor, ...]
    ends: bool
    key: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kinship:
    """The layers of a network, each with its relative in another one, None where it has none.

    `share`: of the network's parameters what its relatives have; `nearness`: the same of both networks' parameters
    together, 1 where they are equal.
    """

    pairs: tuple[tuple[Layer, Layer | None], ...]
    share: float
    nearness: float

    @property
    def new_blocks(self) -> set[str]:
        """Places of blocks without a relative."""
        return {mine.block for mine, _ in self.pairs} - {mine.block for mine, theirs in self.pairs if theirs}


def kinship(child: Arch, parent: Arch) -> Kinship:
    """Compare two networks. Raises SpecError where one of them makes no network."""
    theirs = {layer.key: layer for layer in layers_of(parent)}
    pairs = tuple((mine, theirs.get(mine.key)) for mine in layers_of(child))
    common = sum(_common(mine, other) for mine, other in pairs if other)
    own, whole = (sum(map(_params, layers_of(arch))) for arch in (child, parent))
    return Kinship(pairs, common / max(1, own), common / max(1, own + whole - common))


def layers_of(arch: Arch) -> tuple[Layer, ...]:
    """Every layer with a state in the order of the module's, without auxiliary classifiers. Raises SpecError."""
    return tuple(_found(arch))


def _found(arch: Arch) -> Iterator[Layer]:
    shape = arch.input_shape
    stages = iter(arch.stages)
    for name, expr, cost in arch.unroll():
        if name in ("stem", "head"):
            part = arch.stem if name == "stem" else arch.head
            yield from _named(name, part.type, _walk(expr, name, name, (), shape), lookup(name, part.type).layers)
        else:
            yield from _stage(name, next(stages).block, expr, shape)
        shape = cost.out


def _stage(name: str, block: str, expr: Expr, shape: Shape) -> Iterator[Layer]:
    roles = lookup("block", block).layers
    assert isinstance(expr, Seq)
    for i, part in enumerate(expr.parts):
        if not isinstance(part, Aux):
            place = f"{name}.{i}"
            yield from _named(place, block, _walk(part, place, place, (), shape), roles)
        shape = measure(part, shape).out


def _walk(expr: Expr, path: str, block: str, role: tuple[str, ...], shape: Shape) -> list[Layer]:
    """The layers of a part, not named yet."""
    if isinstance(expr, Leaf):
        tensors = leaf_cost(expr, shape).tensors
        return [Layer(path, block, role, expr, tensors, False)] if tensors else []
    assert isinstance(expr, Combinator)
    found: list[Layer] = []
    for i, part in enumerate(expr.parts):
        inner = _walk(part, f"{path}.{i}", block, (*role, *_branch(expr, i)), shape)
        found += _ended(inner) if isinstance(expr, Add) and i else inner
        if isinstance(expr, Seq):
            shape = measure(part, shape).out
    return found


def _branch(expr: Combinator, i: int) -> tuple[str, ...]:
    """What sets a branch apart: the main one, the second of a sum, has the role of a block without a shortcut."""
    if isinstance(expr, Add):
        return () if i == 1 else (SKIP if i == 0 else f"sum{i}",)
    if isinstance(expr, Mul):
        return (GATE,) if i else ()
    return (f"{expr.kind}{i}",) if isinstance(expr, Concat) else ()


def _ended(branch: list[Layer]) -> list[Layer]:
    """A residual branch whose last layer of weights is marked."""
    ends = [
        i for i, layer in enumerate(branch) if GATE not in layer.role and isinstance(layer.leaf, Conv | Norm | Linear)
    ]
    return [layer._replace(ends=layer.ends or i == ends[-1]) if ends else layer for i, layer in enumerate(branch)]


def _named(place: str, owner: str, layers: Sequence[Layer], roles: tuple[str, ...]) -> list[Layer]:
    """The layers with their keys: weights are counted by their role, or called as the block's registration says."""
    main = sum(isinstance(layer.leaf, Conv | Linear) and not layer.role for layer in layers)
    counts: Counter[tuple[str, ...]] = Counter()
    last: dict[tuple[str, ...], str] = {}
    found = []
    for layer in layers:
        if isinstance(layer.leaf, Norm):
            word = last.get(layer.role, "")
        else:
            kind = (*layer.role, "" if isinstance(layer.leaf, Conv | Linear) else type(layer.leaf).__name__)
            word = _word(roles, counts[kind], main) if roles and not any(kind) else f"{counts[kind]}"
            counts[kind] += 1
            last[layer.role] = word
        key = (place, "" if roles else owner, *layer.role, word, _kind(layer))
        found.append(layer._replace(key=(*key, str(counts[key]))))
        counts[key] += 1
    return found


def _word(roles: tuple[str, ...], number: int, of: int) -> str:
    """What the so manyth of a block's weights is called: fewer have the last names, more repeat the last one."""
    at = number + max(0, len(roles) - of)
    return roles[at] if at < len(roles) else f"{roles[-1]}{at - len(roles) + 1}"


def _kind(layer: Layer) -> str:
    """Layers of other kinds cannot take each other's state. A linear layer is a 1x1 convolution of one pixel."""
    if isinstance(layer.leaf, Conv) and layer.leaf.groups > 1:
        alone = layer.tensors[0].shape[1] == 1
        return "depthwise" if alone else f"groups{layer.leaf.groups}"
    return "weights" if isinstance(layer.leaf, Conv | Linear) else type(layer.leaf).__name__


def _params(layer: Layer) -> int:
    return sum(prod(tensor.shape) for tensor in layer.tensors if tensor.kind == "param")


def _common(mine: Layer, theirs: Layer) -> int:
    """Parameters that are in both, by index."""
    others = {tensor.name: tensor.shape for tensor in theirs.tensors if tensor.kind == "param"}
    return sum(_overlap(t.shape, others[t.name]) for t in mine.tensors if t.kind == "param" and t.name in others)


def _overlap(mine: Shape, theirs: Shape) -> int:
    rank = max(len(mine), len(theirs))
    return prod(min(a, b) for a, b in zip(_padded(mine, rank), _padded(theirs, rank), strict=True))


def _padded(shape: Shape, rank: int) -> Shape:
    return (*shape, *(1,) * (rank - len(shape)))


def begins_as_identity(expr: Expr) -> bool:
    """Whether a block whose residual branches are zero passes on what is not negative, as far as its layers tell."""
    if isinstance(expr, Seq) and expr.parts:
        first, *rest = expr.parts
        return begins_as_identity(first) and all(isinstance(p, Act) and p.name in _IDEMPOTENT for p in rest)
    if not isinstance(expr, Add):
        return False
    shortcut, *branches = expr.parts
    return shortcut == Seq(()) and all(map(_can_be_zero, branches))


def _can_be_zero(branch: Expr) -> bool:
    """Whether a branch ends with weights that we know, but for gates and activations that keep zero."""
    parts = branch.parts if isinstance(branch, Seq) else (branch,)
    ends = [part for part in parts if not _keeps_zero(part)]
    return bool(ends) and isinstance(ends[-1], Conv | Norm | Linear)


def _keeps_zero(part: Expr) -> bool:
    if isinstance(part, Act):
        return part.name not in _FROM_ZERO
    return isinstance(part, Dropout) or (isinstance(part, Mul) and part.parts[0] == Seq(()))
