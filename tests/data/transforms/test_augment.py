"""Laws of cropping, mirroring, rotating and cutting, seen through an epoch, and of the affine map under them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from data_samples import augmented, noise_images, smooth
from hypothesis import given
from hypothesis import strategies as st
from strategies import few
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as reference
from whole import levels

from archsearch.data import Augmentation, DeviceData, augmentation_of, epoch, load_dataset
from archsearch.data.transforms import augment as module
from archsearch.data.transforms.augment import add_noise, resized_crop, rotation, warp
from archsearch.errors import InputError, TrainingFailed
from archsearch.network.arch import Arch
from archsearch.network.recipe import Recipe
from archsearch.network.stage import Part, Stage
from archsearch.training.data import TrainingData
from archsearch.training.fit import fit
from archsearch.training.setup import TrainingSetup
from archsearch.training.trainer import Trainer

CPU = torch.device("cpu")
seeds = st.integers(0, 2**32)
options = st.builds(
    Augmentation,
    crop=st.integers(0, 3),
    flip=st.integers(0, 2),
    rotate=st.sampled_from([0, 15, 180]),
    cutout=st.integers(0, 5),
    mixup=st.sampled_from([0.0, 0.2, 1.0]),
    cutmix=st.sampled_from([0.0, 1.0]),
    policy=st.sampled_from(["none", "trivial"]),
    resized_crop=st.sampled_from([1.0, 0.5, 0.05]),
    noise=st.sampled_from([0.0, 0.1, 1.0]),
)
sizes = st.tuples(st.sampled_from([1, 3, 4]), st.integers(5, 12), st.integers(5, 12))


@few(60)
@given(options, sizes, st.sampled_from([torch.float32, torch.bfloat16]), st.integers(1, 9), seeds)
def test_any_augmentation_keeps_form_and_source_and_follows_the_seed(
    augmentation: Augmentation, shape: tuple[int, int, int], dtype: torch.dtype, size: int, seed: int
) -> None:
    source = noise_images(20, *shape)
    data = DeviceData(source, torch.arange(20) % 3, ((0.4,) * shape[0], (0.2,) * shape[0]), CPU, dtype)

    def run() -> list[tuple[torch.Tensor, torch.Tensor]]:
        draws = torch.Generator().manual_seed(seed)
        return list(epoch(data, size, generator=draws, augmentation=augmentation, classes=3))

    first = run()
    assert len(first) == 20 // size
    for images, targets in first:
        assert images.shape == (size, *shape)
        assert images.dtype == dtype
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert torch.isfinite(images).all()
        assert (targets.dtype, targets.shape) == (
            (torch.float32, (size, 3)) if augmentation.mixes else (torch.int64, (size,))
        )
    assert torch.equal(levels(data), source)
    assert all(torch.equal(a, b) for one, two in zip(first, run(), strict=True) for a, b in zip(one, two, strict=True))


@few(30)
@given(options, seeds)
def test_the_groups_that_are_augmented_together_are_of_whole_batches(augmentation: Augmentation, seed: int) -> None:
    source = noise_images(23, 3, 6, 6)

    def run(group: int) -> list[list[int]]:
        data = DeviceData(source, torch.arange(23), ((0.0,) * 3, (1.0,) * 3), CPU)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("archsearch.data.loader.batches._GROUP", {"cpu": group})
            draws = torch.Generator().manual_seed(seed)
            batches = epoch(data, 5, generator=draws, augmentation=augmentation, classes=23)
            return [[len(images), len(targets)] for images, targets in batches]

    assert run(1) == run(2 * 5 * 108) == run(10**6) == [[5, 5]] * 4


def test_with_everything_off_images_come_as_they_are() -> None:
    source = noise_images(6, 3, 9, 7)
    assert torch.equal(augmented(source, Augmentation()), source.float())


def test_a_recipe_says_it_all() -> None:
    recipe = Recipe(
        crop=1, flip=2, rotate=3, cutout=4, mixup=0.5, cutmix=0.6, policy="trivial", resized_crop=0.7, noise=0.8
    )
    assert augmentation_of(recipe) == Augmentation(1, 2, 3, 4, 0.5, 0.6, "trivial", 0.7, 0.8)
    assert augmentation_of(Recipe(crop=0, flip=0)) == Augmentation()


class NoLook(TorchDispatchMode):
    """Refuses what needs a value, or a shape that depends on values, on the host."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func.overloadpacket not in (
            torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero, torch.ops.aten.masked_select,
            torch.ops.aten.bincount, torch.ops.aten.is_nonzero, torch.ops.aten.equal,
        ), func  # fmt: skip
        return func(*args, **(kwargs or {}))


@few(40)
@given(options, st.integers(1, 9))
def test_nothing_waits_for_a_value_from_the_device(augmentation: Augmentation, size: int) -> None:
    data = DeviceData(noise_images(20, 3, 6, 6), torch.arange(20) % 3, ((0.4,) * 3, (0.2,) * 3), CPU)
    with NoLook():
        batches = list(epoch(data, size, generator=torch.Generator(), augmentation=augmentation, classes=3))
    assert len(batches) == 20 // size
    with pytest.raises(AssertionError, match="local_scalar"), NoLook():
        batches[0][0].sum().item()


# crop, flip, cutout


@few(40)
@given(seeds, st.integers(1, 6))
def test_a_crop_is_a_window_of_the_reflected_image(seed: int, crop: int) -> None:
    images = noise_images(6, 3, 9, 7)
    cropped = augmented(images, Augmentation(crop=crop), seed)
    padded = functional.pad(images.float(), (crop,) * 4, mode="reflect")
    for image, source in zip(cropped, padded, strict=True):
        windows = source.unfold(1, 9, 1).unfold(2, 7, 1)
        assert (windows == image[:, None, None]).all(dim=(0, 3, 4)).any()


def test_crops_reach_every_offset() -> None:
    image = torch.arange(25, dtype=torch.uint8).view(1, 1, 5, 5)
    centres = augmented(image.expand(400, 1, 5, 5), Augmentation(crop=1))[:, 0, 2, 2]
    assert sorted(set(centres.tolist())) == image[0, 0, 1:4, 1:4].flatten().tolist()


def mirrored(images: torch.Tensor, flip: int, seed: int, number: int) -> torch.Tensor:
    """bool (N,): which images an epoch mirrors; the others must be as they were."""
    flipped = augmented(images, Augmentation(flip=flip), seed, number)
    same = (flipped == images).flatten(1).all(1)
    mirror = (flipped == images.flip(3)).flatten(1).all(1)
    assert (same ^ mirror).all()
    return mirror


@few(40)
@given(seeds, st.integers(1, 5))
def test_a_flip_mirrors_some_images(seed: int, number: int) -> None:
    assert 5 < mirrored(noise_images(64, 3, 4, 4), 1, seed, number).sum() < 59


@few(40)
@given(seeds, st.integers(0, 30))
def test_alternating_flips_show_both_orientations_in_each_pair_of_epochs(seed: int, number: int) -> None:
    images = noise_images(64, 1, 4, 4)
    now, later, again = (mirrored(images, 2, seed, number + i) for i in range(3))
    assert torch.equal(now, ~later)
    assert torch.equal(now, again)
    assert 5 < now.sum() < 59


def test_the_halves_of_alternating_flips_depend_on_the_seed() -> None:
    images = noise_images(64, 1, 4, 4)
    assert len({tuple(mirrored(images, 2, seed, 1).tolist()) for seed in range(5)}) == 5


@few(40)
@given(seeds, st.integers(1, 7))
def test_cutout_zeroes_one_square_an_image(seed: int, side: int) -> None:
    images = noise_images(6, 3, 9, 7).clamp(min=1)
    cut = augmented(images, Augmentation(cutout=side), seed)
    holes = cut == 0
    assert torch.equal(cut, torch.where(holes, 0, images.float()))
    assert torch.equal(holes, holes[:, :1].expand_as(holes))
    assert (holes[:, 0].any(2).sum(1) == side).all()
    assert (holes[:, 0].any(1).sum(1) == side).all()
    assert (holes[:, 0].sum((1, 2)) == side**2).all()


def test_cutout_reaches_every_place() -> None:
    cut = augmented(torch.ones(400, 1, 4, 5, dtype=torch.uint8), Augmentation(cutout=3))
    assert len({bytes(hole.numpy()) for hole in (cut == 0)}) == 2 * 3


def test_cutout_sets_the_mean() -> None:
    source = noise_images(4, 1, 4, 4)
    data = DeviceData(source, torch.arange(4), ((0.3,), (0.2,)), CPU)
    ((images, _),) = epoch(data, 4, generator=torch.Generator(), augmentation=Augmentation(cutout=4))
    assert not images.any()


@pytest.mark.parametrize("bad", [{"crop": 7}, {"crop": -1}, {"cutout": 8}, {"cutout": -1}])
def test_what_does_not_fit_is_refused(bad: dict[str, int]) -> None:
    with pytest.raises(InputError, match="for this image size"):
        augmented(noise_images(6, 3, 9, 7), Augmentation(**bad))


# rotate, and affine maps


@few(40)
@given(sizes, st.floats(-4, 4), st.integers(0, 255))
def test_a_turn_by_nothing_is_the_identity_and_constants_stay(
    shape: tuple[int, int, int], angle: float, level: int
) -> None:
    images = noise_images(3, *shape).float()
    assert torch.allclose(warp(images, rotation(torch.zeros(3))), images, atol=1e-2)
    flat = torch.full((3, *shape), float(level))
    assert torch.allclose(warp(flat, rotation(torch.full((3,), angle))), flat, atol=1e-2)


@few(40)
@given(st.integers(0, 180), seeds)
def test_rotation_stays_within_its_degrees(degrees: int, seed: int) -> None:
    angles = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "rotation", lambda drawn: angles.append(drawn) or rotation(drawn))
        module.rotate(torch.zeros(50, 1, 3, 3), degrees, torch.Generator().manual_seed(seed))
    assert angles[0].abs().max() <= math.radians(degrees) * (1 + 1e-6)
    assert degrees == 0 or angles[0].unique().numel() > 40


def test_quarter_turns_are_those_of_torch() -> None:
    images = noise_images(2, 3, 8, 8).float()
    for quarters in range(4):
        turned = warp(images, rotation(torch.full((2,), quarters * math.pi / 2)))
        assert torch.allclose(turned, images.rot90(quarters, (2, 3)), atol=1e-2)


@few(40)
@given(st.floats(-180, 180), st.sampled_from([(16, 16), (12, 20), (9, 15)]))
def test_rotation_is_torchvisions_where_that_sees_the_image(degrees: float, size: tuple[int, int]) -> None:
    images = smooth(2, *size)
    ours = warp(images, rotation(torch.full((2,), math.radians(degrees))))
    theirs = reference.rotate(images, degrees, InterpolationMode.BILINEAR)
    seen = reference.rotate(torch.ones_like(images), degrees, InterpolationMode.BILINEAR) > 1 - 1e-6
    assert seen.any()
    assert torch.allclose(ours[seen], theirs[seen], atol=0.02)


# resized crops


def windows_of(count: int, height: int, width: int, least: float, seed: int) -> tuple[torch.Tensor, ...]:
    """Left, right, top and bottom (count,) of the windows that crops show, in pixels, from ramps."""
    x = torch.arange(width).expand(height, width)
    y = torch.arange(height).view(-1, 1).expand(height, width)
    ramps = torch.stack([x, y]).float().expand(count, 2, height, width)
    seen = resized_crop(ramps, least, torch.Generator().manual_seed(seed))
    return seen[:, 0, 0, 0], seen[:, 0, 0, -1], seen[:, 1, 0, 0], seen[:, 1, -1, 0]


def test_a_crop_of_the_whole_area_is_the_identity() -> None:
    images = noise_images(5, 3, 9, 7).float()
    assert torch.allclose(resized_crop(images, 1.0, torch.Generator()), images, atol=1e-2)


@few(40)
@given(st.floats(0.05, 1), st.sampled_from([(16, 16), (12, 20), (9, 5)]), seeds)
def test_a_resized_crop_shows_a_window_inside_the_image(least: float, size: tuple[int, int], seed: int) -> None:
    height, width = size
    left, right, top, bottom = windows_of(40, height, width, least, seed)
    for low, high, side in ((left, right, width), (top, bottom, height)):
        assert low.min() >= -1e-3
        assert high.max() <= side - 1 + 1e-3
    across, down = (right - left) / (width - 1), (bottom - top) / (height - 1)
    assert (across * down >= least - 1e-3).all()
    assert (across * down <= 1 + 1e-3).all()
    assert ((across / down).log().abs() <= math.log(4 / 3) + 1e-2).all()


@few(20)
@given(st.floats(0.05, 0.9), seeds)
def test_areas_of_resized_crops_are_uniform_and_places_reach_both_borders(least: float, seed: int) -> None:
    left, right, top, bottom = windows_of(4000, 33, 33, least, seed)
    area = (right - left) * (bottom - top) / 32**2
    shares = ((area - least) / (1 - least)).sort().values
    assert (shares - torch.linspace(0, 1, 4000)).abs().max() < 0.05  # Kolmogorov and Smirnov: 0.03 in one of 700
    free = (right - left) < 30
    place = left[free] / (32 - right + left)[free]
    assert place.min() < 0.1
    assert place.max() > 0.9
    assert abs(float(place.mean()) - 0.5) < 0.1


@few(20)
@given(st.floats(0.05, 1), st.integers(0, 255), seeds)
def test_resized_crops_keep_the_range_and_constants(least: float, level: int, seed: int) -> None:
    images = noise_images(8, 3, 9, 7).float()
    draws = torch.Generator().manual_seed(seed)
    seen = resized_crop(images, least, draws)
    assert images.min() - 1e-3 <= seen.min() <= seen.max() <= images.max() + 1e-3
    flat = torch.full((8, 3, 9, 7), float(level))
    assert torch.allclose(resized_crop(flat, least, draws), flat, atol=1e-2)


def test_a_resized_crop_enlarges_its_window_evenly() -> None:
    images = smooth(1, 32, 32)
    ours = resized_crop(images, 0.4, torch.Generator().manual_seed(0))
    left, right, top, bottom = (float(value) for value in windows_of(1, 32, 32, 0.4, 0))
    rows, columns = torch.linspace(top, bottom, 32), torch.linspace(left, right, 32)
    grid = torch.stack([columns.expand(32, 32), rows.view(-1, 1).expand(32, 32)], -1) / 31 * 2 - 1
    theirs = functional.grid_sample(images, grid.unsqueeze(0), align_corners=True)
    assert torch.allclose(ours, theirs, atol=0.05)
    assert (ours - images).abs().max() > 1


# noise


@few(20)
@given(st.floats(0.01, 0.2), seeds)
def test_deviations_of_noise_are_uniform_up_to_the_most(most: float, seed: int) -> None:
    levels = torch.full((400, 3, 16, 16), 127.5)
    add_noise(levels, most, torch.Generator().manual_seed(seed))
    shares = (levels / 255).flatten(1).std(1) / most
    assert shares.max() < 1.15
    assert shares.min() < 0.1
    assert shares.mean().item() == pytest.approx(0.5, abs=0.06)
    assert levels.mean().item() == pytest.approx(127.5, abs=1)


@few(20)
@given(st.floats(0, 1), seeds)
def test_noise_keeps_the_range_and_none_is_none(most: float, seed: int) -> None:
    images = noise_images(8, 3, 9, 7).float().contiguous(memory_format=torch.channels_last)
    levels = images.clone()
    add_noise(levels, most, torch.Generator().manual_seed(seed))
    assert levels.min() >= 0
    assert levels.max() <= 255
    add_noise(images, 0.0, torch.Generator().manual_seed(seed))
    assert torch.equal(images, noise_images(8, 3, 9, 7).float())


def test_an_epochs_noise_is_its_own_for_every_image() -> None:
    grey = torch.full((30, 1, 8, 8), 127, dtype=torch.uint8)
    noisy = augmented(grey, Augmentation(noise=0.1))
    assert len({bytes(one.numpy()) for one in noisy}) == 30
    assert (noisy - 127).abs().mean() > 1


def test_an_epoch_turns_images_by_different_angles() -> None:
    image = smooth(1, 16, 16).round().to(torch.uint8)
    turned = augmented(image.expand(30, 3, 16, 16), Augmentation(rotate=20))
    assert len({bytes(one.numpy()) for one in turned}) == 30
    centre = (slice(None), slice(None), slice(6, 10), slice(6, 10))
    assert (turned - image)[centre].abs().mean() < (turned - image).abs().mean()


@pytest.mark.parametrize(
    "values",
    [
        {"rotate": 15},
        {"mixup": 0.2},
        {"cutmix": 1.0},
        {"mixup": 0.2, "cutmix": 1.0},
        {"policy": "trivial"},
        {"resized_crop": 0.6},
        {"noise": 0.2},
        {"flip": 2},
    ],
    ids=str,
)
def test_a_recipe_chooses_what_a_training_sees(values: dict[str, Any]) -> None:
    data = TrainingData.of(load_dataset("digits"), 0, CPU)
    arch = Arch((1, 8, 8), 10, Part("conv", (("width", 8),)), (Stage("basic", 16, stride=2),), Part("linear"))

    def run(recipe: Recipe) -> tuple[float, torch.Tensor]:
        curve: list[float] = []
        setup = TrainingSetup(data, recipe, 0)
        network = fit(arch, setup, lambda epoch, accuracy, metrics: curve.append(accuracy)).module
        return curve[-1], torch.cat([weights.flatten() for weights in network.parameters()])

    accuracy, weights = run(Recipe(epochs=3, **values))
    assert accuracy > 0.5
    assert not torch.equal(weights, run(Recipe(epochs=3))[1])


def test_a_crop_that_does_not_fit_fails_the_candidate() -> None:
    data = TrainingData.of(load_dataset("digits"), 0, CPU)
    arch = Arch((1, 8, 8), 10, Part("none"), (), Part("linear"), {"crop": 8})
    with pytest.raises(TrainingFailed, match="crop 8: must be from 0 to 7 pixels"):
        Trainer(TrainingSetup(data, Recipe(), 0))(arch, lambda *_: None)


def test_alternating_flips_alternate_over_the_epochs_of_one_generator() -> None:
    source = noise_images(64, 1, 4, 4)
    data = DeviceData(source, torch.arange(64), ((0.0,), (1 / 255,)), CPU)
    draws, found = torch.Generator().manual_seed(0), []
    for number in range(1, 5):
        ((images, labels),) = epoch(data, 64, generator=draws, augmentation=Augmentation(flip=2), number=number)
        found.append((images[labels.argsort()] == source.flip(3)).flatten(1).all(1))
    assert torch.equal(found[0], ~found[1])
    assert torch.equal(found[0], found[2])
    assert torch.equal(found[1], found[3])
