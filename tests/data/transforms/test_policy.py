"""TrivialAugment: each operation against torchvision's, and how images get them."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from data_samples import augmented, noise_images, smooth
from hypothesis import given
from hypothesis import strategies as st
from strategies import few
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from archsearch.data import Augmentation, DeviceData, epoch
from archsearch.data.transforms import policy
from archsearch.data.transforms.policy import OPERATIONS

GEOMETRIC = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
WITHOUT_STRENGTH = ("autocontrast", "equalize")
strengths = st.floats(-1, 1, width=32)
sizes = st.tuples(st.sampled_from([1, 3, 4]), st.integers(1, 12), st.integers(1, 12))
contents = st.sampled_from(["noise", "smooth", "flat", "dark", "two levels"])


def sample(kind: str) -> torch.Tensor:
    """uint8 (2, 3, 24, 20)."""
    images = noise_images(2, 3, 24, 20)
    if kind == "smooth":
        return smooth(2, 24, 20).round().to(torch.uint8)
    changes = {"noise": images, "flat": images[:, :, :1, :1].expand_as(images), "dark": images // 4 + 3}
    return changes.get(kind, images // 128 * 200)


def apply(name: str, images: torch.Tensor, strength: float) -> torch.Tensor:
    return OPERATIONS[name](images.float(), torch.full((len(images), 1, 1, 1), strength))


@pytest.mark.parametrize("name", OPERATIONS)
@few(25)
@given(sizes, strengths)
def test_an_operation_keeps_shape_range_and_input(name: str, shape: tuple[int, int, int], strength: float) -> None:
    images = noise_images(3, *shape).float()
    before = images.clone()
    changed = apply(name, images, strength)
    assert changed.shape == images.shape
    assert changed.dtype == torch.float32
    assert changed.min() >= -1e-3
    assert changed.max() <= 255 + 1e-3
    assert torch.equal(images, before)


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name not in WITHOUT_STRENGTH])
@few(25)
@given(sizes)
def test_strength_zero_is_the_identity(name: str, shape: tuple[int, int, int]) -> None:
    images = noise_images(3, *shape)
    assert torch.allclose(apply(name, images, 0.0), images.float(), atol=0.02)


@pytest.mark.parametrize("name", GEOMETRIC)
@few(25)
@given(strengths, st.integers(0, 255))
def test_geometry_leaves_a_flat_image_flat(name: str, strength: float, level: int) -> None:
    images = torch.full((2, 3, 9, 11), level, dtype=torch.uint8)
    assert torch.allclose(apply(name, images, strength), images.float(), atol=0.02)


BY_LEVELS: dict[str, Callable[[torch.Tensor, float], torch.Tensor]] = {
    "identity": lambda images, s: images,
    "brightness": lambda images, s: reference.adjust_brightness(images, 1 + 0.99 * s),
    "contrast": lambda images, s: reference.adjust_contrast(images, 1 + 0.99 * s),
    "colour": lambda images, s: reference.adjust_saturation(images, 1 + 0.99 * s),
    "sharpness": lambda images, s: reference.adjust_sharpness(images, 1 + 0.99 * s),
    "posterize": lambda images, s: reference.posterize(images, 8 - round(6 * abs(s))),
    "solarize": lambda images, s: reference.solarize(images, 256 * (1 - abs(s))) if abs(s) > 1 / 256 else images,
    "autocontrast": lambda images, s: reference.autocontrast(images),
    "equalize": lambda images, s: reference.equalize(images),
}
# torchvision cuts results to whole levels, and means and greys before it blends; equal where neither happens
TOLERANCE = {"brightness": 1.01, "contrast": 3.01, "colour": 3.01, "sharpness": 2.01, "autocontrast": 1.01}


@pytest.mark.parametrize("name", BY_LEVELS)
@few(30)
@given(contents, strengths)
def test_levels_are_torchvisions(name: str, kind: str, strength: float) -> None:
    images = sample(kind)
    expected = BY_LEVELS[name](images, strength).float()
    assert (apply(name, images, strength) - expected).abs().max() <= TOLERANCE.get(name, 0)


def affine(images: torch.Tensor, name: str, strength: float) -> torch.Tensor:
    """What torchvision makes of it, zero where it sees no image. Its maps turn and shear about the centre."""
    shear = math.degrees(math.atan(0.99 * strength))
    values = {"angle": 0.0, "translate": [0.0, 0.0], "shear": [0.0, 0.0]}
    values |= {
        "shear_x": {"shear": [shear, 0.0]},
        "shear_y": {"shear": [0.0, shear]},
        "translate_x": {"translate": [-10.0 * strength, 0.0]},
        "translate_y": {"translate": [0.0, -12.0 * strength]},
        "rotate": {"angle": -135 * strength},
    }[name]
    return reference.affine(images, scale=1.0, interpolation=InterpolationMode.BILINEAR, **values)


@pytest.mark.parametrize("name", GEOMETRIC)
@few(30)
@given(strengths)
def test_geometry_is_torchvisions_where_that_sees_the_image(name: str, strength: float) -> None:
    images = smooth(2, 24, 20)
    ours, theirs = apply(name, images, strength), affine(images, name, strength)
    seen = affine(torch.ones_like(images), name, strength) > 1 - 1e-6
    assert seen.any()
    assert torch.allclose(ours[seen], theirs[seen], atol=0.05)


@few(30)
@given(st.integers(1, 40), st.integers(0, 100), st.integers(0, 2**32))
def test_the_image_at_each_position_gets_its_own_operation(count: int, first: int, seed: int) -> None:
    images = noise_images(count, 3, 8, 8).float()
    changed = images.clone(memory_format=torch.channels_last)
    policy.trivial(changed, first, torch.Generator().manual_seed(seed))
    drawn = 2 * torch.rand(count, generator=torch.Generator().manual_seed(seed)) - 1
    names = list(OPERATIONS)
    for i in range(count):
        name = names[(first + i) % len(names)]
        assert torch.allclose(changed[i], apply(name, images[i : i + 1], drawn[i].item())[0], atol=1e-3)


def test_every_image_meets_every_operation_in_the_long_run() -> None:
    """Over 400 epochs of three images, in batches of one, each is left as it was a fourteenth of the times."""
    data = DeviceData(noise_images(3, 3, 8, 8), torch.arange(3), ((0.0,) * 3, (1 / 255,) * 3), torch.device("cpu"))
    draws, seen = torch.Generator().manual_seed(0), torch.zeros(3, 3)
    with pytest.MonkeyPatch.context() as patch:
        marks = {name: (lambda levels, strength, i=i: levels * 0 + i) for i, name in enumerate("abc")}
        patch.setattr(policy, "OPERATIONS", marks)
        for _ in range(400):
            for images, labels in epoch(data, 1, generator=draws, augmentation=Augmentation(policy="trivial")):
                seen[labels, int(images[0, 0, 0, 0])] += 1
    assert (seen.sum(1) == 400).all()
    assert ((seen - 400 / 3).abs() < 50).all()


def test_an_epoch_applies_the_policy_to_levels() -> None:
    image = smooth(1, 12, 12).round().to(torch.uint8)
    changed = augmented(image.expand(56, 3, 12, 12), Augmentation(policy="trivial"))
    same = (changed == image).flatten(1).all(1).sum()
    assert 4 <= same <= 12
    assert changed.min() >= -1e-3
    assert changed.max() <= 255 + 1e-3
