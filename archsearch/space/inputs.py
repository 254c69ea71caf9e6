"""The input as dims: side and colour of the images, searched with the network that sees them.

    [input]
    size = { choice = [64, 96, 128] }       # pixels of a side; images are square then
    colour = { choice = ["grey", "rgb"] }

What the table leaves out is as the dataset has it. A bare value holds for every candidate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

from archsearch.errors import InputError
from archsearch.network.blocks import Value
from archsearch.network.layers import COLOURS, Shape
from archsearch.space.dims import Choice, Dim, Float, Int

NAMES = ("size", "colour")
MOST_SIZES = 16
"""Every size is another copy of the images."""
_FEW = 4

InputDims = Mapping[str, Dim | Value]


def problems(dims: InputDims) -> list[str]:
    """What is wrong with the values of an `[input]` table whose keys are known, a line each."""
    found = []
    for name, dim in dims.items():
        if isinstance(dim, Float):
            found.append(f"input.{name}: a float dim has no end of values: use int or choice")
            continue
        values = _values(dim)
        if len(values) > MOST_SIZES:
            found.append(f"input.{name}: {len(values)} values, at most {MOST_SIZES}: each is a copy of the images")
        else:
            found += [f"input.{name} = {value!r}: {rule}" for value in values if (rule := _broken(name, value))]
    return found


def _broken(name: str, value: Value) -> str:
    """The rule that a value breaks, "" for none."""
    if name == "colour":
        return "" if value in COLOURS else f"must be one of {', '.join(COLOURS)}"
    fine = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    return "" if fine else "must be a whole number of pixels, at least 1"


def _values(dim: Dim | Value) -> Sequence[Value]:
    if isinstance(dim, Int | Choice):
        return dim.values
    assert not isinstance(dim, Float), "`problems` refuses it"
    return (dim,)


def shape_of(answers: Mapping[str, Value], base: Shape) -> Shape:
    """(channels, height, width) for answers to the dims; what they leave out is that of `base`."""
    if not answers:
        return base
    channels, height, width = base
    if "size" in answers:
        height = width = int(answers["size"])
    return COLOURS[str(answers["colour"])] if "colour" in answers else channels, height, width


def shapes(dims: InputDims, base: Shape) -> tuple[Shape, ...]:
    """Every shape that candidates may have, the largest last."""
    every = [[(name, value) for value in _values(dim)] for name, dim in dims.items()]
    return tuple(sorted(shape_of(dict(answers), base) for answers in product(*every)))


def size_of(dims: InputDims) -> int | None:
    """The largest side; None where the dataset's own is taken."""
    return max(int(value) for value in _values(dims["size"])) if "size" in dims else None


def colour_of(dims: InputDims) -> str | None:
    """The colour with the most channels; None where the dataset's own is taken."""
    return max(map(str, _values(dims["colour"])), key=lambda name: COLOURS[name]) if "colour" in dims else None


def dims_of(wanted: Sequence[Shape]) -> dict[str, Dim | Value]:
    """The dims whose candidates have these shapes.

    Raises:
        InputError: they are not square, not grey or colour, or not every size in every colour.
    """
    sides, channels = (sorted({shape[place] for shape in wanted}) for place in (1, 0))
    names = {count: name for name, count in COLOURS.items()}
    square = all(height == width for _, height, width in wanted)
    if not square or len(set(wanted)) < len(sides) * len(channels) or (len(channels) > 1 and set(channels) - {*names}):
        raise InputError(
            f"input shapes {', '.join(map(str, wanted))}: must be square, of one number of channels"
            " or every size once with 1 and once with 3"
        )
    found: dict[str, Dim | Value] = {"size": one_of(sides)}
    return found | ({"colour": one_of([names[count] for count in channels])} if len(channels) > 1 else {})


def merged(dims: InputDims, others: InputDims) -> InputDims:
    """Dims with others in their place, in the order in which they are asked."""
    every = {**dims, **others}
    return {name: every[name] for name in NAMES if name in every}


def one_of(values: Sequence[Value]) -> Dim | Value:
    """A choice, or the value where there is one."""
    return Choice(tuple(values)) if len(values) > 1 else values[0]


def words(wanted: Sequence[Shape]) -> str:
    """Shapes for people: `3x64x64, 3x96x96 or 3x128x128`; of many the first and the last."""
    shown = ["x".join(map(str, shape)) for shape in wanted]
    if len(shown) > _FEW:
        return f"{shown[0]} to {shown[-1]}"
    return " or ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
