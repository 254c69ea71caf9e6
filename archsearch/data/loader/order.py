"""In which order an epoch shows its images, where they are read in pieces from files."""

from __future__ import annotations

import torch
from torch import Tensor


def shuffled(count: int, block: int, window: int, generator: torch.Generator) -> Tensor:
    """A permutation of 0..count-1, int64 (count,) on the CPU, that reads blocks of neighbours.

    Blocks of `block` neighbours come in random order; every `window` of the positions that so follow are shuffled
    together. Where blocks begin is drawn too, so that no two neighbours always share one. Drawn where the
    generator lives, and the same for one seed there.
    """
    place = torch.arange(count)
    begin = int(_draw(block, generator)) if block > 1 else 0
    number = (place + begin) // block
    rank = torch.randperm(int(number[-1]) + 1 if count else 0, generator=generator, device=generator.device).cpu()
    order = rank[number].sort(stable=True).indices
    # a key for each place, whose whole part is its window: one sort shuffles all windows
    key = torch.rand(count, generator=generator, device=generator.device).cpu().double()
    return order[(key + place // window).sort(stable=True).indices]


def evened(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Positions of as many images as there are labels, int64 (N,), sorted, of each class equally many, or one more.

    labels: int64 (N,). Images of a class differ in how often they come by one at most; which ones come more often, or
    at all, is drawn. Classes without an image are left out. Drawn where the generator lives.
    """
    count, device = len(labels), labels.device
    mixed = torch.randperm(count, generator=generator, device=generator.device).to(device)
    grouped = mixed[labels[mixed].sort(stable=True).indices]
    sizes = torch.bincount(labels)
    sizes = sizes[sizes > 0]
    kinds = len(sizes)
    ranks = torch.randperm(kinds, generator=generator, device=generator.device).to(device)
    quotas = count // max(1, kinds) + (ranks < count % max(1, kinds)).long()
    kind = torch.repeat_interleave(quotas, output_size=count)
    turn = torch.arange(count, device=device) - (quotas.cumsum(0) - quotas)[kind]
    return grouped[(sizes.cumsum(0) - sizes)[kind] + turn % sizes[kind]].sort().values


def _draw(high: int, generator: torch.Generator) -> Tensor:
    return torch.randint(high, (), generator=generator, device=generator.device)
