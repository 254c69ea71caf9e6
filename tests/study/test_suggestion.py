"""What is suggested for few photos, and to whom nothing is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import few
from toys import toy

from archsearch import Budget
from archsearch.network.recipe import Recipe
from archsearch.space.reader import load_space, parse_space
from archsearch.study.config import default_recipe
from archsearch.study.suggestion import kept, suggestion, words
from archsearch.workers.run import configure

PHOTOS = (3, 64, 64)


@pytest.mark.parametrize(
    ("images", "shape"),
    [(40_000, (3, 32, 32)), (5_000, (3, 32, 32)), (1_497, (1, 8, 8)), (60_000, (1, 28, 28)), (10_000, (3, 96, 96))],
)
def test_small_images_and_many_are_trained_as_ever(images: int, shape: tuple[int, int, int]) -> None:
    assert suggestion(images, shape) == {}
    space = load_space("resnin")
    assert default_recipe(space, "x", suggested=suggestion(images, shape)) == default_recipe(space, "x")
    assert words(images, shape, Recipe()) == []


@few(60)
@given(st.integers(1, 9_999), st.integers(33, 512), st.sampled_from([1, 3]))
def test_few_photos_are_seen_more_often(images: int, side: int, channels: int) -> None:
    recipe = Recipe(epochs=20).with_values(suggestion(images, (channels, side, side)))
    assert 20 <= recipe.epochs <= 40
    assert recipe.epochs == 40 or (recipe.epochs + 1) * images > 200_000
    (line,) = words(images, (channels, side, side), recipe)
    assert f"{images:,} of {side} pixels" in line
    assert f"epochs={recipe.epochs}" in line


def test_space_and_epochs_win() -> None:
    own = 'summary = "s"\n[stem]\ntype = "conv"\n[[stage]]\nblock = "basic"\nwidth = 8\n[head]\ntype = "linear"\n'
    space = parse_space(f"{own}[train]\nepochs = 3\n", "s", "s")
    suggested = suggestion(2_000, PHOTOS)
    found = default_recipe(space, "x", suggested=suggested)
    assert found.epochs == 3
    assert default_recipe(space, "x", 7, suggested).epochs == 7
    assert words(2_000, PHOTOS, found.with_values({k: getattr(Recipe(), k) for k in suggested})) == []


def test_a_study_goes_on_with_its_own_recipe_but_for_what_is_given_again() -> None:
    suggested, before = suggestion(2_000, PHOTOS), Recipe(epochs=20)
    assert kept(suggested, (), None) == suggested
    assert kept(suggested, (), before) == {name: getattr(before, name) for name in suggested}
    assert "epochs" not in kept(suggested, {"epochs"}, before)


def test_a_library_call_is_suggested_the_same() -> None:
    photos = toy(side=40)
    recipe = configure(Budget(), photos).recipe
    assert recipe == default_recipe(load_space("resnin"), "toy", suggested=suggestion(len(photos.labels), (1, 40, 40)))
    assert recipe.epochs == 40
    assert configure(Budget(), replace(photos), recipe=Recipe(epochs=2)).recipe == Recipe(epochs=2)
