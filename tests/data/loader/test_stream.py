"""Images that are read ahead, in memory or not, come as they would from one tensor."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from data_samples import noise_images
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from shards import mapped

from archsearch.data import Augmentation, DeviceData, epoch
from archsearch.data.loader import stream as streams
from archsearch.data.loader.rows import copy_rows
from archsearch.data.loader.stream import ahead
from archsearch.data.pixels import Pixels
from archsearch.errors import DataError, InputError

CPU = torch.device("cpu")
COUNT = 500
IMAGES = noise_images(COUNT, 3, 8, 8)
CHANGED = Augmentation(crop=2, flip=1, cutout=2, mixup=0.5)
TRAIN = torch.arange(COUNT)[torch.arange(COUNT) % 7 != 3]
SMALL = 20_000.0
"""Bytes, of 82,000: two windows of 52 images, with blocks of one."""


@pytest.fixture(autouse=True)
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three batches of 16 at a time, so that small images come in several windows."""
    monkeypatch.setattr("archsearch.data.loader.batches._GROUP", {"cpu": 3 * 16 * 192})


def device_data(images: Pixels | torch.Tensor, room: float = float("inf")) -> DeviceData:
    return DeviceData(images, torch.arange(len(images)), ((0.5,) * 3, (0.25,) * 3), CPU, room=room)


def seen(data: DeviceData, seed: int = 0, augmentation: Augmentation = CHANGED) -> list[torch.Tensor]:
    draws = torch.Generator().manual_seed(seed)
    batches = list(epoch(data, 16, generator=draws, augmentation=augmentation, classes=len(data)))
    return [torch.cat(column) for column in zip(*batches, strict=True)]


def equal(one: list[torch.Tensor], two: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def readers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("images")]


@pytest.fixture(params=["files", "mappings"])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Pixels:
    whole = mapped(tmp_path / "store", IMAGES, [200, 250, 50], named=request.param == "files")
    return whole.subset(TRAIN)


def test_mapped_images_that_fit_come_as_those_in_memory_do(stored: Pixels) -> None:
    assert equal(seen(device_data(stored)), seen(device_data(IMAGES[TRAIN])))


def test_an_epoch_from_files_is_that_from_memory(stored: Pixels) -> None:
    assert device_data(stored, SMALL).streamed
    assert equal(seen(device_data(stored, SMALL)), seen(device_data(IMAGES[TRAIN], SMALL)))
    assert not equal(seen(device_data(stored, SMALL)), seen(device_data(stored, SMALL), seed=1))


def test_a_streamed_epoch_has_every_image_once_with_its_label(stored: Pixels) -> None:
    data = device_data(stored.subset(torch.arange(400)), SMALL)
    images, labels = seen(data, augmentation=Augmentation())
    assert labels.sort().values.tolist() == list(range(400))
    assert labels.tolist() != list(range(400))
    assert torch.equal(images, data.normalised(IMAGES[TRAIN][labels]))


def test_balanced_classes_stream_with_their_labels(stored: Pixels) -> None:
    """Nine images in ten are of one class, and lie before all others."""
    labels = (torch.arange(len(TRAIN)) >= 9 * len(TRAIN) // 10).long()
    data = DeviceData(stored, labels, ((0.5,) * 3, (0.25,) * 3), CPU, room=SMALL)
    assert data.streamed
    order = data.balanced().order(16, torch.Generator().manual_seed(0))
    assert len(order) == len(data)
    for window in order.chunk(4):
        assert labels[window].float().mean() == pytest.approx(0.5, abs=0.2)
    batches = epoch(data.balanced(), 16, generator=torch.Generator().manual_seed(0))
    images, shown = (torch.cat(column) for column in zip(*batches, strict=True))
    assert int(shown.sum()) == pytest.approx(len(shown) / 2, abs=16)
    known = [image.numpy().tobytes() for image in data.normalised(IMAGES[TRAIN]).split(1)]
    assert labels[[known.index(image.numpy().tobytes()) for image in images.split(1)]].tolist() == shown.tolist()
    assert int(torch.cat([label for _, label in data.batches(50)]).sum()) == int(labels.sum())  # as they are


def test_several_classes_an_image_are_not_balanced(stored: Pixels) -> None:
    with pytest.raises(InputError, match="balanced_batches: an image may have several classes: use class_weights"):
        DeviceData(stored, torch.ones(len(TRAIN), 2, dtype=torch.bool), ((0.5,) * 3, (0.25,) * 3), CPU).balanced()


def test_all_images_in_order(stored: Pixels) -> None:
    for data in (device_data(stored), device_data(stored, SMALL)):
        found = list(data.batches(100))
        expected = list(device_data(IMAGES[TRAIN]).batches(100))
        assert all(equal(list(a), list(b)) for a, b in zip(found, expected, strict=True))
        assert torch.equal(data.levels(torch.tensor([3, 0, 399])), IMAGES[TRAIN][[3, 0, 399]])
        assert torch.equal(data.first(20).levels(torch.arange(20)), IMAGES[TRAIN][:20])


def test_room_for_less_than_a_batch_holds_a_batch(stored: Pixels) -> None:
    _, targets = seen(device_data(stored, 1.0), augmentation=Augmentation())
    assert len(targets.unique()) == len(targets) == len(TRAIN) // 16 * 16


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chosen=st.lists(st.integers(0, COUNT - 1), min_size=1, max_size=60))
@example(chosen=[5, 5, 7])  # as many rows as from the first to the last, but others
def test_rows_are_copied_from_anywhere(tmp_path: Path, chosen: list[int]) -> None:
    images = mapped(tmp_path / "any", IMAGES, [100, 1, 399])
    rows = torch.tensor(sorted(chosen))
    into = torch.zeros(len(rows) + 1, 8, 8, 3, dtype=torch.uint8)
    copy_rows(images, rows.numpy(), into.numpy(), lambda: False)
    assert torch.equal(into[:-1].permute(0, 3, 1, 2), IMAGES[rows])
    assert not into[-1].any()


def test_rows_far_apart_are_read_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archsearch.data.loader.rows._GAP", 0)
    monkeypatch.setattr("archsearch.data.loader.rows._PIECE", 3 * 192)
    images, rows = mapped(tmp_path, IMAGES, [COUNT]), torch.tensor([2, 3, 4, 5, 9, 10, 400])
    into = torch.zeros(len(rows), 8, 8, 3, dtype=torch.uint8)
    copy_rows(images, rows.numpy(), into.numpy(), lambda: False)
    assert torch.equal(into.permute(0, 3, 1, 2), IMAGES[rows])


# threads


def test_the_thread_ends_with_its_epoch_whole_or_not(stored: Pixels) -> None:
    data = device_data(stored, SMALL)
    seen(data)
    assert not readers()
    with closing(epoch(data, 16, generator=torch.Generator())) as batches:
        next(batches)
        assert readers()
    assert not readers()
    held_out = data.batches(16)
    next(held_out)
    with pytest.raises(KeyboardInterrupt):
        held_out.throw(KeyboardInterrupt)
    assert not readers()


@pytest.mark.parametrize("harm", ["cut", "unreadable"])
def test_a_file_that_is_cut_or_unreadable_is_a_data_error_in_one_line(tmp_path: Path, harm: str) -> None:
    images = mapped(tmp_path, IMAGES, [250, 250])
    path, data = images.files[1], device_data(images, SMALL)
    if harm == "cut":
        os.truncate(path, 20_000)
    else:
        path.unlink()
        path.mkdir()
    with pytest.raises(DataError) as caught:
        seen(data)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    assert "ends at byte 20,000" in message if harm == "cut" else "while images were read" in message
    assert not readers()


def test_a_file_that_was_removed_is_read_by_its_mapping(tmp_path: Path) -> None:
    images = mapped(tmp_path, IMAGES, [250, 250])
    images.files[0].unlink()
    assert equal(seen(device_data(images, SMALL)), seen(device_data(IMAGES, SMALL)))


def test_an_exception_in_the_thread_reaches_the_caller(stored: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def fail(*arguments: object) -> None:
        calls.append(threading.current_thread().name)
        if len(calls) == 3:
            raise MemoryError("no room")

    monkeypatch.setattr(streams, "copy_rows", fail)
    with pytest.raises(MemoryError, match="no room"):
        seen(device_data(stored, SMALL))
    assert all(name.startswith("images") for name in calls)
    assert not readers()


def test_reading_stops_between_pieces(stored: Pixels) -> None:
    into = torch.zeros(COUNT, 8, 8, 3, dtype=torch.uint8)
    copy_rows(stored, TRAIN.numpy(), into.numpy(), lambda: True)
    assert not into.any()


# CUDA: the same calls, in an order that keeps a copy from what is in use


class Event:
    def __init__(self, log: list[str]) -> None:
        self.log, self.recorded = log, 0

    def record(self, stream: object) -> None:
        self.recorded += 1

    def synchronize(self) -> None:
        self.log.append(f"wait {self.recorded}")


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """CUDA's streams and events that only note what is asked of them; the device is the CPU."""
    log: list[str] = []
    stream = SimpleNamespace(wait_event=lambda event: log.append("wait_event"))

    @contextmanager
    def on(stream: object) -> Iterator[None]:
        log.append("copy")
        yield

    fakes: dict[str, Callable[..., object]] = {
        "Event": lambda: Event(log), "stream": on, "current_stream": lambda device: stream,
    }  # fmt: skip
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *size, pin_memory=False, **options: empty(*size, **options))
    monkeypatch.setattr(streams, "_slot", lambda images, most, device: streams._CudaSlot(images, most, device, stream))
    return log


def test_pinned_copies_wait_for_what_is_in_use(stored: Pixels, cuda: list[str]) -> None:
    order = torch.randperm(len(TRAIN))
    windows = list(torch.split(order, 100))
    found = [images[places].clone() for images, places in ahead(stored, windows, CPU)]
    assert torch.equal(torch.cat(found), IMAGES[TRAIN][order])
    assert cuda.count("copy") == len(windows)
    assert cuda.count("wait_event") == 2 * len(windows)  # the copy for the last use, the work for the copy
    assert [line for line in cuda if line.startswith("wait ")] == ["wait 0", "wait 1", "wait 1", "wait 2"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_streams_what_the_cpu_does(stored: Pixels) -> None:
    device = torch.device("cuda")
    data = DeviceData(stored, torch.arange(len(stored)), ((0.5,) * 3, (0.25,) * 3), device, room=SMALL)
    found = [torch.cat(column) for column in zip(*data.batches(50), strict=True)]
    expected = [torch.cat(column) for column in zip(*device_data(IMAGES[TRAIN]).batches(50), strict=True)]
    assert all(torch.allclose(a.cpu(), b, atol=1e-6) for a, b in zip(found, expected, strict=True))
