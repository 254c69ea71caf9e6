"""torchvision's four: in place, downloaded from a mirror on this machine, and without network."""

from __future__ import annotations

import gzip
import hashlib
import io
import pickle
import struct
import tarfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from data_samples import error_line, noise
from serving import Quiet, serving
from torchvision import datasets as vision

from archsearch.data import Dataset, load_dataset
from archsearch.errors import DataError


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10", "cifar100"])
def test_without_network_one_line_names_the_ways_out(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = "http://127.0.0.1:9/"
    for loader in (vision.MNIST, vision.FashionMNIST):
        monkeypatch.setattr(loader, "mirrors", [nowhere])
    for loader in (vision.CIFAR10, vision.CIFAR100):
        monkeypatch.setattr(loader, "url", f"{nowhere}{loader.filename}")
    message = error_line(name, data_dir=tmp_path / "new" / "data")
    assert message.startswith(f"{name}: no whole copy in {tmp_path / 'new' / 'data'} and the download failed")
    assert ".gz into " in message
    assert "--dataset digits" in message
    assert "npz:FILE" in message
    assert not list(tmp_path.iterdir())


def idx(values: np.ndarray) -> bytes:
    """MNIST's own format: magic number, dimensions, bytes."""
    return struct.pack(f">I{values.ndim}I", 0x800 + values.ndim, *values.shape) + values.tobytes()


def mnist_files() -> dict[str, bytes]:
    digits = np.arange(12, dtype=np.uint8) % 10
    return {
        "train-images-idx3-ubyte": idx(noise(12, 28, 28)),
        "train-labels-idx1-ubyte": idx(digits),
        "t10k-images-idx3-ubyte": idx(noise(5, 28, 28, seed=1)),
        "t10k-labels-idx1-ubyte": idx(digits[:5]),
    }


def check_mnist(dataset: Dataset) -> None:
    assert dataset.input_shape == (1, 28, 28)
    assert torch.equal(dataset.images[:][:, 0], torch.from_numpy(noise(12, 28, 28)))
    assert dataset.labels.tolist() == [*range(10), 0, 1]
    assert len(dataset.classes) == 10
    images, labels = dataset.test()
    assert torch.equal(images[:][:, 0], torch.from_numpy(noise(5, 28, 28, seed=1)))
    assert labels.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
def test_mnist_files_in_place(tmp_path: Path, name: str, folder: str) -> None:
    raw = tmp_path / folder / "raw"
    raw.mkdir(parents=True)
    for file, content in mnist_files().items():
        (raw / file).write_bytes(content)
    dataset = load_dataset(name, data_dir=tmp_path)
    assert dataset.flip == (name == "fashion-mnist")
    check_mnist(dataset)
    (raw / "t10k-images-idx3-ubyte").write_bytes(b"damaged")
    again = load_dataset(name, data_dir=tmp_path)
    with pytest.raises(DataError, match=f"{name}: the files in .* are missing or damaged"):
        again.test()


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of small MNIST archives, served over HTTP as torchvision's only mirror of them."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    resources = []
    for name, content in mnist_files().items():
        packed = gzip.compress(content)
        (folder / f"{name}.gz").write_bytes(packed)
        resources.append((f"{name}.gz", hashlib.md5(packed).hexdigest()))
    with serving(partial(Quiet, directory=folder)) as url:
        monkeypatch.setattr(vision.MNIST, "mirrors", [f"{url}/"])
        monkeypatch.setattr(vision.MNIST, "resources", resources)
        yield folder


def test_mnist_download(tmp_path: Path, mirror: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data_dir = tmp_path / "data"
    check_mnist(load_dataset("mnist", data_dir=data_dir))
    assert sorted(path.name for path in (data_dir / "MNIST" / "raw").iterdir()) == sorted(mnist_files())
    assert [path.name for path in data_dir.iterdir()] == ["MNIST"]
    assert capsys.readouterr().out == ""
    for file in mirror.iterdir():
        file.unlink()
    check_mnist(load_dataset("mnist", data_dir=data_dir))


def test_mnist_download_that_breaks_off_leaves_nothing(tmp_path: Path, mirror: Path) -> None:
    (mirror / "t10k-labels-idx1-ubyte.gz").write_bytes(b"half")
    assert "download failed" in error_line("mnist", data_dir=tmp_path / "data")
    assert [path.name for path in tmp_path.iterdir()] == ["mirror"]


def test_mnist_archives_fetched_by_hand(tmp_path: Path, mirror: Path) -> None:
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.parent.mkdir(parents=True)
    mirror.rename(raw)
    check_mnist(load_dataset("mnist", data_dir=tmp_path / "data"))
    assert len(list(raw.iterdir())) == 8


def test_cifar_archive_fetched_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The format is CIFAR's own, only the checksums are those of these few images."""
    pixels = noise(6, 3, 32, 32)
    batches = {
        f"{'test_batch' if n == 5 else f'data_batch_{n + 1}'}": {"data": row.reshape(1, -1), "labels": [n]}
        for n, row in enumerate(pixels)
    }
    names = [f"class {n}" for n in range(10)]
    files = {name: pickle.dumps(content) for name, content in batches.items()}
    files["batches.meta"] = pickle.dumps({"label_names": names})
    archive = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    sums = {name: hashlib.md5(content).hexdigest() for name, content in files.items()}
    loader = vision.CIFAR10
    monkeypatch.setattr(loader, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    monkeypatch.setattr(loader, "train_list", [[name, sums[name]] for name in list(files)[:5]])
    monkeypatch.setattr(loader, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(loader, "meta", {**loader.meta, "md5": sums["batches.meta"]})
    dataset = load_dataset("cifar10", data_dir=tmp_path)
    assert torch.equal(dataset.images[:], torch.from_numpy(pixels[:5]))
    assert dataset.labels.tolist() == [0, 1, 2, 3, 4]
    assert dataset.classes == tuple(names)
    assert dataset.flip
    assert torch.equal(dataset.test()[0][:], torch.from_numpy(pixels[5:]))


def test_data_dir_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("in the way")
    assert "download failed" in error_line("mnist", data_dir=tmp_path / "data")
