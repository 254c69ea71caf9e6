"""Stores of decoded pictures: whole or not there, and never other pixels than the pictures have."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import resource
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data_samples import Lines, noise
from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch.data.store.files import INDEX, Shards, open_store, read_index, stores
from archsearch.data.store.making import Place, Unwritable, clear, kept, make
from archsearch.data.store.progress import SILENT


def filled(folder: Path, images: dict[str, np.ndarray], shard_bytes: int = 2**28) -> Shards:
    """A store of uint8 (N, H, W, C) images by part."""
    folder.mkdir(parents=True, exist_ok=True)
    shards = Shards(folder, shard_bytes)
    write(shards, images)
    return shards


def write(shards: Shards, images: dict[str, np.ndarray]) -> None:
    for part, some in images.items():
        shards.begin(part, len(some), some.shape[1:])
        for one in some:
            shards.add(one)
    shards.images()
    shards.finish(Path("/pictures"), {"facts": [1, "two"]})


@settings(max_examples=20)
@given(st.integers(1, 9), st.integers(1, 4), st.sampled_from([1, 3]), st.integers(1, 400))
def test_a_store_gives_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, number: int, size: int, channels: int, shard_bytes: int
) -> None:
    """Whatever the size of its shards."""
    folder = tmp_path_factory.mktemp("store")
    images = {"train": noise(number, size, size, channels), "val": noise(2, size, size, channels, seed=1)}
    filled(folder, images, shard_bytes)
    stored = open_store(folder)
    assert stored.facts == {"facts": [1, "two"]}
    for part, found in stored.images.items():
        assert found.mapped
        assert torch.equal(found.whole().permute(0, 2, 3, 1), torch.from_numpy(images[part]))
        assert len(found.shards) == -(-len(images[part]) // max(1, -(-shard_bytes // (size * size * channels))))
    assert read_index(folder).rows == number + 2


def test_writing_into_mapped_images_changes_no_file(tmp_path: Path) -> None:
    images = noise(3, 4, 4, 3)
    filled(tmp_path, {"train": images})
    open_store(tmp_path).images["train"].shards[0].zero_()
    assert torch.equal(open_store(tmp_path).images["train"].whole().permute(0, 2, 3, 1), torch.from_numpy(images))


def shorten(folder: Path) -> None:
    os.truncate(folder / "train-0000.u8", 100)


def lengthen(folder: Path) -> None:
    with (folder / "train-0000.u8").open("ab") as file:
        file.write(b"more")


def alter(folder: Path) -> None:
    path = folder / "train-0000.u8"
    content = bytearray(path.read_bytes())
    content[7] ^= 1
    path.write_bytes(content)


def lose(folder: Path) -> None:
    (folder / "train-0000.u8").unlink()


def spoil(folder: Path) -> None:
    (folder / INDEX).write_text("{")


def empty(folder: Path) -> None:
    (folder / INDEX).write_text("")


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    found = json.loads((folder / INDEX).read_text())
    change(found)
    (folder / INDEX).write_text(json.dumps(found))


def older(folder: Path) -> None:
    rewrite(folder, lambda found: found["index"].update(format=0))


def other_facts(folder: Path) -> None:
    rewrite(folder, lambda found: found["index"].update(facts={}))


def no_index(folder: Path) -> None:
    (folder / INDEX).unlink()


DAMAGES = [shorten, lengthen, alter, lose, spoil, empty, older, other_facts, no_index]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_store_is_told_and_made_again(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    images, place, lines = noise(3, 8, 8, 3), Place(tmp_path, "key"), Lines()
    make(place, lambda shards: write(shards, {"train": images}), lines)
    assert kept(place, lines) is not None
    assert not lines.said
    damage(place.folder)
    assert kept(place, lines) is None
    assert len(lines.said) == 1
    assert "is not as it was written" in lines.said[0]
    assert "\n" not in lines.said[0]
    again = make(place, lambda shards: write(shards, {"train": images}), lines)
    assert torch.equal(again.images["train"].whole().permute(0, 2, 3, 1), torch.from_numpy(images))
    assert kept(place, lines) is not None
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_a_copied_store_is_summed_up_once(tmp_path: Path) -> None:
    """Copies have other times."""
    filled(tmp_path / "a", {"train": noise(3, 8, 8, 3)})
    shutil.copytree(tmp_path / "a", tmp_path / "b", copy_function=shutil.copy)
    os.utime(tmp_path / "b" / "train-0000.u8", ns=(1, 1))
    open_store(tmp_path / "b")
    assert read_index(tmp_path / "b").shards[0].mtime_ns == 1
    assert read_index(tmp_path / "b").shards[0].crc32 == read_index(tmp_path / "a").shards[0].crc32


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), ValueError()])
def test_nothing_is_left_of_a_store_that_is_not_finished(tmp_path: Path, error: BaseException) -> None:
    def fill(shards: Shards) -> None:
        shards.reserve(100)
        shards.begin("train", 1, (8, 8, 3))
        shards.add(noise(8, 8, 3))
        raise error

    expected = Unwritable if isinstance(error, OSError) else type(error)
    with pytest.raises(expected) as caught:
        make(Place(tmp_path, "key"), fill, SILENT)
    if isinstance(caught.value, Unwritable):
        assert (caught.value.reason, caught.value.size) == ("No space left on device", 100)
    assert not list(tmp_path.iterdir())


def test_a_store_that_finds_no_room_is_not_begun(tmp_path: Path) -> None:
    with pytest.raises(Unwritable, match="are free there") as caught:
        make(Place(tmp_path, "key"), lambda shards: shards.reserve(2**60), SILENT)
    assert caught.value.size == 2**60
    assert not list(tmp_path.iterdir())


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("only root may mount a disk")
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    """Also one that fills up while pictures are written."""
    with small_disk(tmp_path / "disk", "1m") as disk:
        with pytest.raises(Unwritable, match="No space left on device"):
            make(Place(disk / "cache", "key"), lambda shards: write(shards, {"train": noise(64, 96, 96, 3)}), SILENT)
        assert not list((disk / "cache").iterdir())


@pytest.mark.parametrize("name", ["train-0000.u8", INDEX])
def test_a_disk_that_loses_a_file_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """What a disk has taken it may yet refuse when asked to keep it."""
    whole = os.fsync

    def lost(handle: int) -> None:
        if any(os.path.samestat(path.stat(), os.fstat(handle)) for path in tmp_path.rglob(name)):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        whole(handle)

    monkeypatch.setattr(os, "fsync", lost)
    with pytest.raises(Unwritable, match="Input/output error"):
        make(Place(tmp_path, "key"), lambda shards: write(shards, {"train": noise(4, 8, 8, 3)}), SILENT)
    assert not list(tmp_path.rglob(name))


def limited(folder: Path, answer: Any) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        make(Place(folder, "key"), lambda shards: write(shards, {"train": noise(64, 96, 96, 3)}), SILENT)
    except Unwritable as error:
        answer.put(error.reason)


def test_files_that_may_not_grow_leave_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    process = context.Process(target=limited, args=(tmp_path, answer))
    process.start()
    assert answer.get(timeout=60) == "File too large"
    process.join()
    assert not list(tmp_path.iterdir())


def test_of_two_at_once_one_makes_the_store(tmp_path: Path) -> None:
    """The other waits, says so, and opens it."""
    images, made, lines = noise(3, 8, 8, 3), [], Lines()
    begun, go = threading.Event(), threading.Event()

    def slow(shards: Shards) -> None:
        made.append("slow")
        begun.set()
        assert go.wait(30)
        write(shards, {"train": images})

    def fast(shards: Shards) -> None:
        made.append("fast")
        write(shards, {"train": noise(3, 8, 8, 3, seed=9)})

    place = Place(tmp_path, "key")
    first = threading.Thread(target=make, args=(place, slow, SILENT))
    first.start()
    assert begun.wait(30)
    found: list[Any] = []
    second = threading.Thread(target=lambda: found.append(make(place, fast, lines)))
    second.start()
    while not lines.said:
        time.sleep(0.01)
    assert not found
    go.set()
    first.join()
    second.join()
    assert made == ["slow"]
    assert lines.said == ["waiting for another process, which decodes the same pictures"]
    assert torch.equal(found[0].images["train"].whole().permute(0, 2, 3, 1), torch.from_numpy(images))
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def die(folder: Path) -> None:
    def fill(shards: Shards) -> None:
        shards.begin("train", 1, (8, 8, 3))
        shards.add(noise(8, 8, 3))
        os._exit(9)

    make(Place(folder, "key"), fill, SILENT)


def test_the_lock_of_a_dead_process_holds_nobody(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=die, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == 9
    assert [path.name for path in tmp_path.iterdir()] == ["key.part"]
    lines = Lines()
    make(Place(tmp_path, "key"), lambda shards: write(shards, {"train": noise(2, 8, 8, 3)}), lines)
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
    assert not lines.said


def test_without_locks_each_process_makes_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archsearch._utils.locking.fcntl", None)
    monkeypatch.setattr("os.getpid", count(1).__next__)
    images, place = noise(2, 8, 8, 3), Place(tmp_path, "key")
    names = []

    def fill(shards: Shards) -> None:
        names.append(shards.folder.name)
        if len(names) == 1:
            make(place, fill, SILENT)  # as another process does meanwhile
        write(shards, {"train": images})

    stored = make(place, fill, SILENT)
    assert names == ["key.1.part", "key.2.part"]
    assert torch.equal(stored.images["train"].whole().permute(0, 2, 3, 1), torch.from_numpy(images))
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_clear_removes_what_nobody_holds(tmp_path: Path) -> None:
    for key in ("a", "a-test", "b"):
        make(Place(tmp_path, key), lambda shards: write(shards, {"train": noise(2, 8, 8, 3)}), SILENT)
    filled(tmp_path / "left.part", {"train": noise(2, 8, 8, 3)})
    held: list[int] = []

    def fill(shards: Shards) -> None:
        held.append(clear(tmp_path))
        write(shards, {"train": noise(2, 8, 8, 3)})

    (tmp_path / "of a user").mkdir()
    (tmp_path / "of a user" / "thesis.txt").write_text("no store")
    assert [folder.name for folder, index in stores(tmp_path) if index] == ["a", "a-test", "b", "left.part"]
    assert clear(tmp_path, Path("/pictures"), 8, but="a") > 2 * 384
    assert [folder.name for folder, _ in stores(tmp_path)] == ["a", "a-test"]
    assert clear(tmp_path, Path("/pictures"), 9) == 0
    assert clear(tmp_path, Path("/elsewhere")) == 0
    make(Place(tmp_path, "c"), fill, SILENT)
    assert [folder.name for folder, _ in stores(tmp_path)] == ["c"]
    assert held[0] > 2 * 384
    assert (tmp_path / "of a user" / "thesis.txt").exists()
