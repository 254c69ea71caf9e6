"""Devices as limits: those that are shipped, files of one's own, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from archsearch.errors import SpecError
from archsearch.network.budget import Budget
from archsearch.network.targets import load, shipped

OWN = """
[mine]
title = "a board"
max_ram = "64kB"
max_params = 5000
"""


def test_every_shipped_target_is_a_budget_with_a_source() -> None:
    for name, target in shipped().items():
        assert target.name == name
        assert target.title
        assert target.source.startswith("https://")
        assert Budget(**target.limits).limits


def test_the_ram_of_a_board_is_three_quarters_of_it() -> None:
    assert load("cortex-m4-256k").limits["max_ram"] == 0.75 * 256 * 1024


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(OWN)
    assert load(str(path)).limits == load(f"{path}:mine").limits == {"max_ram": 64000, "max_params": 5000}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "has no target"),
        ("a = 1", "must be a table"),
        ("[a]\nmax_rum = 1", "no key 'max_rum' \\(did you mean 'max_ram'"),
        ("[a]\nmax_ram = 'much'", "a.max_ram: 'much' is no size"),
        ("[a]\ntitle = 1", "a.title = 1: must be text"),
        ("[a]\nsize_format = 'exe'", "unknown size format 'exe'"),
        (f"{OWN}[other]\nmax_ram = 1", "there is no target alone: add :NAME, one of mine, other"),
    ],
)
def test_faults_are_named(tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(SpecError, match=what):
        load(str(path))


def test_an_unknown_one_is_one_line_with_the_known_ones() -> None:
    with pytest.raises(SpecError, match="cortex-m4-256k, cortex-m7-512k"):
        load("quantum")
