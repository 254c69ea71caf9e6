"""`cifar:DIR`: the official files, and pickles that are more than data."""

from __future__ import annotations

import hashlib
import pickle
import pickletools
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from data_samples import error_line, noise
from formats import by_protocol, cifar10, old_pickle, refused_or_read
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torchvision.datasets import CIFAR10

from archsearch.data import load_dataset
from archsearch.data.readers.plain_pickle import read_plain
from archsearch.errors import DataError

WRITERS = {"2.7": old_pickle, **{f"3, protocol {n}": by_protocol(n) for n in (2, 3, 4)}}


def torchvisions(root: Path, train: bool) -> CIFAR10:
    """torchvision's reader, told the checksums of these files."""
    folder = root / "cifar-10-batches-py"

    def sums(*names: str) -> list[list[str]]:
        return [[name, hashlib.md5((folder / name).read_bytes()).hexdigest()] for name in names]

    meta = {"filename": "batches.meta", "key": "label_names", "md5": sums("batches.meta")[0][1]}
    lists = {"train_list": sums(*(f"data_batch_{n}" for n in range(1, 6))), "test_list": sums("test_batch")}
    return type("Small", (CIFAR10,), {**lists, "meta": meta})(root, train=train)


@pytest.mark.filterwarnings("ignore:dtype")  # numpy 2.4, of the old pickles that torchvision reads
def test_the_same_as_torchvision(tmp_path: Path) -> None:
    cifar10(tmp_path / "cifar-10-batches-py")
    dataset = load_dataset(f"cifar:{tmp_path}")
    for (images, labels), train in (((dataset.images, dataset.labels), True), (dataset.test(), False)):
        theirs = torchvisions(tmp_path, train)
        assert torch.equal(images[:], torch.from_numpy(theirs.data).permute(0, 3, 1, 2))
        assert labels.tolist() == theirs.targets
        assert list(dataset.classes) == theirs.classes


@pytest.mark.parametrize("writer", WRITERS)
def test_whatever_wrote_the_pickle(tmp_path: Path, writer: str) -> None:
    batches = cifar10(tmp_path, WRITERS[writer])
    dataset = load_dataset(f"cifar:{tmp_path}")
    assert dataset.classes[3] == "cat"
    assert dataset.flip
    pixels = np.concatenate([batches[f"data_batch_{n}"][0] for n in range(1, 6)]).reshape(-1, 3, 32, 32)
    assert torch.equal(dataset.images[:], torch.from_numpy(pixels))
    assert torch.equal(dataset.test()[0][:], torch.from_numpy(batches["test_batch"][0].reshape(-1, 3, 32, 32)))


def hundred(folder: Path, binary: bool) -> np.ndarray:
    """CIFAR-100's files with two fine labels a coarse one."""
    pixels, fine = noise(40, 3072), np.arange(40) % 4
    names = {"fine_label_names": ["ant", "bee", "cow", "dog"], "coarse_label_names": ["insect", "mammal"]}
    for part in ("train", "test"):
        about = {"data": pixels, "fine_labels": fine.tolist(), "coarse_labels": (fine // 2).tolist(), "filenames": []}
        records = np.concatenate([(fine // 2)[:, None], fine[:, None], pixels], axis=1).astype(np.uint8)
        (folder / (f"{part}.bin" if binary else part)).write_bytes(records.tobytes() if binary else old_pickle(about))
    for key, words in names.items() if binary else ():
        (folder / f"{key}.txt").write_text("\n".join(words) + "\n\n")
    if not binary:
        (folder / "meta").write_bytes(old_pickle(names))
    return pixels.reshape(-1, 3, 32, 32)


@pytest.mark.parametrize("binary", [False, True])
def test_cifar_100_has_two_kinds_of_labels(tmp_path: Path, binary: bool) -> None:
    pixels = hundred(tmp_path, binary)
    fine, coarse = load_dataset(f"cifar:{tmp_path}"), load_dataset(f"cifar:{tmp_path}?label=coarse")
    assert (fine.classes, coarse.classes) == (("ant", "bee", "cow", "dog"), ("insect", "mammal"))
    assert fine.labels.tolist() == [0, 1, 2, 3] * 10
    assert coarse.test()[1].tolist() == [0, 0, 1, 1] * 10
    assert torch.equal(fine.images[:], torch.from_numpy(pixels))
    assert "there are no 'x' labels: ?label= must be one of fine, coarse" in error_line(f"cifar:{tmp_path}?label=x")


def test_binary_cifar_10(tmp_path: Path) -> None:
    batches = cifar10(tmp_path / "py")
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for name, (pixels, labels) in batches.items():
        records = np.concatenate([np.array(labels, np.uint8)[:, None], pixels], axis=1)
        (folder / f"{name}.bin").write_bytes(records.tobytes())
    assert "lacks batches.meta.txt: unpack the archive again" in error_line(f"cifar:{folder}")
    (folder / "batches.meta.txt").write_text("\n".join(load_dataset(f"cifar:{tmp_path / 'py'}").classes) + "\n\n")
    assert load_dataset(f"cifar:{folder}").fingerprint == load_dataset(f"cifar:{tmp_path / 'py'}").fingerprint
    line = error_line(f"cifar:{tmp_path}")
    assert f"several sets are there, in {folder}, {tmp_path / 'py'}: give one of the folders" in line
    (folder / "data_batch_2.bin").write_bytes(b"x" * 3074)
    assert "has 3,074 bytes, no multiple of 3,073" in error_line(f"cifar:{folder}")


def test_what_is_missing_or_wrong(tmp_path: Path) -> None:
    assert "no files of CIFAR in" in error_line(f"cifar:{tmp_path}")
    archive = tmp_path / "cifar-10-python.tar.gz"
    archive.write_bytes(b"")
    assert "tar xzf cifar-10-python.tar.gz" in error_line(f"cifar:{archive}")
    cifar10(tmp_path / "c")
    (tmp_path / "c" / "data_batch_3").unlink()
    assert "lacks data_batch_3" in error_line(f"cifar:{tmp_path}")
    pixels, good = noise(20, 3072), [n % 10 for n in range(20)]
    cases: list[tuple[object, str]] = [
        ({"data": pixels, "labels": [10] * 20}, "has labels 10 to 10, and 10 are named"),
        ({"data": pixels[:5], "labels": good}, "has 20 labels for pixels (5, 3072)"),
        ({"data": pixels}, "holds no 'data' with 'labels'"),
        ({"data": good, "labels": good}, "holds no 'data' with 'labels'"),
        ([good], "it holds no dict"),
    ]
    for about, words in cases:
        (tmp_path / "c" / "data_batch_3").write_bytes(old_pickle(about))
        assert words in error_line(f"cifar:{tmp_path}")


class Caller:
    """Would print if a pickle of it were run."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("the pickle was run",)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (Caller(), "it names builtins.print, which plain data do not need"),
        ({"a": OrderedDict()}, "it names collections.OrderedDict"),
        ({"a": 1.5}, "it holds BINFLOAT, which plain data do not"),
        ({"a": {1}}, "which plain data do not"),
        ({1: 2}, "a dict has a key that is no text"),
        ({"a": np.zeros(3)}, "an array has the dtype f8: pixels are uint8"),
        ({"a": np.array([print], object)}, "which plain data do not need"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_pickles_that_are_more_than_data(
    value: object, words: str, protocol: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DataError, match=r"^x: f is no pickle of plain data \(") as caught:
        read_plain(pickle.dumps(value, protocol), "x: f")
    assert words.replace("builtins", "__builtin__" if protocol == 2 else "builtins") in str(caught.value)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("code", [
    b"\x80\x02}cos\nsystem\n.", b"\x80\x02cnumpy\nndarray\n)\x81.", b"\x80\x02}\x82\x01.", b"\x80\x02}Qx\n.",
    b"\x80\x02]}R.",
    b"\x80\x02c_codecs\nencode\n(U\x01aU\x05utf-8tR.", b"(inumpy\nndarray\n.", b"\x80\x02U\x01aU\x01bb.",
    b"}}.", b"h\x05.", b".",
])  # fmt: skip
def test_opcodes_that_plain_data_do_not_need(code: bytes) -> None:
    with pytest.raises(DataError, match="is no pickle of plain data"):
        read_plain(code, "f")


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.binary(max_size=300) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4) | st.tuples(inner, inner)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=5), plain, max_size=4), st.sampled_from([0, 1, 2, 3, 4]))
@settings(max_examples=150)
def test_plain_data_are_what_pickle_reads(value: dict[str, object], protocol: int) -> None:
    data = pickle.dumps(value, protocol)
    assert read_plain(data, "f") == value
    assert read_plain(pickletools.optimize(data), "f") == value


@given(data=st.data())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_cut_or_changed_batch_is_refused_or_read(tmp_path: Path, data: st.DataObject) -> None:
    if not (tmp_path / "batches.meta").exists():
        cifar10(tmp_path)
    name = data.draw(st.sampled_from(["data_batch_2", "batches.meta"]))
    whole = (tmp_path / name).read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1) | st.integers(0, min(600, len(whole) - 1)))
    cut = data.draw(st.booleans())
    changed = (
        whole[:place] if cut else whole[:place] + data.draw(st.binary(min_size=1, max_size=1)) + whole[place + 1 :]
    )
    (tmp_path / name).write_bytes(changed)
    dataset = refused_or_read(f"cifar:{tmp_path}")
    (tmp_path / name).write_bytes(whole)
    assert dataset is None or (not cut and len(dataset.labels) == 100)
