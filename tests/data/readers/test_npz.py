"""`npz:FILE`: what is read, what is refused, and when."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from data_samples import error_line, noise

from archsearch.data import load_dataset
from archsearch.errors import DataError


def arrays(count: int = 10, size: tuple[int, ...] = (4, 5, 3)) -> dict[str, np.ndarray]:
    labels = np.arange(count) % 3
    return {
        "train_images": noise(count, *size),
        "train_labels": labels,
        "test_images": noise(6, *size, seed=1),
        "test_labels": labels[:6],
    }


def npz(folder: Path, values: dict[str, np.ndarray], name: str = "set.npz") -> Path:
    np.savez(folder / name, **values)
    return folder / name


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint64, ">i8"])
@pytest.mark.parametrize(("size", "shape"), [((4, 5), (1, 4, 5)), ((4, 5, 1), (1, 4, 5)), ((4, 5, 3), (3, 4, 5))])
def test_npz(tmp_path: Path, size: tuple[int, ...], shape: tuple[int, ...], dtype: object) -> None:
    values = arrays(size=size)
    values |= {name: values[name].astype(dtype)[:, None] for name in ("train_labels", "test_labels")}
    values |= {"val_images": noise(3, *size, seed=2), "val_labels": np.array([[2], [1], [0]])}
    spec = f"npz:{npz(tmp_path, values)}"
    dataset = load_dataset(spec)
    images, labels = dataset.test()
    assert dataset.name == spec
    assert dataset.classes == ("0", "1", "2")
    assert dataset.input_shape == shape
    assert dataset.flip == (shape[0] == 3)
    assert dataset.validation is not None
    expected = {
        "train": (dataset.images[:], dataset.labels),
        "test": (images[:], labels),
        "val": (dataset.validation[0][:], dataset.validation[1]),
    }
    for part, (pixels, numbers) in expected.items():
        stored = torch.from_numpy(values[f"{part}_images"]).reshape(-1, 4, 5, shape[0])
        assert torch.equal(pixels, stored.permute(0, 3, 1, 2))
        assert numbers.dtype == torch.int64
        assert numbers.tolist() == values[f"{part}_labels"].ravel().tolist()


def test_npz_names_its_classes(tmp_path: Path) -> None:
    named = arrays() | {"classes": np.array(["cat", "dog", "cow"])}
    assert load_dataset(f"npz:{npz(tmp_path, named)}").classes == ("cat", "dog", "cow")
    with pytest.raises(DataError, match="classes has 1 names and train_labels 3 classes"):
        load_dataset(f"npz:{npz(tmp_path, named | {'classes': np.array(['cat'])})}")


def test_npz_compressed_fortran_ordered_and_resized(tmp_path: Path) -> None:
    values = {name: np.asfortranarray(array) for name, array in arrays().items()}
    np.savez_compressed(tmp_path / "set.npz", **values)
    dataset = load_dataset(f"npz:{tmp_path / 'set.npz'}")
    assert torch.equal(dataset.images[7].permute(1, 2, 0), torch.from_numpy(values["train_images"][7].copy()))
    small = load_dataset(f"npz:{tmp_path / 'set.npz'}", image_size=3)
    assert small.input_shape == (3, 3, 3)
    assert small.test()[0].shape == (6, 3, 3, 3)
    assert pickle.loads(pickle.dumps(small)).test()[0].shape == (6, 3, 3, 3)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("side", [4, 64])
def test_npz_test_pixels_are_read_by_test_alone(tmp_path: Path, save: Callable[..., None], side: int) -> None:
    path = tmp_path / "set.npz"
    save(path, **arrays(size=(side, side, 3)))
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo("test_images.npy")
    content = bytearray(path.read_bytes())
    middle = member.header_offset + 100 + member.compress_size // 2
    content[middle : middle + 8] = bytes(byte ^ 0xFF for byte in content[middle : middle + 8])
    path.write_bytes(content)
    dataset = load_dataset(f"npz:{path}")
    assert len(dataset.images) == 10
    with pytest.raises(DataError, match=r"set\.npz cannot be read"):
        dataset.test()


def changed(**values: object) -> dict[str, np.ndarray]:
    return {**arrays(), **values}


def without(*names: str) -> dict[str, np.ndarray]:
    return {name: array for name, array in arrays().items() if name not in names}


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        (without("test_images", "train_labels"), ["missing train_labels, test_images (the file holds"]),
        (changed(val_images=noise(2, 4, 5, 3)), ["missing val_labels"]),
        ({"a": np.zeros(1)}, ["missing train_images, train_labels, test_images, test_labels"]),
        (changed(train_images=noise(10, 3, 4, 5)), ["train_images has shape (10, 3, 4, 5): (N, H, W)"]),
        (changed(test_images=noise(6, 4)), ["test_images has shape (6, 4)"]),
        (changed(train_images=noise(0, 4, 5, 3)), ["train_images has shape (0, 4, 5, 3)", "none of them 0"]),
        (changed(test_images=noise(6, 8, 8, 3)), ["test_images has shape (6, 8, 8, 3) and train_images"]),
        (changed(train_images=np.zeros((10, 4, 5, 3))), ["train_images is float64: pixels must be uint8"]),
        (changed(train_labels=np.zeros(10)), ["train_labels is float64: labels must be integers"]),
        (changed(train_labels=np.zeros((10, 2, 2), int)), ["train_labels has shape (10, 2, 2): (N,) or (N, 1)"]),
        (changed(train_labels=np.zeros(9, int)), ["train_images has 10 images and train_labels 9 labels"]),
        (changed(test_labels=np.zeros(5, int)), ["test_images has 6 images and test_labels 5 labels"]),
        (changed(train_labels=np.arange(10) - 1), ["train_labels runs from -1 to 8"]),
        (
            changed(train_labels=np.arange(10) + 10**9),
            ["from 1000000000 to 1000000009 in 10 images: count classes from 0 without a gap"],
        ),
        (changed(train_labels=np.full(10, 4)), ["all train_labels are 4: at least 2 classes"]),
        (
            changed(train_labels=np.repeat([1, 2], 5)),
            ["no train image is of class 0, though train_labels goes up to 2"],
        ),
        (changed(train_images=noise(4), test_labels=np.zeros(6)), ["train_images has", "; test_labels is"]),
    ],
)
def test_npz_that_breaks_the_layout(tmp_path: Path, values: dict[str, np.ndarray], parts: list[str]) -> None:
    path = npz(tmp_path, values)
    message = error_line(f"npz:{path}")
    assert message.startswith(f"npz:{path}: ")
    for part in parts:
        assert part in message


class Bomb:
    """Unpickling it would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["train_images", "train_labels", "test_images"])
def test_npz_never_unpickles(tmp_path: Path, name: str) -> None:
    trap = tmp_path / "unpickled"
    path = npz(tmp_path, changed(**{name: np.array([Bomb(trap)] * 10, dtype=object)}))
    assert f"{name} holds pickled Python objects, which are refused" in error_line(f"npz:{path}")
    path.write_bytes(pickle.dumps(Bomb(trap)))
    assert "is no .npz file" in error_line(f"npz:{path}")
    assert not trap.exists()


@pytest.mark.parametrize("part", ["test", "val"])
def test_npz_labels_unknown_to_the_train_split_are_found_at_load(tmp_path: Path, part: str) -> None:
    values = changed(val_images=noise(6, 4, 5, 3), val_labels=np.zeros(6, int)) | {f"{part}_labels": np.arange(6)}
    message = error_line(f"npz:{npz(tmp_path, values)}")
    assert f"{part}_labels runs from 0 to 5, but train_labels from 0 to 2" in message


@pytest.mark.parametrize(("dtype", "way"), [(np.uint16, "by the train array's range"), (np.float32, "(255 * x)")])
def test_npz_pixels_of_other_types_are_refused_with_the_way_out(tmp_path: Path, dtype: type, way: str) -> None:
    message = error_line(f"npz:{npz(tmp_path, changed(train_images=noise(10, 4, 5, 3).astype(dtype)))}")
    assert f"train_images is {np.dtype(dtype)}: pixels must be uint8" in message
    assert way in message


def test_npz_files_that_are_none(tmp_path: Path) -> None:
    assert "there is no file" in error_line(f"npz:{tmp_path / 'absent.npz'}")
    assert "there is no file" in error_line(f"npz:{tmp_path}")
    np.save(tmp_path / "one.npy", noise(3))
    assert "is no .npz file" in error_line(f"npz:{tmp_path / 'one.npy'}")
    path = npz(tmp_path, arrays())
    path.write_bytes(path.read_bytes()[:900])
    assert "is no .npz file" in error_line(f"npz:{path}")


def test_npz_array_shorter_than_its_header_says(tmp_path: Path) -> None:
    path = npz(tmp_path, without("train_images"))
    buffer = io.BytesIO()
    np.save(buffer, noise(10, 4, 5, 3))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("train_images.npy", buffer.getvalue()[:-9])
    assert "train_images is cut off" in error_line(f"npz:{path}")
