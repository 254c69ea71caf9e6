"""`folder:DIR`: layouts, pictures of many kinds, broken ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from data_samples import error_line, noise
from PIL import Image

from archsearch.data import load_dataset
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
    assert torch.equal(first.test()[0], second.test()[0])
    everything = torch.cat([first.images, first.test()[0]]).flatten(1).numpy()
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
    named = pictures(tmp_path / "named", {"Training": 2, "test": 1})
    assert f"{named / 'Training'} holds folders, as train/ does: rename it to that" in error_line(f"folder:{named}")
    extra = pictures(tmp_path / "extra", {"train": 2, "test": 1, "valid": 1})
    assert f"{extra / 'valid'} holds folders, as val/ does: rename it to that" in error_line(f"folder:{extra}")
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
