"""What was measured before: one file that several processes share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from exports import ARCH

from archsearch.errors import InputError
from archsearch.inference.latency import Latency
from archsearch.inference.latency_cache import FILE, Key, LatencyCache, layers_of, machine

KEY = Key(layers_of(ARCH), "onnxruntime", "1.32.0", "fp32", 1, machine())
FOUND = Latency(5.0, 6.5, 4.9, 5.1, 80, (0.08, 0.02))
WORK = "a product", "bytes that are read"


def test_what_is_kept_is_found_again(tmp_path: Path) -> None:
    LatencyCache(tmp_path).put(KEY, FOUND)
    assert LatencyCache(tmp_path).get(KEY) == FOUND
    LatencyCache(tmp_path).put(KEY, replace(FOUND, median=7.0))
    assert LatencyCache(tmp_path).get(KEY) == replace(FOUND, median=7.0)


@pytest.mark.parametrize(
    "change",
    [{"layers": "0"}, {"runtime": "ncnn"}, {"version": "2"}, {"precision": "int8"}, {"threads": 2}, {"machine": "pi"}],
)
def test_what_differs_in_anything_is_not_known(tmp_path: Path, change: dict[str, str]) -> None:
    cache = LatencyCache(tmp_path)
    cache.put(KEY, FOUND)
    assert cache.get(replace(KEY, **change)) is None


def test_the_recipe_is_no_part_of_the_layers() -> None:
    assert layers_of(replace(ARCH, recipe={"lr": 0.1})) == layers_of(ARCH)
    assert layers_of(ARCH.adapted((3, 16, 16), 4)) != layers_of(ARCH)


def test_the_most_quiet_moment_is_remembered(tmp_path: Path) -> None:
    cache = LatencyCache(tmp_path)
    assert cache.quiet(WORK, 1) == (None, None)
    for found in ((0.4, 0.2), (0.3, 0.4), (0.5, 0.3)):
        cache.keep_quiet(WORK, 1, found)
    assert cache.quiet(WORK, 1) == (0.3, 0.2)
    assert cache.quiet((WORK[0], "other bytes"), 1) == (0.3, None)
    assert cache.quiet(WORK, 2) == (None, None)


def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / FILE
    path.parent.mkdir()
    path.write_bytes(b"no database at all, and longer than a header" * 99)
    for broken in (lambda: LatencyCache(tmp_path).get(KEY), lambda: LatencyCache(tmp_path).put(KEY, FOUND)):
        with pytest.raises(InputError, match=r"latency\.db: .*; remove it, or give --data-dir$"):
            broken()


def test_a_folder_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(InputError, match="latencies are kept there"):
        LatencyCache(tmp_path / "data").quiet(WORK, 1)
