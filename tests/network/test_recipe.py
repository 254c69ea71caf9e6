"""Recipes as data."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import few

from archsearch.errors import SpecError
from archsearch.network.recipe import FIELDS, LATER, OPTIMISERS, POLICIES, PRESETS, Recipe, check_values, weights_listed

BAD = [
    ("epochs", 0), ("batch_size", 1), ("batch_size", -2), ("optimiser", "sdg"), ("lr", 0.0), ("lr", -0.5),
    ("momentum", 1.0), ("momentum", -0.1), ("weight_decay", -1e-9), ("warmup", 1.0), ("label_smoothing", 1.0),
    ("crop", -2), ("flip", 3), ("flip", -2), ("cutout", -1), ("rotate", -1), ("rotate", 181),
    ("mixup", -0.1), ("mixup", 100.5), ("cutmix", -0.1), ("cutmix", 1e9), ("policy", "trivia"), ("policy", ""),
    ("resized_crop", 0.0), ("resized_crop", 1.01), ("noise", -0.1), ("noise", 1.5),
    ("initial_scale", 0.0), ("initial_scale", -0.5),
    ("initial_scale", 1.01), ("class_weights", "balance"), ("class_weights", ""), ("class_weights", "1,"),
    ("class_weights", "1,-2"), ("class_weights", "1,nan"), ("class_weights", "inf,1"), ("class_weights", "0,0"),
    ("class_weights", "3"), ("balanced_batches", 2), ("balanced_batches", -1), ("logit_adjustment", -0.1),
    ("logit_adjustment", 10.5), ("lookahead", -1), ("mix_growth", -0.1), ("mix_growth", 1.1),
    ("smoothing_until", -0.1), ("smoothing_until", 1.01), ("qat", -0.1), ("qat", 1.01),
    ("score_precision", "fp16"),
]  # fmt: skip


def test_augmentation_beyond_crop_and_flip_is_off_by_default() -> None:
    recipe = Recipe()
    assert (recipe.crop, recipe.flip, recipe.cutout, recipe.rotate) == (-1, -1, 0, 0)
    assert (recipe.mixup, recipe.cutmix, recipe.policy, recipe.resized_crop) == (0.0, 0.0, "none", 1.0)
    assert recipe.noise == 0


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_recipe_that_is_not_the_default(name: str) -> None:
    assert name not in FIELDS
    assert Recipe().with_values(PRESETS[name]) != Recipe()


@pytest.mark.parametrize(("name", "value"), BAD)
def test_values_out_of_range_are_named_with_the_rule(name: str, value: Any) -> None:
    for make in (lambda: Recipe(**{name: value}), lambda: Recipe().with_values({name: value})):
        with pytest.raises(SpecError, match=f"{name} = {value!r}: must be ") as caught:
            make()
        assert len(caught.value.problems) == 1


@pytest.mark.parametrize("name", [name for name, kind in FIELDS.items() if kind is float])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), True, "0.1", None])
def test_what_is_no_finite_number_is_refused(name: str, value: Any) -> None:
    assert check_values({name: value}) == [f"{name} = {value!r}: must be a finite number"]
    with pytest.raises(SpecError, match=f"{name} = .*: must be a finite number"):
        Recipe().with_values({name: value})


@pytest.mark.parametrize("name", [name for name, kind in FIELDS.items() if kind is int])
@pytest.mark.parametrize("value", [1.0, True, "1"])
def test_what_is_no_whole_number_is_refused(name: str, value: Any) -> None:
    assert check_values({name: value}) == [f"{name} = {value!r}: must be a whole number"]


def test_all_faults_come_at_once() -> None:
    with pytest.raises(SpecError, match=r"epochs = 0.*lr = -2") as caught:
        Recipe(epochs=0, lr=-2, flip=7)
    assert len(caught.value.problems) == 3
    assert check_values({"lrr": 1, "epochs": 1.5}) == [
        "no recipe key 'lrr' (did you mean 'lr'?)", "epochs = 1.5: must be a whole number",
    ]  # fmt: skip


def test_what_is_off_of_later_values_is_not_written() -> None:
    """An older archsearch reads such a recipe, and files are as they were."""
    off = Recipe().with_values(LATER)
    assert off == Recipe()
    assert not LATER.keys() & off.to_dict().keys()
    assert weights_listed("none") == weights_listed("balanced") == ()
    assert weights_listed("1,2.5") == (1, 2.5)


@few(100)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "epochs": st.integers(1, 1000),
            "batch_size": st.just(-1) | st.integers(2, 4096),
            "optimiser": st.sampled_from(OPTIMISERS),
            "lr": st.floats(1e-6, 10) | st.integers(1, 3),
            "momentum": st.floats(0, 0.99),
            "warmup": st.floats(0, 0.99),
            "flip": st.sampled_from([-1, 0, 1, 2]),
            "rotate": st.integers(0, 180),
            "mixup": st.floats(0, 100),
            "cutmix": st.floats(0, 100) | st.integers(0, 1),
            "policy": st.sampled_from(POLICIES),
            "class_weights": st.sampled_from(["balanced", "1,2.5", "0,1e-3,7"]),
            "balanced_batches": st.just(1),
            "logit_adjustment": st.floats(0.01, 10),
            "noise": st.floats(0.001, 1) | st.just(1),
            "lookahead": st.integers(1, 100),
            "mix_growth": st.floats(0.001, 1),
            "smoothing_until": st.floats(0, 0.999),
        },
    )
)
def test_valid_values_replace_the_defaults_and_nothing_else(values: dict[str, Any]) -> None:
    recipe = Recipe().with_values(values)
    assert recipe.to_dict() == {**Recipe().to_dict(), **values}
    assert Recipe(**json.loads(json.dumps(recipe.to_dict()))) == recipe
