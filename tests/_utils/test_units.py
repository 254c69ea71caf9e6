"""Numbers as people write them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import few

from archsearch._utils.units import (
    counted,
    format_bytes,
    format_count,
    format_seconds,
    format_short,
    parse_bytes,
    parse_count,
    parse_seconds,
)
from archsearch.errors import InputError

PARSERS = [parse_count, parse_bytes, parse_seconds]


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (parse_count, "5e6", 5e6),
        (parse_count, "5M", 5e6),
        (parse_count, "1.5m", 1.5e6),
        (parse_count, "100k", 1e5),
        (parse_count, "2G", 2e9),
        (parse_count, "2B", 2e9),
        (parse_count, "78043", 78043),
        (parse_count, "5_000_000", 5e6),
        (parse_count, " 5 M ", 5e6),
        (parse_count, ".5k", 500),
        (parse_count, "1E-3", 1e-3),
        (parse_bytes, "6MB", 6_000_000),
        (parse_bytes, "6MiB", 6 * 2**20),
        (parse_bytes, "6mib", 6 * 2**20),
        (parse_bytes, "500kB", 500_000),
        (parse_bytes, "500KiB", 500 * 1024),
        (parse_bytes, "1GB", 10**9),
        (parse_bytes, "1GiB", 2**30),
        (parse_bytes, "12", 12),
        (parse_bytes, "12B", 12),
        (parse_seconds, "90s", 90),
        (parse_seconds, "90", 90),
        (parse_seconds, "20m", 1200),
        (parse_seconds, "20min", 1200),
        (parse_seconds, "1.5h", 5400),
    ],
)
def test_numbers_and_units(parse: Callable[[str], float], text: str, value: float) -> None:
    assert parse(text) == value


@pytest.mark.parametrize("parse", PARSERS)
@pytest.mark.parametrize(
    "text",
    ["", " ", "abc", "-5", "+5", "nan", "inf", "0", "0.0k", "1e999", "5 5", "1,5", "0x10", "5e", "5XB", "1e-999", "٣"],
)
def test_what_is_no_quantity_is_refused_with_an_example(parse: Callable[[str], float], text: str) -> None:
    with pytest.raises(InputError, match="such as") as caught:
        parse(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(("parse", "text"), [(parse_count, "6MB"), (parse_bytes, "6M"), (parse_seconds, "6d")])
def test_units_of_another_kind_are_refused(parse: Callable[[str], float], text: str) -> None:
    with pytest.raises(InputError, match=text):
        parse(text)


@few(100)
@given(st.sampled_from(PARSERS), st.text(max_size=20))
def test_any_text_is_a_positive_number_or_bad_input(parse: Callable[[str], float], text: str) -> None:
    message = ""
    try:
        value = parse(text)
    except InputError as error:
        value, message = 1, str(error)
    assert 0 < value < float("inf")
    assert len(message.splitlines()) <= 1


@few(200)
@given(st.integers(1, 10**15))
def test_counts_are_printed_and_read_back(value: int) -> None:
    assert parse_count(format_count(value).replace(",", "_")) == value
    assert parse_count(format_short(value)) == pytest.approx(value, rel=0.0051)
    assert parse_bytes(format_bytes(value)) == pytest.approx(value, rel=0.00051)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (512, "512"), (999, "999"), (1000, "1k"), (78_042, "78k"), (78_542, "78.5k"), (4_903_242, "4.9M"),
        (999_499, "999k"), (999_500, "1M"), (999_999, "1M"), (1e9, "1G"), (-4_903_242, "-4.9M"),
    ],
)  # fmt: skip
def test_short_counts(value: float, text: str) -> None:
    assert format_short(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 s"), (42.4, "42 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (3599.9, "1 h 00 min"),
        (7800, "2 h 10 min"),
    ],
)  # fmt: skip
def test_durations(value: float, text: str) -> None:
    assert format_seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(999, "999 B"), (6e6, "6 MB"), (312_000, "312 kB"), (1.2345e9, "1.234 GB")]
)
def test_bytes(value: float, text: str) -> None:
    assert format_bytes(value) == text


def test_numbers_of_things() -> None:
    assert [counted(n, "epoch") for n in (0, 1, 2, 4312)] == ["0 epochs", "1 epoch", "2 epochs", "4,312 epochs"]
    assert [counted(n, "class") for n in (1, 10)] == ["1 class", "10 classes"]
    assert counted(2, "axis", "axes") == "2 axes"
