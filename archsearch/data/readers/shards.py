"""Which files of a dataset in shards belong to which split, by their names and the folders they lie in."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from archsearch._utils.specs import expand
from archsearch.data.readers.layout import part_named
from archsearch.errors import DataError

_PLAIN = {"train", "training", "test", "val", "valid", "validation"}
_NUMBER = re.compile(r"[-_.]?\d+(?:[-_]of[-_]\d+)?(?:[-_][0-9a-f]{8,})?$")
_OF = re.compile(r"(\d+)-of-(\d+)")
_DATA = ("", "data")
_SHOWN = 4
PARTS = ("train", "test", "val")


@dataclass(frozen=True)
class Shards:
    """Files by part, sorted by name; without `test` where one has to be set aside.

    root: the folder that all of them lie in; notes: what was left out, a line each.
    """

    root: Path
    parts: Mapping[str, Sequence[Path]]
    notes: tuple[str, ...] = ()


def find_shards(place: str, suffix: str, name: str, chosen: Mapping[str, str]) -> Shards:
    """The shards that a file, a folder or a pattern means.

    chosen: names of splits by part, which files without these words in their names may be. Raises DataError, one
    line with the way out, where it is not plain which files are a split, and where a shard is missing.
    """
    files, folder = _files(place, suffix, name)
    root = folder or Path(os.path.commonpath([file.absolute().parent for file in files]))
    if folder is not None:
        files = _one_set(files, folder, name)
    splits: dict[str, list[Path]] = {}
    for file in files:
        splits.setdefault(_split_of(file, root), []).append(file)
    parts = _parts(splits, name, chosen)
    _check_parts(parts, name, place, folder is not None)
    used = [split for splits_of_part in parts.values() for split in splits_of_part]
    beside = [split or group[0].stem for split, group in splits.items() if split not in used]
    found = {part: [file for split in parts[part] for file in splits[split]] for part in PARTS if part in parts}
    for part in parts.values():
        for split in part:
            _check_whole(splits[split], name)
    notes = [f"left out, beside the splits: {_shown(sorted(beside))}"] if beside else []
    renamed = [f"{split} as {part}" for part, splits_of_part in parts.items() for split in splits_of_part
               if split not in ("", part) and len(parts) > 1]  # fmt: skip
    notes += [f"splits: {', '.join(renamed)}"] if renamed else []
    return Shards(root, _only_one(found), tuple(notes))


def _files(place: str, suffix: str, name: str) -> tuple[list[Path], Path | None]:
    """The files, and the folder where one was named."""
    places = expand(place, name)
    if len(places) > 1 or not places[0].is_dir():
        files = [one for one in places if one.is_file()]
        if other := [one for one in files if one.suffix.lower() != suffix]:
            raise DataError(f"{name}: {other[0]} is no {suffix} file{_way(other[0], suffix)}")
        if not files:
            raise DataError(
                f"{name}: {place} names folders, no {suffix} files: give one of them, or end it in *{suffix}"
            )
        return files, None
    folder = places[0]
    inside = files_in(folder, suffix)
    if not inside:
        packed = next((one for one in sorted(folder.rglob(f"*{suffix}.*")) if _visible(one, folder)), None)
        way = _way(packed, suffix, "; ") if packed else ""
        if suffix == ".parquet" and next(folder.rglob("*.arrow"), None):
            way = "; it holds .arrow files, as save_to_disk of `datasets` writes: write it anew by to_parquet"
        raise DataError(f"{name}: no {suffix} file in {folder}: check the path{way}")
    return inside, folder


def files_in(folder: Path, suffix: str) -> list[Path]:
    """The files of a folder, at any depth, that end in a suffix, sorted; hidden ones are left out."""
    return sorted(one for one in folder.rglob(f"*{suffix}") if one.is_file() and _visible(one, folder))


def _way(file: Path, suffix: str, before: str = ": ") -> str:
    if file.suffix.lower() in (".gz", ".tgz", ".bz2", ".xz", ".zst"):
        return f"{before}{file.name} is compressed and can't be read at any place: unpack it (gunzip, unxz, unzstd)"
    return f"{before}give {suffix} files"


def _visible(file: Path, folder: Path) -> bool:
    return not any(part.startswith((".", "__MACOSX")) for part in file.relative_to(folder).parts)


def _one_set(files: Sequence[Path], folder: Path, name: str) -> list[Path]:
    """Refuse several datasets, or configurations of one, in one folder."""
    sets: dict[str, list[Path]] = {}
    for file in files:
        above = [part for part in file.relative_to(folder).parts[:-1] if not part_named(part)]
        sets.setdefault("/".join(above), []).append(file)
    if len(sets) > 1:
        kind = name.partition(":")[0]
        kept = [key for key in sets if key]
        raise DataError(
            f"{name}: {folder} holds {len(sets)} sets of files, {_shown([key or 'its own' for key in sets])}: "
            f"give one of them, such as {kind}:{folder / kept[0]}, or a pattern"
        )
    return list(files)


def _split_of(file: Path, root: Path) -> str:
    """The name of the split that a shard is of: of the file, less its number, else of its folder; "" for none."""
    plain = _NUMBER.sub("", file.stem)
    if part_named(plain):
        return plain
    above = next(
        (part for part in reversed(file.absolute().relative_to(root.absolute()).parts[:-1]) if part_named(part)), ""
    )
    return above or plain


def _parts(splits: Mapping[str, object], name: str, chosen: Mapping[str, str]) -> dict[str, list[str]]:
    """Names of splits by part; all of them are the train part where none says what it is."""
    if unknown := [split for split in chosen.values() if split not in splits]:
        raise DataError(f"{name}: there is no split {unknown[0]!r}: there are {_shown(sorted(splits))}")
    parts = {part: [split] for part, split in chosen.items()}
    free = [split for split in splits if split not in chosen.values()]
    for part in PARTS:
        named = [split for split in free if part_named(split) == part]
        if part not in parts and named:
            parts[part] = [_plainest(named, part, name)]
    return parts or {"train": list(splits)}


def _plainest(named: Sequence[str], part: str, name: str) -> str:
    plain = [split for split in named if len(named) == 1 or split.casefold() in _PLAIN]
    if len(plain) != 1:
        raise DataError(f"{name}: {_shown(named)} all look like the {part} split: choose by ?{part}={named[0]}")
    return plain[0]


def _check_parts(parts: Mapping[str, Sequence[str]], name: str, place: str, folder: bool) -> None:
    """Refuse what lacks a split that others are judged by."""
    if len(parts) == 1:
        part, (split, *_) = next(iter(parts.items()))
        if part != "train" and folder:
            raise DataError(f"{name}: {place} holds files of {split} alone: add those of train, or give a pattern")
    elif "train" not in parts:
        raise DataError(f"{name}: {place} has no train split: add it, or name one by ?train=SPLIT")
    elif "test" not in parts:
        raise DataError(
            f"{name}: {place} has {parts['train'][0]} and {parts['val'][0]}, but no test split: take one for it, by "
            f"?test={parts['val'][0]}, or give the files of {parts['train'][0]} alone: a fifth becomes the test"
        )


def _check_whole(files: Sequence[Path], name: str) -> None:
    """Refuse a split of whose `00000-of-00004` one is missing."""
    numbers = [(int(match[1]), int(match[2]), file) for file in files if (match := _OF.search(file.stem))]
    for total in {total for _, total, _ in numbers}:
        here = {number for number, of, _ in numbers if of == total}
        absent = sorted(set(range(min(total, 1_000_000))) - here)
        if absent and len(numbers) == len(files):
            example = next(file for _, of, file in numbers if of == total)
            raise DataError(
                f"{name}: {len(absent):,} of {total:,} shards like {example} are missing, the first is number "
                f"{absent[0]}: download them, or name the files by a pattern"
            )


def _only_one(parts: dict[str, list[Path]]) -> dict[str, list[Path]]:
    return parts if len(parts) > 1 else {"train": next(iter(parts.values()))}


def _shown(words: Sequence[str]) -> str:
    more = len(words) - _SHOWN
    return ", ".join([*words[:_SHOWN], f"{more:,} more"] if more > 1 else words)
