"""Lists of labels in parquet files: which classes there are, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_samples import error_line
from formats import parquet

from archsearch.data import load_dataset

LISTS = [[2, 0], [], [1], [0]] * 3
NAMES = ("cat", "ant", "bee")


def noted(file: Path, feature: object) -> Path:
    """With what `datasets` notes of a column of lists."""
    features = {"image": {"_type": "Image"}, "label": feature}
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    pq.write_table(pq.read_table(file).replace_schema_metadata(metadata), file, row_group_size=5)
    return file


CLASSES = {"names": [*NAMES, "dog"], "_type": "ClassLabel"}


@pytest.mark.parametrize(
    "feature", [{"feature": CLASSES, "_type": "Sequence"}, {"feature": CLASSES, "_type": "List"}, [CLASSES]]
)
def test_numbers_get_the_names_of_the_hub(tmp_path: Path, feature: object) -> None:
    for part in ("train", "test"):
        noted(parquet(tmp_path / f"{part}.parquet", LISTS), feature)
    dataset = load_dataset(f"parquet:{tmp_path}", image_size=8)
    assert (dataset.classes, dataset.several) == (NAMES, True)
    wanted = [[n in row for n in range(3)] for row in LISTS]
    assert dataset.labels.tolist() == wanted
    assert dataset.test()[1].tolist() == wanted
    assert "left out, no picture has the label: dog" in dataset.notes


@pytest.mark.parametrize("kind", [pa.list_(pa.string()), pa.large_list(pa.dictionary(pa.int8(), pa.string()))])
def test_names_are_sorted_and_a_fifth_becomes_the_test(tmp_path: Path, kind: pa.DataType) -> None:
    words = [[NAMES[n] for n in row] for row in LISTS] * 2
    file = parquet(tmp_path / "x.parquet", words, group=7)
    table = pq.read_table(file)
    pq.write_table(table.set_column(1, "tags", pa.array(words, kind)), file, row_group_size=7)
    dataset = load_dataset(f"parquet:{file}?label=tags", image_size=8)
    assert dataset.classes == ("ant", "bee", "cat")
    assert (len(dataset.labels) + dataset.test_count, dataset.several) == (24, True)
    sums = dataset.labels.sum(0) + dataset.test()[1].sum(0)
    assert sums.tolist() == [6, 6, 12]


def test_lists_of_one_label_each_are_said(tmp_path: Path) -> None:
    file = parquet(tmp_path / "x.parquet", [[n % 11] for n in range(44)])
    dataset = load_dataset(f"parquet:{file}", image_size=8)
    assert dataset.classes == tuple(map(str, range(11)))
    assert "every list has exactly one label: a column of single labels makes them exclusive" in dataset.notes


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (
            [[0, 1], [0, 1, 0]] * 6,
            "{file}: row 1 has label 0 twice: a list names each label of its picture once; a 0 or",
        ),
        ([[0], [1], None] * 4, "{file}: row 2 has no list of labels: an empty one says that there is none"),
        ([[0], [1, None]] * 6, "{file}: row 1 has the label '': it must be a name or a number from 0 on"),
        ([[0], [-1]] * 6, "{file}: row 1 has the label '-1': it must be"),
        ([[0], [7]] * 6, "label 7 has no name: there are names for 0 to 3: add names"),
        ([[0, 1]] * 12, "all train images have the same labels: check the columns"),
        ([[0], []] * 6, "the lists have 1 label: at least 2 are needed"),
    ],
)
def test_lists_that_say_nothing(tmp_path: Path, labels: list[object], words: str) -> None:
    file = noted(parquet(tmp_path / "x.parquet", labels), {"feature": CLASSES, "_type": "List"})
    assert words.format(file=file) in error_line(f"parquet:{file}")
