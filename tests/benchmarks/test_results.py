"""What is committed in `results/`: tables and page say what the weights files say, and the weights give it again."""

from __future__ import annotations

import io
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from by_path import benchmark_module
from commands import Answer
from paths import ROOT

from archsearch.inference import open_runner
from archsearch.network import zoo
from archsearch.report.tables import retrained_table
from archsearch.retrain.plan import read_row, rows_of

WEIGHTS = sorted((ROOT / "results").rglob("*-seed*.safetensors"))
EXPORTS = sorted((ROOT / "results").rglob("*.test.json"))
FOLDERS = sorted({path.parent.parent for path in WEIGHTS})
ENDINGS = {".safetensors", ".onnx", ".xz", ".pt2"}
DATA = Path(os.environ.get("ARCHSEARCH_TEST_DATA", ROOT / "data"))


def named(path: Path) -> str:
    return str(path.relative_to(ROOT / "results"))


@pytest.mark.parametrize("folder", FOLDERS, ids=named)
def test_the_table_of_trainings_is_that_of_the_weights_files(folder: Path) -> None:
    rows = rows_of(folder)
    assert {(row.arch, row.seed) for row in rows} == {
        (path.name[:12], int(path.stem.partition("-seed")[2])) for path in WEIGHTS if path.parent.parent == folder
    }
    written = io.StringIO(retrained_table(rows).to_csv(index=False))
    wanted, found = (pd.read_csv(file, dtype={"arch": str}) for file in (written, folder / "retrain.csv"))
    key = ["arch", "seed"]
    pd.testing.assert_frame_equal(
        found.sort_values(key, ignore_index=True), wanted.sort_values(key, ignore_index=True), check_dtype=False
    )


def committed(*under: str) -> list[Path]:
    """The files below some folders that git tracks; none where this is no clone."""
    words = ["git", "ls-files", "-z", "--", *under]
    listed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    return [ROOT / name for name in listed.stdout.split("\0") if name]


def on_page() -> list[Path]:
    """The groups that have a page: `results/` may hold a user's own studies too."""
    found: list[Path] = benchmark_module("results").shown()
    return found


def test_all_weights_together_are_under_20_mb() -> None:
    files = [path for group in on_page() for path in group.rglob("*") if path.suffix in ENDINGS]
    assert files
    assert sum(path.stat().st_size for path in files) < 20e6


def test_the_tracked_tree_is_under_25_mb() -> None:
    """Where this is no clone, that of what git would track."""
    folders = [*(ROOT / name for name in ("archsearch", "benchmarks", "docs", "search_spaces", "tests")), *on_page()]
    there = (path for folder in folders for path in folder.rglob("*") if "__pycache__" not in path.parts)
    files = [path for path in committed() or there if path.is_file()]
    assert len(files) > 100
    assert sum(path.stat().st_size for path in files) < 25e6


@pytest.mark.parametrize("group", on_page(), ids=lambda group: group.name)
def test_a_page_has_the_tables_of_the_files(group: Path) -> None:
    module = benchmark_module("results")
    text = module.page_of(group).read_text()
    assert module.page(text, group) == text


def test_every_committed_group_has_a_page() -> None:
    files = committed("results")
    if not files:
        pytest.skip("no clone that says what is committed")
    tested = [path for path in files if path.name.endswith((".test.json", "retrain.csv", "run.json"))]
    assert {ROOT / "results" / path.relative_to(ROOT / "results").parts[0] for path in tested} == set(on_page())


def test_a_page_without_a_place_is_refused() -> None:
    with pytest.raises(ValueError, match=r"mnist\.md has no place"):
        benchmark_module("results").page("nothing", ROOT / "results" / "mnist")


def test_what_is_a_group(tmp_path: Path) -> None:
    for name in ("tested", "searched", "empty"):
        (tmp_path / name / "export").mkdir(parents=True)
    (tmp_path / "tested" / "export" / "model.int8.onnx.test.json").write_text("{}")
    (tmp_path / "searched" / "run.json").write_text("{}")
    (tmp_path / "published.csv").write_text("")
    assert benchmark_module("results").groups(tmp_path) == [tmp_path / "searched", tmp_path / "tested"]


def test_the_picture_has_every_retrained_network(tmp_path: Path) -> None:
    module = benchmark_module("results")
    groups = on_page()
    module.picture(groups, tmp_path / "results.png")
    assert (tmp_path / "results.png").read_bytes().startswith(b"\x89PNG")
    shown = [row for group in groups for row in module.measured(group)]
    weights, exports = ([path for path in some if {*path.parents} & {*groups}] for some in (WEIGHTS, EXPORTS))
    retrained = {(path.parent.parent, path.name[:12]) for path in weights}
    exported = {(path.parents[2], path.parent.name) for path in exports}
    assert len(shown) == len(retrained | exported)
    assert all(row.dataset in {"mnist", "fashion-mnist", "cifar10", "cifar100"} for row in shown)


def test_what_is_drawn_as_textbook_is_a_reference() -> None:
    """By its layers: a folder below a search's may hold what the search found, trained for longer."""
    module = benchmark_module("results")
    shown = [row for group in on_page() for row in module.measured(group)]
    sizes = {
        (name, shape, classes): arch.cost.params
        for shape, classes in (((1, 28, 28), 10), ((3, 32, 32), 10), ((3, 32, 32), 100))
        for name, arch in zoo.fitting(shape, classes).items()
    }
    textbook = {(row.name, row.params) for row in shown if row.name}
    assert len(textbook) == 10
    for name, params in textbook:
        assert any(name.startswith(known) and params == size for (known, _, _), size in sizes.items()), name
    found = {row.params for row in shown if not row.name}
    assert 3_307_594 in found  # results/cifar10-5M/long
    assert len(found) == 7


def accuracy_again(path: Path, command: Callable[..., Answer]) -> float:
    """What `evaluate` says; needs the datasets as NAME.npz in `data/`, or where ARCHSEARCH_TEST_DATA says."""
    data = DATA / f"{benchmark_module('results').plain_name(open_runner(path).info)}.npz"
    if not data.exists():
        pytest.skip(f"no {data}")
    answer = command("evaluate", path, "--dataset", f"npz:{data.absolute()}", "--json")
    assert (answer.status, answer.err) == (0, "")
    return float(json.loads(answer.out)["accuracy"])


@pytest.mark.slow
@pytest.mark.parametrize("path", WEIGHTS, ids=named)
def test_evaluate_gives_the_accuracy_again(path: Path, command: Callable[..., Answer]) -> None:
    row = read_row(path)
    assert row is not None
    assert accuracy_again(path, command) == row.test_accuracy


@pytest.mark.slow
@pytest.mark.parametrize("said", EXPORTS, ids=named)
def test_evaluate_gives_that_of_an_exported_file_again(said: Path, command: Callable[..., Answer]) -> None:
    """Within a tenth of a point: ONNX Runtime's kernels for 8 bits differ from processor to processor."""
    found = accuracy_again(said.with_name(said.name.removesuffix(".test.json")), command)
    assert found == pytest.approx(json.loads(said.read_text())["accuracy"], abs=0.001)
