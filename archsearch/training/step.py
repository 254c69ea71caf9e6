"""One optimisation step: forward, loss, backward, update."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archsearch.nn.build import AuxHead
from archsearch.nn.devices import autocast_dtype, free_memory, out_of_memory
from archsearch.training.loss import AnyLoss

_LEAST = 4  # images in a micro-batch


class Step:
    """Trains a module on one batch a call.

    Where the device's memory does not suffice, the batch is taken in twice as many micro-batches, whose gradients
    add up to the batch's, from then on; batch statistics are those of a micro-batch then.

    Args:
        module: on `device`, in training mode when called.
        optimiser: over its parameters.
        loss: of the module's logits, and of auxiliary ones.
        device: of the batches.
    """

    def __init__(
        self, module: nn.Module, optimiser: torch.optim.Optimizer, loss: AnyLoss, device: torch.device
    ) -> None:
        self.parts = 1
        self._module = module
        self._optimiser = optimiser
        self.loss = loss
        self._device = device
        self._dtype = autocast_dtype(device)
        self._auxiliary = [part for part in module.modules() if isinstance(part, AuxHead)]

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """The batch's mean loss, on the device. Raises RuntimeError where even 4 images do not fit."""
        while True:
            try:
                return self._step(images, labels)
            except RuntimeError as error:
                if not out_of_memory(error) or 2 * self.parts * _LEAST > len(labels):
                    raise
            # outside of the handler: until then the error's traceback holds the tensors of the failed step
            self._optimiser.zero_grad(set_to_none=True)
            free_memory(self._device)
            self.parts *= 2

    def _step(self, images: Tensor, labels: Tensor) -> Tensor:
        self._optimiser.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self._device)
        for some, targets in zip(images.chunk(self.parts), labels.chunk(self.parts), strict=True):
            loss = self._loss(some, targets) * self.loss.share(targets, labels)
            torch.autograd.backward(loss)
            total += loss.detach()
        self._optimiser.step()
        return total

    def _loss(self, images: Tensor, labels: Tensor) -> Tensor:
        # no cache of cast weights: a captured graph would replay stale ones (pytorch issue 71631)
        with torch.autocast(self._device.type, dtype=self._dtype, enabled=self._dtype is not None, cache_enabled=False):
            logits = self._module(images)
        loss = self.loss(logits, labels)
        for part in self._auxiliary:
            if part.logits is not None:
                loss = loss + part.weight * self.loss(part.logits, labels)
        return loss
