"""The torch code of our own layers."""

import torch
from torch import Tensor, nn


class Scale(nn.Module):
    """(N, C, H, W) times one learned factor a channel."""

    def __init__(self, channels: int, init: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((channels,), init))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma[:, None, None]
