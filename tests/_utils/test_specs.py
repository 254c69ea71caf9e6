"""Names of datasets: kind, place, options, patterns."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archsearch._utils.specs import Spec, expand, is_here, options_of, parse_spec
from archsearch.errors import DataError

WORD = st.text("abcxyz_019", min_size=1, max_size=6)


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("digits", Spec("digits")),
        ("folder:a?b=c", Spec("folder", "a?b=c")),
        ("parquet:a/b", Spec("parquet", "a/b")),
        ("parquet:a-?.parquet", Spec("parquet", "a-?.parquet")),
        ("parquet:a-?.parquet?label=x y&image=b", Spec("parquet", "a-?.parquet", {"label": "x y", "image": "b"})),
        ("csv:t.csv?root=../a?b", Spec("csv", "t.csv", {"root": "../a?b"})),
        ("cifar:c?label=", Spec("cifar", "c", {"label": ""})),
    ],
)
def test_parts_of_a_name(text: str, spec: Spec) -> None:
    assert parse_spec(text) == spec


@given(WORD, st.dictionaries(WORD, WORD, max_size=3))
def test_options_are_written_as_they_are_read(place: str, options: dict[str, str]) -> None:
    spec = Spec("wds", place, options)
    assert parse_spec(f"wds:{place}{spec.tail}") == spec


def test_options_are_checked() -> None:
    assert options_of("csv:x?label=a%26b&image=5%", ("image", "label")) == {"label": "a&b", "image": "5%"}
    with pytest.raises(DataError, match=r"csv:x.lable=a: there is no option 'lable': it must be one of image, label"):
        options_of("csv:x?lable=a", ("image", "label"))
    with pytest.raises(DataError, match="option 'label' is empty"):
        options_of("csv:x?label=", ("image", "label"))


def test_patterns(tmp_path: Path) -> None:
    for name in ("a-08.tar", "a-09.tar", "a-10.tar", "b.tar", ".a-11.tar", "x[1].tar"):
        (tmp_path / name).touch()

    def names(pattern: str) -> list[str]:
        return [path.name for path in expand(f"{tmp_path}/{pattern}", "x")]

    assert names("a-{08..10}.tar") == ["a-08.tar", "a-09.tar", "a-10.tar"]
    assert names("{b,a-1{0..0}}.tar") == ["b.tar", "a-10.tar"]
    assert names("a-*") == ["a-08.tar", "a-09.tar", "a-10.tar"]
    assert names("{a-0?,b}.tar") == ["a-08.tar", "a-09.tar", "b.tar"]
    assert names("x[1].tar") == ["x[1].tar"]
    assert is_here(f"wds:{tmp_path}/a-{{08..10}}.tar?label=cls")
    assert not is_here(f"wds:{tmp_path}/a-{{08..11}}.tar")
    for pattern, words in [
        ("a-{08..11}.tar", "there is no .*a-11.tar: check the path, or leave it out of the pattern"),
        ("c-*", "there is no .*c-"),
        ("c", "there is no .*c: check the path"),
        ("a-{9..1}", "{9..1} must count up"),
        ("{0..9999999}", "must count up, over 1,000,000 files at most"),
        ("{0..999}{0..999}{0..999}", "the braces stand for more than 1,000,000 files"),
    ]:
        with pytest.raises(DataError, match=words):
            expand(f"{tmp_path}/{pattern}", "x")
