"""`wds:PATTERN`: samples of tar files, their labels, and what is refused."""

from __future__ import annotations

import gzip
import json
import pickle
import tarfile
from pathlib import Path

import pytest
from data_samples import error_line
from formats import encoded, refused_or_read, samples, tar
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archsearch.data import load_dataset
from archsearch.data.load import list_pictures
from archsearch.errors import DataError

LABELS = [0, 1, 2] * 4
NAMES = ["cat", "ant", "bee"]


def whole(root: Path) -> Path:
    """Two train shards, a test shard, names of classes."""
    tar(root / "train-000.tar", samples(LABELS))
    tar(root / "train-001.tar", samples(LABELS, seed=100))
    tar(root / "test-000.tar", samples([2, 1, 0], seed=500))
    (root / "classes.txt").write_text("\n".join(NAMES) + "\n")
    return root


def with_json(*said: object) -> list[tuple[str, bytes]]:
    """Samples of a picture and a JSON member."""
    both = ((f"s/{n}", encoded(n, kind="JPEG"), json.dumps(one).encode()) for n, one in enumerate(said))
    return [pair for key, image, text in both for pair in ((f"{key}.jpg", image), (f"{key}.json", text))]


def test_shards_with_splits_and_names(tmp_path: Path) -> None:
    dataset = load_dataset(f"wds:{whole(tmp_path)}", image_size=10)
    assert dataset.classes == tuple(NAMES)
    assert dataset.labels.tolist() == LABELS * 2
    assert dataset.test()[1].tolist() == [2, 1, 0]
    again = load_dataset(f"wds:{tmp_path}/train-{{000..001}}.tar", image_size=10)
    assert (len(again.labels), again.test_count) == (19, 5)
    assert "there is no" in error_line(f"wds:{tmp_path}/train-{{000..002}}.tar")


def test_pictures_are_read_by_their_place(tmp_path: Path) -> None:
    listing = list_pictures(f"wds:{whole(tmp_path)}")
    assert listing is not None
    train = listing.parts["train"]
    expected = [encoded(seed + n) for seed in (0, 100) for n in range(12)]
    assert list(train.read(0, 24)) == expected
    assert list(pickle.loads(pickle.dumps(train)).read(10, 14)) == expected[10:14]
    assert list(train.read(5, 5)) == []
    assert train.where(13) == f"{tmp_path / 'train-001.tar'}: 0001.png"
    again = list_pictures(f"wds:{tmp_path}")
    assert again is not None
    assert [*train.identity()] == [*again.parts["train"].identity()]


@pytest.mark.parametrize("key", ["label", "cls", "class_id"])
def test_labels_and_names_in_json(tmp_path: Path, key: str) -> None:
    said = [{key: n, "class_name": NAMES[n], "caption": "a picture"} for n in LABELS]
    dataset = load_dataset(f"wds:{tar(tmp_path / 'x.tar', with_json(*said))}", image_size=8)
    assert dataset.classes == tuple(NAMES)
    said[4] = {key: 1, "class_name": "wasp"}
    line = error_line(f"wds:{tar(tmp_path / 'x.tar', with_json(*said))}")
    assert "label 1 is named both 'ant' and 'wasp': use one name" in line


def test_text_labels_and_choices(tmp_path: Path) -> None:
    members = [pair for n, label in enumerate(LABELS) for pair in (
        (f"./a.b/{n}.image.jpg", encoded(n, kind="JPEG")), (f"./a.b/{n}.mask.png", encoded(n + 50)),
        (f"./a.b/{n}.txt", NAMES[label].encode() + b"\n"), (f"./a.b/{n}.json", json.dumps({"kind": n % 2}).encode()),
        (f"./a.b/{n}.pth", b"not read"),
    )]  # fmt: skip
    file = tar(tmp_path / "x.tar", members)
    line = error_line(f"wds:{file}")
    assert "./a.b/0.image.jpg and ./a.b/0.mask.png are two pictures of one sample" in line
    assert "choose the picture by ?image=image.jpg" in line
    dataset = load_dataset(f"wds:{file}?image=mask.png", image_size=10)
    assert dataset.classes == ("ant", "bee", "cat")
    assert "left out, neither picture nor label: members 12 .jpg, 12 .pth" in dataset.notes
    other = load_dataset(f"wds:{file}?image=image.jpg&label=json.kind", image_size=10)
    assert other.classes == ("0", "1")
    assert "has no 'x': it has kind" in error_line(f"wds:{file}?image=image.jpg&label=json.x")


def test_names_with_dots_merge_samples(tmp_path: Path) -> None:
    members = [(f"img.{n}.{end}", data) for n in range(3) for end, data in (("jpg", encoded(n)), ("cls", b"1"))]
    line = error_line(f"wds:{tar(tmp_path / 'x.tar', members)}")
    assert "img.0.jpg and img.1.jpg are two pictures of one sample, as its name ends at the first dot" in line


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([("9.png", encoded())], "sample 9 has a picture (png) and no label: add 9.cls"),
        ([("9.cls", b"1")], "sample 9 has a label (cls) and no picture"),
        ([("0000.png", encoded())], "0000.png and 0000.png are two pictures of one sample"),
        ([("0000.cls", b"0")], "0000.cls is in it twice"),
        ([("9.png", encoded()), ("9.cls", b"")], "9.png is empty: give it a class"),
        ([("9.png", encoded()), ("9.cls", b"\xff")], "9.cls is no text"),
        ([("9.png", encoded()), ("9.json", b"{")], "9.json is no JSON"),
        ([("9.png", encoded()), ("9.json", b'{"label": [1]}')], "9.json has a label that is no whole number or name"),
        ([("9.png", encoded()), ("9.json", b'{"label": 1, "cls": 2}')], "9.json has label, cls: choose the label by"),
        ([("9.png", encoded()), ("9.cls", b"1" * (2 << 20))], "a label has 1,048,576 at most"),
    ],
)
def test_samples_that_are_refused(tmp_path: Path, members: list[tuple[str, bytes]], words: str) -> None:
    assert words in error_line(f"wds:{tar(tmp_path / 'x.tar', [*samples(LABELS), *members])}")


def test_labels_may_stand_apart_and_other_files_beside(tmp_path: Path) -> None:
    apart = sorted(samples(LABELS), key=lambda pair: pair[0][-3:])
    others = [("._0000.png", b"x"), ("__MACOSX/0001.png", b"x"), ("README.txt", b"x"), ("LICENSE", b"x")]
    first = load_dataset(f"wds:{tar(tmp_path / 'x.tar', [*others, *apart])}", image_size=8)
    second = load_dataset(f"wds:{tar(tmp_path / 'y.tar', samples(LABELS))}", image_size=8)
    assert first.fingerprint == second.fingerprint


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["0.5", "1"] * 6, "label 0.5 is a fraction"),
        ([0, 7] * 6, "label 7 has no name: there are names for 0 to 2 (cat, ant, bee)"),
        ([1] * 12, "all train pictures are of class ant"),
    ],
)
def test_labels_that_are_refused(tmp_path: Path, labels: list[int], words: str) -> None:
    (tmp_path / "classes.txt").write_text("0 cat\n1 ant\n2 bee\n")
    assert words in error_line(f"wds:{tar(tmp_path / 'x.tar', samples(labels))}")


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ('{"class_names": ["a", "b", "c"]}', ("a", "b", "c")),
        ('{"classes": {"0": "a", "1": "b", "2": "c"}}', ("a", "b", "c")),
        ('{"names": {"c": 2, "b": 1, "a": 0}}', ("a", "b", "c")),
        ('{"splits": {}}', ("0", "1", "2")),
    ],
)
def test_names_in_info(tmp_path: Path, text: str, classes: tuple[str, ...]) -> None:
    (tmp_path / "_info.json").write_text(text)
    file = tar(tmp_path / "x.tar", samples(LABELS))
    assert load_dataset(f"wds:{file}", image_size=8).classes == classes
    (tmp_path / "_info.json").write_text("{")
    assert "_info.json, which may name the classes, cannot be read" in error_line(f"wds:{file}")


def test_tar_files_that_are_none(tmp_path: Path) -> None:
    file = tar(tmp_path / "x.tar", samples(LABELS))
    good = file.read_bytes()
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(good))
    assert "x.tar.gz is compressed and can't be read at any place: unpack it" in error_line(f"wds:{tmp_path}/x.tar.gz")
    file.write_bytes(gzip.compress(good))
    assert "x.tar: is compressed" in error_line(f"wds:{file}")
    file.write_bytes(good + good)
    assert "holds more behind its end, as joined tar files do" in error_line(f"wds:{file}")
    file.write_bytes(good[:2048] + b"x" * 100 + good[2148:])
    assert "is cut off or damaged" in error_line(f"wds:{file}")
    link = tarfile.TarInfo("7.png")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
    file.write_bytes(good)
    with tarfile.open(file, "a") as archive:
        archive.addfile(link)
    assert "7.png is a link or has holes: write it as a plain file" in error_line(f"wds:{file}")


def test_a_shard_that_shrinks_later(tmp_path: Path) -> None:
    dataset = load_dataset(f"wds:{whole(tmp_path)}", image_size=8)
    test = tmp_path / "test-000.tar"
    test.write_bytes(test.read_bytes()[:600])
    with pytest.raises(DataError, match="is cut off: copy the file again"):
        dataset.test()
    test.unlink()
    with pytest.raises(DataError, match="is it still there"):
        dataset.test()


@pytest.mark.parametrize("place", ["pipe:cat x.tar", "s3://b/train-{000..009}.tar"])
def test_remote_shards(place: str) -> None:
    assert "download it, and give the path of the copy" in error_line(f"wds:{place}")


@given(data=st.data())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_cut_or_changed_shard_is_refused_or_read(tmp_path: Path, data: st.DataObject) -> None:
    good = tar(tmp_path / "good.tar", samples(LABELS)).read_bytes()
    used = len(good.rstrip(b"\0"))
    place = data.draw(st.integers(0, used))
    cut = data.draw(st.booleans())
    byte = data.draw(st.binary(min_size=1, max_size=1))
    (tmp_path / "x.tar").write_bytes(good[:place] if cut else good[:place] + byte + good[place + 1 :])
    dataset = refused_or_read(f"wds:{tmp_path / 'x.tar'}")
    assert dataset is None or (not cut and len(dataset.labels) + dataset.test_count == 12)
