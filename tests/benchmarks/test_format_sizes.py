"""benchmarks/format_sizes.py, and the formula that it fits against real files."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest
from by_path import benchmark_module
from toolchains import marks

from archsearch.export.verify import TOLERANCE
from archsearch.network.file_size import Written
from archsearch.network.format_size import FEATURES, amounts, file_bytes, graph_bytes, metadata_bytes
from archsearch.network.format_table import FACTORS
from archsearch.space.reader import shipped

sizes = benchmark_module("format_sizes")
UNSEEN = 1000
"""A number that no committed file has."""


def test_every_committed_file_is_under_the_formula_and_near_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert sizes.verify(argparse.Namespace(details=True)) == 0, capsys.readouterr()
    table = capsys.readouterr().out
    for form, by in FACTORS.items():
        for dtype in by:
            assert f"| {form} | {dtype} | fitted |" in table
            assert f"| {form} | {dtype} | others |" in table


def test_a_number_is_one_network_for_ever() -> None:
    known = {(row.space, row.number): row.arch for row in sizes.rows()}
    assert {space for space, _ in known} >= set(shipped())
    for (space, number), arch in list(known.items())[::7]:
        assert sizes.drawn(space, number).id == arch


def test_the_envelope_is_the_least_above_all_files() -> None:
    rng = np.random.default_rng(0)
    x = np.column_stack([np.ones(60), rng.integers(1, 40, 60), rng.integers(0, 9, 60)]).astype(float)
    truth = np.array([500.0, 120, 75])
    y = x @ truth - rng.integers(0, 15, 60)
    found = sizes.envelope(x, y, np.full(60, 4096.0), np.zeros(3))
    assert (x @ found - y).min() > -1e-6
    assert (x @ found - y).max() < 30


def test_what_no_file_has_shown_costs_as_much_as_the_dearest_operator() -> None:
    rows = [sizes.Row("lenet", number, "", "onnx", "fp32", 0) for number in range(12)]
    parts = [sizes.drawn(row.space, row.number).cost.parts for row in rows]
    rows = [row._replace(bytes=int(900 + 4 * one["values"] + 80 * one["conv"] + 60 * one["linear"]))
            for row, one in zip(rows, map(amounts, parts), strict=True)]  # fmt: skip
    factors = sizes.fitted(rows, "fp32")
    assert set(factors) <= {*FEATURES, "beyond"}
    assert factors["values"] == 4
    assert factors["gelu"] == factors["custom"] == max(factors[name] for name in ("conv", "linear", "gelu"))


@pytest.mark.parametrize("space", ["lenet", "mlp"])
@pytest.mark.parametrize("dtype", [*FACTORS["onnx"]])
def test_a_real_file(space: str, dtype: str, tmp_path: Path) -> None:
    check("onnx", dtype, space, tmp_path)


@pytest.mark.slow
# ExecuTorch is imported into this process:
@pytest.mark.filterwarnings(
    r"ignore:\w+ is deprecated\. Use files\(\):DeprecationWarning", "ignore:This API is experimental"
)
@pytest.mark.parametrize("space", ["compact", "inception", "resnet"])
@pytest.mark.parametrize(
    ("form", "dtype"), [pytest.param(form, dtype, marks=marks(form)) for form, by in FACTORS.items() for dtype in by]
)
def test_a_real_file_of_any_format(space: str, form: str, dtype: str, tmp_path: Path) -> None:
    check(form, dtype, space, tmp_path)


def check(form: str, dtype: str, space: str, folder: Path) -> None:
    """A file of a network that the formula has not seen."""
    arch = sizes.drawn(space, UNSEEN)
    real, difference = sizes.converted(arch, form, dtype, folder, UNSEEN)
    assert difference <= TOLERANCE[dtype]
    assert real <= graph_bytes(arch.cost, Written(dtype, form))
    assert sizes.len_metadata(form, arch) <= metadata_bytes(form, arch.cost)
    whole = real + sizes.len_metadata(form, arch)
    assert file_bytes(arch.cost, Written(dtype, form)) <= whole + max(4096, 0.02 * whole)


@pytest.mark.parametrize("space", shipped())
@pytest.mark.parametrize("form", [*FACTORS])
def test_our_metadata_have_room(space: str, form: str) -> None:
    for number in range(UNSEEN, UNSEEN + 20):
        arch = sizes.drawn(space, number)
        room = metadata_bytes(form, arch.cost)
        assert room - 2500 <= sizes.len_metadata(form, arch) <= room
