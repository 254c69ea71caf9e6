"""Search spaces: what is asked, what is drawn, what is refused."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import SMALL, SPACES, draws, few, mutated, within

from archsearch.errors import SpecError
from archsearch.network.arch import Arch
from archsearch.network.blocks import Value
from archsearch.network.recipe import Recipe
from archsearch.space.dims import Choice, Dim, Float, Int
from archsearch.space.reader import default_space, load_space, parse_space, shipped
from archsearch.space.space import SearchSpace, uniform

TOML = """
summary = "two stages"
[stem]
type = { choice = ["none", "conv"] }
[stem.conv]
width = { choice = [8, 16] }
[[stage]]
block = { choice = ["basic", "nin"] }
width = { int = [8, 24], step = 8 }
depth = { int = [1, 2] }
[stage.nin]
points = { int = [1, 2] }
[[stage]]
block = "bottleneck"
width = { int = [8, 64], log = true }
depth = { int = [0, 1] }
stride = 2
down = { choice = ["stride", "max"] }
ratio = { float = [0.1, 1.0] }
[head]
type = "linear"
[train]
lr = { float = [1e-3, 1.0], log = true }
epochs = 3
"""
WIDTH = "width = { int = [8, 24], step = 8 }"
SPACE = parse_space(TOML, "two")


def error_of(text: str) -> str:
    """The one line that reading this text raises."""
    with pytest.raises(SpecError) as caught:
        parse_space(text, "s", "some/space.toml")
    message = str(caught.value)
    assert message.startswith("some/space.toml: ")
    assert message.isprintable()
    return message


class Record:
    """Answers dims at random and keeps what was asked."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.answers: dict[str, Value] = {}
        self.asked: list[str] = []

    def __call__(self, name: str, dim: Dim) -> Value:
        self.asked.append(name)
        self.answers[name] = uniform(self.rng, dim)
        return self.answers[name]


def active(name: str, answers: Mapping[str, Value], space: SearchSpace) -> bool:
    """Whether a dim exists under these answers, by its name alone."""
    label, _, rest = name.partition(".")
    slots = {slot.label: slot for slot in (space.stem, *space.stages, space.head)}
    if label == "train":
        return True
    depth = slots[label].fields.get("depth")
    if rest != "depth" and answers.get(f"{label}.depth", depth) == 0:
        return False
    chosen, dot, _ = rest.partition(".")
    key = slots[label].selector_key
    return not dot or answers.get(f"{label}.{key}", slots[label].selector) == chosen


# what is asked


@pytest.mark.parametrize("space", [SPACE, *map(load_space, SPACES)], ids=lambda space: space.name)
def test_a_draw_asks_every_active_dim_once_and_no_other(space: SearchSpace) -> None:
    for seed in range(100):
        ask = Record(seed)
        space.draw(ask, (3, 16, 16), 10)
        assert len(ask.asked) == len(set(ask.asked))
        assert set(ask.asked) == {name for name in space.dims if active(name, ask.answers, space)}
        assert ask.asked == [name for name in _order(space) if name in ask.answers]


def _order(space: SearchSpace) -> list[str]:
    """Names in the order of questions: a stage's depth first, since nothing else exists at depth 0."""
    return sorted(space.dims, key=lambda name: (_labels(space).index(name.split(".")[0]), not name.endswith(".depth")))


def _labels(space: SearchSpace) -> list[str]:
    return [*(slot.label for slot in (space.stem, *space.stages, space.head)), "train"]


def test_answers_stand_in_the_architecture() -> None:
    answers: dict[str, Value] = {
        "stem.type": "conv", "stem.conv.width": 16, "stage1.block": "nin", "stage1.width": 24, "stage1.depth": 2,
        "stage1.nin.points": 1, "stage2.width": 9, "stage2.depth": 1, "stage2.down": "max", "stage2.ratio": 0.3,
        "train.lr": 0.01,
    }  # fmt: skip
    assert set(answers) == set(SPACE.dims)
    arch = SPACE.draw(lambda name, dim: answers[name], (3, 8, 8), 4)
    assert arch.to_dict() == {
        "input": [3, 8, 8], "classes": 4, "stem": {"type": "conv", "width": 16},
        "stage": [
            {"block": "nin", "width": 24, "depth": 2, "stride": 1, "points": 1},
            {"block": "bottleneck", "width": 9, "depth": 1, "stride": 2, "down": "max", "ratio": 0.3},
        ],
        "head": {"type": "linear"}, "recipe": {"lr": 0.01},
    }  # fmt: skip
    assert SPACE.recipe(Recipe()) == Recipe(epochs=3)
    shallow = SPACE.draw(lambda name, dim: {**answers, "stage2.depth": 0}[name], (3, 8, 8), 4)
    assert len(shallow.stages) == 1


def test_augmentation_is_searched_and_fixed_like_any_recipe_value() -> None:
    dims = """rotate = { int = [0, 20], step = 5 }
mixup = { float = [0.0, 0.4] }
cutmix = { choice = [0.0, 1.0] }
policy = { choice = ["none", "trivial"] }
flip = 2
"""
    space = parse_space(TOML.replace("epochs = 3\n", dims), "augmented")
    assert {"train.rotate", "train.mixup", "train.cutmix", "train.policy"} <= set(space.dims)
    assert space.recipe(Recipe()) == Recipe(flip=2)
    drawn = [space.random(random.Random(seed), (3, 8, 8), 4).recipe for seed in range(30)]
    assert {recipe["policy"] for recipe in drawn} == {"none", "trivial"}
    assert all(Recipe().with_values(recipe).rotate in (0, 5, 10, 15, 20) for recipe in drawn)


@pytest.mark.parametrize("space", SPACES)
def test_draws_of_shipped_spaces_make_networks_and_repeat_with_the_seed(space: str) -> None:
    first, again = (list(draws(space, 60, seed=8)) for _ in range(2))
    assert first == again
    assert all(arch.cost.out == (arch.classes,) for arch in first)
    assert len({arch.id for arch in first}) > 50


@few(100)
@given(
    st.one_of(
        st.builds(
            lambda low, more, step: Int(low, low + more * step, step),
            *[st.integers(-99, 999)],
            *[st.integers(1, 50)] * 2,
        ),
        st.builds(lambda low, more: Int(low, low + more, log=True), st.integers(1, 999), st.integers(0, 10**12)),
        st.builds(lambda low, more: Float(low, low + more), st.floats(-1e3, 1e3), st.floats(0, 1e3)),
        st.builds(lambda low, more: Float(low, low + more, log=True), st.floats(1e-308, 1e3), st.floats(0, 9e15)),
        st.builds(lambda options: Choice(tuple(options)), st.lists(st.integers(), min_size=1, unique=True)),
    ),
    st.integers(0, 99),
)
def test_uniform_draws_stay_inside(dim: Dim, seed: int) -> None:
    for value in (uniform(random.Random(seed + i), dim) for i in range(20)):
        if isinstance(dim, Float):
            assert isinstance(value, float)
            assert dim.low <= value <= dim.high
        else:
            assert value in dim.values


def test_log_dims_are_as_common_below_as_above_the_geometric_mean() -> None:
    rng = random.Random(0)
    for dim, middle in ((Int(8, 512, log=True), 64), (Float(1e-4, 1.0, log=True), 1e-2)):
        below = sum(uniform(rng, dim) < middle for _ in range(4000))
        assert 1800 < below < 2200


# shipped spaces and files


def test_shipped_spaces() -> None:
    assert {"nin", "resnet", "resnin"} <= set(shipped())
    assert {default_space((3, side, side)) for side in (8, 32, 33, 224)} == {"resnin", "photos"} <= set(shipped())
    for name, path in shipped().items():
        space = load_space(name)
        assert (space.name, space.source) == (name, str(path))
        assert space.summary
        assert load_space(str(path)) == space


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), *SMALL])
@pytest.mark.parametrize("space", SPACES)
def test_the_smallest_network_of_a_shipped_space_is_below_every_draw(space: str, shape: tuple[int, int, int]) -> None:
    found = load_space(space)
    arch, params = found.smallest(lambda arch: arch.cost.params, shape, 10)
    assert arch.cost.params == params
    assert all(arch.adapted(shape, 10).cost.params >= params for arch in draws(space, 60, seed=9))


def brute_force(space: SearchSpace, value: Callable[[Arch], float], shape: tuple[int, int, int]) -> float:
    dims = space.dims
    combinations = itertools.product(*(dim.values for dim in dims.values() if not isinstance(dim, Float)))
    found = []
    for combination in combinations:
        answers = dict(zip(dims, combination, strict=True))
        found.append(value(space.draw(lambda name, dim, answers=answers: answers[name], shape, 10)))
    return min(found)


ENUMERABLE = {
    "unsorted": """stem.type = "none"
head.type = { choice = ["nin", "linear"] }
[[stage]]
block = { choice = ["resnin", "basic"] }
width = { choice = [24, 8, 16] }
depth = { int = [0, 2] }
[[stage]]
block = "nin"
width = { choice = [32, 12] }
kernel = { choice = [5, 3, 1] }
points = { int = [1, 3] }""",
    "nested": """stem.type = { choice = ["conv", "none"] }
stem.conv.width = { choice = [16, 4] }
head.type = "linear"
[[stage]]
block = { choice = ["nin", "bottleneck"] }
width = { choice = [16, 8] }
bottleneck.ratio = { choice = [4.0, 0.1] }
nin.points = { choice = [3, 1] }
[[stage]]
block = { choice = ["nin", "bottleneck"] }
width = { choice = [64, 8] }
depth = { int = [0, 1] }
bottleneck.ratio = { choice = [4.0, 0.1] }
nin.points = { choice = [3, 2] }""",
    "a stage that pays for itself": """stem.type = "conv"
stem.width = 64
head.type = "nin"
head.hidden = { choice = [0, 64] }
[[stage]]
block = "nin"
width = { int = [2, 4] }
depth = { int = [0, 1] }
kernel = 1
points = 1""",
}


@pytest.mark.parametrize("measure", ["params", "macs", "peak"])
@pytest.mark.parametrize("name", ENUMERABLE)
def test_smallest_equals_brute_force(name: str, measure: str) -> None:
    space = parse_space(ENUMERABLE[name], name)

    def value(arch: Arch) -> int:
        return getattr(arch.cost, measure)

    arch, lowest = space.smallest(value, (3, 8, 8), 10)
    assert value(arch) == lowest == brute_force(space, value, (3, 8, 8))


def test_smallest_says_when_nothing_is_a_network() -> None:
    space = parse_space('stem.type = "conv"\nstem.kernel = 2\nhead.type = "linear"', "s", "s.toml")
    with pytest.raises(SpecError, match=r"s.toml: no candidate makes a network for images of shape \(1, 1, 1\)"):
        space.smallest(lambda arch: arch.cost.params, (1, 1, 1), 2)


def test_an_architecture_file_is_a_space_of_one(tmp_path: Path) -> None:
    for arch in draws("resnin", 5, seed=10):
        path = tmp_path / "a.toml"
        text = arch.to_toml() + "[recipe]\nlr = 0.125\n"
        path.write_text(text)
        space = load_space(str(path))
        assert space.dims == {}
        assert space.draw(Record(0), arch.input_shape, arch.classes) == Arch.from_toml(text)


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("lrr = 1", "recipe: no recipe key 'lrr'"),
        ("lr = 0", "recipe: lr = 0"),
        ("lr = nan", "recipe.lr = nan: no finite number"),
        ('epochs = "many"', "recipe: epochs = 'many'"),
    ],
)
def test_an_architecture_file_with_a_wrong_recipe_is_no_space(recipe: str, words: str) -> None:
    arch = next(draws("nin", 1))
    assert words in error_of(f"{arch.to_toml()}[recipe]\n{recipe}")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnni", "there is no search space 'resnni' (did you mean 'res"),
        ("", "cannot be read"),
        ("missing.toml", "missing.toml: cannot be read: No such file"),
        (".", "cannot be read"),
    ],
)
def test_spaces_that_are_not_there(name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError) as caught:
        load_space(name)
    assert words in str(caught.value)


# mistakes


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[head]", "[haed]", ["no key 'haed' (did you mean 'head'?)", "'head' is missing"]),
        ('summary = "two stages"', "summary = 3", ["summary = 3: must be a string"]),
        ("step = 8", "setp = 8", ["stage1.width: a dim of int has no key 'setp' (did you mean 'step'?)"]),
        ("width = { int = [8, 24]", "widht = { int = [8, 24]", ["has no 'widht' (did you mean 'width'?)"]),
        (WIDTH, "", ["stage1: 'width' is missing"]),
        (WIDTH, "width = { in = [8, 24] }", ["stage1.width: a dim has exactly one of", "did you mean 'int'"]),
        (WIDTH, "width = { int = [0, 24], step = 8 }", ["stage1.width = 0: must be at least 1"]),
        (WIDTH, "width = { int = [24, 8] }", ["low must not be above high"]),
        (WIDTH, 'width = "8"', ["stage1.width = '8'", "takes a whole number"]),
        (WIDTH, "width = { float = [8, 24] }", ["stage1.width = 8.0"]),
        (WIDTH, "width = true", ["stage1.width = True"]),
        (WIDTH, "width = nan", ["stage1.width = nan: no finite number"]),
        (WIDTH, f"width = {10**30}", ["stage1.width: a whole number beyond 64 bits"]),
        ("width = { int = [8, 64], log = true }", "width = { int = [0, 64], log = true }", ["low must be above zero"]),
        ("depth = { int = [1, 2] }", "depth = { int = [-1, 2] }", ["stage1.depth = -1: must be at least 0"]),
        ("depth = { int = [1, 2] }", "depth = -1", ["stage1.depth = -1"]),
        ("depth = { int = [1, 2] }", "depth = 1.5", ["stage1.depth = 1.5"]),
        ("stride = 2", "stride = 0", ["stage2.stride = 0: must be at least 1"]),
        ('["stride", "max"]', '["stride", "mx"]', ["stage2.down = 'mx': must be one of stride, max, avg"]),
        ('["basic", "nin"]', '["basic", "nni"]', ["stage1: there is no block 'nni' (did you mean 'nin'?)"]),
        ('["basic", "nin"]', '["nin", "nin"]', ["stage1.block: choice = ['nin', 'nin']: has a value twice"]),
        ('["basic", "nin"]', '["basic", "resnin"]', ["stage1.nin: block is never 'nin' here"]),
        ('["basic", "nin"]', '["basic", 3]', ["stage1: there is no block '3'"]),
        ('block = "bottleneck"', "", ["stage2: 'block' is missing"]),
        ('block = "bottleneck"', "block = { int = [1, 2] }", ["stage2: there is no block"]),
        ("[stage.nin]", "[stage.nim]", ["stage1.nim: there is no block 'nim' (did you mean 'nin'?)"]),
        ("points = { int = [1, 2] }", "point = { int = [1, 2] }", ["'nin' has no 'point' (did you mean 'points'?)"]),
        ("points = { int = [1, 2] }", "points = { choice = [1.5] }", ["stage1.nin.points = 1.5"]),
        ("points = { int = [1, 2] }", "points = []", ["stage1.nin.points: [] is neither"]),
        ("points = { int = [1, 2] }", '"a\\nb" = []', ["stage1.nin.a\\nb: [] is neither"]),
        ("points = { int = [1, 2] }", f"points{'.a' * 60} = 1", ["nested too deep"]),
        ("ratio = { float = [0.1, 1.0] }", "ratio = { choice = [nan, 0.5] }", ["choice1 = nan: no finite number"]),
        ("ratio = { float = [0.1, 1.0] }", "ratio = { float = [0.1, inf] }", ["stage2.ratio", "finite"]),
        ("ratio = { float = [0.1, 1.0] }", "kernel = {}", ["stage2.kernel: a dim has exactly one of"]),
        ('type = "linear"', "", ["head: 'type' is missing"]),
        ('type = "linear"', 'type = "linaer"', ["head: there is no head 'linaer' (did you mean 'linear'?)"]),
        ('type = "linear"', 'type = "linear"\nwidth = 8', ["head: head 'linear' has no 'width'"]),
        ("[head]\n", "[[head]]\n", ["head: must be a table"]),
        ("lr = {", "lrr = {", ["train: no recipe key 'lrr' (did you mean 'lr'?)"]),
        ("epochs = 3", "epochs = 0", ["train: epochs = 0: must be at least 1"]),
        ("epochs = 3", "epochs = 2.5", ["train: epochs = 2.5: must be a whole number"]),
        ("epochs = 3", "epochs = { choice = [1, 0] }", ["train: epochs = 0"]),
        ("epochs = 3", "momentum = { float = [0.5, 1.0] }", ["train: momentum = 1.0"]),
        ("epochs = 3", 'policy = { choice = ["none", "trivail"] }', ["train: policy = 'trivail': must be one of none"]),
        ("epochs = 3", "rotate = { int = [0, 200] }", ["train: rotate = 200: must be from 0 to 180 degrees"]),
        ("epochs = 3", "mixup = { float = [-1.0, 1.0] }", ["train: mixup = -1.0: must be from 0 to 100"]),
        ("epochs = 3", 'optimiser = "sdg"', ["train: optimiser = 'sdg': must be one of auto, sgd"]),
    ],
)  # fmt: skip
def test_a_mistake_names_file_key_and_way_out(old: str, new: str, words: list[str]) -> None:
    assert old in TOML
    message = error_of(TOML.replace(old, new, 1))
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('["basic", "nin"]', '["nin", "nin"]'),
        ("[stage.nin]", "[stage.nim]"),
        (WIDTH, "width = { in = [8, 24] }"),
        (WIDTH, ""),
        ("stride = 2", "stride = 0"),
        ("[1, 2] }\n[stage.nin]", "[1, -2] }\n[stage.nin]"),
        ("epochs = 3", "epochs = 0"),
    ],
)
def test_one_mistake_is_one_problem(old: str, new: str) -> None:
    assert old in TOML
    with pytest.raises(SpecError) as caught:
        parse_space(TOML.replace(old, new, 1), "s")
    assert len(caught.value.problems) == 1, caught.value.problems


def test_several_mistakes_come_at_once() -> None:
    text = TOML
    wrong = {
        "summary": "sumary", "step = 8": "step = 7", "[stage.nin]": "[stage.nim]", "stride = 2": "stride = 0",
        '"linear"': '"linaer"', "lr =": "lrr =", "epochs = 3": "epochs = 0",
    }  # fmt: skip
    for old, new in wrong.items():
        text = text.replace(old, new, 1)
    message = error_of(text)
    for word in ("'sumary'", "steps of 7", "'nim'", "stage2.stride = 0", "'linaer'", "'lrr'", "epochs = 0"):
        assert word in message
    with pytest.raises(SpecError) as caught:
        parse_space(text, "s")
    assert len(caught.value.problems) == len(wrong)


def test_more_stages_than_anyone_means_are_refused() -> None:
    text = 'stem.type = "none"\nhead.type = "linear"\n' + '[[stage]]\nblock = "nin"\nwidth = 8\n' * 101
    assert "101 stages, at most 100" in error_of(text)


@few(250)
@given(st.data())
def test_a_broken_file_is_a_space_or_a_spec_error_naming_it(data: st.DataObject) -> None:
    text = data.draw(mutated(data.draw(st.sampled_from([TOML, *_TEXTS]))))
    message = "broken.toml: fine"
    with within(1.0):
        try:
            space = parse_space(text, "broken", "broken.toml")
        except SpecError as error:
            message = str(error)
        else:
            check_draws(space)
    assert message.startswith("broken.toml: ")
    assert message.isprintable()


_TEXTS = [path.read_text(encoding="utf-8") for path in shipped().values()]


def check_draws(space: SearchSpace) -> None:
    """A few candidates: each makes a network, or says in one line why not."""
    space.recipe(Recipe())
    rng = random.Random(0)
    for _ in range(3):
        arch = space.random(rng, (3, 16, 16), 10)
        message = ""
        try:
            assert arch.cost.params > 0
        except SpecError as error:
            message = str(error)
        assert message.isprintable()


# what is not imported


def test_counting_and_checking_load_neither_torch_nor_optuna() -> None:
    code = """
import json, random, sys
from archsearch import Arch, Budget, SearchSpace, count
from archsearch.space.reader import load_space, shipped
space = load_space("resnin")
arch = space.random(random.Random(0), (3, 32, 32), 10)
verdict = Budget(max_params=5e6, max_size=6e6).check(count(Arch.from_toml(arch.to_toml())))
space.smallest(lambda arch: arch.cost.params, (3, 32, 32), 10)
heavy = [name for name in ("torch", "optuna", "numpy", "pandas", "click", "rich") if name in sys.modules]
print(json.dumps([verdict.ok, sorted(shipped()), arch.id, heavy]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    arch = load_space("resnin").random(random.Random(0), (3, 32, 32), 10)
    assert json.loads(done.stdout) == [
        arch.cost.params < 5e6 and arch.cost.size_bytes() < 6e6,
        list(SPACES),
        arch.id,
        [],
    ]


def test_the_type_of_a_mistake_is_bad_input() -> None:
    with pytest.raises(ValueError, match="'type' is missing"):
        parse_space("[stem]", "s")


def test_every_value_of_a_dim_is_asked_with_its_dim() -> None:
    asked: dict[str, Any] = {}

    def ask(name: str, dim: Dim) -> Value:
        asked[name] = dim
        return uniform(random.Random(1), dim)

    SPACE.draw(ask, (3, 8, 8), 10)
    assert asked.items() <= SPACE.dims.items()
