"""Images without labels: what words mean, their order and ids, and pixels as a training had them."""

from __future__ import annotations

import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import small_npz
from data_samples import noise
from formats import by_protocol, cifar10, encoded, old_pickle, parquet
from PIL import Image

from archsearch.data import load_dataset
from archsearch.data.picture import Broken
from archsearch.data.pixels import Pixels
from archsearch.data.readers.plain_pickle import read_plain
from archsearch.data.unlabelled import Form, Unlabelled, open_split, open_unlabelled
from archsearch.errors import DataError

FORM = Form((3, 8, 8))


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (10, 12)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(seed, size))
    return path


def ids(images: Unlabelled) -> list[str]:
    return [images.id_of(number) for number in range(len(images))]


def read(images: Unlabelled, form: Form = FORM) -> np.ndarray:
    """uint8 (N, H, W, C)."""
    return np.stack([found for found in images.read(form) if not isinstance(found, Broken)])


def refusal(*words: object, **options: str) -> str:
    with pytest.raises(DataError) as caught:
        list(open_unlabelled([str(word) for word in words], **options).read(FORM))
    assert str(caught.value).isprintable()
    return str(caught.value)


# folders and picture files


def test_a_folder_is_read_by_path_and_files_in_their_order(tmp_path: Path) -> None:
    names = ["b/1.png", "a/2.png", "a/10.png", "a.png", "Z.jpg", "a/deep/er/x.png", "b-c/0.png"]
    for number, name in enumerate(names):
        picture(tmp_path / "photos" / name, number)
    (tmp_path / "photos" / "notes.txt").write_text("no picture")
    (tmp_path / "photos" / ".hidden.png").write_bytes(b"")
    root = tmp_path / "photos"
    found = open_unlabelled([str(root)])
    assert ids(found) == sorted(str(root / name) for name in names)
    assert ids(open_unlabelled([f"folder:{root}"])) == ids(found)
    assert not found.numbered
    two = [str(root / "b/1.png"), str(root / "a.png")]
    assert ids(open_unlabelled(two)) == two
    assert ids(open_unlabelled([two[0], str(root / "a")])) == [two[0], *ids(open_unlabelled([str(root / "a")]))]
    assert np.array_equal(read(open_unlabelled(two)), np.concatenate([read(open_unlabelled([one])) for one in two]))


def test_broken_pictures_are_told_in_their_place(tmp_path: Path) -> None:
    for number in range(40):
        picture(tmp_path / f"{number:02}.png", number)
    (tmp_path / "07.png").write_bytes(b"no picture")
    (tmp_path / "21.png").write_bytes(encoded(3)[:60])
    found = list(open_unlabelled([str(tmp_path)]).read(FORM))
    assert [number for number, one in enumerate(found) if isinstance(one, Broken)] == [7, 21]
    assert isinstance(found[7], Broken)
    assert found[7].where == str(tmp_path / "07.png")


def test_pictures_are_as_the_reader_of_a_dataset_has_them(tmp_path: Path) -> None:
    for part, count in (("train", 6), ("test", 5)):
        for label in "ab":
            for number in range(count):
                picture(tmp_path / "d" / part / label / f"{number}.png", number, (9 + number, 14))
    spec = f"folder:{tmp_path / 'd'}"
    dataset = load_dataset(spec, image_size=8, data_dir=tmp_path)
    wanted = dataset.test()[0][:].permute(0, 2, 3, 1).numpy()
    assert np.array_equal(read(open_split(spec, "test")), wanted)
    assert np.array_equal(read(open_unlabelled([str(tmp_path / "d" / "test")])), wanted)
    for part, found in zip(("train", "validation"), dataset.parts(seed=3), strict=True):
        images = open_split(spec, part, seed=3)
        assert np.array_equal(read(images), found[0][:].permute(0, 2, 3, 1).numpy())
        assert all(Path(one).is_file() for one in ids(images))


def test_grey_and_sixteen_bits_as_in_the_training(tmp_path: Path) -> None:
    deep = np.linspace(1000, 3000, 64, dtype=np.uint16).reshape(8, 8)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    picture(tmp_path / "rgb.png")
    found = read(open_unlabelled([str(tmp_path)]), Form((1, 8, 8), levels=(1000, 3000)))
    assert found.shape == (2, 8, 8, 1)
    assert (found[0].min(), found[0].max()) == (0, 255)
    assert np.array_equal(read(open_unlabelled([str(tmp_path)]), Form((1, 8, 8)))[0, ..., 0], deep >> 8)


# arrays


def test_the_only_array_of_images(tmp_path: Path) -> None:
    images = noise(30, 8, 8, 3)
    np.savez_compressed(tmp_path / "alone.npz", photos=images, ids=np.arange(30))
    found = open_unlabelled([str(tmp_path / "alone.npz")])
    assert (len(found), found.numbered, found.id_of(29)) == (30, True, "29")
    assert np.array_equal(read(found), images)
    small_npz(tmp_path / "both.npz")
    assert "test_images, train_images may be the images: choose by npz:" in refusal(tmp_path / "both.npz")
    chosen = open_unlabelled([f"npz:{tmp_path / 'both.npz'}?images=test_images"])
    assert read(chosen, Form((1, 8, 8))).shape == (10, 8, 8, 1)


def test_blocks_of_a_large_array_are_all_of_it_and_need_no_memory(tmp_path: Path) -> None:
    images = np.zeros((40_000, 32, 32, 3), np.uint8)
    images[:, 0, 0, 0] = np.arange(40_000) % 251
    np.savez_compressed(tmp_path / "large.npz", images)
    found = open_unlabelled([str(tmp_path / "large.npz")])
    tracemalloc.start()
    seen = np.fromiter((one[0, 0, 0] for one in found.read(Form((3, 32, 32)))), np.uint8)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(seen, images[:, 0, 0, 0])
    assert peak < images.nbytes / 6


def test_arrays_are_turned_and_resized_as_a_dataset_is(tmp_path: Path) -> None:
    small_npz(tmp_path / "grey.npz")
    spec = f"npz:{tmp_path / 'grey.npz'}"
    wanted = load_dataset(spec, image_size=12, colour="rgb").test()[0][:].permute(0, 2, 3, 1).numpy()
    form = Form((3, 12, 12), size=12, colour="rgb")
    assert np.array_equal(read(open_unlabelled([f"{spec}?images=test_images"]), form), wanted)
    assert np.array_equal(read(open_split(spec, "test"), form), wanted)
    back = Pixels.of(torch.from_numpy(noise(5, 12, 12, 3)).permute(0, 3, 1, 2))
    np.savez(tmp_path / "rgb.npz", back[:].permute(0, 2, 3, 1).numpy())
    found = read(open_unlabelled([str(tmp_path / "rgb.npz")]), Form((1, 12, 12), colour="grey"))
    assert np.array_equal(found[0, ..., 0], np.asarray(Image.fromarray(back[0].permute(1, 2, 0).numpy()).convert("L")))


@pytest.mark.parametrize("write", [old_pickle, *map(by_protocol, (2, 4, 5))], ids=["2.7", "2", "4", "5"])
@pytest.mark.parametrize("layout", ["planes", "N x H x W x C", "N x C x H x W"])
def test_an_unlabelled_batch(tmp_path: Path, write: Callable[[object], bytes], layout: str) -> None:
    images = noise(12, 32, 32, 3)
    planes = images.transpose(0, 3, 1, 2)
    data = {"planes": planes.reshape(12, -1), "N x H x W x C": images, "N x C x H x W": planes}[layout]
    about: dict[bytes, object] = {b"data": np.ascontiguousarray(data), b"ids": [7 * n for n in range(12)]}
    (tmp_path / "nolabel.pkl").write_bytes(write(about))
    found = open_unlabelled([str(tmp_path / "nolabel.pkl")])
    assert ids(found) == [str(7 * n) for n in range(12)]
    assert not found.numbered
    assert np.array_equal(read(found, Form((3, 32, 32))), images)
    assert read(found, Form((1, 16, 16), size=16, colour="grey")).shape == (12, 16, 16, 1)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_ids_in_an_array_and_batches_that_have_labels(tmp_path: Path, protocol: int) -> None:
    images = noise(5, 3072)
    for dtype in ("<i8", ">i4", "u2"):
        about = {"data": images, "ids": np.arange(300, 305).astype(dtype)}
        (tmp_path / "x.pickle").write_bytes(pickle.dumps(about, protocol))
        assert ids(open_unlabelled([str(tmp_path / "x.pickle")])) == ["300", "301", "302", "303", "304"]
    batches = cifar10(tmp_path / "c", by_protocol(protocol))
    found = open_unlabelled([f"cifar:{tmp_path / 'c' / 'test_batch'}"])
    assert found.numbered
    assert np.array_equal(
        read(found, Form((3, 32, 32))).transpose(0, 3, 1, 2).reshape(20, -1), batches["test_batch"][0]
    )
    assert np.array_equal(read(open_unlabelled([str(tmp_path / "c" / "test_batch")]), Form((3, 32, 32))), read(
        open_split(f"cifar:{tmp_path / 'c'}", "test"), Form((3, 32, 32))
    ))  # fmt: skip


def test_a_pickle_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Caller:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return print, ("the pickle was run",)

    (tmp_path / "x.pkl").write_bytes(pickle.dumps({b"data": Caller()}))
    assert "it names builtins.print, which plain data do not need" in refusal(tmp_path / "x.pkl")
    assert capsys.readouterr().out == ""


def test_whole_numbers_only_where_they_are_asked_for() -> None:
    data = pickle.dumps({"a": np.arange(3)}, 5)
    with pytest.raises(DataError, match="an array has the dtype i8: pixels are uint8"):
        read_plain(data, "f")
    assert read_plain(data, "f", whole=True)["a"].tolist() == [0, 1, 2]


# tables


def test_a_table_of_pictures_without_labels(tmp_path: Path) -> None:
    for number in range(4):
        picture(tmp_path / "images" / f"{number}.png", number)
    (tmp_path / "test.csv").write_text("image_id,key\n2,x\n0,y\n2,z\n")
    found = open_unlabelled([f"csv:{tmp_path / 'test.csv'}"])
    assert ids(found) == ["2", "0", "2"]
    one = [read(open_unlabelled([str(tmp_path / "images" / f"{n}.png")])) for n in (2, 0, 2)]
    assert np.array_equal(read(found), np.concatenate(one))
    assert ids(open_unlabelled([str(tmp_path / "test.csv")], id_column="key")) == ["x", "y", "z"]
    assert "has no column 'k'" in refusal(tmp_path / "test.csv", id_column="k")
    (tmp_path / "one.csv").write_text("what\nimages/1.png\n")
    assert ids(open_unlabelled([str(tmp_path / "one.csv")])) == ["images/1.png"]
    (tmp_path / "two.csv").write_text("what,why\nimages/1.png,2\n")
    assert "names no pictures: name it by ?image=COLUMN" in refusal(tmp_path / "two.csv")
    (tmp_path / "gone.csv").write_text("path\nimages/1.png\nimages/9.png\n")
    assert "1 of 2 pictures are not in" in refusal(tmp_path / "gone.csv")


def test_rows_of_parquet_files(tmp_path: Path) -> None:
    for name, first in (("test-00000-of-00002", 0), ("test-00001-of-00002", 6)):
        parquet(
            tmp_path / "p" / f"{name}.parquet", [0] * 6, seed=first, more={"key": [f"k{first + n}" for n in range(6)]}
        )
    (tmp_path / "p" / "._test-00000-of-00002.parquet").write_bytes(b"what macOS leaves on a stick")
    found = open_unlabelled([f"parquet:{tmp_path / 'p'}"])
    assert (ids(found), found.numbered) == ([str(n) for n in range(12)], True)
    wanted = [np.asarray(Image.open(picture(tmp_path / "x.png", n, (10, 10))).resize((10, 10))) for n in range(12)]
    assert np.array_equal(read(found, Form((3, 10, 10))), np.stack(wanted))
    assert ids(open_unlabelled([f"parquet:{tmp_path / 'p'}"], id_column="key")) == [f"k{n}" for n in range(12)]


def test_a_row_without_a_picture_is_a_broken_one(tmp_path: Path) -> None:
    picture(tmp_path / "beside.png")
    none: dict[str, Any] = {"bytes": None, "path": None}
    rows = [{"bytes": encoded(1), "path": "a"}, none, {**none, "path": "beside.png"}, {**none, "path": "gone.png"}]
    path = parquet(tmp_path / "t.parquet", [0] * 4, pictures=rows)
    found = list(open_unlabelled([str(path)]).read(FORM))
    assert [isinstance(one, Broken) for one in found] == [False, True, False, True]
    assert found[1] == Broken("there is no picture", f"{path}: row 1")


# what is refused


def test_bad_words_are_one_line(tmp_path: Path) -> None:
    photo = picture(tmp_path / "photo.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "x.parquet").write_bytes(b"")
    (tmp_path / "movie.mp4").write_bytes(b"")
    (tmp_path / "bare").write_bytes(b"text")
    np.savez(tmp_path / "float.npz", images=np.zeros((2, 8, 8)))
    np.savez(tmp_path / "wide.npz", noise(2, 8, 9, 3))
    np.savez(tmp_path / "turned.npz", np.asfortranarray(noise(2, 8, 8, 3)))
    for words, said in [
        ([tmp_path / "nothing"], "nothing: there is no such file or folder: give a folder, picture files, or one of"),
        ([tmp_path / "empty"], "empty: no pictures in this folder: give"),
        ([tmp_path / "tables"], "no pictures in this folder, but 1 .parquet: give"),
        ([tmp_path / "movie.mp4"], ".mp4 is no kind of image"),
        ([tmp_path / "bare"], "a file without a suffix is no kind of image"),
        (["cifar10"], "cifar10 is a dataset with splits: say which is to be answered: --split test"),
        ([f"cifar:{tmp_path}"], "is a dataset with splits"),
        ([photo, tmp_path / "float.npz"], "several are taken of folders and picture files alone"),
        ([tmp_path / "float.npz"], "no images in images: save an array of uint8"),
        ([f"npz:{tmp_path / 'float.npz'}?images=images"], "images is float64: pixels must be uint8"),
        ([f"npz:{tmp_path / 'float.npz'}?images=x"], "there is no array 'x': the file holds images"),
        ([tmp_path / "turned.npz"], "lies column by column"),
        ([tmp_path / "wide.npz"], "images of 3x8x9, the network takes 3x8x8: see --image-size"),
        ([f"npz:{tmp_path / 'none.npz'}"], "there is no file"),
    ]:  # fmt: skip
        assert said in refusal(*words), words
    assert "--id-column key: goes with csv:FILE and parquet:PATH" in refusal(photo, id_column="key")
    with pytest.raises(DataError, match="this network takes 4 channels: give its images as arrays"):
        list(open_unlabelled([str(photo)]).read(Form((4, 8, 8))))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"pixels": 3}, "holds no 'data': it has pixels"),
        ({"data": np.arange(3072).reshape(1, -1)}, "has as 'data' int64 of (1, 3072): images must be uint8"),
        ({"data": noise(2, 3000)}, "has as 'data' uint8 of (2, 3000)"),
        ({"data": noise(2, 32, 32)}, "has as 'data' uint8 of (2, 32, 32)"),
        ({"data": [1, 2]}, "has as 'data' a list"),
        ({"data": noise(2, 3072), "ids": [1]}, "has 1 ids for 2 images"),
        ({"data": noise(0, 3072)}, "it holds no image"),
        ([1], "it holds no dict"),
    ],
)
def test_batches_that_are_none(tmp_path: Path, value: object, words: str) -> None:
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(value))
    assert words in refusal(tmp_path / "x.pkl")


def test_a_damaged_array_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, noise(2000, 32, 32, 3))
    data = bytearray(path.read_bytes())
    data[-1_000_000] ^= 1
    path.write_bytes(data)
    images = open_unlabelled([str(path)])
    with pytest.raises(DataError, match="cannot be read"):
        list(images.read(Form((3, 32, 32))))
