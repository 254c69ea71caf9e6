"""Search-space files: read with every fault gathered before one is raised."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from archsearch._utils.files import shipped_folder
from archsearch._utils.tomlfile import parse_toml, read_text
from archsearch.errors import SpecError
from archsearch.network.arch import Arch
from archsearch.network.arch_file import ABOUT
from archsearch.network.blocks import Value, lookup, names, unknown
from archsearch.network.blocks.imports import file_of, load
from archsearch.network.blocks.registry import a_type, is_a
from archsearch.network.layers import Shape
from archsearch.network.recipe import FIELDS, Recipe, check_values
from archsearch.network.stage import DOWNS, STAGE_KEYS
from archsearch.space import inputs
from archsearch.space.dims import DIM_KINDS, Choice, Dim, Float, Int, parse_dim
from archsearch.space.space import SearchSpace, Slot, ends

SMALL_SPACE, PHOTO_SPACE = "resnin", "photos"
SMALL = 32
"""Pixels a side up to which `SMALL_SPACE` is the default; it begins at the images' resolution."""
_STAGE_TYPES = {key: kind for key, kind in STAGE_KEYS.items() if key != "block"}
_TOP_KEYS = ("import", "summary", "input", "stem", "stage", "head", "train")


def shipped() -> dict[str, Path]:
    """The spaces that come with archsearch: name to file."""
    return {path.stem: path for path in sorted(shipped_folder().glob("*.toml"))}


def default_space(input_shape: Shape) -> str:
    """The shipped space for images of a shape (channels, height, width): `resnin` up to 32 pixels, `photos` above."""
    return SMALL_SPACE if max(input_shape[1:]) <= SMALL else PHOTO_SPACE


def load_space(name: str) -> SearchSpace:
    """A shipped space by name, or a space file by path. An architecture file is a space of one candidate.

    What it names under `import`, Python files beside it, is run: they register blocks of the user's own.

    Raises:
        SpecError: unknown name, missing file, or a file with faults, all of them named at once.
        InputError: a file that it imports is missing or fails.
    """
    path = _path(name)
    for own in imports_of(name):
        load(str(own))
    return parse_space(read_text(path), path.stem, str(path))


def imports_of(name: str) -> list[Path]:
    """The Python files that a space names under `import`, relative to its own file. Raises SpecError, InputError."""
    path = _path(name)
    named = parse_toml(read_text(path), str(path)).get("import", [])
    if not isinstance(named, list) or not all(isinstance(one, str) and one.endswith(".py") for one in named):
        raise SpecError(f"import = {named!r}: must be a list of Python files, such as ['myblock.py']", str(path))
    return [found for one in named if (found := file_of(one, path.parent.absolute()))]


def space_text(name: str) -> str:
    """The text of a space's file. Raises SpecError as `load_space` does."""
    return read_text(_path(name))


def _path(name: str) -> Path:
    path = shipped().get(name) or Path(name)
    if path.suffix != ".toml" and not path.exists():
        raise SpecError(f"there is no search space {unknown(name, shipped())}; or give a .toml file")
    return path


def parse_space(text: str, name: str, where: str = "") -> SearchSpace:
    """Read a space file's text; what it imports must have been. Raises SpecError with every fault at once."""
    data = parse_toml(text, where)
    pinned: dict[str, Value] = {}
    if not isinstance(data.get("input", {}), Mapping):  # a shape: an architecture file
        arch = Arch.from_dict({key: value for key, value in data.items() if key != "import"}, where)
        pinned = dict(arch.recipe)
        if problems := [problem for name, value in pinned.items() for problem in _recipe(name, value)]:
            raise SpecError([f"recipe: {problem}" for problem in problems], where)
        data = {key: value for key, value in data.items() if key not in ("input", "classes", "recipe", "import", ABOUT)}
    reader = _SpaceReader()
    space = reader.space(data, name, where, pinned)
    if reader.problems:
        raise SpecError(reader.problems, where)
    return space


class _SpaceReader:
    """Reads plain values into a `SearchSpace` and gathers every fault on the way."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def space(self, data: Mapping[str, Any], name: str, where: str, pinned: dict[str, Value]) -> SearchSpace:
        self.problems += [f"no key {unknown(key, _TOP_KEYS)}" for key in data if key not in _TOP_KEYS]
        self.problems += [f"{key!r} is missing" for key in ("stem", "head") if key not in data]
        summary = data.get("summary", "")
        if not isinstance(summary, str):
            self.problems.append(f"summary = {summary!r}: must be a string")
        ends = {kind: self.slot(kind, kind, data.get(kind, {"type": "none"})) for kind in ("stem",)}
        ends["head"] = self.slot("head", "head", data.get("head", {"type": "linear"}))
        stages = self.stages(data.get("stage", []))
        train = self.train(data.get("train", {}))
        shown = self.input(data.get("input", {}))
        return SearchSpace(name, str(summary), ends["stem"], stages, ends["head"], train, pinned, where, shown)

    def input(self, table: Mapping[str, object]) -> dict[str, Dim | Value]:
        self.problems += [f"input: no key {unknown(key, inputs.NAMES)}" for key in table if key not in inputs.NAMES]
        found = self.table("input", {name: table[name] for name in inputs.NAMES if name in table})
        self.problems += inputs.problems(found)
        return found

    def stages(self, value: object) -> tuple[Slot, ...]:
        if not isinstance(value, list) or not all(isinstance(stage, Mapping) for stage in value):
            self.problems.append("stage: must be an array of tables, [[stage]]")
            return ()
        if len(value) > 100:
            self.problems.append(f"stage: {len(value)} stages, at most 100")
            return ()
        return tuple(self.slot(f"stage{i}", "block", stage) for i, stage in enumerate(value, 1))

    def slot(self, label: str, kind: str, table: object) -> Slot:
        if not isinstance(table, Mapping):
            self.problems.append(f"{label}: must be a table")
            return Slot(label, kind, "", {}, {})
        key = "block" if kind == "block" else "type"
        known = names(kind)
        table = {name: sub for name, sub in table.items() if not self.stray(label, kind, name, sub)}
        nested = {
            name: dict(sub)
            for name, sub in table.items()
            if name in known and isinstance(sub, Mapping) and not DIM_KINDS & sub.keys()
        }
        flat = {name: sub for name, sub in table.items() if name not in nested}
        fields = {name: dim for name, spec in flat.items() if (dim := self.dim(f"{label}.{name}", spec)) is not None}
        inner = {chosen: self.table(f"{label}.{chosen}", sub) for chosen, sub in nested.items()}
        needed = (key, "width") if kind == "block" else (key,)
        self.problems += [f"{label}: {name!r} is missing" for name in needed if name not in flat]
        readable = key in fields
        slot = Slot(label, kind, fields.pop(key, ""), fields, inner)
        if readable:
            self.check_slot(slot)
        return slot

    def stray(self, label: str, kind: str, name: str, sub: object) -> bool:
        """Whether this is a nested table for a type that does not exist; notes the problem."""
        if not isinstance(sub, Mapping) or DIM_KINDS & sub.keys():
            return False
        known = names(kind)
        dims = {dim for entry in known for dim in lookup(kind, entry).dims}
        if name in (*known, *dims, *_STAGE_TYPES, "block", "type"):
            return False
        self.problems.append(f"{label}.{name}: there is no {kind} {unknown(name, known)}")
        return True

    def table(self, label: str, table: Mapping[str, object]) -> dict[str, Dim | Value]:
        pairs = ((name, self.dim(f"{label}.{name}", spec)) for name, spec in table.items())
        return {name: dim for name, dim in pairs if dim is not None}

    def dim(self, label: str, spec: object) -> Dim | Value | None:
        try:
            return parse_dim(spec)
        except ValueError as error:
            self.problems.append(f"{label}: {error}")
            return None

    def check_slot(self, slot: Slot) -> None:
        """Types that exist, dims that they know, values of the right type."""
        options = [name for name in slot.options if self.exists(slot, name)]
        for name in slot.nested:
            if name not in slot.options:
                self.problems.append(f"{slot.label}.{name}: {slot.selector_key} is never {name!r} here")
        if slot.kind == "block":
            self.check_stage(slot)
        for chosen in options:
            stage_types = _STAGE_TYPES if slot.kind == "block" else {}
            types = {
                **{name: wanted for name, (wanted, _) in lookup(slot.kind, chosen).dims.items()},
                **stage_types,
            }
            self.check_types(slot.label, f"{slot.kind} {chosen!r}", slot.fields, types)
            inside = {name: wanted for name, wanted in types.items() if name not in stage_types}
            self.check_types(f"{slot.label}.{chosen}", f"{slot.kind} {chosen!r}", slot.nested.get(chosen, {}), inside)

    def exists(self, slot: Slot, name: Value) -> bool:
        try:
            lookup(slot.kind, str(name))
        except SpecError as error:
            self.problems += [f"{slot.label}: {problem}" for problem in error.problems]
            return False
        return True

    def check_stage(self, slot: Slot) -> None:
        for name, lowest in (("width", 1), ("depth", 0), ("stride", 1)):
            low = min(
                (v for v in _bounds(slot.fields.get(name, lowest)) if isinstance(v, int | float)),
                default=lowest,
            )
            if low < lowest:
                self.problems.append(f"{slot.label}.{name} = {low}: must be at least {lowest}")
        for value in _bounds(slot.fields.get("down", "stride")):
            if value not in DOWNS:
                self.problems.append(f"{slot.label}.down = {value!r}: must be one of {', '.join(DOWNS)}")
        for value in _bounds(slot.fields.get("aux", "")):
            if value != "" and value not in names("head"):
                self.problems.append(f"{slot.label}.aux: there is no head {unknown(value, names('head'))}")

    def check_types(self, label: str, what: str, fields: Mapping[str, Dim | Value], types: Mapping[str, type]) -> None:
        for name, dim in fields.items():
            if name not in types:
                self.note(f"{label}: {what} has no {unknown(name, types)}")
            elif wrong := [value for value in _bounds(dim) if not is_a(value, types[name])]:
                self.note(f"{label}.{name} = {wrong[0]!r}: {what} takes {a_type(types[name])} here")

    def note(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)

    def train(self, table: object) -> dict[str, Dim | Value]:
        if not isinstance(table, Mapping):
            self.problems.append("train: must be a table")
            return {}
        found = self.table("train", table)
        self.problems += [f"train: {problem}" for problem in check_values(dict.fromkeys(set(found) - set(FIELDS), 0))]
        for name, dim in found.items():
            if name in FIELDS:
                self.problems += [f"train: {problem}" for value in _bounds(dim) for problem in _recipe(name, value)]
        return found


def _recipe(name: str, value: Value) -> list[str]:
    try:
        Recipe().with_values({name: value})
    except SpecError as error:
        return error.problems
    return []


def _bounds(dim: Dim | Value) -> tuple[Value, ...]:
    """The values that say whether all of a dim is in range and of one type."""
    return ends(dim) if isinstance(dim, Int | Float | Choice) else (dim,)
