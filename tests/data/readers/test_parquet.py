"""`parquet:PATH`: splits, columns, labels, and what is refused."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from data_samples import error_line
from formats import encoded, huggingface, parquet
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from archsearch.data import load_dataset
from archsearch.data.load import list_pictures
from archsearch.errors import DataError

NAMES = ("cat", "ant", "bee")
LABELS = [0, 1, 2] * 4


def hub(root: Path, folder: str = "data", *, test: str = "test") -> Path:
    """Two train shards and a test shard, as a set of the Hugging Face hub has them."""
    for number in range(2):
        parquet(root / folder / f"train-0000{number}-of-00002.parquet", LABELS, NAMES, seed=100 * number)
    parquet(root / folder / f"{test}-00000-of-00001.parquet", [2, 1, 0], NAMES, seed=500)
    return root


def test_a_set_of_the_hub(tmp_path: Path) -> None:
    """Every picture, in the order of shards and rows; names in the order of the labels."""
    dataset = load_dataset(f"parquet:{hub(tmp_path)}", image_size=10)
    images, labels = dataset.test()
    assert dataset.classes == NAMES
    assert dataset.labels.tolist() == LABELS * 2
    assert labels.tolist() == [2, 1, 0]
    assert dataset.test_count == 3
    expected = [100 * number + n for number in range(2) for n in range(12)]
    for image, seed in [*zip(dataset.images, expected, strict=True), *zip(images, range(500, 503), strict=True)]:
        with Image.open(__import__("io").BytesIO(encoded(seed))) as picture:
            assert np.array_equal(image.permute(1, 2, 0).numpy(), np.asarray(picture))


@pytest.mark.parametrize("place", ["{root}/data", "{root}/*/*.parquet", "{root}/data/{{train,test}}-*.parquet"])
def test_a_folder_and_patterns_are_the_same_set(tmp_path: Path, place: str) -> None:
    root = hub(tmp_path / "set")
    (root / ".cache").mkdir()
    (root / ".cache" / "train-00009-of-00010.parquet").write_bytes(b"of another program")
    whole = load_dataset(f"parquet:{root}", image_size=8)
    dataset = load_dataset(f"parquet:{place.format(root=root)}", image_size=8)
    assert dataset.fingerprint == whole.fingerprint
    assert dataset.test_count == 3


def test_splits_by_folders(tmp_path: Path) -> None:
    """As the hub's own conversion to parquet lays them out."""
    parquet(tmp_path / "default" / "train" / "0000.parquet", LABELS, NAMES)
    parquet(tmp_path / "default" / "test" / "0000.parquet", [0, 1], NAMES)
    dataset = load_dataset(f"parquet:{tmp_path}", image_size=8)
    assert (len(dataset.labels), dataset.test_count) == (12, 2)


@pytest.mark.parametrize("labels", [LABELS, [NAMES[n] for n in LABELS], [float("nan")] * 0 + [n + 5 for n in LABELS]])
def test_one_file_gives_a_fifth_to_the_test(tmp_path: Path, labels: list[object]) -> None:
    file = parquet(tmp_path / "set.parquet", labels * 2, group=7)
    dataset = load_dataset(f"parquet:{file}", image_size=8)
    assert dataset.classes == tuple(sorted({str(one) for one in labels}))
    assert (len(dataset.labels), dataset.test_count) == (19, 5)
    assert torch.equal(dataset.test()[0][:], load_dataset(f"parquet:{file}", image_size=8).test()[0][:])
    pictures = list_pictures(f"parquet:{file}")
    assert pictures is not None
    train, test = (pictures.parts[part] for part in ("train", "test"))
    places = [part.where(n) for part in (train, test) for n in range(len(part))]
    assert sorted(places) == sorted(f"{file}: row {n}" for n in range(24))


def test_pictures_are_read_in_any_order_and_travel(tmp_path: Path) -> None:
    file = parquet(tmp_path / "set.parquet", LABELS, group=5)
    listing = list_pictures(f"parquet:{file}")
    assert listing is not None
    train = listing.parts["train"]
    straight = list(train.read(0, len(train)))
    assert [train.read(n, n + 1)[0] for n in reversed(range(len(train)))] == straight[::-1]
    again = pickle.loads(pickle.dumps(train))
    assert list(again.read(2, 6)) == straight[2:6]
    assert [*again.identity()] == [*train.identity()]


def test_dictionaries_strings_and_bare_bytes(tmp_path: Path) -> None:
    """As pandas writes categories, and a table without `datasets`."""
    table = pa.table({
        "img": pa.array([encoded(n) for n in range(12)], pa.large_binary()),
        "class": pa.array([NAMES[n] for n in LABELS]).dictionary_encode(),
        "width": pa.array([10] * 12),
    })  # fmt: skip
    pq.write_table(table, tmp_path / "x.parquet")
    dataset = load_dataset(f"parquet:{tmp_path / 'x.parquet'}", image_size=8)
    assert dataset.classes == ("ant", "bee", "cat")


def test_columns_are_chosen(tmp_path: Path) -> None:
    more = {"fine": [n % 4 for n in range(12)], "mask": [{"bytes": encoded(n + 90), "path": None} for n in range(12)]}
    file = parquet(tmp_path / "x.parquet", LABELS, more=more)
    table = pq.read_table(file).replace_schema_metadata(
        huggingface({"label": NAMES, "fine": "wxyz"}, ("image", "mask"))
    )
    pq.write_table(table, file)
    assert "columns image, mask may be the image: choose by ?image=image" in error_line(f"parquet:{file}")
    line = error_line(f"parquet:{file}?image=image")
    assert "columns label, fine may be the label: choose by ?label=label" in line
    spec = f"parquet:{file}?image=mask&label=fine"
    dataset = load_dataset(spec, image_size=10)
    assert (dataset.name, dataset.classes) == (spec, ("w", "x", "y", "z"))
    other = load_dataset(f"parquet:{file}?image=image&label=fine", image_size=10)
    assert not torch.equal(dataset.images[:], other.images[:])
    assert "there is no label column 'none'; the columns are image (" in error_line(
        f"parquet:{file}?image=mask&label=none"
    )
    assert "there is no option 'lable': it must be one of image, label" in error_line(f"parquet:{file}?lable=fine")


def test_pictures_beside_the_table(tmp_path: Path) -> None:
    pictures: list[object] = [{"bytes": None if n % 2 else encoded(n), "path": f"p/{n}.png"} for n in range(12)]
    file = parquet(tmp_path / "x.parquet", LABELS, NAMES, pictures=pictures)
    line = error_line(f"parquet:{file}")
    assert f"row 1 names a file instead of a picture, and there is no {tmp_path / 'p' / '1.png'}" in line
    for n in range(1, 12, 2):
        (tmp_path / "p").mkdir(exist_ok=True)
        (tmp_path / "p" / f"{n}.png").write_bytes(encoded(n))
    whole = load_dataset(f"parquet:{parquet(tmp_path / 'w.parquet', LABELS, NAMES)}", image_size=10)
    assert load_dataset(f"parquet:{file}", image_size=10).fingerprint == whole.fingerprint
    pictures[3] = None
    file = parquet(tmp_path / "y.parquet", LABELS, NAMES, pictures=pictures)
    assert "row 3 holds no picture: leave the row out" in error_line(f"parquet:{file}")


def test_a_split_is_chosen(tmp_path: Path) -> None:
    hub(tmp_path, test="validation")
    line = error_line(f"parquet:{tmp_path}")
    assert "has train and validation, but no test split: take one for it, by ?test=validation, or give" in line
    dataset = load_dataset(f"parquet:{tmp_path}?test=validation", image_size=8)
    assert (dataset.validation, dataset.test_count) == (None, 3)
    assert "splits: validation as test" in dataset.notes
    assert load_dataset(f"parquet:{tmp_path}/data/train-*.parquet", image_size=8).test_count == 5
    parquet(tmp_path / "data" / "unlabeled-00000-of-00001.parquet", [-1, -1], NAMES)
    dataset = load_dataset(f"parquet:{tmp_path}?test=validation", image_size=8)
    assert "left out, beside the splits: unlabeled" in dataset.notes
    assert "no split 'x': there are train, unlabeled, validation" in error_line(f"parquet:{tmp_path}?test=x")


def test_what_is_not_one_set_is_refused(tmp_path: Path) -> None:
    hub(hub(tmp_path, "one"), "two")
    line = error_line(f"parquet:{tmp_path}")
    assert f"{tmp_path} holds 2 sets of files, one, two: give one of them, such as parquet:{tmp_path}/one" in line
    (tmp_path / "one" / "train-00001-of-00002.parquet").unlink()
    assert "1 of 2 shards like" in error_line(f"parquet:{tmp_path / 'one'}")
    assert "holds files of test alone" in error_line(f"parquet:{parquet_alone(tmp_path / 'three')}")
    parquet(tmp_path / "two" / "test-00000-of-00001.parquet", [0, 1], ["cat", "dog", "bee"])
    assert "differ in columns or class names" in error_line(f"parquet:{tmp_path / 'two'}")


def parquet_alone(folder: Path) -> Path:
    parquet(folder / "test-00000-of-00001.parquet", LABELS, NAMES)
    return folder


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([0.5, 1.0] * 6, "label column 'label' is double: labels must be whole numbers or names"),
        ([[0.5], [1.0]] * 6, "double>: labels must be whole numbers or names, one a picture, or lists of them"),
        ([0, None] * 6, "the label of {file}: row 1 is empty"),
        ([0, 1, -1] * 4, "the label of {file}: row 2 is -1, which marks a picture without a label"),
        ([0, 1, 7] * 4, "label 7 has no name: there are names for 0 to 2 (cat, ant, bee)"),
        ([1] * 12, "all train pictures are of class ant: at least 2 are needed"),
        ([0, 1] * 5 + [2, 0], "class bee has 1 train picture(s): at least 3 are needed"),
        (["0.5", "1"] * 6, "label 0.5 is a fraction"),
    ],
)
def test_labels_that_are_none(tmp_path: Path, labels: list[object], words: str) -> None:
    file = parquet(tmp_path / "x.parquet", labels, NAMES)
    assert words.format(file=file) in error_line(f"parquet:{file}")


def test_labels_of_the_test_split(tmp_path: Path) -> None:
    hub(tmp_path)
    test = tmp_path / "data" / "test-00000-of-00001.parquet"
    parquet(test, [-1, -1], NAMES)
    line = error_line(f"parquet:{tmp_path}")
    assert f"the label of {test}: row 0 is -1, which marks a picture without a label in all of test" in line
    for number in range(2):
        parquet(tmp_path / "data" / f"train-0000{number}-of-00002.parquet", [0, 1] * 6, NAMES)
    parquet(test, [0, 2], NAMES)
    assert "no train picture is of class bee, which test has" in error_line(f"parquet:{tmp_path}")
    parquet(test, [0, 0], NAMES)
    dataset = load_dataset(f"parquet:{tmp_path}", image_size=8)
    assert dataset.classes == ("cat", "ant")
    assert "left out, no picture has the label: 1 of 3 names: bee" in dataset.notes
    assert "test has no picture of class ant" in dataset.notes


def test_broken_pictures_are_named_by_their_rows(tmp_path: Path) -> None:
    pictures = [{"bytes": b"" if n == 4 else encoded(n), "path": None} for n in range(12)]
    file = parquet(tmp_path / "x.parquet", LABELS, pictures=pictures)
    assert f"{file}: row 4 is no readable picture" in error_line(f"parquet:{file}")
    dataset = load_dataset(f"parquet:{file}", image_size=8, skip_broken=True)
    assert len(dataset.labels) + dataset.test_count == 11


@pytest.mark.parametrize("place", ["s3://bucket/x.parquet", "hf://datasets/me/x", "https://h/x.parquet"])
def test_remote_files_are_to_be_downloaded(place: str) -> None:
    assert "download it, and give the path of the copy" in error_line(f"parquet:{place}")


def test_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert f"there is no {tmp_path / 'x.parquet'}: check the path" in error_line(f"parquet:{tmp_path / 'x.parquet'}")
    assert f"no .parquet file in {tmp_path}" in error_line(f"parquet:{tmp_path}")
    (tmp_path / "data-00000-of-00001.arrow").write_bytes(b"")
    assert "as save_to_disk of `datasets` writes: write it anew by to_parquet" in error_line(f"parquet:{tmp_path}")
    (tmp_path / "x.csv").write_text("a")
    assert "is no .parquet file: give .parquet files" in error_line(f"parquet:{tmp_path / 'x.csv'}")
    file = parquet(tmp_path / "x.parquet", LABELS)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "pip install 'archsearch[parquet]'" in error_line(f"parquet:{file}")


def test_a_file_that_shrinks_later(tmp_path: Path) -> None:
    file = parquet(tmp_path / "x.parquet", LABELS)
    dataset = load_dataset(f"parquet:{file}", image_size=8)
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataError, match="cannot be read"):
        dataset.test()


@given(data=st.data())
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_cut_file_is_refused(tmp_path: Path, data: st.DataObject) -> None:
    whole = parquet(tmp_path / "whole.parquet", LABELS, NAMES).read_bytes()
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    assert error_line(f"parquet:{cut}").startswith(f"parquet:{cut}: {cut} cannot be read")
