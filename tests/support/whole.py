"""All images of a split on a device, normalised, in one tensor."""

import torch
from torch import Tensor

from archsearch.data import DeviceData


def normalised(data: DeviceData) -> Tensor:
    """(N, C, H, W), channels_last."""
    return torch.cat([images for images, _ in data.batches(1000)])


def levels(data: DeviceData) -> Tensor:
    """uint8 (N, C, H, W), channels_last."""
    return data.levels(torch.arange(len(data)))
