"""Metadata at the end of a file: found, replaced, and refused where they are damaged or forged."""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
from pathlib import Path

import pytest
from exports import ARCH, INFO

from archsearch.errors import InputError
from archsearch.nn import trailer
from archsearch.nn.weights import describe

CONTENT = b"\x1c\0\0\0TFL3" + bytes(range(256)) * 9
ABOUT = describe(ARCH, INFO)


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        trailer.read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "m.tflite").write_bytes(trailer.append(CONTENT, ABOUT))
    return tmp_path / "m.tflite"


def test_the_content_stays_and_the_metadata_are_read_again(path: Path) -> None:
    assert path.read_bytes().startswith(CONTENT)
    assert trailer.read(path) == ABOUT
    assert trailer.is_there(path)
    assert trailer.without(path.read_bytes()) == CONTENT


def test_they_are_replaced_not_heaped(path: Path) -> None:
    again = trailer.append(path.read_bytes(), {"arch": "other"})
    assert again == trailer.append(CONTENT, {"arch": "other"})
    assert trailer.append(again, ABOUT) == path.read_bytes()  # equal networks are equal files


def test_any_program_for_zip_archives_shows_them(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        assert json.loads(archive.read("archsearch.json")) == ABOUT
        assert archive.testzip() is None


@pytest.mark.parametrize("end", [b"", b"PK\x05\x06", b"x" * 70_000])
def test_a_file_of_another_program(tmp_path: Path, end: bytes) -> None:
    (tmp_path / "m.tflite").write_bytes(CONTENT + end)
    assert "another program wrote it, or it is cut off. Only files of `archsearch export`" in refused(
        tmp_path / "m.tflite"
    )
    assert not trailer.is_there(tmp_path / "m.tflite")
    assert trailer.without(CONTENT + end) == CONTENT + end


@pytest.mark.parametrize("names", [["labels.txt"], ["labels.txt", "archsearch.json"], []])
def test_an_archive_of_another_program(path: Path, names: list[str]) -> None:
    """TensorFlow Lite's own metadata are such an archive, too: they are no metadata of ours, and stay."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "{}")
    path.write_bytes(CONTENT + buffer.getvalue())
    refused(path)
    assert trailer.append(path.read_bytes(), ABOUT).startswith(CONTENT + buffer.getvalue())


@pytest.mark.parametrize("lost", [1, 22, 40, 200])
def test_an_end_that_is_cut_off(path: Path, lost: int) -> None:
    path.write_bytes(path.read_bytes()[:-lost])
    refused(path)


def zipped(text: bytes, kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", kind) as archive:
        archive.writestr("archsearch.json", text)
    return CONTENT + buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (zipped(b"{"), "its metadata are damaged"),
        (zipped(b"\xff{}"), "its metadata are damaged"),
        (zipped(b"[" * 100_000), "its metadata are damaged"),
        (zipped(b"[]"), "its metadata are no JSON object"),
        (zipped(b" " * (2**24 + 1)), "larger than 16 MiB"),
        (zipped(b"{}", zipfile.ZIP_BZIP2), "packed in another way"),
        (zipped(b"{}", zipfile.ZIP_LZMA), "packed in another way"),
    ],
    ids=["cut", "no text", "deep", "a list", "huge", "bzip2", "lzma"],
)
def test_forged_metadata(path: Path, content: bytes, words: str) -> None:
    path.write_bytes(content)
    assert words in refused(path)


def test_a_size_that_is_a_lie(path: Path) -> None:
    """More comes out than the archive says: it is not read."""
    content = bytearray(zipped(b" " * 10**7))
    start = content.rindex(b"PK\x01\x02")
    struct.pack_into("<I", content, start + 24, 2)
    path.write_bytes(content)
    assert "its metadata are damaged" in refused(path)


def test_values_are_texts(path: Path) -> None:
    path.write_bytes(zipped(b'{"arch": 3, "info": null}'))
    assert trailer.read(path) == {"arch": "3", "info": "None"}


def test_a_beginning_that_is_a_lie_costs_no_content(path: Path) -> None:
    """`--store-temperature` writes what is before the archive: it must not believe any place."""
    whole = path.read_bytes()
    start = whole.rindex(b"PK\x01\x02")
    for place in (7, 100, 2**31):
        forged = bytearray(whole)
        struct.pack_into("<I", forged, start + 42, place)
        assert trailer.without(bytes(forged)) == bytes(forged)


def test_damage_is_one_line_or_the_same_text(path: Path) -> None:
    whole, made = path.read_bytes(), random.Random(0)
    seen = set()
    for _ in range(300):
        found = bytearray(whole)
        for _ in range(made.choice([1, 2, 20])):
            found[made.randrange(len(CONTENT), len(found))] = made.randrange(256)
        path.write_bytes(found[: made.choice([len(found), made.randrange(len(found))])])
        try:
            seen.add(trailer.read(path) == ABOUT)
        except InputError as error:
            seen.add(str(error).isprintable())
    assert seen == {True}


# pairs


def test_the_second_file_knows_the_first(tmp_path: Path) -> None:
    first = tmp_path / "m.xml"
    first.write_bytes(b"<net/>")
    about = trailer.pair(first, ABOUT)
    trailer.require_pair(about, first)
    trailer.require_pair(ABOUT, first)  # nothing is said, nothing is wrong
    assert {key: about[key] for key in ABOUT} == ABOUT
    first.write_bytes(b"<net />")
    with pytest.raises(InputError, match=r"m\.xml: the \.bin beside it belongs to another file: copy both again"):
        trailer.require_pair(about, first)
