"""In which order an epoch shows its images, where they are read in pieces from files."""

from __future__ import annotations

import torch
from torch import Tensor


def shuffled(labels: Tensor, block: int, window: int, generator: torch.Generator) -> Tensor:
    """A permutation of 0..N-1, int64 (N,) on the CPU, that reads blocks of neighbours.

    labels: int64 (N,) on the CPU, the class of each image; a folder's images lie sorted by it. Blocks of `block`
    neighbours come in a random order that spreads the blocks of each class evenly over the epoch; every `window` of the
    positions that so follow are shuffled together. Where blocks begin is drawn too, so that no two neighbours always
    share one. Drawn where the generator lives, and the same for one seed there.
    """
    count = len(labels)
    if not count:
        return torch.arange(0)
    place = torch.arange(count)
    begin = int(_draw(block, generator)) if block > 1 else 0
    number = (place + begin) // block
    firsts = (torch.arange(int(number[-1]) + 1) * block - begin).clamp(min=0)
    order = _spread(labels[firsts], generator)[number].sort(stable=True).indices
    # a key for each place, whose whole part is its window: one sort shuffles all windows
    key = torch.rand(count, generator=generator, device=generator.device).cpu().double()
    return order[(key + place // window).sort(stable=True).indices]


def _spread(kinds: Tensor, generator: torch.Generator) -> Tensor:
    """A random rank for each of some things, int64 (N,), such that those of a kind, int64 (N,), are evenly apart."""
    device = generator.device
    mixed = torch.randperm(len(kinds), generator=generator, device=device).cpu()
    grouped = mixed[kinds[mixed].sort(stable=True).indices]
    sizes = torch.bincount(kinds)
    sizes = sizes[sizes > 0]
    kind = torch.repeat_interleave(sizes)
    start = torch.rand(len(sizes), generator=generator, device=device).cpu().double()
    turn = torch.arange(len(kinds)) - (sizes.cumsum(0) - sizes)[kind]
    ranks = torch.empty_like(grouped)
    ranks[grouped[((turn + start[kind]) / sizes[kind]).sort(stable=True).indices]] = torch.arange(len(kinds))
    return ranks


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
