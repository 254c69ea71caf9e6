"""The samples of one tar file in WebDataset's layout: where each picture lies, and its label."""

from __future__ import annotations

import json
import os
import sys
import tarfile
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from archsearch.data.picture import suffixes
from archsearch.errors import DataError, one_line

_BLOCK = 512
_LARGEST = 1 << 20  # bytes of a label
_PACKED = {b"\x1f\x8b": "gunzip", b"BZ": "bunzip2", b"\xfd7": "unxz", b"(\xb5": "unzstd"}
_LABELS = ("cls", "json", "txt")  # the first that a sample has is taken
_NUMBERS = ("label", "cls", "class", "class_id", "label_id", "target", "category", "category_id")
_TITLES = ("label_name", "class_name", "classname", "cls_name", "category_name")
_ABOUT = {"readme", "license", "classes", "class_names", "metadata", "meta", "_info", "info"}


@dataclass
class Index:
    """The samples of a shard: members, places and sizes of their pictures, and labels as they are written.

    titles: names that JSON members have for labels. others: members that are no part of samples, by suffix.
    """

    members: list[str] = field(default_factory=list)
    offsets: array[int] = field(default_factory=lambda: array("q"))
    sizes: array[int] = field(default_factory=lambda: array("q"))
    labels: list[str] = field(default_factory=list)
    titles: dict[str, str] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)


@dataclass
class _Sample:
    """What was met of a key: the picture's member, its place and size; labels by their suffix."""

    picture: tuple[str, int, int] | None = None
    labels: dict[str, str] = field(default_factory=dict)
    title: str = ""
    ends: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Shard:
    """A file, and which members hold pictures and labels: by suffix, None where it is to be found out."""

    path: Path
    name: str
    image: str | None
    label: str | None

    def error(self, text: str) -> DataError:
        return DataError(f"{self.name}: {self.path}: {text}")


def index(path: Path, name: str, options: Mapping[str, str]) -> Index:
    """The samples of a tar file; only headers and labels are read.

    options: `image`, `label`: suffixes of the members, such as jpg, cls or json.KEY.
    Raises DataError for a file that is damaged or compressed, and for samples that lack a picture or a label,
    or have two.
    """
    shard = _Shard(path, name, _suffix(options.get("image")), _suffix(options.get("label")))
    samples: dict[str, _Sample] = {}
    found = Index()
    try:
        with path.open("rb") as file:
            if tool := _PACKED.get(file.read(2)):
                raise shard.error(f"is compressed, and can't be read at any place: unpack it ({tool})")
            file.seek(0)
            for member in _members(file, shard):
                _take(member, file, shard, samples, found)
    except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError) as error:
        if isinstance(error, DataError):
            raise
        raise shard.error(f"is no whole tar file ({one_line(error)}): copy or write it again") from error
    for key, sample in samples.items():
        _close(key, sample, shard, found)
    return found


def _suffix(text: str | None) -> str | None:
    return None if text is None else text.removeprefix(".")


def _members(file: BinaryIO, shard: _Shard) -> Iterator[tarfile.TarInfo]:
    """All members, in order. tarfile takes a damaged header for the end, so the end is looked at."""
    with tarfile.open(fileobj=file, mode="r:") as tar:
        while (member := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]  # it would keep them all
            yield member
        end = tar.offset
    file.seek(end)
    rest = file.read(_BLOCK)
    if len(rest) < _BLOCK or any(rest):
        raise shard.error("is cut off or damaged: it has no end mark: copy or write it again")
    while rest := file.read(_LARGEST):
        if any(rest):
            raise shard.error("holds more behind its end, as joined tar files do: write them as files of their own")


def _take(member: tarfile.TarInfo, file: BinaryIO, shard: _Shard, samples: dict[str, _Sample], found: Index) -> None:
    folder, base = os.path.split(member.name)
    stem, dot, end = base.partition(".")
    if not stem or not dot or member.isdir() or folder.startswith("__MACOSX"):
        return
    end = end.lower()
    kind = _kind(end, shard)
    if not kind or (kind == "label" and stem.lower() in _ABOUT):
        found.others[end.rpartition(".")[2]] += 1
        return
    if not member.isreg() or member.issparse():
        raise shard.error(f"{member.name} is a link or has holes: write it as a plain file")
    sample = samples.setdefault(f"{folder}/{stem}", _Sample())
    sample.ends.append(end)
    if kind == "picture":
        if sample.picture:
            raise shard.error(_merged(sample.picture[0], member.name, shard))
        sample.picture = (member.name, member.offset_data, member.size)
        return
    if end in sample.labels:
        raise shard.error(f"{member.name} is in it twice: write each sample once")
    if member.size > _LARGEST:
        raise shard.error(f"{member.name} has {member.size:,} bytes: a label has {_LARGEST:,} at most")
    file.seek(member.offset_data)
    _read_label(file.read(member.size), end, member.name, sample, shard)


def _kind(end: str, shard: _Shard) -> str:
    """`picture` or `label`, by all that stands behind the first dot; else nothing."""
    if end == shard.image or (shard.image is None and f".{end.rpartition('.')[2]}" in suffixes()):
        return "picture"
    if shard.label is None:
        return "label" if end in _LABELS else ""
    return "label" if end == shard.label or (end == "json" and shard.label.startswith("json.")) else ""


def _merged(first: str, second: str, shard: _Shard) -> str:
    end = Path(first).name.partition(".")[2]
    return (
        f"{first} and {second} are two pictures of one sample, as its name ends at the first dot: "
        f"write names without more dots, or choose the picture by ?image={end}"
    )


def _read_label(data: bytes, end: str, member: str, sample: _Sample, shard: _Shard) -> None:
    """Note what a member says; JSON without a label says nothing."""
    try:
        text = data.decode("utf-8-sig")
        if end.rpartition(".")[2] != "json":
            sample.labels[end] = sys.intern(text.strip())
            return
        said = json.loads(text)
    except (ValueError, RecursionError):
        raise shard.error(f"{member} is no {'JSON' if end.endswith('json') else 'text'}: write it again") from None
    if isinstance(said, dict):
        _read_json(said, end, member, sample, shard)


def _read_json(said: Mapping[str, object], end: str, member: str, sample: _Sample, shard: _Shard) -> None:
    chosen = (shard.label or "").partition(".")[2]
    numbers = [key for key in _NUMBERS if key in said]
    titles = [key for key in _TITLES if key in said]
    if chosen and chosen not in said:
        raise shard.error(f"{member} has no {chosen!r}: it has {', '.join(map(str, said))}"[:400])
    if not chosen and len({repr(said[key]) for key in numbers}) > 1:
        raise shard.error(f"{member} has {', '.join(numbers)}: choose the label by ?label=json.{numbers[0]}")
    keys = [chosen] if chosen else numbers or titles
    if not keys:
        return
    value = said[keys[0]]
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise shard.error(f"{member} has a label that is no whole number or name: {str(value)[:80]}")
    sample.labels[end] = sys.intern(str(value).strip())
    if isinstance(value, int) and not chosen and titles and isinstance(said[titles[0]], str):
        sample.title = str(said[titles[0]])


def _close(key: str, sample: _Sample, shard: _Shard, found: Index) -> None:
    """Add a sample that is whole."""
    key = key.removeprefix("/")
    label = next((sample.labels[end] for end in (shard.label, *_LABELS, "json") if end in sample.labels), None)
    if not sample.picture:
        raise shard.error(
            f"sample {key} has a label ({', '.join(sample.ends)}) and no picture: add it, or leave it out"
        )
    if label is None:
        raise shard.error(
            f"sample {key} has a picture ({', '.join(sample.ends)}) and no label: add {key}.cls, "
            "or say which member holds it by ?label=SUFFIX, or ?label=json.KEY"
        )
    member, offset, size = sample.picture
    found.members.append(member)
    found.offsets.append(offset)
    found.sizes.append(size)
    found.labels.append(label)
    if sample.title and found.titles.setdefault(label, sample.title) != sample.title:
        raise shard.error(f"label {label} is named both {found.titles[label]!r} and {sample.title!r}: use one name")
