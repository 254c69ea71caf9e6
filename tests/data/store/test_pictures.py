"""Pictures by way of a store: the same pixels as without one, decoded once, and never others."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data_samples import Lines, noise
from numpy.typing import NDArray
from PIL import Image

from archsearch.data import Dataset, load_dataset
from archsearch.data.dataset import fingerprint, histograms
from archsearch.data.listing import Listing
from archsearch.data.readers.folder import list_folder
from archsearch.data.store import pictures, reading
from archsearch.data.store.decoding import each
from archsearch.data.store.files import stores
from archsearch.data.store.pictures import load_pictures
from archsearch.errors import DataError


def photos(root: Path, parts: Sequence[str] = ("train", "test"), count: int = 4, grey: bool = False) -> Path:
    for part in parts:
        for label in "ab":
            (root / part / label).mkdir(parents=True)
            for n in range(count):
                Image.fromarray(noise(14, 18, 3, seed=n).squeeze()).convert("L" if grey else "RGB").save(
                    root / part / label / f"{n}.png"
                )
    return root


def load(root: Path, cache: Path | None, **options: Any) -> tuple[Dataset, Lines]:
    watch = Lines()
    return load_pictures(list_folder(root, f"folder:{root}"), 8, cache=cache, watch=watch, **options), watch


def decoded(watch: Lines) -> int:
    """Pictures that were read by pixel."""
    return sum(words == "pictures" for words, _, _ in watch.steps)


def equal(first: Dataset, second: Dataset) -> bool:
    own = [(first.images, second.images), *([(first.validation[0], second.validation[0])] if first.validation else [])]
    plain = [
        (one.classes, one.notes, one.range, one.flip, one.fingerprint, one.normalisation) for one in (first, second)
    ]
    return plain[0] == plain[1] and all(torch.equal(one.whole(), other.whole()) for one, other in own)


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("parts", [("train", "test"), ("train", "val", "test"), ("",)])
def test_a_store_gives_what_pictures_give(tmp_path: Path, parts: Sequence[str], grey: bool) -> None:
    root = photos(tmp_path / "photos", parts, grey=grey)
    plain, _ = load(root, None)
    first, made = load(root, tmp_path / "cache")
    second, opened = load(root, tmp_path / "cache")
    count = len(plain.labels) + (len(plain.validation[1]) if plain.validation else 0)
    assert (decoded(made), decoded(opened)) == (count, 0)
    assert made.steps[-1] == ("pictures", count, count)
    assert equal(plain, first)
    assert equal(plain, second)
    assert second.digest is not None
    parts_of = [(second.images, second.labels), *([second.validation] if second.validation else [])]
    assert second.digest == fingerprint(second.classes, parts_of)
    assert second.histograms is not None
    assert torch.equal(second.histograms, histograms(second.images))
    assert second.images.mapped


def test_the_test_split_has_a_store_of_its_own_made_when_it_is_asked_for(tmp_path: Path) -> None:
    root = photos(tmp_path / "photos")
    plain, _ = load(root, None)
    dataset, _ = load(root, tmp_path / "cache")
    assert len(list(stores(tmp_path / "cache"))) == 1
    assert dataset.verify_test is not None
    assert dataset.verify_test() == 8
    assert [folder.name.endswith("-test") for folder, _ in stores(tmp_path / "cache")] == [False, True]
    again, watch = load(root, tmp_path / "cache")
    for one in (dataset, again, pickle.loads(pickle.dumps(again))):
        images, labels = one.test()
        assert torch.equal(images.whole(), plain.test()[0].whole())
        assert torch.equal(labels, plain.test()[1])
    assert decoded(watch) == 0


def test_broken_pictures_are_told_again_without_decoding(tmp_path: Path) -> None:
    """And left out from the same store."""
    root = photos(tmp_path / "photos")
    (root / "train" / "a" / "2.png").write_bytes(b"no picture")
    whole = (root / "train" / "b" / "1.png").read_bytes()
    (root / "train" / "b" / "1.png").write_bytes(whole[: len(whole) // 2])
    said = []
    for _ in range(2):
        with pytest.raises(DataError, match=r"2 files in .* are no readable pictures: train/a/2\.png, train/b/1\.png"):
            said.append(load(root, tmp_path / "cache"))
    dataset, watch = load(root, tmp_path / "cache", skip_broken=True)
    plain, _ = load(root, None, skip_broken=True)
    assert decoded(watch) == 0
    assert equal(dataset, plain)
    for one, other in zip(dataset.listed or (), plain.listed or (), strict=True):
        assert torch.equal(one, other)
    assert dataset.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_no_train_picture_that_can_be_read_is_one_line(tmp_path: Path) -> None:
    root = photos(tmp_path / "photos")
    for path in (root / "train").rglob("*.png"):
        path.write_bytes(b"no picture")
    for cache in (None, tmp_path / "cache", tmp_path / "cache"):
        with pytest.raises(DataError, match="none of the 8 pictures of a split can be read"):
            load(root, cache, skip_broken=True)


def test_sixteen_bits_keep_their_range(tmp_path: Path) -> None:
    for part, label, n in [(part, label, n) for part in ("train", "test") for label in "ab" for n in range(3)]:
        (tmp_path / "p" / part / label).mkdir(parents=True, exist_ok=True)
        levels = np.random.default_rng(n).integers(100, 4000, (9, 9)).astype(np.uint16)
        Image.fromarray(levels).save(tmp_path / "p" / part / label / f"{n}.png")
    plain, _ = load(tmp_path / "p", None)
    load(tmp_path / "p", tmp_path / "cache")
    stored, watch = load(tmp_path / "p", tmp_path / "cache")
    assert decoded(watch) == 0
    assert equal(plain, stored)
    assert stored.range == plain.range is not None
    assert torch.equal(stored.test()[0].whole(), plain.test()[0].whole())


def replace_same_size(path: Path) -> None:
    """Other pixels under the same name, size and date."""
    about = path.stat()
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


def remove(path: Path) -> None:
    path.unlink()


def another(path: Path) -> None:
    Image.fromarray(noise(14, 18, 3, seed=99)).save(path)


@pytest.mark.parametrize("change", [another, remove, replace_same_size])
def test_changed_pictures_make_another_store_in_place_of_the_older(tmp_path: Path, change: Any) -> None:
    root, cache = photos(tmp_path / "photos"), tmp_path / "cache"
    before, _ = load(root, cache)
    before.test()
    (older, _), _ = stores(cache)
    change(root / "train" / "a" / "1.png")
    after, watch = load(root, cache, skip_broken=True)
    assert decoded(watch) == 7 + (change is not remove)
    assert equal(after, load(root, None, skip_broken=True)[0])
    ((folder, _),) = stores(cache)
    assert folder != older
    assert len(before.images.whole()) == 8  # what is mapped stays


def test_another_size_and_other_pictures_leave_a_store_alone(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    listings = [list_folder(photos(tmp_path / name), name) for name in "xy"]
    for listing in listings:
        for size in (8, 9):
            load_pictures(listing, size, cache=cache)
    assert len(list(stores(cache))) == 4


def test_labels_and_names_are_of_the_store(tmp_path: Path) -> None:
    """They may stand in a table beside the pictures."""
    listing = list_folder(photos(tmp_path / "photos"), "x")
    before = load_pictures(listing, 8, cache=tmp_path / "cache")
    train = replace(listing.parts["train"], labels=np.array([0, 1] * 4))
    swapped = load_pictures(replace(listing, parts={**listing.parts, "train": train}), 8, cache=tmp_path / "cache")
    named = load_pictures(replace(listing, classes=("c", "d")), 8, cache=tmp_path / "cache")
    assert swapped.labels.tolist() == [0, 1] * 4
    assert len({one.fingerprint for one in (before, swapped, named)}) == 3


def test_pictures_that_change_while_they_are_read_are_refused(tmp_path: Path) -> None:
    root = photos(tmp_path / "photos")

    class Change(Lines):
        def step(self, words: str, done: int, total: int) -> None:
            if (words, done) == ("pictures", total):
                another(root / "train" / "a" / "0.png")

    with pytest.raises(DataError, match="pictures changed while they were read: run again"):
        load_pictures(list_folder(root, "x"), 8, cache=tmp_path / "cache", watch=Change())
    assert not list(stores(tmp_path / "cache"))
    dataset, _ = load(root, tmp_path / "cache")
    another(root / "test" / "b" / "0.png")
    with pytest.raises(DataError, match="the test pictures changed since they were listed"):
        dataset.test()


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    root = photos(tmp_path / "photos")
    (tmp_path / "file").write_text("no folder")
    dataset, watch = load(root, tmp_path / "file" / "cache")
    assert equal(dataset, load(root, None)[0])
    (line,) = watch.said
    assert f"{tmp_path / 'file' / 'cache'} cannot be written (Not a directory)" in line
    assert dataset.test()[0].shape == (8, 3, 8, 8)
    assert len(watch.said) == 2


def test_a_full_disk_is_an_error_where_memory_is_full_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, cache = photos(tmp_path / "photos"), tmp_path / "cache"
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 5000}))
    dataset, watch = load(root, cache)
    assert equal(dataset, load(root, None)[0])
    assert "only 5 kB are free there" in watch.said[0]
    monkeypatch.setattr(reading, "available_memory", lambda: 1000)
    with pytest.raises(DataError) as caught:
        load(root, cache)
    assert str(caught.value) == (
        f"folder:{root}: 1.536 kB of decoded pictures cannot be written to {cache} (only 5 kB are free there), "
        "nor do they fit into memory: make room there, or give another --data-dir"
    )
    assert not list(cache.iterdir())


def test_two_at_once_decode_once(tmp_path: Path) -> None:
    root, found = photos(tmp_path / "photos", count=12), []
    threads = [threading.Thread(target=lambda: found.append(load(root, tmp_path / "cache"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(decoded(watch) for _, watch in found) == [0, 24]
    assert equal(found[0][0], found[1][0])


def test_another_pillow_decodes_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = photos(tmp_path / "photos")
    load(root, tmp_path / "cache")
    monkeypatch.setattr(pictures, "_version", lambda name: "99.0")
    assert decoded(load(root, tmp_path / "cache")[1]) == 8


# pictures that lie in no files of their own


@dataclass(frozen=True, eq=False)
class Inside:
    """Encoded pictures in memory."""

    content: Sequence[bytes]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.content)

    def where(self, number: int) -> str:
        return f"shard.tar: {number}.png"

    def identity(self) -> Iterator[str]:
        return map(str, map(hash, self.content))

    def read(self, first: int, last: int) -> Sequence[bytes]:
        return self.content[first:last]


def encoded(seed: int) -> bytes:
    file = BytesIO()
    Image.fromarray(noise(10, 10, 3, seed=seed)).save(file, "PNG")
    return file.getvalue()


def test_pictures_may_be_bytes(tmp_path: Path) -> None:
    parts = {part: Inside([encoded(n) for n in range(first, first + 40)], np.arange(40) % 2)
             for part, first in (("train", 0), ("test", 50))}  # fmt: skip
    listing = Listing("wds:x", tmp_path, ("a", "b"), parts)
    dataset = load_pictures(listing, 10, cache=tmp_path / "cache")
    expected = torch.stack([torch.from_numpy(noise(10, 10, 3, seed=n)) for n in range(40)])
    assert torch.equal(dataset.images.whole().permute(0, 2, 3, 1), expected)
    broken = replace(parts["train"], content=[b"none", *parts["train"].content[1:]])
    with pytest.raises(DataError) as caught:
        load_pictures(Listing("wds:x", tmp_path, ("a", "b"), {**parts, "train": broken}), 10)
    assert str(caught.value) == (
        "wds:x: shard.tar: 0.png is no readable picture (cannot identify image file): "
        "replace or remove it, or leave it out: --skip-broken"
    )


def test_chosen_pictures_come_in_order(tmp_path: Path) -> None:
    some = Inside([bytes([n]) for n in range(200)], np.zeros(200, np.int64))
    chosen = np.random.default_rng(0).random(200) < 0.2
    found = list(each(some, lambda picture: picture[0], chosen))
    assert found == [(n, n) for n in np.flatnonzero(chosen)]


def test_load_dataset_keeps_stores_in_the_data_folder(tmp_path: Path) -> None:
    root = photos(tmp_path / "photos")
    load_dataset(f"folder:{root}", data_dir=tmp_path / "data", image_size=8)
    ((_, index),) = stores(tmp_path / "data" / "cache")
    assert index is not None
    assert (index.root, index.size, index.rows, index.bytes) == (str(root), 8, 8, 8 * 8 * 8 * 3)
