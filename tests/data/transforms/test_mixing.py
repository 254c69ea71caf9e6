"""Mixup and cutmix: targets are shares of pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from data_samples import noise_images
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from strategies import few
from torch.nn import functional

from archsearch.data import Augmentation, DeviceData, epoch
from archsearch.data.transforms.mixing import _beta, _boxes, mix

seeds = st.integers(0, 2**32)
alphas = st.sampled_from([0.0, 0.05, 0.3, 1.0, 4.0])
mixing = st.builds(Augmentation, mixup=alphas, cutmix=alphas).filter(lambda augmentation: augmentation.mixes)
CPU = torch.device("cpu")


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def planes(count: int, height: int = 6, width: int = 5) -> torch.Tensor:
    """Image i is one at every pixel of channel i, zero elsewhere: what is mixed shows in the channels."""
    return torch.eye(count).view(count, count, 1, 1).expand(count, count, height, width)


@few(80)
@given(mixing, seeds, st.integers(1, 4), st.integers(1, 4))
def test_targets_are_the_shares_of_the_pixels(augmentation: Augmentation, seed: int, batches: int, size: int) -> None:
    count = batches * size
    images = planes(count).contiguous(memory_format=torch.channels_last)
    before = images.clone()
    mixed, targets = mix(images, torch.arange(count), size, augmentation, count, draws(seed))
    assert mixed.shape == images.shape
    assert mixed.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images, before)
    assert torch.allclose(targets.sum(1), torch.ones(count), atol=1e-6)
    assert (targets >= 0).all()
    assert torch.allclose(mixed.mean((2, 3)), targets, atol=1e-5)
    blocks = targets.view(batches, size, batches, size)
    assert all(blocks[a, :, b].sum() == 0 for a in range(batches) for b in range(batches) if a != b)


@few(40)
@given(st.sampled_from([0.3, 1.0]), seeds)
def test_mixup_weighs_whole_images_and_cutmix_takes_a_box(alpha: float, seed: int) -> None:
    images = planes(4, 9, 7)
    even, _ = mix(images, torch.arange(4), 4, Augmentation(mixup=alpha), 4, draws(seed))
    assert torch.allclose(even, even[:, :, :1, :1].expand_as(even), atol=1e-6)
    boxed, _ = mix(images, torch.arange(4), 4, Augmentation(cutmix=alpha), 4, draws(seed))
    assert ((boxed == 0) | (boxed == 1)).all()
    partner = boxed.diagonal() == 0
    box = partner[..., 0]
    assert torch.equal(box, box.any(1, keepdim=True) & box.any(0, keepdim=True))
    assert torch.equal(partner, box.unsqueeze(2).expand_as(partner))


def test_with_both_on_each_batch_takes_one_of_them() -> None:
    images = planes(2, 8, 8).repeat(200, 1, 1, 1)
    mixed, _ = mix(images, torch.tensor([0, 1] * 200), 2, Augmentation(mixup=1.0, cutmix=1.0), 2, draws())
    whole = ((mixed == 0) | (mixed == 1)).flatten(1).all(1).view(200, 2)
    assert torch.equal(whole[:, 0], whole[:, 1])
    assert 70 < whole[:, 0].sum() < 130


@pytest.mark.parametrize("alpha", [0.1, 0.2, 0.5, 1.0, 2.0, 8.0])
def test_weights_are_of_the_beta_distribution(alpha: float) -> None:
    """Within the 1% bound of Kolmogorov and Smirnov; inner points, since float32 rounds the ends to 0 and 1."""
    drawn = _beta(alpha, 4000, draws(1), CPU).double().numpy()
    points = np.linspace(0.002, 0.998, 200)
    empirical = np.searchsorted(np.sort(drawn), points, side="right") / len(drawn)
    assert abs(empirical - stats.beta(alpha, alpha).cdf(points)).max() < 1.63 / len(drawn) ** 0.5


@pytest.mark.parametrize("alpha", [1e-12, 1e-3, 100.0])
def test_extreme_weights_are_finite(alpha: float) -> None:
    drawn = _beta(alpha, 1000, draws(), CPU)
    assert ((drawn >= 0) & (drawn <= 1)).all()
    assert drawn.mean().item() == pytest.approx(0.5, abs=0.06)


def test_boxes_are_of_the_drawn_share_before_the_border_cuts_them() -> None:
    share = 1 - _beta(100.0, 500, draws(), CPU)
    boxes = 1 - _boxes(500, 64, 64, 100.0, draws(), CPU)
    assert (boxes.mean((1, 2)) <= share + 1e-6).all()
    inside = (boxes[:, 0] + boxes[:, -1] + boxes[:, :, 0] + boxes[:, :, -1]).sum(1) == 0
    assert inside.sum() > 20
    assert torch.allclose(boxes.mean((1, 2))[inside], share[inside], atol=0.05)


@few(20)
@given(mixing, seeds)
def test_an_epoch_yields_soft_targets_that_the_loss_smooths(augmentation: Augmentation, seed: int) -> None:
    data = DeviceData(noise_images(10, 1, 4, 4), torch.arange(10) % 3, ((0.5,), (0.2,)), CPU)
    for images, targets in epoch(data, 4, generator=draws(seed), augmentation=augmentation, classes=3):
        assert images.shape == (4, 1, 4, 4)
        assert targets.shape == (4, 3)
        logits = images.mean((1, 2, 3)).view(-1, 1) * torch.tensor([1.0, 2.0, 3.0])
        smoothed = targets * 0.9 + 0.1 / 3
        expected = -(smoothed * logits.log_softmax(1)).sum(1).mean()
        assert torch.allclose(functional.cross_entropy(logits, targets, label_smoothing=0.1), expected, atol=1e-5)


def test_one_hot_targets_mix_as_their_labels_do() -> None:
    """And with sharp ones, what an epoch yields is the same to the last digit."""
    images = torch.randint(0, 256, (24, 1, 8, 8), dtype=torch.uint8)
    data = DeviceData(images, torch.arange(24) % 3, ((0.5,), (0.2,)), torch.device("cpu"))
    sharp = data.with_labels(functional.one_hot(data.labels, 3).float())
    assert sharp.stored(torch.arange(1))[0] is data.stored(torch.arange(1))[0]
    assert not data.labels.is_floating_point()

    def batches(data: DeviceData) -> list[tuple[torch.Tensor, torch.Tensor]]:
        generator = torch.Generator().manual_seed(5)
        return list(epoch(data, 6, generator=generator, augmentation=Augmentation(mixup=0.4), classes=3))

    for (mine, soft), (theirs, hard) in zip(batches(sharp), batches(data), strict=True):
        assert torch.equal(mine, theirs)
        assert torch.equal(soft, hard)


def test_mixing_needs_the_number_of_classes() -> None:
    data = DeviceData(noise_images(2, 1, 4, 4), torch.arange(2), ((0.5,), (0.2,)), CPU)
    with pytest.raises(ValueError, match="number of classes"):
        next(epoch(data, 2, generator=draws(), augmentation=Augmentation(mixup=1.0)))
