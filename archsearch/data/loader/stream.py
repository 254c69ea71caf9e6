"""Images read ahead of their use: while one window is worked on, a thread gathers the next."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import torch
from torch import Tensor

from archsearch.data.loader.rows import copy_rows
from archsearch.data.pixels import Pixels


def ahead(
    images: Pixels, windows: Sequence[Tensor], device: torch.device
) -> Generator[tuple[Tensor, Tensor], None, None]:
    """The images of one window after the other on a device: uint8 (M, C, H, W), channels_last, and places in it.

    windows: int64 positions (B,) on the CPU; the places, int64 (B,) on the device, tell where each one is. What is
    yielded holds until the next is asked for. The thread ends with the generator: close one that is left early.
    DataError where a file cannot be read.
    """
    if not windows:
        return
    stop = Event()
    most = max(map(len, windows))
    slots = [_slot(images, most, device) for _ in range(min(2, len(windows)))]
    with ThreadPoolExecutor(1, "images") as thread:
        try:
            coming = thread.submit(slots[0].fill, windows[0], stop)
            for number in range(len(windows)):
                places = coming.result()
                slot, following = slots[number % 2], number + 1
                if following < len(windows):
                    other = slots[following % 2]
                    other.settle()
                    coming = thread.submit(other.fill, windows[following], stop)
                yield slot.images(len(places)), places.to(device)
                slot.release()
        finally:
            stop.set()


class _Slot:
    """A window's images in memory."""

    def __init__(self, images: Pixels, most: int, pinned: bool = False) -> None:
        channels, *sides = images.shape[1:]
        self._source = images
        self.host = torch.empty((most, *sides, channels), dtype=torch.uint8, pin_memory=pinned)

    def fill(self, window: Tensor, stop: Event) -> Tensor:
        """Read a window, in any thread; where each of its images is: int64 (B,)."""
        rows, order = self._source.stored_rows(window).sort()
        copy_rows(self._source, rows.numpy(), self.host.numpy(), stop.is_set)
        places = torch.empty_like(order)
        places[order] = torch.arange(len(order))
        return places

    def settle(self) -> None:
        """Wait until the memory may be written to."""

    def images(self, count: int) -> Tensor:
        """The first so many images on the device."""
        return self.host[:count].permute(0, 3, 1, 2)

    def release(self) -> None:
        """What was yielded is used no more."""


class _CudaSlot(_Slot):
    """One in pinned memory, copied beside the device's work to a place of its own.

    All calls of CUDA come from the thread that trains: a call from another would break the capture of a graph.
    """

    def __init__(self, images: Pixels, most: int, device: torch.device, copies: torch.cuda.Stream) -> None:
        super().__init__(images, most, pinned=True)
        self._device, self._copies = torch.empty_like(self.host, device=device), copies
        self._copied, self._used = torch.cuda.Event(), torch.cuda.Event()  # type: ignore[no-untyped-call]  # of torch
        self.release()  # the allocator may have had it of work that is still queued

    def settle(self) -> None:
        self._copied.synchronize()

    def images(self, count: int) -> Tensor:
        with torch.cuda.stream(self._copies):
            self._copies.wait_event(self._used)
            self._device[:count].copy_(self.host[:count], non_blocking=True)
            self._copied.record(self._copies)
        torch.cuda.current_stream(self._device.device).wait_event(self._copied)
        return self._device[:count].permute(0, 3, 1, 2)

    def release(self) -> None:
        self._used.record(torch.cuda.current_stream(self._device.device))


class _OtherSlot(_Slot):
    """One whose images are copied to a device that knows no streams."""

    def __init__(self, images: Pixels, most: int, device: torch.device) -> None:
        super().__init__(images, most)
        self._device = device

    def images(self, count: int) -> Tensor:
        return super().images(count).to(self._device)


def _slot(images: Pixels, most: int, device: torch.device) -> _Slot:
    if device.type == "cpu":
        return _Slot(images, most)
    if device.type != "cuda":
        return _OtherSlot(images, most, device)
    copies = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # of torch
    return _CudaSlot(images, most, device, copies)
