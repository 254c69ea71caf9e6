"""`archsearch data`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archsearch._utils.units import counted, format_bytes
from archsearch.cli.options import data_dir_option, folder_options, json_option, reading
from archsearch.cli.screen import columns, say, wrapped
from archsearch.errors import InputError

if TYPE_CHECKING:
    from archsearch.data.listing import Listing
    from archsearch.data.store.survey import Copies, Survey

_FEW = 20
_UNEVEN = 10
_SHOWN = 10


@click.command()
@click.argument("dataset", required=False, metavar="[FOLDER|DATASET]")
@data_dir_option
@click.option("--image-size", type=click.IntRange(1), help="N x N pixels, as in `run`.")
@folder_options
@click.option(
    "--clear", is_flag=True, help="Remove the decoded pictures of DATASET, or of all, that are kept in --data-dir."
)
@json_option
def data(dataset: str | None, clear: bool, as_json: bool, **options: Any) -> None:
    """Describe a FOLDER of pictures or another DATASET, and keep what was decoded for all other commands.

    Tells images per class, sizes and kinds of files, copies between train and test, and labels to look at. Without
    DATASET: what is kept in --data-dir.
    """
    cache = Path(options["data_dir"]).expanduser() / "cache"
    spec = f"folder:{dataset}" if dataset and ":" not in dataset and Path(dataset).is_dir() else dataset
    if clear:
        _clear(cache, spec, as_json, options)
    elif spec is None:
        _list(cache, as_json)
    else:
        _describe(spec, cache, as_json, options)


def _clear(cache: Path, spec: str | None, as_json: bool, options: Mapping[str, Any]) -> None:
    from archsearch.data.store.making import clear

    root = None if spec is None else _listing(spec, options).root.absolute()
    gone = clear(cache, root, options["image_size"])
    click.echo(json.dumps({"removed_bytes": gone}) if as_json else f"removed {format_bytes(gone)} from {cache}")


def _listing(spec: str, options: Mapping[str, Any]) -> Listing:
    from archsearch.data.load import list_pictures

    found = list_pictures(spec, options["nested"])
    if found is None:
        raise InputError(f"{spec}: no decoded pictures are kept of it, only of datasets such as folder:DIR")
    return found


def _list(cache: Path, as_json: bool) -> None:
    kept = _kept(cache)
    if as_json:
        click.echo(json.dumps({"stores": kept}))
        return
    rows: list[tuple[str, ...]] = [("pictures", "pixels", "size", "of", "folder")]
    rows += [_row(one) for one in kept]
    if kept:
        click.echo("\n".join(columns(rows, left=(3, 4))))
        say("", f"{format_bytes(sum(one['bytes'] for one in kept))} in {cache}; archsearch data --clear removes it")
    else:
        say(f"no decoded pictures are kept in {cache}")


def _row(one: Mapping[str, Any]) -> tuple[str, ...]:
    size = f"{one['image_size']}x{one['image_size']}" if one["image_size"] else ""
    return f"{one['images']:,}", size, format_bytes(one["bytes"]), one["root"] or "(unfinished)", one["path"]


def _kept(cache: Path, root: str | None = None, size: int | None = None) -> list[dict[str, Any]]:
    """Stores in a cache, those of a root and size where they are given."""
    from archsearch.data.store.files import stores

    return [
        {
            "path": str(folder),
            "root": index.root if index else None,
            "image_size": index.size if index else None,
            "images": index.rows if index else 0,
            "bytes": sum(file.stat().st_size for file in folder.iterdir()),
        }
        for folder, index in stores(cache)
        if root is None or (index and (index.root, index.size) == (root, size))
    ]


def _describe(spec: str, cache: Path, as_json: bool, options: Mapping[str, Any]) -> None:
    from archsearch.cli.decoding import Decoding
    from archsearch.data import load_dataset
    from archsearch.data.load import list_pictures
    from archsearch.data.store.survey import survey

    with Decoding() as watch:
        size = options["image_size"]
        dataset = load_dataset(spec, data_dir=options["data_dir"], image_size=size, watch=watch, **reading(options))
        listing = list_pictures(spec, options["nested"])
        found = survey(dataset, listing, watch)
    kept = _kept(cache, str(listing.root.absolute()), dataset.input_shape[1]) if listing else []
    if as_json:
        click.echo(json.dumps({**asdict(found), "stores": kept}))
        return
    click.echo("\n".join([*wrapped([_head(found)]), "", *_classes(found), ""]))
    say(*_lines(found), *(f"kept: {format_bytes(one['bytes'])} in {one['path']}" for one in kept))


def _head(found: Survey) -> str:
    channels, height, width = found.shape
    images = sum(found.images.values())
    colours = "grey" if channels == 1 else "colour" if channels == 3 else f"{channels} channels"
    classes = counted(len(found.classes), "class")
    return f"{found.name}: {images:,} images, {classes}, {width}x{height} {colours}, fingerprint {found.fingerprint}"


def _classes(found: Survey) -> list[str]:
    rows: list[tuple[str, ...]] = [("class", *found.counts)]
    rows += [(name, *(f"{counts[n]:,}" for counts in found.counts.values())) for n, name in enumerate(found.classes)]
    if found.several:
        rows.append(("(images)", *(f"{count:,}" for count in found.images.values())))
    return columns(rows, left=(0,))


def _lines(found: Survey) -> Iterator[str]:
    yield from found.notes
    if found.files:
        (least, middle, most), (low, half, high) = found.files.width, found.files.height
        yield f"width {least:,} to {most:,}, median {middle:g}; height {low:,} to {high:,}, median {half:g}"
        yield "files: " + ", ".join(f"{count:,} {kind}" for kind, count in found.files.kinds.items())
        yield from _copies(found.files.copies, "the same file")
    yield from _copies(found.pixels, "the same pixels at this size")
    if found.blank:
        yield f"blank: {len(found.blank):,} images of one colour: {_shown(found.blank)}"
    train = dict(zip(found.classes, found.counts["train"], strict=True))
    if few := [f"{name} ({count})" for name, count in train.items() if count < _FEW]:
        yield f"few train images: {_shown(few)}"
    least, most = min(train.values()), max(train.values())
    if most >= _UNEVEN * least:
        yield f"uneven: the largest class has {most:,} train images, the smallest {least:,}"
    if found.several:
        yield "labels are not judged: an image may have several"
    elif found.doubts is None:
        yield "labels are not judged: small copies of these images tell the classes apart too badly, or are too many"
    if found.doubts:
        yield "labels to look at, as the nearest train images are all of one other class:"
        yield from (f"{one.where}: {one.label}, or {one.neighbours}?" for one in found.doubts)


def _copies(copies: Copies, what: str) -> Iterator[str]:
    for part, count in copies.between.items():
        if count:
            yield f"copies: {count:,} {part} images are train images too ({what})"
    if copies.twice:
        yield f"copies: {copies.twice:,} train images are there before ({what})"
    if copies.labels:
        yield f"copies: {copies.labels:,} images are there under another label ({what})"
    yield from (f"{first} = {second}" for first, second in copies.examples)


def _shown(words: Sequence[str]) -> str:
    more = len(words) - _SHOWN
    return ", ".join([*words[:_SHOWN], f"{more:,} more"] if more > 0 else words)
