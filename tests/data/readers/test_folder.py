"""`folder:DIR`: layouts, pictures of many kinds, broken ones."""

from __future__ import annotations

import pickle
import struct
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from data_samples import error_line, noise
from PIL import Image

from archsearch.data import describe, load_dataset, unread_test
from archsearch.data import picture as reader
from archsearch.errors import DataError


def picture(path: Path, mode: str = "RGB", size: tuple[int, int] = (20, 14), seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = len(Image.new(mode, (1, 1)).getbands())
    pixels = noise(size[1], size[0], channels, seed=seed).squeeze()
    Image.fromarray(pixels).save(path)
    return path


def pictures(root: Path, parts: dict[str, int], mode: str = "RGB", classes: Sequence[str] = "ab") -> Path:
    for part, count in parts.items():
        for label in classes:
            for n in range(count):
                picture(root / part / label / f"{n}.png", mode, seed=n)
    return root


def test_folder_with_its_own_splits(tmp_path: Path) -> None:
    root = pictures(tmp_path, {"train": 4, "test": 2, "val": 3})
    dataset = load_dataset(f"folder:{root}", image_size=8)
    assert dataset.classes == ("a", "b")
    assert dataset.images.shape == (8, 3, 8, 8)
    assert dataset.labels.tolist() == [0] * 4 + [1] * 4
    assert dataset.flip
    assert dataset.validation is not None
    assert dataset.validation[0].shape == (6, 3, 8, 8)
    assert dataset.test()[0].shape == (4, 3, 8, 8)
    assert dataset.test()[1].tolist() == [0, 0, 1, 1]


def test_folder_scales_the_short_side_and_keeps_the_centre(tmp_path: Path) -> None:
    root = pictures(tmp_path, {"train": 2, "test": 1})
    stripes = np.zeros((10, 30, 3), np.uint8)
    stripes[:, 10:20] = 200
    Image.fromarray(stripes).save(root / "train" / "a" / "0.png")
    dataset = load_dataset(f"folder:{root}")
    assert dataset.input_shape == (3, 64, 64)
    assert (dataset.images[0][:, :, 4:-4] == 200).all()


def test_folder_split_for_the_user_depends_on_names_alone(tmp_path: Path) -> None:
    first = load_dataset(f"folder:{pictures(tmp_path / 'x', {'': 10})}")
    second = load_dataset(f"folder:{pictures(tmp_path / 'y', {'': 10})}")
    assert first.labels.bincount().tolist() == [8, 8]
    assert first.test()[1].tolist() == [0, 0, 1, 1]
    assert first.fingerprint == second.fingerprint
    assert torch.equal(first.test()[0][:], second.test()[0][:])
    everything = torch.cat([first.images[:], first.test()[0][:]]).flatten(1).numpy()
    assert len(set(map(bytes, everything))) == 10  # both classes hold the same ten pictures


def test_folder_is_grey_when_every_train_picture_is(tmp_path: Path) -> None:
    root = pictures(tmp_path, {"train": 2, "test": 1}, mode="L")
    deep = np.full((6, 6), 0x80FF, np.uint16)
    Image.fromarray(deep).save(root / "train" / "a" / "sixteen.png")
    Image.fromarray(noise(6, 6)).point(lambda level: level // 2).convert("P").save(root / "train" / "b" / "indexed.gif")
    picture(root / "test" / "b" / "colour.png")
    dataset = load_dataset(f"folder:{root}", image_size=6)
    assert dataset.input_shape == (1, 6, 6)
    assert (dataset.images[2] == 0x80).all()
    assert not dataset.flip
    assert dataset.test()[0].shape == (3, 1, 6, 6)


def test_folder_takes_palettes_alpha_and_nested_pictures_and_skips_other_files(tmp_path: Path) -> None:
    root = pictures(tmp_path, {"train": 2, "test": 1})
    picture(root / "train" / "a" / "deep" / "alpha.png", "RGBA")
    palette = Image.fromarray(noise(5, 5)).convert("P")
    palette.save(root / "train" / "b" / "palette.png", transparency=bytes(range(256)))
    picture(root / "train" / "b" / "photo.JPG", size=(400, 300))
    picture(root / "train" / ".cache" / "x.png")
    (root / "train" / "a" / "._0.png").write_bytes(b"left by a Mac")
    (root / "train" / "a" / "notes.txt").write_text("no picture")
    assert load_dataset(f"folder:{root}").labels.tolist() == [0, 0, 0, 1, 1, 1, 1]


def test_folder_errors_about_the_layout(tmp_path: Path) -> None:
    assert "there is no folder" in error_line(f"folder:{tmp_path / 'absent'}")
    assert "holds 0 class folder(s): at least 2" in error_line(f"folder:{tmp_path}")
    one = pictures(tmp_path / "one", {"train": 2, "test": 2}, classes="a")
    assert f"{one / 'train'} holds 1 class folder(s)" in error_line(f"folder:{one}")
    only = pictures(tmp_path / "only", {"train": 2})
    assert f"{only} has no test/: add it, or put" in error_line(f"folder:{only}")
    flat = tmp_path / "flat"
    picture(flat / "train" / "0.png")
    picture(flat / "test" / "0.png")
    assert f"{flat / 'train'} holds 0 class folder(s)" in error_line(f"folder:{flat}")
    empty = tmp_path / "empty"
    (empty / "a").mkdir(parents=True)
    (empty / "b").mkdir()
    assert "no pictures in the class folders" in error_line(f"folder:{empty}")
    lonely = pictures(tmp_path / "lonely", {"train": 1, "test": 1})
    assert f"{lonely / 'train' / 'a'} holds 1 picture(s): at least 2" in error_line(f"folder:{lonely}")
    other = pictures(tmp_path / "other", {"train": 2, "test": 1})
    picture(other / "test" / "c" / "0.png")
    assert "same class folders: only one has c" in error_line(f"folder:{other}")
    vehicles = pictures(tmp_path / "vehicles", {"": 4}, classes=["car", "Train"])  # a class may be called so
    assert load_dataset(f"folder:{vehicles}").classes == ("Train", "car")


def test_folder_refuses_whole_numbers_of_32_bits(tmp_path: Path) -> None:
    """What of them is white is not known: 255, 65,535 or more."""
    root = pictures(tmp_path, {"train": 2, "test": 1}, mode="L")
    Image.fromarray(noise(6, 6).astype(np.int32)).save(root / "train" / "a" / "0.tiff")
    assert "pixels are 32-bit whole numbers, not 8-bit or 16-bit" in error_line(f"folder:{root}")


@pytest.mark.parametrize("part", ["train", "test", "val"])
def test_folder_names_the_broken_picture(tmp_path: Path, part: str) -> None:
    root = pictures(tmp_path, {"train": 2, "test": 1, "val": 1})
    broken = root / part / "b" / "0.png"
    broken.write_bytes(b"no picture at all")
    assert f"{broken} is no readable picture" in error_line(f"folder:{root}")


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "tiff", "webp", "bmp"])
def test_folder_names_the_picture_cut_in_half(tmp_path: Path, suffix: str) -> None:
    root = pictures(tmp_path, {"train": 2, "test": 1})
    broken = picture(root / "train" / "b" / f"0.{suffix}", size=(60, 60))
    content = broken.read_bytes()
    broken.write_bytes(content[: len(content) // 2])
    assert f"{broken} is no readable picture" in error_line(f"folder:{root}")


def test_folder_test_pixels_are_read_by_test_alone(tmp_path: Path) -> None:
    root = pictures(tmp_path, {"train": 2, "test": 1})
    broken = picture(root / "test" / "b" / "0.png", size=(60, 60))
    broken.write_bytes(broken.read_bytes()[:1000])
    dataset = load_dataset(f"folder:{root}")
    with pytest.raises(DataError, match=r"b/0\.png is no readable picture"):
        dataset.test()


# broken pictures


@pytest.fixture
def thirteen_broken(tmp_path: Path) -> Path:
    """40 pictures, of which 13 are broken, some in the header and some behind it."""
    root = pictures(tmp_path, {"": 20})
    for n in range(6):
        (root / "a" / f"{n}.png").write_bytes(b"no picture at all")
    for n in range(7):
        whole = picture(root / "b" / f"{n}.png", size=(60, 60), seed=n)
        whole.write_bytes(whole.read_bytes()[:2000])
    return root


def test_folder_names_all_broken_pictures_at_once(thirteen_broken: Path) -> None:
    train = {path.name for path in (thirteen_broken / "b").iterdir()}
    assert len(train) == 20
    message = error_line(f"folder:{thirteen_broken}", image_size=8)
    number = int(message.split(" files in ")[0].split()[-1])
    assert 10 < number <= 13  # those behind the header of test pictures are read later
    assert message.count(".png, ") == 10
    assert f"and {number - 10} more (the first: " in message
    assert message.endswith("replace or remove them, or leave them out: --skip-broken")


def test_folder_goes_on_without_broken_pictures(thirteen_broken: Path) -> None:
    dataset = load_dataset(f"folder:{thirteen_broken}", image_size=8, skip_broken=True)
    images, labels = pickle.loads(pickle.dumps(dataset)).test()
    assert len(dataset.labels) + len(labels) == 40 - 13
    assert len(images) == len(labels)
    (note,) = dataset.notes
    assert note.startswith("left out by --skip-broken: ")
    late = dataset.test_count - len(labels)
    assert f"--skip-broken: {13 - late} of 40 pictures: a/0.png, " in note
    said = [f"left out by --skip-broken: {late:,} more of the test pictures"] if late else []
    assert unread_test(dataset, len(labels)) == said
    assert describe(dataset)[1:] == [note]


def test_folder_splits_the_others_as_if_none_were_broken(tmp_path: Path) -> None:
    root = pictures(tmp_path, {"": 30})
    whole = load_dataset(f"folder:{root}", image_size=8, skip_broken=True)
    assert whole.fingerprint == load_dataset(f"folder:{root}", image_size=8).fingerprint
    (root / "a" / "3.png").write_bytes(b"broken")
    (root / "b" / "11.png").write_bytes(b"broken")
    fewer = load_dataset(f"folder:{root}", image_size=8, skip_broken=True)
    assert fewer.fingerprint != whole.fingerprint
    assert sum(map(len, (fewer.labels, fewer.test()[1]))) == 58
    for before, after in zip([*whole.parts(3), whole.test()], [*fewer.parts(3), fewer.test()], strict=True):
        pairs = [{(pixels.tobytes(), label) for pixels, label in zip(images[:].numpy(), labels.tolist(), strict=True)}
                 for images, labels in (before, after)]  # fmt: skip
        assert pairs[1] <= pairs[0]
        assert len(before[1]) - len(after[1]) <= 2


def test_folder_needs_a_readable_train_picture_of_every_class(tmp_path: Path) -> None:
    root = pictures(tmp_path, {"train": 2, "test": 1})
    for n in range(2):
        (root / "train" / "b" / f"{n}.png").write_bytes(b"broken")
    with pytest.raises(DataError, match="no train picture of class b can be read"):
        load_dataset(f"folder:{root}", skip_broken=True)


# kinds of files


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [(".jfif", "JPEG"), (".jpe", "JPEG"), (".JP2", "JPEG2000"), (".tga", "TGA"), (".dib", "BMP"), (".apng", "PNG"),
     (".pcx", "PCX"), (".qoi", "QOI"), (".ico", "ICO"), (".mpo", "MPO"), (".ras", "PPM"), (".psd", "PNG")],
)  # fmt: skip
def test_folder_reads_what_pillow_reads(tmp_path: Path, suffix: str, kind: str) -> None:
    root = pictures(tmp_path, {"train": 2, "test": 1})
    Image.fromarray(noise(20, 20, 3)).save(root / "train" / "a" / f"9{suffix}", kind)
    dataset = load_dataset(f"folder:{root}", image_size=8)
    assert dataset.labels.tolist() == [0, 0, 0, 1, 1]
    assert dataset.notes == ()


def test_folder_opens_no_postscript_film_or_scientific_data(tmp_path: Path) -> None:
    """EPS would run a program on the file."""
    root = pictures(tmp_path, {"train": 2, "test": 1})
    for name in ("x.eps", "x.ps", "x.pdf", "x.mpg", "x.h5", "x.fits", "x.wmf", "x.pfm"):
        (root / "train" / "a" / name).write_bytes(b"")
    (note,) = load_dataset(f"folder:{root}", image_size=8).notes
    assert note == ("left out, no pictures that Pillow reads: 1 .eps, 1 .fits, 1 .h5, 1 .mpg, 1 .pdf, 1 .pfm, 2 more")
    Image.fromarray(noise(6, 6, 3)).save(root / "train" / "a" / "0.png", "EPS")  # whatever it is called
    assert "a/0.png is no readable picture" in error_line(f"folder:{root}")


@pytest.fixture
def fresh_formats() -> Iterator[None]:
    for function in (reader.pillow, reader.formats, reader.suffixes):
        function.cache_clear()
    yield
    for function in (reader.pillow, reader.formats, reader.suffixes):
        function.cache_clear()


def test_pillow_heif_is_used_where_it_is_installed(monkeypatch: pytest.MonkeyPatch, fresh_formats: None) -> None:
    calls: list[str] = []
    plugin = SimpleNamespace(register_heif_opener=lambda: calls.append("registered"))
    monkeypatch.setitem(sys.modules, "pillow_heif", plugin)
    assert ".jpg" in reader.suffixes()
    assert calls == ["registered"]


# 16 bits


def deep(path: Path, low: int, high: int, seed: int = 0) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(low, high + 1, (12, 12)).astype(np.uint16)
    Image.fromarray(pixels).save(path)
    return pixels


@pytest.mark.parametrize("suffix", ["png", "tiff"])
@pytest.mark.parametrize(("low", "high"), [(0, 255), (0, 4095), (900, 1100), (0, 65535)])
def test_folder_scales_sixteen_bits_by_the_range_of_all_train_pictures(
    tmp_path: Path, low: int, high: int, suffix: str
) -> None:
    train = [deep(tmp_path / "train" / label / f"{n}.{suffix}", low, high, n) for label in "ab" for n in (1, 2)]
    bright = deep(tmp_path / "test" / "a" / f"0.{suffix}", high, min(65535, 2 * high))
    deep(tmp_path / "test" / "b" / f"0.{suffix}", low, high)
    dataset = load_dataset(f"folder:{tmp_path}", image_size=12)
    first, last = int(min(map(np.min, train))), int(max(map(np.max, train)))
    assert dataset.range == (first, last)
    expected = np.rint((np.stack(train).astype(float) - first) * 255 / (last - first))
    assert np.abs(dataset.images[:][:, 0].numpy() - expected).max() <= 1
    assert (dataset.test()[0][0][0].numpy() == 255).all() or bright.min() < last
    assert f"16-bit grey: of 6 pictures the values {first:,} to {last:,} become 0 to 255" in dataset.notes


def test_folder_has_one_range_beside_eight_bit_pictures(tmp_path: Path) -> None:
    root = pictures(tmp_path, {"train": 2, "test": 1}, mode="L")
    assert load_dataset(f"folder:{root}").range is None
    deep(root / "test" / "a" / "1.png", 0, 4095)
    assert "test/a/1.png has 16-bit pixels, the train pictures have 8-bit ones" in error_line(f"folder:{root}")
    deep(root / "train" / "a" / "1.png", 0, 4095)
    low, high = load_dataset(f"folder:{root}").range or (0, 0)
    assert 0 <= low < 100
    assert 4000 < high < 4096


def test_square_without_a_range_keeps_the_high_byte() -> None:
    picture = Image.fromarray(np.full((4, 4), 0x1234, np.uint16))
    assert (reader.square(picture, 4, True) == 0x12).all()
    assert (reader.square(picture, 4, True, (0x1234, 0x2234)) == 0).all()
    assert (reader.square(picture, 4, False, (0, 0x1234)) == 255).all()


def signed_tiff(path: Path, pixels: np.ndarray) -> None:
    """Computed tomography: whole numbers of 16 bits, below zero too."""
    height, width = pixels.shape
    data = pixels.astype("<i2").tobytes()
    tags = [(256, 3, width), (257, 3, height), (258, 3, 16), (259, 3, 1), (262, 3, 1), (273, 4, 8),
            (277, 3, 1), (278, 3, height), (279, 4, len(data)), (339, 3, 2)]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + b"\0" * 4
    )


def test_folder_takes_signed_sixteen_bits(tmp_path: Path) -> None:
    for part, label, n in [(part, label, n) for part in ("train", "test") for label in "ab" for n in range(2)]:
        pixels = np.random.default_rng(n).integers(-1000, 3000, (12, 12))
        pixels[0, :2] = -1000, 3000
        signed_tiff(tmp_path / part / label / f"{n}.tif", pixels)
    dataset = load_dataset(f"folder:{tmp_path}", image_size=12)
    assert dataset.range == (-1000, 3000)
    assert dataset.images[0][0, 0, :2].tolist() == [0, 255]
    assert len(dataset.images[:].unique()) > 150


def sixteen_bit_colour(path: Path, top: int) -> None:
    """A PNG of 16 bits a channel, which Pillow can read but not write."""
    import zlib

    rows = np.random.default_rng(0).integers(0, top, (8, 8, 3)).astype(">u2")
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)),
              (b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))), (b"IEND", b"")]  # fmt: skip
    content = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


def test_folder_refuses_sixteen_bit_colours_that_would_be_black(tmp_path: Path) -> None:
    for n in range(3):
        for label in "ab":
            sixteen_bit_colour(tmp_path / label / f"{n}.png", 65536)
    assert "16-bit colour: of 6 pictures the upper 8 bits" in load_dataset(f"folder:{tmp_path}").notes[0]
    for n in range(3):
        for label in "ab":
            sixteen_bit_colour(tmp_path / label / f"{n}.png", 4096)
    assert "the colour pictures have 16 bits and use the lowest 4,096 values" in error_line(f"folder:{tmp_path}")
