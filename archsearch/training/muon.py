"""Muon for convolutional networks: SGD with momentum whose steps for a kernel are made orthogonal.

A kernel is a matrix from the values under it to its outputs. A gradient's matrix has few large singular values;
Muon sets all of them to about one, so that a step moves every direction of the kernel equally far (Jordan et al. 2024,
https://kellerjordan.github.io/posts/muon/; for image networks in their cifar10-airbench).

`torch.optim.Muon` takes matrices only, computes in bfloat16, which is slow on most CPUs, and reads its learning rate on
the host, which a CUDA graph forbids.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from archsearch.nn.torch_private import foreach

_SHARE = 0.1
"""Of its own norm that a step at a learning rate of 1 adds to a kernel."""
_STEPS = 5
_TINY = 1e-12
_A, _B, _C = 3.4445, -4.7750, 2.0315
"""The odd polynomial a x + b x^3 + c x^5, which takes singular values towards one, fastest for small ones (Jordan)."""


def kernels(module: nn.Module) -> list[Tensor]:
    """The weights that Muon moves: dense convolutions and linear layers without a bias.

    They have none because a BatchNorm follows, for which a kernel's norm means nothing. The others, a classifier's
    among them, need their norm; and a depthwise kernel is no matrix.
    """
    layers = (part for part in module.modules() if isinstance(part, nn.Conv2d | nn.Linear) and part.bias is None)
    return [part.weight for part in layers if part.weight.requires_grad and part.weight.shape[1] > 1]


class Muon(torch.optim.Optimizer):
    """Nesterov's momentum for everything; orthogonal steps of a share of the kernel's norm for `orthogonal` groups.

    Such a kernel keeps the norm it started with (as in airbench): weight decay has no meaning there.

    Args:
        groups: of parameters, each with `weight_decay`, `orthogonal` and the `share` of the learning rate that it gets;
            an orthogonal group's have 2 dims or more.
        lr: for all groups; a tensor on the parameters' device where steps are captured.
        momentum: in [0, 1).
    """

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float | Tensor, momentum: float) -> None:
        super().__init__(
            groups, {"lr": lr, "momentum": momentum, "weight_decay": 0.0, "orthogonal": False, "share": 1.0}
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("share", 1.0)  # of checkpoints before 2026-11-30

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # a step computes no loss here
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                move = self._turn if group["orthogonal"] else self._slide
                move(params, self._nesterov(params, group), group["share"] * group["lr"])

    def _nesterov(self, params: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
        grads = [p.grad for p in params if p.grad is not None]
        if group["weight_decay"]:
            grads = foreach("add", grads, params, alpha=group["weight_decay"])
        for p in params:
            if not self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        buffers = [self.state[p]["momentum_buffer"] for p in params]
        foreach("mul_", buffers, group["momentum"])
        foreach("add_", buffers, grads)
        return foreach("add", grads, buffers, alpha=group["momentum"])

    @staticmethod
    def _slide(params: list[Tensor], steps: list[Tensor], lr: float | Tensor) -> None:
        foreach("mul_", steps, lr)
        foreach("sub_", params, steps)

    @staticmethod
    def _turn(params: list[Tensor], steps: list[Tensor], lr: float | Tensor) -> None:
        turns = orthogonal([step.movedim(1, -1).flatten(1) for step in steps])  # views of channels_last kernels
        norms, sizes = (torch.stack(foreach("norm", some)) for some in (params, turns))
        shares = (_SHARE * lr * norms / (sizes + _TINY)).unbind()
        moved = [
            p - (turn * share).view(p.movedim(1, -1).shape).movedim(-1, 1)
            for p, turn, share in zip(params, turns, shares, strict=True)
        ]
        back = norms / (torch.stack(foreach("norm", moved)) + _TINY)
        foreach("copy_", params, foreach("mul", moved, back.unbind()))


def orthogonal(matrices: Sequence[Tensor]) -> list[Tensor]:
    """Matrices with the singular vectors of these (M, N) and values near 1 (0.6 to 1.2; very small ones less).

    By Newton and Schulz's iteration on the smaller Gram matrix: (M, M) products instead of (M, N) ones but for two.
    Those of one size are taken together: on a GPU most of the time goes into starting kernels.
    """
    wide = [matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T for matrix in matrices]
    wide = [matrix / (norm + _TINY) for matrix, norm in zip(wide, foreach("norm", list(matrices)), strict=True)]
    alike: dict[int, list[int]] = {}
    for number, matrix in enumerate(wide):
        alike.setdefault(len(matrix), []).append(number)
    for numbers in alike.values():
        factors = _factors(torch.stack([wide[number] @ wide[number].T for number in numbers]))
        for number, factor in zip(numbers, factors, strict=True):
            wide[number] = factor @ wide[number]
    return [turn if turn.shape == matrix.shape else turn.T for turn, matrix in zip(wide, matrices, strict=True)]


def _factors(gram: Tensor) -> Tensor:
    """What takes matrices with Gram matrices `gram` (B, M, M) to orthogonal ones, by multiplication from the left."""
    total = torch.eye(gram.shape[1], device=gram.device, dtype=gram.dtype).expand_as(gram)
    for _ in range(_STEPS):
        factor = torch.baddbmm(gram, gram, gram, beta=_B, alpha=_C)
        factor.diagonal(dim1=1, dim2=2).add_(_A)
        gram = factor @ gram @ factor
        total = factor @ total
    return total
