"""Depthwise and dilated convolutions whose training in bfloat16 on a CPU is neither slow nor wrong.

oneDNN's gradients are slow for depthwise kernels above 3x3 and for strides: a backward pass takes up to 40 times the
forward pass (benchmarks/depthwise.py; in float32 they are not). So a larger kernel's gradient is taken in blocks of
3x3, over parts of a batch that stay in the cache, and the input's gradient is a convolution of stride 1 over gradients
with zeros between them. All are the same sums.

With AVX-512, oneDNN 3.10 to 3.13 (torch 2.11 to 2.15) leaves the gradient of a dilated kernel of few channels a group,
depthwise ones among them, unset on maps of 29 pixels and more (findings/onednn-dilated-gradient.sh). So such a kernel
meets every `dilation`-th row and column alone: they are put beside each other as images of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn import grad as gradients

_conv2d_weight: Callable[..., Tensor] = gradients.conv2d_weight
_BLOCK = 3
"""The largest kernel whose gradient is fast."""
_CACHED = 2**20
"""Elements of a map that stay in the cache beside their gradients."""
_SMALL = 2**16
"""Elements of a map below which the detour costs more than it saves."""


class DilatedConv2d(nn.Conv2d):
    """`nn.Conv2d` in groups, with a dilated kernel; only its training on a CPU is another."""

    def forward(self, x: Tensor) -> Tensor:
        if self.dilation[0] == 1 or not _trains_in_bfloat16(self, x):
            return super().forward(x)
        if self.kernel_size[0] % 2 == 0 or self.padding[0] != self.dilation[0] * (self.kernel_size[0] // 2):
            with torch.autocast("cpu", enabled=False):  # the kernel does not keep the size: no combs
                bias = None if self.bias is None else self.bias.float()
                out: Tensor = self._conv_forward(x.float(), self.weight.float(), bias)
                return out.to(torch.bfloat16)
        return self._combed(x.to(torch.bfloat16))

    def _combed(self, x: Tensor) -> Tensor:
        step, stride, padding = self.dilation[0], self.stride[0], self.kernel_size[0] // 2
        if stride == step:
            return self._plain(x[:, :, ::step, ::step].contiguous(memory_format=torch.channels_last), 1, padding)
        height, width = x.shape[2:]
        out = _together(self._plain(_combs(x, step), 1, padding), step)
        return out[:, :, :height:stride, :width:stride].contiguous(memory_format=torch.channels_last)

    def _plain(self, x: Tensor, stride: int, padding: int) -> Tensor:
        """Without dilation."""
        return functional.conv2d(x, self.weight, self.bias, stride, padding, 1, self.groups)


class DepthwiseConv2d(DilatedConv2d):
    """`nn.Conv2d` of one kernel a channel and without a bias; only its training on a CPU is another."""

    def forward(self, x: Tensor) -> Tensor:
        # Training first: an exporter has no number of elements yet.
        if _trains_in_bfloat16(self, x) and x.numel() >= _SMALL and self.dilation[0] == 1:
            return self._plain(x, self.stride[0], int(self.padding[0]))
        return super().forward(x)

    def _plain(self, x: Tensor, stride: int, padding: int) -> Tensor:
        if self._is_slow(stride):
            out: Tensor = _Depthwise.apply(x, self.weight, stride, padding)
            return out
        return super()._plain(x, stride, padding)

    def _is_slow(self, stride: int) -> bool:
        return (self.kernel_size[0] > _BLOCK or stride > 1) and not torch.compiler.is_compiling()


def _trains_in_bfloat16(layer: nn.Conv2d, x: Tensor) -> bool:
    """Whether oneDNN will take the gradients."""
    return layer.training and x.device.type == "cpu" and _dtype(x) == torch.bfloat16


def _dtype(x: Tensor) -> torch.dtype:
    """In which the convolution computes."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype


def _combs(x: Tensor, step: int) -> Tensor:
    """Every `step`-th row and column as an image: (N, C, H, W) becomes (N * step**2, C, H / step, W / step)."""
    height, width = x.shape[2:]
    x = functional.pad(x, (0, -width % step, 0, -height % step)).permute(0, 2, 3, 1)
    images, height, width, channels = x.shape
    parts = x.reshape(images, height // step, step, width // step, step, channels).permute(2, 4, 0, 1, 3, 5)
    return parts.reshape(-1, height // step, width // step, channels).permute(0, 3, 1, 2)


def _together(x: Tensor, step: int) -> Tensor:
    """What `_combs` took apart, with its padding."""
    combs, channels, height, width = x.shape
    parts = x.permute(0, 2, 3, 1).reshape(step, step, combs // step**2, height, width, channels)
    whole = parts.permute(2, 3, 0, 4, 1, 5).reshape(combs // step**2, height * step, width * step, channels)
    return whole.permute(0, 3, 1, 2)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        dtype = _dtype(x)
        x, kernel = x.to(dtype), weight.to(dtype)
        ctx.save_for_backward(x, kernel)
        ctx.stride, ctx.padding = stride, padding
        return functional.conv2d(x, kernel, None, stride, padding, 1, len(kernel))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, kernel = ctx.saved_tensors
        grad = grad.to(x.dtype).contiguous(memory_format=torch.channels_last)
        of_x = _input_gradient(x, kernel, grad, ctx.stride, ctx.padding) if ctx.needs_input_grad[0] else None
        of_kernel = _kernel_gradient(x, kernel, grad, ctx.stride, ctx.padding) if ctx.needs_input_grad[1] else None
        return of_x, of_kernel, None, None


def _input_gradient(x: Tensor, kernel: Tensor, grad: Tensor, stride: int, padding: int) -> Tensor:
    channels, size = len(kernel), kernel.shape[-1]
    if stride > 1:
        sides = (side + 2 * padding - size + 1 for side in x.shape[2:])
        spread = grad.new_zeros(len(x), channels, *sides).contiguous(memory_format=torch.channels_last)
        spread[:, :, ::stride, ::stride] = grad
        grad = spread
    return functional.conv2d(grad, kernel.flip(2, 3), None, 1, size - 1 - padding, 1, channels)


def _kernel_gradient(x: Tensor, kernel: Tensor, grad: Tensor, stride: int, padding: int) -> Tensor:
    """In float32."""
    total = torch.zeros(kernel.shape)
    images = max(1, _CACHED // x[0].numel())
    for some, grads in zip(torch.split(x, images), torch.split(grad, images), strict=True):
        if kernel.shape[-1] <= _BLOCK:
            total += _conv2d_weight(some, kernel.shape, grads, stride, padding, 1, len(kernel))
        else:
            _add_blocks(total, functional.pad(some, (padding,) * 4), grads, stride)
    return total


def _add_blocks(total: Tensor, x: Tensor, grad: Tensor, stride: int) -> None:
    """Add the gradient of a kernel, block by block, for a map that is padded already."""
    channels, size = len(total), total.shape[-1]
    starts = sorted({min(start, size - _BLOCK) for start in range(0, size, _BLOCK)})
    rows, columns = ((n - 1) * stride + _BLOCK for n in grad.shape[2:])
    shape = (channels, 1, _BLOCK, _BLOCK)
    done = torch.zeros(size, size, dtype=torch.bool)
    for i in starts:
        for j in starts:
            part = x[:, :, i : i + rows, j : j + columns].contiguous(memory_format=torch.channels_last)
            block = slice(i, i + _BLOCK), slice(j, j + _BLOCK)
            found = _conv2d_weight(part, shape, grad, stride, 0, 1, channels)
            total[:, :, *block] += found * ~done[block]
            done[block] = True
