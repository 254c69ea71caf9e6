"""What a search space holds: how many networks, the smallest and the largest, the share inside a budget.

Two numbers are exact. `descriptions` counts the different answers that `draw` can be given, a sum over types of
products over dims. `distinct` counts different networks, by layers as `Arch.id` does: dims that change nothing
(how to pool where the stride is 1), stages that run into each other and descriptions that make no network all
drop out. It walks the space as an automaton whose words are layer sequences: for every slot and every shape
that reaches it, the sequences that the slot can put there; subsets of states that one prefix leads to are one
state, so every word is counted once.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from archsearch.errors import SpecError
from archsearch.network.arch import MAX_BLOCKS, Arch
from archsearch.network.blocks import Value
from archsearch.network.budget import Budget
from archsearch.network.layers import Expr, Seq, Shape, canonical, flat, seq
from archsearch.space.dims import Dim, Float
from archsearch.space.space import SearchSpace, Slot

SEQUENCES = 60_000
"""Above so many layer sequences in all slots, `distinct` gives up."""
_DIGITS = "0123456789"


def descriptions(space: SearchSpace) -> int | None:
    """The exact number of different draws, recipes included; None where a float dim makes it infinite."""
    slots = [_slot_count(slot) for slot in (space.stem, *space.stages, space.head)]
    return _product([*slots, recipes(space)])


def recipes(space: SearchSpace) -> int | None:
    """The exact number of searched recipes; None for infinite."""
    return _product([_size(dim) for dim in space.train.values()])


def _slot_count(slot: Slot) -> int | None:
    """Depth 0 is one description; above, every type has its own nested dims."""
    skipped, depths = _depths(slot)
    own = _product([_size(dim) for name, dim in slot.fields.items() if name != "depth"])
    nested = [_product([_size(dim) for dim in slot.nested.get(name, {}).values()]) for name in slot.options]
    if own is None or None in nested:
        return None
    return skipped + depths * own * sum(filter(None, nested))


def _depths(slot: Slot) -> tuple[int, int]:
    """How many of the depths leave the stage out, and how many do not."""
    values = _values(slot.fields.get("depth", 1))
    skipped = sum(value == 0 for value in values)
    return skipped, len(values) - skipped


def _product(sizes: list[int | None]) -> int | None:
    return None if None in sizes else prod(size for size in sizes if size is not None)


def _size(dim: Dim | Value) -> int | None:
    return None if isinstance(dim, Float) and dim.low < dim.high else len(_values(dim))


def _values(dim: Dim | Value) -> tuple[Value, ...] | range:
    if isinstance(dim, Float):
        return (dim.low,)
    return dim.values if isinstance(dim, Dim) else (dim,)


def distinct(space: SearchSpace, input_shape: Shape, classes: int) -> int | None:
    """The exact number of networks with different layers, recipes apart; None for infinite or too many to walk."""
    slots = (space.stem, *space.stages, space.head)
    alone = [_slot_count(slot) for slot in slots]
    if any(count is None or count > SEQUENCES for count in alone) or _deepest(space) > MAX_BLOCKS:
        return None
    try:
        return _Automaton(slots, tuple(input_shape), classes).words()
    except _TooMany:
        return None


def _deepest(space: SearchSpace) -> int:
    return sum(int(_values(slot.fields.get("depth", 1))[-1]) for slot in space.stages)


class _TooMany(Exception):
    pass


Place = tuple[int, Shape]
"""Slot to come and the shape that it reads."""


class _Node:
    """What may follow a prefix of one slot's sequences, and where a sequence that ends here leads."""

    __slots__ = ("ends", "steps")

    def __init__(self) -> None:
        self.steps: dict[int, _Node] = {}
        self.ends: set[Place] = set()


class _Automaton:
    """Every layer sequence of a space. Letters are numbers of layers (or blocks) with equal canonical form."""

    def __init__(self, slots: tuple[Slot, ...], shape: Shape, classes: int) -> None:
        self.slots = slots
        self.start = (0, shape)
        self.goal = (len(slots), (classes,))
        self.classes = classes
        self.known = 0
        self.alphabet: dict[str, int] = {}
        self.letters: dict[Expr, int] = {}
        self.roots: dict[Place, _Node] = {}
        self.opened: dict[_Node, frozenset[_Node]] = {}
        self.counts: dict[frozenset[_Node], int] = {}

    def words(self) -> int:
        """The number of different sequences from the input to the logits."""
        return self._count(self._open(self._root(self.start)))

    def _count(self, start: frozenset[_Node]) -> int:
        """Different words from any of the nodes, each once; an explicit stack, since words may be long."""
        stack = [start]
        while stack:
            here = stack[-1]
            following = [] if here in self.counts else self._following(here)
            missing = [found for found in following if found not in self.counts]
            if missing:
                stack += missing
                continue
            if here not in self.counts:
                done = any(self.goal in node.ends for node in here)
                self.counts[here] = done + sum(self.counts[found] for found in following)
            stack.pop()
        return self.counts[start]

    def _following(self, nodes: frozenset[_Node]) -> list[frozenset[_Node]]:
        steps: dict[int, set[_Node]] = {}
        for node in nodes:
            for letter, found in node.steps.items():
                steps.setdefault(letter, set()).update(self._open(found))
        return [frozenset(found) for found in steps.values()]

    def _open(self, node: _Node) -> frozenset[_Node]:
        """The node, and where a sequence may end here, the node at which the next slot begins.

        A node with nothing behind it says no more than those do, and without it more subsets are equal.
        """
        if node not in self.opened:
            found = {node} if node.steps or self.goal in node.ends else set()
            ahead = [self._open(self._root(place)) for place in node.ends if place != self.goal]
            self.opened[node] = frozenset(found.union(*ahead))
        return self.opened[node]

    def _root(self, place: Place) -> _Node:
        if place not in self.roots:
            self.roots[place] = root = _Node()
            slot, shape = place
            if slot == len(self.slots):  # behind the head, but not at the logits
                return root
            for expr, out in _expressions(self.slots[slot], shape, self.classes):
                self.known += 1
                if self.known > SEQUENCES:
                    raise _TooMany
                node = root
                for part in flat(Seq((expr,))):
                    node = node.steps.setdefault(self._letter(part), _Node())
                node.ends.add((slot + 1, out))
        return self.roots[place]

    def _letter(self, part: Expr) -> int:
        if part not in self.letters:
            self.letters[part] = self.alphabet.setdefault(json.dumps(canonical(part)), len(self.alphabet))
        return self.letters[part]


def _expressions(slot: Slot, shape: Shape, classes: int) -> Iterator[tuple[Expr, Shape]]:
    """Everything that a slot can put at a shape, and the shape behind it, without what makes no network there."""
    for arch in _every(_alone(slot), shape, classes):
        if slot.kind == "block" and not arch.stages:
            yield seq(), shape
            continue
        try:
            # The generator is left at the slot's own part: the head of a lone stage is nobody's affair.
            parts = arch.unroll()
            yield next((expr, cost.out) for name, expr, cost in parts if name.rstrip("1") == slot.label.rstrip(_DIGITS))
        except SpecError:
            continue


def _alone(slot: Slot) -> SearchSpace:
    """A space with nothing but this slot."""
    stem = slot if slot.kind == "stem" else Slot("stem", "stem", "none", {}, {})
    head = slot if slot.kind == "head" else Slot("head", "head", "", {}, {})
    return SearchSpace("", "", stem, (slot,) if slot.kind == "block" else (), head)


def _every(space: SearchSpace, shape: Shape, classes: int) -> Iterator[Arch]:
    """Every draw of a finite space."""
    odometer = _Odometer()
    while not odometer.over:
        yield space.draw(odometer.ask, shape, classes)
        odometer.advance()


class _Odometer:
    """Answers dims so that every draw differs: the last answer moves first."""

    def __init__(self) -> None:
        self.path: list[int] = []  # which of its values each dim is to have, as far as that is settled
        self.asked: list[Dim] = []
        self.over = False

    def ask(self, name: str, dim: Dim) -> Value:
        """The value that it is the dim's turn to have."""
        if len(self.asked) == len(self.path):
            self.path.append(0)
        self.asked.append(dim)
        return _values(dim)[self.path[len(self.asked) - 1]]

    def advance(self) -> None:
        """The next draw, if there is one."""
        while self.path and self.path[-1] + 1 == len(_values(self.asked[len(self.path) - 1])):
            self.path.pop()
        self.over = not self.path
        if self.path:
            self.path[-1] += 1
        self.asked.clear()


@dataclass(frozen=True)
class Share:
    """How many of `draws` uniform draws are inside a budget. `broken` made no network."""

    draws: int
    inside: int
    broken: int

    @property
    def share(self) -> float:
        """A fraction."""
        return self.inside / self.draws


def share(space: SearchSpace, budget: Budget, input_shape: Shape, classes: int, draws: int, seed: int = 0) -> Share:
    """Draw, count and hold against the budget, `draws` times."""
    rng = random.Random(seed)
    inside = broken = 0
    for _ in range(draws):
        try:
            inside += budget.check(space.random(rng, input_shape, classes).cost).ok
        except SpecError:
            broken += 1
    return Share(draws, inside, broken)


def extremes(space: SearchSpace, input_shape: Shape, classes: int) -> tuple[Arch, Arch]:
    """The smallest and the largest network by parameters that coordinate descent over all dims finds.

    Raises:
        SpecError: no candidate tried makes a network.
    """
    smallest, _ = space.smallest(lambda arch: arch.cost.params, input_shape, classes)
    largest, _ = space.smallest(lambda arch: -arch.cost.params, input_shape, classes)
    return smallest, largest


def conditions(space: SearchSpace) -> dict[str, str]:
    """When each dim is asked, by dotted name: `stage3.depth > 0 and stage3.block = nin`, "" for always."""
    found: dict[str, str] = {}
    for slot in (space.stem, *space.stages, space.head):
        present = f"{slot.label}.depth > 0" if _depths(slot)[0] else ""
        for name, _ in slot.dims():
            chosen = name.removeprefix(f"{slot.label}.").rpartition(".")[0]
            typed = f"{slot.label}.{slot.selector_key} = {chosen}" if chosen and len(slot.options) > 1 else ""
            exists = present if name != f"{slot.label}.depth" else ""
            found[name] = " and ".join(filter(None, (exists, typed)))
    return found | {name: "" for name in space.dims if name not in found}
