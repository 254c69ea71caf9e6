"""What an architecture file holds, read with every fault gathered before one is raised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from archsearch.errors import SpecError
from archsearch.network.blocks import Value, lookup, unknown
from archsearch.network.layers import Shape
from archsearch.network.stage import STAGE_KEYS, Part, Stage

_TOP_KEYS = ("input", "classes", "stem", "stage", "head", "recipe")
ABOUT = "about"
"""Whatever stands under this key says where a network comes from; it is no part of the network."""


def read_fields(data: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The fields of an `Arch`, of plain values.

    Raises:
        SpecError: unknown or missing keys, wrong types, unknown blocks or dims; `where` says in which file.
    """
    return _ArchReader(where).fields(data)


class _ArchReader:
    """Reads plain values and gathers every fault on the way."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.problems: list[str] = []

    def fields(self, data: Mapping[str, Any]) -> dict[str, Any]:
        self.problems += [f"no key {unknown(key, _TOP_KEYS)}" for key in data if key not in (*_TOP_KEYS, ABOUT)]
        missing = [key for key in _TOP_KEYS[:-1] if key not in data]
        self.problems += [f"{key!r} is missing" for key in missing]
        shape = self.shape(data.get("input", [1, 8, 8]))
        classes = data.get("classes", 1)
        if not isinstance(classes, int) or isinstance(classes, bool) or classes < 1:
            self.problems.append(f"classes = {classes!r}: must be a whole number of at least 1")
        stem, head = (self.part(kind, data.get(kind, {})) for kind in ("stem", "head"))
        stages = self.stages(data.get("stage", []))
        recipe = self.recipe(data.get("recipe", {}))
        if self.problems:
            raise SpecError(self.problems, self.where)
        return {
            "input_shape": shape, "classes": classes, "stem": stem, "stages": stages, "head": head, "recipe": recipe,
        }  # fmt: skip

    def shape(self, value: object) -> Shape:
        if isinstance(value, list) and len(value) == 3 and all(type(v) is int and v >= 1 for v in value):
            channels, height, width = value
            return channels, height, width
        self.problems.append(f"input = {value!r}: must be [channels, height, width], whole numbers")
        return (1, 1, 1)

    def part(self, kind: str, value: object) -> Part:
        if not isinstance(value, Mapping):
            self.problems.append(f"{kind}: must be a table")
            return Part("")
        dims = dict(value)
        name = dims.pop("type", None)
        if value and not isinstance(name, str):
            self.problems.append(f"{kind}: 'type' is missing")
        if isinstance(name, str):
            self.look_up(kind, kind, name, dims)
        return Part(str(name), tuple(dims.items()))

    def stages(self, value: object) -> tuple[Stage, ...]:
        if not isinstance(value, list) or not all(isinstance(stage, Mapping) for stage in value):
            self.problems.append("stage: must be an array of tables, [[stage]]")
            return ()
        found = (self.stage(f"stage{i}", dict(stage)) for i, stage in enumerate(value, 1))
        return tuple(stage for stage in found if stage)

    def stage(self, label: str, dims: dict[str, Any]) -> Stage | None:
        own = {key: dims.pop(key) for key in STAGE_KEYS if key in dims}
        missing = [key for key in ("block", "width") if key not in own]
        self.problems += [f"{label}: {key!r} is missing" for key in missing]
        if missing:
            return None
        self.look_up(label, "block", own["block"], dims, extra=STAGE_KEYS)
        try:
            return Stage(**own, dims=tuple(dims.items()))
        except SpecError as error:
            self.problems += [f"{label}: {problem}" for problem in error.problems]
            return None

    def look_up(
        self,
        label: str,
        kind: str,
        name: object,
        dims: dict[str, Any],
        extra: Mapping[str, object] | None = None,
    ) -> None:
        try:
            entry = lookup(kind, str(name))
        except SpecError as error:
            self.problems += [f"{label}: {problem}" for problem in error.problems]
            return
        known = {**entry.dims, **dict.fromkeys(extra or ["type"])}
        for dim, value in dims.items():
            if dim not in entry.dims:
                self.problems.append(f"{label}: {kind} {name!r} has no {unknown(dim, known)}")
            else:
                self.problems += [f"{label}: {problem}" for problem in entry.problems([(dim, value)])]

    def recipe(self, value: object) -> dict[str, Value]:
        if not isinstance(value, Mapping) or not all(isinstance(v, int | float | str) for v in value.values()):
            self.problems.append("recipe: must be a table of numbers, strings and booleans")
            return {}
        return dict(value)
