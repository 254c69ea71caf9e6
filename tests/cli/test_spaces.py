"""`archsearch spaces`: numbers held against brute force, the list, one description, JSON."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path

import pytest

from archsearch.cli import _run
from archsearch.errors import SpecError
from archsearch.network.budget import Budget
from archsearch.space import statistics
from archsearch.space.reader import load_space, parse_space, shipped
from archsearch.space.space import SearchSpace

PLAIN = """
[stem]
type = "none"
[[stage]]
block = "basic"
width = { choice = [8, 16] }
depth = { int = [1, 2] }
[head]
type = "linear"
"""
NESTED = """
[stem]
type = { choice = ["none", "conv"] }
[stem.conv]
width = { choice = [4, 8] }
[[stage]]
block = { choice = ["nin", "basic"] }
width = { int = [8, 16], step = 4 }
depth = { int = [0, 2] }
[stage.nin]
points = { int = [1, 2] }
[[stage]]
block = "nin"
width = 8
depth = { int = [0, 2] }
points = 1
[head]
type = { choice = ["linear", "nin"] }
[train]
lr = { choice = [0.1, 0.2] }
"""
# What a dim says may change nothing, or make no network.
IDLE = """
[stem]
type = "conv"
width = 8
[[stage]]
block = "plain"
width = 8
depth = { int = [0, 3] }
stride = { choice = [1, 2] }
down = { choice = ["stride", "max", "avg"] }
kernel = { choice = [1, 3] }
[[stage]]
block = "plain"
width = { choice = [8, 12] }
depth = { int = [0, 2] }
kernel = 3
[[stage]]
block = "plain"
width = 8
stride = 4
down = { choice = ["max", "avg"] }
[head]
type = "linear"
dropout = { choice = [0.0, 0.5] }
"""
SPACES = {"plain": PLAIN, "nested": NESTED, "idle": IDLE}
SHAPE = (3, 8, 8)


def every_answer(space: SearchSpace) -> list[dict[str, object]]:
    values = [list(dim.values) for dim in space.dims.values()]
    return [dict(zip(space.dims, answers, strict=True)) for answers in itertools.product(*values)]


def brute_force(space: SearchSpace) -> tuple[int, int, int, int]:
    """Distinct draws, distinct networks, fewest and most parameters, by drawing every answer to every dim."""
    draws, networks, sizes = set(), set(), set()
    for answers in every_answer(space):
        arch = space.draw(lambda name, dim, answers=answers: answers[name], SHAPE, 10)
        draws.add(repr(arch))
        try:
            networks.add(arch.adapted(SHAPE, 10).__class__(SHAPE, 10, arch.stem, arch.stages, arch.head).id)
            sizes.add(arch.cost.params)
        except SpecError:
            continue
    return len(draws), len(networks), min(sizes), max(sizes)


@pytest.mark.parametrize("name", SPACES)
def test_the_bounds_and_both_ends_against_brute_force(name: str) -> None:
    space = parse_space(SPACES[name], name)
    draws, networks, fewest, most = brute_force(space)
    assert statistics.architectures(space) >= networks
    smallest, largest = statistics.extremes(space, SHAPE, 10)
    assert (smallest.cost.params, largest.cost.params) == (fewest, most)
    if name == "plain":
        assert (draws, networks, statistics.architectures(space)) == (4, 4, 4)
    if name == "idle":
        assert networks < draws
    # Two slots left out look alike in a draw but are two answers.
    assert statistics.descriptions(space) >= draws


def test_descriptions_are_a_sum_over_types_of_products() -> None:
    stage1 = 1 + 2 * 3 * (2 + 1)  # depth 0, or depth x width x (points of nin, or basic)
    space = parse_space(NESTED, "n")
    assert statistics.architectures(space) == (1 + 2) * stage1 * 3 * 2
    assert statistics.descriptions(space) == (1 + 2) * stage1 * 3 * 2 * 2


def test_infinite_and_many() -> None:
    lr = PLAIN + "[train]\nlr = { float = [0.1, 1.0] }\n"
    space = parse_space(lr, "lr")
    assert statistics.descriptions(space) is None
    assert statistics.recipes(space) is None
    assert statistics.architectures(space) == 4
    wide = parse_space(PLAIN.replace("{ choice = [8, 16] }", "{ int = [1, 1000000] }"), "wide")
    assert statistics.descriptions(wide) == 2_000_000
    assert statistics.architectures(wide) == 2_000_000
    ratio = parse_space(PLAIN.replace('"basic"', '"bottleneck"\nratio = { float = [0.1, 0.5] }'), "ratio")
    assert statistics.descriptions(ratio) is None
    assert statistics.architectures(ratio) is None


def test_share_is_what_the_draws_say() -> None:
    space = load_space("resnin")
    found = statistics.share(space, Budget(max_params=1e6), (3, 32, 32), 10, 300)
    rng = random.Random(0)
    inside = sum(space.random(rng, (3, 32, 32), 10).cost.params < 1e6 for _ in range(300))
    assert (found.draws, found.inside) == (300, inside)


def test_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["spaces"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in shipped())
    assert _run(["spaces", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["spaces"]
    assert [line["name"] for line in found] == list(shipped())
    assert all(line["summary"] and line["descriptions"] > 1000 for line in found)


def test_one_space(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["spaces", "mlp", "--max-params", "100k", "--draws", "200", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["architectures"] <= found["descriptions"]
    assert found["smallest"]["params"] < found["largest"]["params"]
    assert found["share"]["draws"] == 200
    assert {dim["name"]: dim["active"] for dim in found["dims"]}["stage2.width"] == "stage2.depth > 0"
    assert _run(["spaces", "mlp"]) == 0
    said = capsys.readouterr().out
    assert f"at most {found['architectures']:,}" in said
    assert "% of draws" not in said


@pytest.mark.parametrize(("space", "idle"), [("resnin", True), ("photos", False)])
def test_a_limit_that_lies_idle_is_noted(space: str, idle: bool, capsys: pytest.CaptureFixture[str]) -> None:
    limits = ["--max-size", "1MB", "--max-macs", "20M", "--input-shape", "3,96,96", "--draws", "50"]
    assert _run(["spaces", space, *limits, "--json"]) == 0
    note = json.loads(capsys.readouterr().out)["note"]
    assert note.startswith("the limit of 20M MACs binds") == idle
    assert bool(note) == idle
    assert _run(["spaces", space, *limits]) == 0
    assert ("lies idle" in " ".join(capsys.readouterr().out.split())) == idle


def test_a_file_and_an_architecture_are_spaces(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.toml").write_text(NESTED)
    assert _run(["spaces", str(tmp_path / "mine.toml"), "--input-shape", "1,8,8", "--classes", "3"]) == 0
    said = capsys.readouterr().out
    assert "stage1.depth > 0 and stage1.block = nin" in said
    assert "recipes        2" in said


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["resnon"], "did you mean 'resnin'"),
        (["missing.toml"], "missing.toml: cannot be read"),
        (["nin", "--input-shape", "3,1,1,1"], "no candidate makes a network"),
        (["lenet", "--classes", "0"], "classes"),
    ],
)
def test_bad_input(args: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["spaces", *args]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
