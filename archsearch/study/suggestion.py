"""What suits few photos, where neither the space nor the user says how to train: docs/evidence/recipe.md."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from archsearch.network.blocks.registry import Value
from archsearch.network.layers import Shape
from archsearch.network.recipe import Recipe

_FEW = 10_000
_SMALLEST = 33
_VIEWS, _LONGEST = 200_000, 40
"""Images that a candidate's training looks at, where that takes no more epochs than these."""


def suggestion(images: int, input_shape: Shape) -> dict[str, Value]:
    """Values of a recipe for so many labelled images of (channels, height, width); none is suggested for most.

    Few photos, less than 10,000 of more than 32 pixels a side, are seen more often.
    """
    if images >= _FEW or min(input_shape[1:]) < _SMALLEST:
        return {}
    return {"epochs": min(_LONGEST, _VIEWS // max(1, images))}


def kept(suggested: Mapping[str, Value], given: Collection[str], before: Recipe | None) -> dict[str, Value]:
    """What is suggested, but for a study that exists what it has: `before`, in all that is not `given` again."""
    if before is None:
        return dict(suggested)
    return {name: getattr(before, name) for name in suggested if name not in given}


def words(images: int, input_shape: Shape, recipe: Recipe) -> list[str]:
    """A line that tells which values of a recipe were suggested; none where none was."""
    found = suggestion(images, input_shape)
    taken = [f"{name}={value}" for name, value in found.items() if getattr(recipe, name) == value]
    if not taken:
        return []
    return [
        f"few photos ({images:,} of {min(input_shape[1:])} pixels): {' '.join(taken)};"
        " --epochs, --recipe or the space's [train] say otherwise"
    ]
