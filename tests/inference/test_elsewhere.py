"""A command that measures: what it says, and what happens where it fails."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from archsearch.errors import InputError, NotMeasurable
from archsearch.inference.elsewhere import Elsewhere

FILE = Path("model.tflite")


def shell(text: str) -> str:
    """A command that runs a line of shell with the file as $0."""
    return f"sh -c '{text}' {{file}}"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("echo 5.3", (5.3, None)),
        ("echo 5.3 123456", (5.3, 123456)),
        ("echo warming up; echo; echo 12e-1; echo", (1.2, None)),
        ("echo noise >&2; echo 7", (7.0, None)),
    ],
)
def test_its_last_line_is_the_answer(text: str, answer: tuple[float, int | None]) -> None:
    assert Elsewhere(shell(text))(FILE) == answer


def test_it_is_given_the_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = shell("test $0 = " + str(tmp_path / "a") + " && echo 1")
    assert Elsewhere(command)(Path("a")) == (1.0, None)
    assert Elsewhere("sh -c 'echo 2' --model={file}")(Path("a b")) == (2.0, None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("echo fast", "says 'fast', not milliseconds such as '5.3'"),
        ("true", "says '', not milliseconds"),
        ("echo 0", "says '0', not milliseconds"),
        ("echo -1", "says '-1', not milliseconds"),
        ("echo 5.3 ms", "says '5.3 ms', not milliseconds"),
        ("echo 1.2.3", "says '1.2.3', not milliseconds"),
        ("echo inf", "says 'inf', not milliseconds"),
        ("echo 5; echo no route to host >&2; exit 255", "ends with status 255: no route to host"),
        ("exit 3", "ends with status 3,"),
    ],
)
def test_what_fails_three_times_is_one_line(text: str, words: str) -> None:
    with pytest.raises(NotMeasurable) as caught:
        Elsewhere(shell(text))(FILE)
    assert words in str(caught.value)
    assert str(caught.value).endswith(", 3 times")
    assert "\n" not in str(caught.value)


def test_what_fails_once_is_tried_again(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    assert Elsewhere(shell(f"test -e {mark} && echo 4 || {{ touch {mark}; exit 1; }}"))(FILE) == (4.0, None)


def test_what_hangs_is_ended_with_all_that_it_started() -> None:
    start = time.monotonic()
    with pytest.raises(NotMeasurable, match=r"gives no answer in 0\.2 s, 2 times"):
        Elsewhere(shell("sleep 60 | cat"), timeout=0.2, tries=2)(FILE)
    assert time.monotonic() - start < 30


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("ssh pi measure.sh", "says no {file}"),
        ("{file}", "says no {file}"),
        ("", "says no {file}"),
        ("sh 'x {file}", "No closing quotation"),
    ],
)
def test_commands_that_cannot_be_meant(command: str, words: str) -> None:
    with pytest.raises(InputError, match=r"^--measure-with") as caught:
        Elsewhere(command)
    assert words in str(caught.value)


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(InputError, match="no-such-program: No such file"):
        Elsewhere("no-such-program {file}")(FILE)
