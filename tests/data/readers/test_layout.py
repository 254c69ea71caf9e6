"""`folder:DIR` as users bring it: which folders are splits, which are classes, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from data_samples import error_line
from layouts import fill, write

from archsearch.data import Dataset, describe, load_dataset
from archsearch.data.readers.layout import part_named

PETS = ("cat", "dog")


def load(root: Path, **options: bool) -> Dataset:
    return load_dataset(f"folder:{root}", image_size=8, **options)


def sizes(dataset: Dataset) -> tuple[int, int, int]:
    """Train, validation and test images."""
    own = dataset.validation
    return len(dataset.labels), len(own[1]) if own else 0, len(dataset.test()[1])


@pytest.mark.parametrize(
    ("train", "test", "val"),
    [
        ("training_set", "test_set", ""),
        ("training_set/training_set", "test_set/test_set", ""),
        ("seg_train/seg_train", "seg_test/seg_test", ""),
        ("train_images", "test_images", "validation_images"),
        ("train_data", "test_data", ""),
        ("Training", "Testing", ""),
        ("Train", "TEST", "Validation"),
        ("train", "test", "valid"),
        ("trainset", "testset", "valset"),
        ("train2017", "test2017", "val2017"),
        ("animals-train", "animals-test", ""),
        ("archive/data/train", "archive/data/test", "archive/data/val"),
    ],
)
def test_splits_by_the_names_of_their_folders(tmp_path: Path, train: str, test: str, val: str) -> None:
    fill(tmp_path, [train], PETS)
    fill(tmp_path, [test], PETS, count=3)
    fill(tmp_path, [val] if val else [], PETS, count=2)
    dataset = load(tmp_path)
    assert dataset.classes == PETS
    assert sizes(dataset) == (10, 4 if val else 0, 6)
    plain = train == "train" and val != "valid"
    named = f"splits: {Path(train).parts[0]}/ as train, {Path(test).parts[0]}/ as test" in "\n".join(dataset.notes)
    assert named or plain or train.endswith("/train")


def test_names_that_say_no_split() -> None:
    assert [part_named(name) for name in ("seg_pred", "fold1", "trains", "contest", "train_test", "cat")] == [None] * 6
    assert [part_named(name) for name in ("rps-test-set", "ValidationData", "TRAIN")] == ["test", "val", "train"]


def test_classes_named_like_splits_stay_classes(tmp_path: Path) -> None:
    fill(tmp_path, ["train", "bus", "test_tube", "train station"])
    assert load(tmp_path).classes == ("bus", "test_tube", "train", "train station")


@pytest.mark.parametrize(
    ("make", "classes", "counts", "said"),
    [
        (  # Kaggle's Intel scenes
            lambda r: (fill(r, ["seg_train/seg_train", "seg_test/seg_test"], PETS), fill(r, ["seg_pred/seg_pred"])),
            PETS,
            (10, 0, 10),
            "left out, beside the splits: seg_pred/",
        ),
        (  # Kaggle's chest X-rays: a second copy inside, and what a Mac leaves
            lambda r: (
                fill(r, [f"{a}/{b}" for a in ("x", "x/x") for b in ("train", "test", "val")], PETS, 3),
                write(r, "x/__MACOSX/x/train/cat/._0.png", "x/train/.DS_Store"),
            ),
            PETS,
            (6, 6, 6),
            "left out, beside the splits: x/",
        ),
        (  # Caltech 101
            lambda r: (
                fill(r, ["c/101_ObjectCategories"], ("BACKGROUND_Google", "ant")),
                write(r, "c/Annotations/ant/1.mat", "c/Annotations/ant/2.mat"),
            ),
            ("BACKGROUND_Google", "ant"),
            (8, 0, 2),
            "left out, no pictures that Pillow reads: 2 .mat",
        ),
        (  # EuroSAT, UC Merced
            lambda r: (fill(r, ["UCMerced/Images"], PETS, name="cat{:02}.tif"), write(r, "UCMerced/readme.txt")),
            PETS,
            (8, 0, 2),
            "classes are the folders in {r}/UCMerced/Images",
        ),
        (  # Fruits 360
            lambda r: (fill(r, ["f/Training", "f/Test"], PETS), fill(r, ["f/test-multiple_fruits"])),
            PETS,
            (10, 0, 10),
            "left out, beside the splits: test-multiple_fruits/",
        ),
        (  # folders of one kind inside of every class
            lambda r: fill(r, ["cat/images", "dog/images"]),
            PETS,
            (8, 0, 2),
            "2 classes: cat (4), dog (4)",
        ),
    ],
    ids=["intel", "chest", "caltech", "merced", "fruits", "images"],
)
def test_public_layouts_that_are_read(
    tmp_path: Path, make: Callable[[Path], object], classes: tuple[str, ...], counts: tuple[int, ...], said: str
) -> None:
    make(tmp_path)
    dataset = load(tmp_path)
    assert dataset.classes == classes
    assert sizes(dataset) == counts
    assert said.format(r=tmp_path) in describe(dataset)


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (  # dogs against cats
            lambda r: (fill(r, ["train"], name="cat.{}.jpg"), fill(r, ["train"], name="dog.{}.jpg"),
                       fill(r, ["test1"])),
            ["train holds 0 class folder(s)", "10 pictures directly, whose names begin with cat, dog: mkdir cat && mv"],
        ),
        (  # Oxford's flowers
            lambda r: (fill(r, ["jpg"], name="image_{:05}.jpg"), write(r, "imagelabels.mat")),
            ["holds 1 class folder(s)", "jpg/ holds 5 pictures directly; tables of labels are not read"],
        ),
        (  # Kaggle's
            lambda r: (fill(r, ["jpg"], name="image_{:05}.jpg"), write(r, "train.csv")),
            ["jpg/ holds 5 pictures directly; a table of labels is read by csv:FILE"],
        ),
        (lambda r: (write(r, "a.parquet"),), ["it holds 1 .parquet file(s): give parquet:{r}"]),
        (  # PlantVillage
            lambda r: fill(r, ["p/color", "p/grayscale", "p/segmented"], PETS),
            ["color/, grayscale/, segmented/ hold folders of the same names (cat, dog)", "folder:{r}/p/color"],
        ),
        (lambda r: fill(r, ["fold1", "fold2"], PETS), ["fold1/, fold2/ hold folders of the same names (cat, dog)"]),
        (lambda r: fill(r, ["rps", "rps-test-set"], PETS), ["rename them to train/ and test/"]),
        (lambda r: fill(r, ["cat", "dog"], ("train", "test")), ["cat/, dog/ hold folders of the same names"]),
        (  # two datasets
            lambda r: (fill(r, ["flowers"], ("rose", "tulip", "daisy")), fill(r, ["photos"], PETS)),
            ["the pictures of flowers/, photos/ lie in folders inside (flowers/daisy, photos/cat)", "folder:{r}/f"],
        ),
        (  # the same with splits
            lambda r: [fill(r, [f"{a}/{b}" for b in ("train", "test")], PETS) for a in ("a", "b")],
            ["a/, b/ hold folders of the same names (test, train)"],
        ),
        (  # CUB: pictures two folders down, and masks
            lambda r: fill(r, ["CUB/images", "segmentations"], PETS),
            ["CUB/, segmentations/ hold folders of the same names (cat, dog)"],
        ),
        (  # Oxford's pets
            lambda r: (fill(r, ["images"], name="a_{}.jpg"), fill(r, ["images"], name="b_{}.jpg"),
                       fill(r, ["annotations/trimaps"])),
            ["annotations/, images/ in {r} are named as parts of a dataset", "names begin with a, b", "--nested"],
        ),
        (  # Kaggle's brain tumours: a copy of the classes beside them
            lambda r: (fill(r, ["."], PETS), fill(r, ["copy"], PETS)),
            ["{r}/copy holds folders of the same names as those beside it (cat, dog): remove it"],
        ),
        (  # pictures to be labelled
            lambda r: (fill(r, ["Train"], PETS), fill(r, ["Test"])),
            ["{r}/Test holds 5 pictures and no class folders", "give folder:{r}/Train, of which a fifth becomes"],
        ),
        (  # tiny-imagenet-200
            lambda r: (fill(r, ["train/n01/images", "train/n02/images"]), fill(r, ["val/images", "test/images"])),
            ["{r}/test/images holds 5 pictures and no class folders"],
        ),
        (  # hymenoptera
            lambda r: fill(r, ["h/train", "h/val"], PETS),
            ["{r}/h has no test/", "rename val/ to test/", "give folder:{r}/h/train, of which a fifth"],
        ),
        (lambda r: fill(r, ["test", "val"], PETS), ["has no train/"]),
        (lambda r: fill(r, ["train_a", "train_b", "test"], PETS), ["train_a/, train_b/ in {r} all look like"]),
        (  # LFW
            lambda r: (fill(r, ["."], ("a", "b", "c"), 1), fill(r, ["d"])),
            ["{r}/a holds 1 picture(s): at least 3 are needed", "likewise b/, c/"],
        ),
        (  # a telephone's
            lambda r: (fill(r, ["."], PETS, 1), write(r, *(f"cat/{n}.HEIC" for n in range(9)))),
            ["cat holds 1 picture(s), beside 9 .heic (read with pip install pillow-heif)"],
        ),
        (lambda r: write(r, "a/1.dcm", "b/1.dcm", "b/2"), ["no pictures in", "found 2 .dcm, 1 without a suffix"]),
    ],
    ids=["dogs", "flowers", "kaggle", "parquet", "plants", "folds", "rps", "classes-first", "two", "two-split", "cub",
         "pets", "brain", "unlabelled", "tiny", "hymenoptera", "no-train", "two-trains", "lfw", "heic", "dicom"],
)  # fmt: skip
def test_layouts_that_are_refused_with_the_way_out(
    tmp_path: Path, make: Callable[[Path], object], parts: list[str]
) -> None:
    make(tmp_path)
    message = error_line(f"folder:{tmp_path}", image_size=8)
    for part in parts:
        assert part.format(r=tmp_path) in message


def test_nested_takes_the_folders_as_classes(tmp_path: Path) -> None:
    fill(tmp_path, ["normal", "tumour"], ("patient1", "patient2"))
    assert "if they are classes, add --nested" in error_line(f"folder:{tmp_path}")
    dataset = load(tmp_path, nested=True)
    assert dataset.classes == ("normal", "tumour")
    assert sizes(dataset) == (16, 0, 4)
    assert dataset.nested


def test_links_are_followed_but_not_in_a_circle(tmp_path: Path) -> None:
    fill(tmp_path / "store", ["x", "y", "more"])
    root = tmp_path / "set"
    root.mkdir()
    (root / "cat").symlink_to(tmp_path / "store" / "x")
    (root / "dog").mkdir()
    (root / "dog" / "inside").symlink_to(tmp_path / "store" / "y")
    (root / "dog" / "0.png").symlink_to(tmp_path / "store" / "more" / "0.png")
    (root / "dog" / "up").symlink_to(root)
    (tmp_path / "store" / "y" / "back").symlink_to(tmp_path / "store" / "y")
    dataset = load(root)
    assert dataset.classes == PETS
    assert sizes(dataset) == (9, 0, 2)


def test_files_that_are_no_pictures_are_counted_a_suffix(tmp_path: Path) -> None:
    fill(tmp_path, ["."], PETS)
    write(
        tmp_path, "labels.csv", "cat/1.HEIC", "dog/2.heic", "cat/Thumbs.db", ".hidden/x.txt", "cat/.DS_Store", "LICENSE"
    )
    expected = (
        "left out, no pictures that Pillow reads: 2 .heic (read with pip install pillow-heif), 1 without a suffix"
    )
    assert f"{expected}, 1 .csv" in load(tmp_path).notes


def test_the_header_names_few_classes_and_the_ends_of_many(tmp_path: Path) -> None:
    labels = [f"class{n:02}" for n in range(12)]
    fill(tmp_path, ["."], labels, 5)
    fill(tmp_path, ["."], ["class07"], 9)
    (line,) = describe(load(tmp_path))
    assert line == "12 classes: class00 (4), class01 (4), class02 (4), ...; fewest class00 (4), most class07 (7)"
