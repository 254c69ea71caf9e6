"""Architectures: ids, files both ways, and every way to get a file wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import SPACES, draws, few, leaves, mutated, within

from archsearch.errors import SpecError
from archsearch.network.arch import MAX_BLOCKS, Arch, count, parse_toml, read_text
from archsearch.network.layers import canonical
from archsearch.network.stage import Part, Stage

ARCH = Arch(
    (3, 32, 32),
    10,
    Part("conv", (("width", 16),)),
    (
        Stage("nin", 32, 2, dims=(("kernel", 5), ("points", 1))),
        Stage("resnin", 64, 1, 2, "max"),
        Stage("bottleneck", 64, dims=(("ratio", 0.5),)),
    ),
    Part("linear", (("dropout", 0.1),)),
    {"lr": 0.1},
)
TOML = ARCH.to_toml()


def error_of(text: str) -> str:
    """The one line that reading this text raises."""
    with pytest.raises(SpecError) as caught:
        Arch.from_toml(text, "some/file.toml")
    message = str(caught.value)
    assert message.startswith("some/file.toml: ")
    assert message.isprintable()
    return message


# files both ways


@pytest.mark.parametrize("space", SPACES)
def test_draws_survive_the_file_both_ways(space: str) -> None:
    for arch in draws(space, 20, seed=5):
        again = Arch.from_toml(arch.to_toml())
        assert again == arch
        assert again.id == arch.id
        assert again.to_toml() == arch.to_toml()
        assert again.cost == arch.cost


def test_dump_and_load(tmp_path: Path) -> None:
    path = tmp_path / "archs" / "a.toml"
    ARCH.dump(path)
    assert Arch.load(path) == Arch.load(str(path)) == ARCH
    assert path.read_text() == TOML


def test_a_file_by_hand_needs_no_more_than_blocks_and_widths() -> None:
    arch = Arch.from_toml(
        'input = [1, 8, 8]\nclasses = 2\nstem.type = "none"\nhead.type = "linear"\n'
        '[[stage]]\nblock = "basic"\nwidth = 4'
    )
    assert arch.stages == (Stage("basic", 4, 1, 1, "stride", ()),)
    assert arch.recipe == {}


def test_the_summary_is_one_readable_line() -> None:
    assert ARCH.summary == ("conv16 | nin 32x2 k5 p1 | resnin 64x1/2 max | bottleneck 64x1 r0.5 | linear dropout=0.1")


def test_adapted_keeps_the_layers_and_changes_the_ends() -> None:
    other = ARCH.adapted((1, 16, 16), 7)
    assert (other.input_shape, other.classes, other.stages) == ((1, 16, 16), 7, ARCH.stages)
    assert other.cost.out == (7,)
    assert other.id != ARCH.id


def test_parts_are_the_named_sequence_of_the_expression() -> None:
    parts = ARCH.parts()
    assert [name for name, _ in parts] == ["stem", "stage1", "stage2", "stage3", "head"]
    assert [leaf for _, part in parts for leaf in leaves(part)] == list(leaves(ARCH.expr()))
    assert count(ARCH) == ARCH.cost
    assert count(ARCH).params == count(ARCH.expr(), (3, 32, 32)).params


# ids


def test_ids_are_twelve_hex_digits_and_differ_between_draws() -> None:
    archs = [arch for space in SPACES for arch in draws(space, 40, seed=6)]
    networks = {(str(canonical(a.expr())), a.input_shape, a.classes) for a in archs}
    assert len({a.id for a in archs}) == len(networks)
    assert all(len(a.id) == 12 and int(a.id, 16) >= 0 for a in archs)


def stages(*specs: Stage) -> Arch:
    return replace(ARCH, stages=specs)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(stages(Stage("basic", 16, 2)), stages(Stage("basic", 16), Stage("basic", 16)), id="split stage"),
        pytest.param(
            stages(Stage("basic", 16)), stages(Stage("basic", 16, dims=(("kernel", 3), ("act", "relu")))), id="defaults"
        ),
        pytest.param(
            stages(Stage("nin", 16, dims=(("kernel", 5), ("points", 1)))),
            stages(Stage("nin", 16, dims=(("points", 1), ("kernel", 5)))),
            id="order of dims",
        ),
        pytest.param(stages(Stage("basic", 16)), stages(Stage("basic", 16, down="max")), id="pooling by 1"),
        pytest.param(
            replace(ARCH, head=Part("linear")), replace(ARCH, head=Part("linear", (("dropout", 0.0),))), id="no dropout"
        ),
        pytest.param(
            stages(Stage("bottleneck", 16, dims=(("ratio", 0.5),))),
            stages(Stage("bottleneck", 16, dims=(("ratio", 0.49),))),
            id="ratios that round to one width",
        ),
    ],
)
def test_descriptions_of_the_same_layers_share_an_id(one: Arch, other: Arch) -> None:
    assert one != other
    assert one.id == other.id


def test_the_order_of_recipe_values_is_nothing() -> None:
    one, other = (
        replace(ARCH, recipe=dict(pairs)) for pairs in ([("lr", 1), ("cutout", 5)], [("cutout", 5), ("lr", 1)])
    )
    assert one == other
    assert one.id == other.id


CHANGES: dict[str, Callable[[Arch], Arch]] = {
    "input": lambda a: a.adapted((3, 32, 31), 10),
    "channels": lambda a: a.adapted((1, 32, 32), 10),
    "classes": lambda a: a.adapted((3, 32, 32), 11),
    "stem type": lambda a: replace(a, stem=Part("none")),
    "stem dim": lambda a: replace(a, stem=Part("conv", (("width", 17),))),
    "head type": lambda a: replace(a, head=Part("nin")),
    "head dim": lambda a: replace(a, head=Part("linear", (("dropout", 0.2),))),
    "order": lambda a: replace(a, stages=a.stages[::-1]),
    "fewer": lambda a: replace(a, stages=a.stages[:-1]),
    "block": lambda a: replace(a, stages=(replace(a.stages[0], block="resnin"), *a.stages[1:])),
    "width": lambda a: replace(a, stages=(replace(a.stages[0], width=33), *a.stages[1:])),
    "depth": lambda a: replace(a, stages=(replace(a.stages[0], depth=3), *a.stages[1:])),
    "stride": lambda a: replace(a, stages=(replace(a.stages[0], stride=2), *a.stages[1:])),
    "down": lambda a: replace(a, stages=(a.stages[0], replace(a.stages[1], down="avg"), a.stages[2])),
    "kernel": lambda a: replace(a, stages=(replace(a.stages[0], dims=(("kernel", 3), ("points", 1))), *a.stages[1:])),
    "act": lambda a: replace(a, stages=(*a.stages[:2], replace(a.stages[2], dims=(("ratio", 0.5), ("act", "silu"))))),
    "norm": lambda a: replace(a, stages=(*a.stages[:2], replace(a.stages[2], dims=(("ratio", 0.5), ("norm", False))))),
    "recipe value": lambda a: replace(a, recipe={"lr": 0.2}),
    "recipe key": lambda a: replace(a, recipe={"momentum": 0.1}),
    "no recipe": lambda a: replace(a, recipe={}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_changes_the_id(change: str) -> None:
    changed = CHANGES[change](ARCH)
    assert changed.id != ARCH.id
    assert Arch.from_toml(changed.to_toml()).id == changed.id


def test_all_those_changes_differ_from_each_other() -> None:
    assert len({change(ARCH).id for change in CHANGES.values()}) == len(CHANGES)


def test_ids_are_the_same_in_another_process(tmp_path: Path) -> None:
    archs = [ARCH, *(arch for space in SPACES for arch in draws(space, 3, seed=7))]
    for i, arch in enumerate(archs):
        arch.dump(tmp_path / f"{i}.toml")
    code = "import sys; from archsearch import Arch; [print(Arch.load(path).id) for path in sys.argv[1:]]"
    paths = [str(tmp_path / f"{i}.toml") for i in range(len(archs))]
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code, *paths],
            env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout.split() == [arch.id for arch in archs]


# mistakes


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("classes = 10", "clases = 10", ["no key 'clases' (did you mean 'classes'?)", "'classes' is missing"]),
        ("classes = 10", "", ["'classes' is missing"]),
        ("classes = 10", "classes = 0", ["classes = 0: must be a whole number of at least 1"]),
        ("classes = 10", "classes = true", ["classes = True"]),
        ("classes = 10", "classes = 10.0", ["classes = 10.0"]),
        ("classes = 10", "classes = [", ["no valid TOML"]),
        ("classes = 10", "classes = 10\nclasses = 10", ["no valid TOML"]),
        ("classes = 10", f"classes = {10**30}", ["classes: a whole number beyond 64 bits"]),
        ("classes = 10", f"classes = {'9' * 5000}", ["beyond 64 bits"]),
        ("classes = 10", f"classes = 0x{'f' * 5000}", ["classes: a whole number beyond 64 bits"]),
        ("classes = 10", f"classes = 10\nx{'.a' * 100} = 1", ["nested too deep"]),
        ("classes = 10", f"classes = 10\nx = {'[' * 3000}{']' * 3000}", ["nested too deep"]),
        ("classes = 10", 'classes = 10\n"a\\nb\\u001b" = 1', ["no key 'a\\nb\\x1b'"]),
        ("    32,\n    32,\n", "    32,\n", ["input = [3, 32]: must be [channels, height, width]"]),
        ("    32,\n    32,\n", "    32,\n    0,\n", ["input = [3, 32, 0]"]),
        ('type = "conv"', 'type = "cnov"', ["stem: there is no stem 'cnov' (did you mean 'conv'?)"]),
        ('type = "conv"', "", ["stem: 'type' is missing"]),
        ('type = "conv"', "type = 3", ["stem: 'type'"]),
        ("width = 16", "widht = 16", ["stem: stem 'conv' has no 'widht' (did you mean 'width'?)"]),
        ("width = 16", 'width = "16"', ["stem: width = '16': stem 'conv' takes a whole number here"]),
        ("width = 16", "width = 0", ["stem: convolution out = 0"]),
        ('block = "nin"', 'block = "nni"', ["stage1: there is no block 'nni' (did you mean 'nin'?)"]),
        ('block = "nin"', "block = {}", ["stage1: there is no block"]),
        ('block = "nin", ', "", ["stage1: 'block' is missing"]),
        ("width = 32, ", "", ["stage1: 'width' is missing"]),
        ("width = 32", "width = 32.0", ["stage1: width = 32.0: must be a whole number of at least 1"]),
        ("depth = 2", "depth = 0", ["stage1: depth = 0: must be a whole number of at least 1"]),
        ("depth = 2", "depht = 2", ["stage1: block 'nin' has no 'depht' (did you mean 'depth'?)"]),
        ("depth = 2", f"depth = {10**9}", [f"more than {MAX_BLOCKS} blocks"]),
        ("stride = 2", "stride = -2", ["stage2: stride = -2"]),
        ('down = "max"', 'down = "mx"', ["stage2: down = 'mx': must be one of stride, max, avg"]),
        ("ratio = 0.5", "kernel = 2", ["stage3: a residual sum needs equal shapes, not (64, 16, 16) + "]),
        ("kernel = 5", "kernel = 0", ["stage1: convolution kernel = 0"]),
        ("kernel = 5", "kernel = {}", ["stage1: kernel = {}: block 'nin' takes a whole number here"]),
        ("points = 1", "points = 1000000000", ["stage1: points = 1000000000"]),
        ("ratio = 0.5", "ratio = nan", ["stage3.ratio = nan: no finite number"]),
        ("ratio = 0.5", "ratio = inf", ["stage3.ratio = inf: no finite number"]),
        ("ratio = 0.5", "ratio = 1e308", ["stage3: ratio = 1e+308"]),
        ("ratio = 0.5", 'act = "rleu"', ["stage3: activation 'rleu': use one of relu"]),
        ("dropout = 0.1", "dropout = 1.0", ["head: dropout p = 1.0"]),
        ("lr = 0.1", "lr = [0.1]", ["recipe: must be a table of numbers"]),
        ("[recipe]", "[[recipe]]", ["recipe: must be a table"]),
        ("[stem]", "[[stem]]", ["stem: must be a table"]),
    ],
)  # fmt: skip
def test_a_mistake_names_file_key_and_way_out(old: str, new: str, words: list[str]) -> None:
    assert TOML.count(old) >= 1
    message = error_of(TOML.replace(old, new, 1))
    assert all(word in message for word in words), message


def test_several_mistakes_come_at_once() -> None:
    text = TOML.replace("classes", "clases").replace('"nin"', '"nni"').replace("stride = 2", "stride = 0")
    text = text.replace("ratio = 0.5", "raito = 0.5")
    message = error_of(text)
    for word in ("'clases'", "'nni'", "stride = 0", "'raito' (did you mean 'ratio'?)"):
        assert word in message
    with pytest.raises(SpecError) as caught:
        Arch.from_toml(text)
    assert len(caught.value.problems) == 5


def test_a_network_that_shrinks_the_map_to_nothing_is_none() -> None:
    with pytest.raises(SpecError, match="stage2: a pooling window of 2 is larger than its map of 1"):
        ARCH.adapted((3, 1, 1), 10).parts()


@pytest.mark.parametrize("field", ["width", "depth", "stride"])
@pytest.mark.parametrize("value", [0, -1, 1.0, "1", True, None])
def test_a_stage_refuses_what_is_no_size(field: str, value: Any) -> None:
    with pytest.raises(SpecError, match=f"{field} = .*whole number of at least 1"):
        Stage("basic", **{"width": 8, field: value})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.mkdir(), "no plain file"),
        (lambda path: path.write_bytes(b"\xff\xfe\x00"), "not UTF-8 text"),
        (lambda path: path.write_bytes(b"#" * 1_000_001), "larger than 200 kB"),
        (lambda path: path.write_bytes(b""), "'input' is missing"),
    ],
    ids=["missing", "folder", "binary", "huge", "empty"],
)
def test_files_that_cannot_be_read(tmp_path: Path, make: Callable[[Path], object], words: str) -> None:
    path = tmp_path / "a.toml"
    make(path)
    with pytest.raises(SpecError, match=words) as caught:
        Arch.load(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_parse_toml_gives_plain_values() -> None:
    assert parse_toml("a = 1\n[b]\nc = [1.5]", "f") == {"a": 1, "b": {"c": [1.5]}}
    assert parse_toml(f"a = {2**63 - 1}\nb = {-(2**63)}", "f") == {"a": 2**63 - 1, "b": -(2**63)}


def test_read_text_reads_utf8(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("größe", encoding="utf-8")
    assert read_text(tmp_path / "f") == "größe"


@few(250)
@given(st.data())
def test_a_broken_file_is_an_architecture_or_a_spec_error_naming_it(data: st.DataObject) -> None:
    text = data.draw(mutated(TOML))
    with within(1.0):
        try:
            arch = Arch.from_toml(text, "broken.toml")
        except SpecError as error:
            message = str(error)
        else:
            message = "broken.toml: fine"
            assert arch.cost.out == (arch.classes,)
    assert message.startswith("broken.toml: ")
    assert message.isprintable()
