"""Corruptions: what each does, what they have in common, and what Pillow makes of the same images."""

from __future__ import annotations

import colorsys
import io
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from data_samples import noise_images, smooth
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from strategies import few
from torch import Tensor

from archsearch.data.pixels import Pixels
from archsearch.errors import InputError
from archsearch.export import Images, Source, export
from archsearch.inference import open_runner
from archsearch.inference.corruptions import (
    CORRUPTIONS,
    STRENGTHS,
    Corrupted,
    corrupt,
    corrupted,
    evaluate_corrupted,
)
from archsearch.inference.evaluate import accuracy, tally

names = st.sampled_from(list(CORRUPTIONS))
RANDOM = ("gaussian_noise", "shot_noise", "impulse_noise", "motion_blur")
BLURRED = ("defocus_blur", "motion_blur", "pixelate", "jpeg_compression", "contrast")


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def photos(count: int, side: int) -> Tensor:
    """uint8 (N, 3, side, side) that change slowly."""
    return smooth(count, side, side).round().to(torch.uint8)


@few(60)
@given(
    names,
    st.sampled_from(STRENGTHS),
    st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(8, 130), st.integers(8, 50)),
    st.integers(0, 2**32),
)
def test_bytes_of_the_same_form_by_the_seed_and_the_source_stays(
    name: str, strength: int, shape: tuple[int, int, int, int], seed: int
) -> None:
    images = noise_images(*shape)
    before = images.clone()
    found = corrupt(images, name, strength, draws(seed))
    assert (found.dtype, found.shape) == (torch.uint8, images.shape)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images, before)
    assert torch.equal(found, corrupt(images, name, strength, draws(seed)))


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize(("side", "count"), [(32, 30), (64, 10), (224, 2)])
def test_a_greater_strength_changes_more(name: str, side: int, count: int) -> None:
    images = photos(count, side)
    changes = [(corrupt(images, name, at, draws()).float() - images).square().mean().item() for at in STRENGTHS]
    assert changes[0] > 0
    assert all(low <= 1.0001 * high for low, high in pairwise(changes)), changes
    assert changes[-1] > 1.5 * changes[0]


@few(20)
@given(st.sampled_from(["gaussian_noise", "impulse_noise", "brightness", "contrast"]), st.integers(0, 2**32))
def test_no_value_comes_back_as_the_strength_grows(name: str, seed: int) -> None:
    images = noise_images(2, 3, 16, 16, seed=seed)
    away = [(corrupt(images, name, at, draws(seed)).float() - images).abs() for at in STRENGTHS]
    assert all((low <= high + 1).all() for low, high in pairwise(away))


@few(30)
@given(st.sampled_from(BLURRED), st.sampled_from(STRENGTHS), st.integers(0, 255), st.sampled_from([9, 32, 64, 130]))
def test_blurring_keeps_a_constant(name: str, strength: int, level: int, side: int) -> None:
    flat = torch.full((2, 3, side, side), level, dtype=torch.uint8)
    found = corrupt(flat, name, strength, draws())
    rounded = half_a_jpeg_step((25, 18, 15, 10, 7)[strength - 1]) if name == "jpeg_compression" else 0
    assert (found.int() - level).abs().max() <= 1 + rounded


def half_a_jpeg_step(quality: int) -> float:
    """By how many levels a constant may move: a block's mean is its first coefficient by 8, a multiple of its step."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", quality=quality)
    return Image.open(file).quantization[0][0] / 16


# each of them


def test_noise_has_the_published_deviation_and_no_mean() -> None:
    grey = torch.full((40, 3, 32, 32), 128, dtype=torch.uint8)
    for at, deviation in zip(STRENGTHS, (0.04, 0.06, 0.08, 0.09, 0.10), strict=True):
        levels = corrupt(grey, "gaussian_noise", at, draws(at)).float() / 255
        assert levels.std().item() == pytest.approx(deviation, rel=0.02)
        assert levels.mean().item() == pytest.approx(128 / 255, abs=0.002)
    for at, photons in zip(STRENGTHS, (500, 250, 100, 75, 50), strict=True):
        levels = corrupt(grey, "shot_noise", at, draws(at)).float() / 255
        assert levels.std().item() == pytest.approx((128 / 255 / photons) ** 0.5, rel=0.02)
        assert levels.mean().item() == pytest.approx(128 / 255, abs=0.002)


@few(10)
@given(st.sampled_from(STRENGTHS), st.integers(0, 2**32))
def test_impulses_are_black_and_white_in_the_published_share(strength: int, seed: int) -> None:
    grey = torch.full((40, 3, 32, 32), 128, dtype=torch.uint8)
    found = corrupt(grey, "impulse_noise", strength, draws(seed))
    share = (0.01, 0.02, 0.03, 0.05, 0.07)[strength - 1]
    for level in (0, 255):
        assert (found == level).float().mean().item() == pytest.approx(share / 2, abs=0.0015)
    assert set(found.unique().tolist()) == {0, 128, 255}


def test_the_widest_small_disc_is_a_mean_of_nine_and_a_larger_one_is_round() -> None:
    images = noise_images(2, 3, 12, 12)
    found = corrupt(images, "defocus_blur", 5, draws())
    padded = torch.nn.functional.pad(images.float(), (1,) * 4, mode="reflect")
    wanted = padded.unfold(2, 3, 1).unfold(3, 3, 1).mean((4, 5))
    assert (found - wanted).abs().max() <= 1
    point = torch.zeros(1, 1, 129, 129, dtype=torch.uint8)
    point[0, 0, 64, 64] = 255
    seen = corrupt(point, "defocus_blur", 1, draws())[0, 0] > 0  # a radius of 3: 29 pixels
    assert torch.equal(seen, seen.T)
    assert torch.equal(seen, seen.flip(0))
    assert seen.sum() == 29


@few(20)
@given(st.integers(0, 2**32))
def test_motion_draws_a_point_along_one_line(seed: int) -> None:
    point = torch.zeros(1, 1, 31, 31, dtype=torch.uint8)
    point[0, 0, 15, 15] = 255
    found = corrupt(point, "motion_blur", 5, draws(seed))[0, 0].int()
    rows, columns = found.nonzero(as_tuple=True)
    assert columns.max() == 15
    assert columns.min() < 12
    assert ((rows - 15).abs() <= (15 - columns) + 1).all()  # 45 degrees at most
    assert found.sum().item() == pytest.approx(255, abs=8)
    assert found[15, 15] > 0
    assert (rows >= 15).all() or (rows <= 15).all()


def test_brightness_is_the_value_of_hsv() -> None:
    images = noise_images(1, 3, 8, 8)
    images[0, :, 0, 0] = 0
    found = corrupt(images, "brightness", 4, draws())[0].flatten(1).T.tolist()
    for before, after in zip(images[0].flatten(1).T.tolist(), found, strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*(level / 255 for level in before))
        wanted = [255 * level for level in colorsys.hsv_to_rgb(hue, saturation, min(1.0, value + 0.2))]
        assert after == pytest.approx(wanted, abs=0.51)


def test_contrast_is_left_around_each_channels_mean() -> None:
    images = noise_images(3, 3, 16, 16)
    found = corrupt(images, "contrast", 2, draws()).float()
    means = images.float().mean((2, 3), keepdim=True)
    assert torch.allclose(found, means + 0.5 * (images - means), atol=0.51)


def pillow(image: Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).numpy())


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("side", [9, 28, 30, 32, 45, 64, 100])
def test_coarse_pixels_are_pillows(strength: int, side: int) -> None:
    images = noise_images(3, 3, side, side)
    found = corrupt(images, "pixelate", strength, draws())
    share = ((0.95, 0.9, 0.85, 0.75, 0.65) if side < 46 else (0.9, 0.8, 0.7, 0.6, 0.5))[strength - 1]
    for image, ours in zip(images, found, strict=True):
        small = pillow(image).resize((int(side * share),) * 2, Image.Resampling.BOX)
        theirs = np.asarray(small.resize((side, side), Image.Resampling.BOX)).astype(int)
        assert np.abs(ours.permute(1, 2, 0).numpy() - theirs).max() <= 1


def test_jpeg_is_pillows() -> None:
    images = photos(3, 32)
    for at, quality in zip(STRENGTHS, (80, 65, 58, 50, 40), strict=True):
        for image, ours in zip(images, corrupt(images, "jpeg_compression", at, draws()), strict=True):
            file = io.BytesIO()
            pillow(image).save(file, "JPEG", quality=quality)
            theirs = np.asarray(Image.open(file)).astype(int)
            assert np.abs(ours.permute(1, 2, 0).numpy() - theirs).mean() < 0.5


def test_what_cannot_be_corrupted_is_one_line() -> None:
    with pytest.raises(InputError, match=r"corruption 'fog' at 1: must be one of gaussian_noise, .* at 1 to 5"):
        corrupt(noise_images(1, 3, 8, 8), "fog", 1, draws())
    with pytest.raises(InputError, match="'contrast' at 6"):
        corrupt(noise_images(1, 3, 8, 8), "contrast", 6, draws())
    with pytest.raises(InputError, match="images of 7 pixels a side: corruptions need 8 at least, leave them out"):
        corrupt(noise_images(1, 3, 9, 7), "contrast", 1, draws())


# whole splits


def test_a_split_is_corrupted_likewise_every_time_and_by_the_seed() -> None:
    pixels = Pixels.of(photos(260, 8)).subset(torch.arange(255))
    for name in CORRUPTIONS:
        whole = torch.cat(list(corrupted(pixels, name, 3)))
        assert len(whole) == 255
        assert torch.equal(whole, torch.cat(list(corrupted(pixels, name, 3))))
        assert torch.equal(whole, torch.cat(list(corrupted(pixels, name, 3, seed=1)))) == (name not in RANDOM)
    first, second = (torch.cat(list(corrupted(pixels, name, 5))).float() for name in RANDOM[:2])
    assert not torch.equal(first - pixels[:], second - pixels[:])


def test_a_networks_scores_by_every_format(source: Source, images: Images, tmp_path: Path) -> None:
    found = {}
    for kind in ("safetensors", "onnx", "pt2"):
        path = tmp_path / f"model.{kind}"
        export(source, path, images, kind)
        found[kind] = evaluate_corrupted(open_runner(path), images.validation, accuracy)
    assert found["onnx"].mean == pytest.approx(found["safetensors"].mean, abs=0.01)
    assert found["pt2"].mean == pytest.approx(found["safetensors"].mean, abs=0.01)
    runner, (pixels, labels) = open_runner(tmp_path / "model.onnx"), images.validation
    logits = runner(torch.cat(list(corrupted(pixels, "contrast", 4))))
    assert found["onnx"].by["contrast"][3] == tally(logits, labels, ("a", "b", "c", "d")).accuracy


def test_means_worst_and_progress() -> None:
    steps: list[tuple[int, int]] = []
    part = (Pixels.of(photos(6, 8)), torch.tensor([0, 0, 0, 1, 1, 1]))
    scores = iter(range(100, 55, -1))
    found = evaluate_corrupted(
        lambda batch: torch.zeros(len(batch), 2),
        part,
        lambda logits, labels: float(next(scores)),
        lambda *at: steps.append(at),
    )
    assert steps == [(done, 45) for done in range(46)]
    assert list(found.by) == list(CORRUPTIONS)
    assert found.by["gaussian_noise"] == [100, 99, 98, 97, 96]
    assert found.means["gaussian_noise"] == 98
    assert (found.mean, found.worst) == (78, ("jpeg_compression", 5, 56))
    assert found.to_json() == {"mean": 78, "worst": 56, "by": found.by}
    assert Corrupted({"a": [1.0, 0.0], "b": [0.5, 0.5]}).worst == ("a", 2, 0.0)


def test_outputs_that_are_no_numbers_are_refused() -> None:
    part = (Pixels.of(photos(2, 8)), torch.tensor([0, 1]))
    with pytest.raises(InputError, match="outputs are not finite for 2 of 2 images"):
        evaluate_corrupted(lambda batch: torch.full((len(batch), 2), torch.nan), part, accuracy)
