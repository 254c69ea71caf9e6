"""One export of several ways to write a file: which is kept, and what is left where none passes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from exports import settled

from archsearch.errors import ExportFailed, InputError
from archsearch.export import Exported, Images, Source, export, job, write
from archsearch.export.job import Variant, _best, variants
from archsearch.export.verify import Parity
from archsearch.nn import weights


def done(size: int, lost: int, won: int = 0) -> Exported:
    """A file of so many bytes that labels so many of 2,000 images otherwise than its network."""
    parity = Parity(1000, 0.1, 7.0, 0.9 + (won - lost) / 2000, 0.9, 2000, lost, won)
    return Exported(Path("m"), size, parity)


@pytest.mark.parametrize(
    ("found", "best"),
    [
        ([done(90, 0), done(98, 0)], 0),
        ([done(98, 0), done(90, 0)], 1),
        ([done(90, 12, 4), done(98, 0)], 1),  # 8 of 2,000 are more than chance
        ([done(90, 12, 8), done(98, 0)], 0),  # 4 are not
        ([done(90, 60), done(98, 40)], 1),  # both are worse: the better one
        ([done(90, 40), done(98, 60)], 0),
        ([done(90, 3)], 0),
    ],
)
def test_the_smallest_that_is_no_worse_beyond_chance(found: list[Exported], best: int) -> None:
    assert _best(found) is found[best]


def test_a_scale_for_the_tensor_is_tried_before_one_a_channel() -> None:
    for kind in ("litert", "executorch"):
        assert [one.per_channel for one in variants(kind, "int8")] == [False, True]
        assert variants(kind, "fp32") == (Variant(),)


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> list[list[Any]]:
    """safetensors are written in two ways; what is in the list happens to the bias, in turn: a shift, or an error."""
    turns: list[list[Any]] = [[]]
    monkeypatch.setattr(job, "variants", lambda kind, dtype: (Variant(words="first"), Variant(words="second")))
    real = weights.save

    def save(path: Path, module: Any, arch: Any, info: Any, dtype: str) -> None:
        turn = turns[0].pop(0)
        if isinstance(turn, Exception):
            raise turn
        other = settled(arch)
        other.head[-1].bias.data[1] += turn
        real(path, other, arch, info)

    monkeypatch.setattr(write, "write_safetensors", save)
    return turns


def test_one_way_that_fails_leaves_the_other(
    source: Source, images: Images, tmp_path: Path, two: list[list[Any]]
) -> None:
    for turns, words in (
        ([0, 0], "first"), ([1, 0], "second"), ([0, 1], "first"), ([ExportFailed("no"), 0], "second"),
    ):  # fmt: skip
        two[0] = [*turns]
        found = export(source, tmp_path / "m.safetensors", images, "safetensors")
        assert found.variant.words == words
        assert [path.name for path in tmp_path.iterdir()] == ["m.safetensors"]


def test_where_no_way_passes_the_last_reason_is_said(
    source: Source, images: Images, tmp_path: Path, two: list[list[Any]]
) -> None:
    (tmp_path / "m.safetensors").write_bytes(b"before")
    two[0] = [1, ExportFailed("no such operator")]
    with pytest.raises(ExportFailed, match=r"^no such operator$"):
        export(source, tmp_path / "m.safetensors", images, "safetensors")
    two[0] = [InputError("stop"), 0]
    with pytest.raises(InputError, match="stop"):
        export(source, tmp_path / "m.safetensors", images, "safetensors")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"m.safetensors": b"before"}


def test_the_file_that_is_named_comes_last(tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sees the .xml finds the .bin that belongs to it."""
    placed: list[str] = []
    real = job.write_with
    monkeypatch.setattr(job, "write_with", lambda path, write: placed.append(path.name) or real(path, write))
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "m.xml").write_bytes(b"graph")
    (tmp_path / "new" / "m.bin").write_bytes(b"weights")
    found = job._placed(replace(done(12, 0), path=tmp_path / "new" / "m.xml"), source, tmp_path / "m.xml", "fp32")
    assert found.path == tmp_path / "m.xml"
    assert placed == ["m.bin", "m.xml"]
    assert (tmp_path / "m.bin").read_bytes() == b"weights"
