"""Grey from colour as Pillow has it, colour from grey, and pictures of a folder in either."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from data_samples import error_line, noise
from hypothesis import given
from hypothesis import strategies as st
from layouts import fill
from PIL import Image, ImageOps
from strategies import few
from toys import toy

from archsearch.data import load_dataset
from archsearch.data.dataset import images_from
from archsearch.data.pixels import Pixels
from archsearch.data.transforms.colours import coloured, grey, rgb
from archsearch.errors import DataError


@given(st.integers(1, 200), st.integers(0, 1000))
@few(20)
def test_grey_is_pillows_to_the_last_bit(count: int, seed: int) -> None:
    pixels = noise(count, 3, 2, 3, seed=seed)
    wanted = [np.asarray(Image.fromarray(one).convert("L")) for one in pixels]
    assert torch.equal(grey(images_from(pixels))[:], images_from(np.stack(wanted))[:])


def test_grey_keeps_what_is_grey() -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(16, 1, 4, 4)
    assert torch.equal(grey(rgb(Pixels.of(levels)))[:], levels)
    assert torch.equal(rgb(Pixels.of(levels))[:], levels.expand(-1, 3, -1, -1))


def test_a_dataset_is_turned_whole(tmp_path: Path) -> None:
    arrays = {f"{part}_images": noise(6, 9, 9, 3, seed=at) for at, part in enumerate(("train", "val", "test"))}
    labels = {f"{part}_labels": np.arange(6) % 2 for part in ("train", "val", "test")}
    np.savez(tmp_path / "a.npz", **arrays, **labels)
    own, turned = (load_dataset(f"npz:{tmp_path}/a.npz", colour=colour) for colour in (None, "grey"))
    assert own.validation is not None
    assert turned.validation is not None
    assert (own.colour, turned.colour) == (None, "grey")
    assert turned.input_shape == (1, 9, 9)
    for images, before in [
        (turned.images, own.images),
        (turned.validation[0], own.validation[0]),
        (turned.test()[0], own.test()[0]),
    ]:
        assert torch.equal(images[:], grey(before)[:])
    assert own.flip
    assert turned.flip  # mirrored pictures are of their class in either colour
    assert turned.fingerprint != own.fingerprint
    assert load_dataset(f"npz:{tmp_path}/a.npz", colour="rgb").fingerprint == own.fingerprint


def test_a_colour_is_turned_before_the_size(tmp_path: Path) -> None:
    digits = load_dataset("digits", colour="rgb", image_size=12)
    assert digits.input_shape == (3, 12, 12)
    assert not digits.flip
    assert torch.equal(digits.images[:][:, :1], load_dataset("digits", image_size=12).images[:])


@pytest.mark.parametrize("colour", ["grey", "rgb"])
def test_pictures_of_a_folder_are_as_pillow_turns_them(tmp_path: Path, colour: str) -> None:
    fill(tmp_path, ["train", "test"], ("a", "b"))
    dataset = load_dataset(f"folder:{tmp_path}", image_size=4, colour=colour)
    with Image.open(tmp_path / "train" / "a" / "0.png") as picture:
        turned = picture.convert("L" if colour == "grey" else "RGB")
        wanted = np.array(ImageOps.fit(turned, (4, 4), Image.Resampling.BILINEAR))
    assert torch.equal(dataset.images[:1], images_from(wanted[None])[:])
    assert dataset.input_shape == (1 if colour == "grey" else 3, 4, 4)
    assert dataset.test()[0].shape[1:] == dataset.input_shape
    assert dataset.flip


def test_grey_pictures_of_a_folder_have_three_equal_channels_only_if_asked(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for label in "ab":
            (tmp_path / part / label).mkdir(parents=True)
            for n in range(2):
                Image.fromarray(noise(8, 8, seed=n)).save(tmp_path / part / label / f"{n}.png")
    own, asked = (load_dataset(f"folder:{tmp_path}", image_size=8, colour=colour) for colour in (None, "rgb"))
    assert own.input_shape == (1, 8, 8)
    assert torch.equal(asked.images[:], rgb(own.images)[:])
    assert not own.flip
    assert not asked.flip


def test_other_colours_and_other_channels_are_refused() -> None:
    assert error_line("digits", colour="gray") == "colour 'gray': must be one of grey, rgb"
    four = toy(4, channels=4)
    assert coloured(four, None) is four
    with pytest.raises(DataError, match="toy: images of 4 channels cannot be turned grey"):
        coloured(four, "grey")
