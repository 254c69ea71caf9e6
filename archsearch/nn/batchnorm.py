"""BatchNorm whose training on a CPU is as fast for narrow maps as for wide ones.

PyTorch's kernels for channels_last maps work along the channels of one pixel: with 4 to 12 of them they spend 8 to
22 ns on an element, where multiples of 16 take 1 to 2 (benchmarks/batch_norm.py). Memory has no border between a
pixel's channels and those of its neighbour, so here `fold` neighbours count as one pixel with `fold` times the
channels; the statistics of the parts are merged afterwards, exactly.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_BLOCK = 16
"""Channels that the kernels take at once; a remainder is slow."""
_WIDE = {torch.float32: (32, 64), torch.bfloat16: (16, 48)}
"""From how many channels on whole blocks need no folding, and from how many on nothing does."""
_FOLDED = 64
"""How many to fold to, at least."""
_SMALL = 2**16
"""Elements of a map below which the detour costs more than it saves."""


def fold(shape: torch.Size, dtype: torch.dtype = torch.float32) -> int:
    """How many pixels of a map (N, C, H, W) to take for one: a power of two, 1 where PyTorch's way is the faster."""
    pixels, channels = shape[0] * shape[2] * shape[3], shape[1]
    blocks, all_of_them = _WIDE[dtype]
    if channels >= (all_of_them if channels % _BLOCK else blocks) or pixels * channels < _SMALL:
        return 1
    factor = 1
    while factor * channels < _FOLDED or factor * channels % _BLOCK:
        factor *= 2
    return factor if pixels % factor == 0 else 1


class BatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d`, with the same parameters and buffers; only its training on a CPU is another."""

    def forward(self, x: Tensor) -> Tensor:
        factor = fold(x.shape, x.dtype) if self.training and _can_fold(x) else 1
        if factor == 1:
            return super().forward(x)
        out: Tensor
        out, mean, var = _Folded.apply(x, self.weight, self.bias, self.eps, factor)
        self._track(mean, var, x.numel() / x.shape[1])
        return out

    @torch.no_grad()
    def _track(self, mean: Tensor, var: Tensor, pixels: float) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(var * (pixels / (pixels - 1)), share)


def _can_fold(x: Tensor) -> bool:
    cpu = x.device.type == "cpu" and x.dtype in _WIDE
    return cpu and x.is_contiguous(memory_format=torch.channels_last) and not torch.compiler.is_compiling()


def _rows(x: Tensor, factor: int) -> Tensor:
    """A channels_last map (N, C, H, W) as (N * H * W / factor, C * factor), in place."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1] * factor)


def _map(rows: Tensor, shape: torch.Size) -> Tensor:
    """The map (N, C, H, W) of such rows, in place."""
    return rows.view(shape[0], shape[2], shape[3], shape[1]).permute(0, 3, 1, 2)


class _Folded(torch.autograd.Function):
    """Normalised map, mean and biased variance of each channel; only the map has a gradient."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, factor: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        rows = _rows(x, factor)
        unused = weight.new_zeros(rows.shape[1])  # running statistics: in float32 they make those of bfloat16 rows such
        means, variances = (part.view(factor, -1) for part in torch.batch_norm_update_stats(rows, unused, unused, 0.0))
        mean = means.mean(0)
        var = variances.mean(0) + (means - mean).square().mean(0)
        scale = weight * torch.rsqrt(var + eps)
        ctx.save_for_backward(x, weight, mean, var)
        ctx.eps, ctx.factor = eps, factor
        ctx.mark_non_differentiable(mean, var)
        return _map(_affine(rows, scale, bias - mean * scale, factor), x.shape), mean, var

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, var = ctx.saved_tensors
        rows, grads = _rows(x, ctx.factor), _rows(grad.contiguous(memory_format=torch.channels_last), ctx.factor)
        invstd = torch.rsqrt(var + ctx.eps)
        scale, pixels = weight * invstd, rows.shape[0] * ctx.factor
        one = mean.new_ones(rows.shape[1])
        # as in evaluation with unit variance: the sums over grad * (x - mean) and over grad, and no gradient of x
        _, products, sums = torch.ops.aten.native_batch_norm_backward(
            grads, rows, one, mean.repeat(ctx.factor), one, None, None, False, 0.0, [False, True, True]
        )
        products, sums = (part.view(ctx.factor, -1).sum(0) for part in (products, sums))
        slope = -scale * invstd.square() * products / pixels
        found = _affine(rows, slope, -scale * sums / pixels - slope * mean, ctx.factor)
        if found.dtype == torch.float32:
            found.addcmul_(grads, scale.repeat(ctx.factor))
        else:
            found += _affine(grads, scale, torch.zeros_like(scale), ctx.factor)
        return _map(found, x.shape), products * invstd, sums, None, None


def _affine(rows: Tensor, scale: Tensor, shift: Tensor, factor: int) -> Tensor:
    """`rows` times a channel's scale plus its shift, computed in float32 and rounded once."""
    scale, shift = scale.repeat(factor), shift.repeat(factor)
    if rows.dtype == torch.float32:
        return torch.addcmul(shift, rows, scale)
    zeros, ones = torch.zeros_like(scale), torch.ones_like(scale)
    return torch.batch_norm(rows, scale, shift, zeros, ones, False, 0.0, 0.0, False)  # `functional` refuses an eps of 0
