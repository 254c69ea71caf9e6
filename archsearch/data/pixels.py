"""Images as bytes, in one tensor or in several, some of which may be files mapped into memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

_CHUNK = 1024


@dataclass(frozen=True, eq=False)
class Pixels:
    """uint8 images (N, C, H, W) on the CPU. A choice of them shares their memory.

    shards: channels_last, one behind the other, all of one image size.
    rows: int64 (N,), which of all the shards' images these are; None: all, in order.
    mapped: the shards are files, whose pages come and go as the system has memory.
    files: of each shard, that begins with its images' bytes (H, W, C); none where shards are no files.
    """

    shards: tuple[Tensor, ...]
    rows: Tensor | None = None
    mapped: bool = False
    files: tuple[Path, ...] = ()

    @classmethod
    def of(cls, images: Tensor | Pixels) -> Pixels:
        """A tensor (N, C, H, W) as it is, copied only where it is not channels_last."""
        if isinstance(images, Pixels):
            return images
        return cls((images.contiguous(memory_format=torch.channels_last),))

    def __len__(self) -> int:
        return self.ends[-1] if self.rows is None else len(self.rows)

    @property
    def shape(self) -> torch.Size:
        """(N, C, H, W)."""
        return torch.Size((len(self), *self.shards[0].shape[1:]))

    @property
    def nbytes(self) -> int:
        """Of these images, one byte a value."""
        return self.shape.numel()

    def subset(self, rows: Tensor) -> Pixels:
        """The images at int64 positions (M,)."""
        return replace(self, rows=self.stored_rows(rows))

    def stored_rows(self, chosen: Tensor) -> Tensor:
        """Which of all the shards' images those at int64 positions (B,) are: int64 (B,)."""
        return chosen if self.rows is None else self.rows[chosen]

    def take(self, chosen: Tensor) -> Tensor:
        """A copy of the images at int64 positions (B,): (B, C, H, W), channels_last."""
        rows = self.stored_rows(chosen)
        if len(self.shards) == 1:
            return stored(self.shards[0]).index_select(0, rows).permute(0, 3, 1, 2)
        channels, *sides = self.shape[1:]
        found = torch.empty((len(rows), *sides, channels), dtype=torch.uint8)
        shard = torch.bucketize(rows, torch.tensor(self.ends), right=True)
        for number in sorted(set(shard.tolist())):
            mine = (shard == number).nonzero().view(-1)
            begin = self.ends[number] - len(self.shards[number])
            found[mine] = stored(self.shards[number]).index_select(0, rows[mine] - begin)
        return found.permute(0, 3, 1, 2)

    def __getitem__(self, key: int | slice | Tensor) -> Tensor:
        """A copy of one image (C, H, W), or of several: by a slice, positions, or a bool for each image."""
        if isinstance(key, int):
            return self.take(torch.tensor([range(len(self))[key]]))[0]
        return self.take(torch.arange(len(self))[key])

    def whole(self) -> Tensor:
        """All images in one tensor (N, C, H, W), channels_last; not copied where they are one already."""
        if self.rows is None and len(self.shards) == 1:
            return self.shards[0]
        return self.take(torch.arange(len(self)))

    def chunks(self, size: int = _CHUNK) -> Iterator[Tensor]:
        """All images in order, `size` at a time."""
        for rows in torch.split(torch.arange(len(self)), size):
            yield self.take(rows)

    @cached_property
    def ends(self) -> Sequence[int]:
        """How many images the shards hold up to each one's end."""
        ends, end = [], 0
        for shard in self.shards:
            end += len(shard)
            ends.append(end)
        return ends


def joined(parts: Sequence[Pixels]) -> Pixels:
    """The images of all parts, one behind the other, in the same memory."""
    shards = tuple(shard for part in parts for shard in part.shards)
    rows, begin = [], 0
    for part in parts:
        rows.append(begin + (torch.arange(len(part)) if part.rows is None else part.rows))
        begin += sum(map(len, part.shards))
    whole = all(part.rows is None for part in parts)
    files = tuple(file for part in parts for file in part.files)
    mapped = any(part.mapped for part in parts)
    return Pixels(shards, None if whole else torch.cat(rows), mapped, files if len(files) == len(shards) else ())


def stored(shard: Tensor) -> Tensor:
    """(n, H, W, C) as the bytes lie."""
    return shard.permute(0, 2, 3, 1)
