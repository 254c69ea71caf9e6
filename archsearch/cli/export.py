"""`archsearch export`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archsearch._utils.certified import local, named
from archsearch._utils.formats import FORMATS, file_name
from archsearch._utils.toolchain import TOOLCHAINS
from archsearch._utils.units import counted, format_bytes, format_count
from archsearch.cli.options import (
    BYTES,
    data_options,
    one_record,
    opened_study,
    out_option,
    reading,
    split_option,
    storage_option,
)
from archsearch.cli.screen import wrapped
from archsearch.cli.sources import check_images, dataset_of, numbered, split_seed
from archsearch.cli.web import WEB, shipped_onnx, words, write_site
from archsearch.errors import InputError, PushFailed
from archsearch.network.file_size import SAFETENSORS

if TYPE_CHECKING:
    from archsearch.export import Exported, Images, Source
    from archsearch.report.tables import Tested
    from archsearch.study.config import StudyConfig


@dataclass(frozen=True)
class Order:
    """What to export and against which data, from a study or from a weights file alone.

    `arch` and `config` are the study's, "" and None where there is none. `known`: of zoo:NAME, beyond its file.
    """

    weights: Path
    folder: Path
    dataset: str | None = None
    image_size: int | None = None
    seed: int | None = None
    max_size: float | None = None
    arch: str = ""
    config: StudyConfig | None = None
    tested: Tested | None = None
    reading: Mapping[str, bool] = field(default_factory=dict)
    known: Mapping[str, Any] = field(default_factory=dict)


@click.command()
@click.argument("source", required=False)
@click.argument("arch", required=False)
@click.option(
    "--format", "kind", type=click.Choice([*FORMATS, WEB]),
    help="All but safetensors and pt2 need packages: see docs/reference/export.md, or --setup. web: a page.",
)  # fmt: skip
@click.option(
    "--setup", type=click.Choice([*TOOLCHAINS]),
    help="Make an environment with this format's packages in DATA_DIR/toolchains, once, and end.",
)  # fmt: skip
@click.option(
    "--dtype", type=click.Choice(["fp32", "fp16", "bf16"]), help="Precision inside the file.  [default: fp32]"
)
@click.option(
    "--quantize", type=click.Choice(["int8", "int8-weights"]),
    help="8-bit weights and activations; or weights alone, for arithmetic in float.",
)  # fmt: skip
@click.option(
    "--weight-bits", type=click.Choice(["7", "8"]), default="7", show_default=True,
    help="Of --quantize int8 in ONNX: 8 where every target has VNNI or ARM's dot products; 7 answers alike everywhere.",
)  # fmt: skip
@click.option(
    "--output", type=click.Path(path_type=Path), help="File, or folder for web.  [default: OUT/STUDY/export/ARCH/...]"
)
@click.option(
    "--max-size",
    type=BYTES,
    help="Fewer bytes on disk than this: 6MB.  [default: the study's, if it is on this format or on safetensors]",
)
@click.option(
    "--weights", type=click.Path(path_type=Path), help="Weights of ARCH.  [default: the retrained, or the run's]"
)
@click.option(
    "--check-images", type=click.IntRange(1), default=1000, show_default=True,
    help="Validation images on which outputs are compared.",
)  # fmt: skip
@click.option(
    "--max-drop", type=click.FloatRange(0, 100), default=1.0, show_default=True, metavar="POINTS",
    help="Points of validation accuracy that the file may lose, or hundredths of the training's --metric; a larger"
    " loss that is chance passes, and is said.",
)  # fmt: skip
@click.option(
    "--calibration-images", "calibration", type=click.IntRange(1), default=512, show_default=True,
    help="Train images from which int8 takes its ranges.",
)  # fmt: skip
@click.option(
    "--push-to-hub", metavar="USER/NAME",
    help="Push the file and its card to this repository of Hugging Face, once they have passed. Token: HF_TOKEN.",
)  # fmt: skip
@click.option("--hub-private", is_flag=True, help="Make that repository private; one that is public is refused.")
@data_options
@split_option
@storage_option()
@out_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout: path, bytes, max_abs_diff, accuracy.")
def export(source: str | None, arch: str | None, **options: Any) -> None:
    """Write candidate ARCH of a study (SOURCE: its folder or name), or a weights file (SOURCE alone), to ship it.

    Without ARCH it is the study's most accurate network: of those that `retrain` has trained, if there are any.
    An ONNX file that archsearch wrote, or zoo:NAME, serves as a weights file too.

    The file is run by the runtime that its users will have, on real images: its outputs must be the network's, its
    score on the validation split (accuracy, or the --metric of its training) may drop by --max-drop points, its bytes
    must fit. Otherwise nothing is written and the exit status is 1. A model card, README.md, is written beside it.
    """
    if options["setup"]:
        _set_up(options["setup"], options["data_dir"])
        return
    if source is None or options["kind"] is None:
        raise InputError("export takes STUDY [ARCH], or a weights file, and --format: see archsearch export --help")
    _check_push(options)
    if options["kind"] == WEB:
        _write_web(source, arch, options)
        return
    from archsearch.export.card import write_card

    dtype = _dtype(options["dtype"], options["quantize"])
    order, opened = _opened(source, arch, dtype, options)
    suffix = FORMATS[options["kind"]].suffix
    target = options["output"] or order.folder / opened.arch.id / file_name(options["kind"], dtype)
    if not target.name.endswith(suffix):
        raise InputError(f"--output {target}: must end in {suffix}")
    if target.is_dir():
        raise InputError(f"--output {target}: is a folder: give the name of a file")
    done = _export(opened, target, order, dtype, options)
    fully = opened.info.get("trained") == "retrain"  # what was tested are full trainings, not the search's own
    written = write_card(done, dtype, opened, order.tested if fully else None)
    score = done.parity.score
    plain = {
        "path": str(done.path),
        "bytes": done.bytes,
        "max_abs_diff": done.parity.max_abs_diff,
        "accuracy": done.parity.accuracy,
        **({} if score.is_accuracy else {"metric": score.name, score.name: done.parity.after}),
    }
    if not options["as_json"]:
        click.echo("\n".join(wrapped(_text(done, dtype, order, written, options["max_drop"] / 100))))
    if options["push_to_hub"]:
        plain["pushed"] = _push(written, done, options)
    if options["as_json"]:
        click.echo(json.dumps(plain))


def _check_push(options: Mapping[str, Any]) -> None:
    """Before anything that takes minutes. Raises InputError."""
    if options["push_to_hub"] is None:
        if options["hub_private"]:
            raise InputError("--hub-private: goes with --push-to-hub USER/NAME")
        return
    if options["kind"] == WEB:
        raise InputError("--push-to-hub: goes with files, not with the folder of --format web")
    from archsearch.export.hub import check_repository

    check_repository(options["push_to_hub"])


def _push(card: Path, done: Exported, options: Mapping[str, Any]) -> str:
    """Raises PushFailed, which says where the files are."""
    from archsearch.export.hub import push

    try:
        pushed = push(card, options["push_to_hub"], options["hub_private"])
    except PushFailed as error:
        raise PushFailed(f"{done.path} is written; {error}") from None
    if not options["as_json"]:
        click.echo(f"pushed to            {pushed}")
    return pushed


def _opened(source: str, arch: str | None, dtype: str, options: Mapping[str, Any]) -> tuple[Order, Source]:
    from archsearch import export as library

    library.check_kind(options["kind"], dtype, options["data_dir"])
    order = order_of(source, arch, options)
    opened = library.Source.open(order.weights)
    if order.arch not in ("", opened.arch.id):
        raise InputError(f"{order.weights} holds {opened.arch.id}, not {order.arch}")
    return order, replace(opened, info={**opened.info, **order.known})


def _export(opened: Source, target: Path, order: Order, dtype: str, options: Mapping[str, Any]) -> Exported:
    from archsearch import export as library

    return library.export(
        opened,
        target,
        images_for(opened, order, options["data_dir"]),
        options["kind"],
        dtype,
        data_dir=options["data_dir"],
        max_size=order.max_size,
        check_images=options["check_images"],
        max_drop=options["max_drop"] / 100,
        calibration=options["calibration"],
        weight_bits=int(options["weight_bits"]),
        metric=order.config.metric if order.config else None,
    )


def _write_web(source: str, arch: str | None, options: Mapping[str, Any]) -> None:
    """Raises InputError and ExportFailed as an export to ONNX does, which it may begin with."""
    shipped = shipped_onnx(source) if arch is None else None
    if shipped:
        if given := [name for name in ("dtype", "quantize", "weights", "max_size") if options[name] is not None]:
            raise InputError(
                f"--{given[0].replace('_', '-')}: {source} is an ONNX file and stays as it is: leave it out"
            )
        plain = write_site(options["output"] or Path(WEB), shipped, options["data_dir"])
    else:
        dtype, onnx = _dtype(options["dtype"], options["quantize"]), {**options, "kind": "onnx"}
        order, opened = _opened(source, arch, dtype, onnx)
        folder = options["output"] or order.folder / opened.arch.id / WEB
        plain = write_site(folder, lambda path: _export(opened, path, order, dtype, onnx), options["data_dir"])
    click.echo(json.dumps(plain) if options["as_json"] else "\n".join(wrapped(words(plain, source))))


def _set_up(name: str, data_dir: Path) -> None:
    from archsearch._utils.toolchain import TOOLCHAINS, set_up
    from archsearch.cli.screen import say

    say(f"an environment for {name}, {TOOLCHAINS[name].megabytes:,} MB: this takes minutes")
    say(f"{set_up(name, data_dir)}: ready, and used from now on with --data-dir {data_dir}")


def _dtype(dtype: str | None, quantize: str | None) -> str:
    if dtype and quantize:
        raise InputError(f"--dtype {dtype} and --quantize {quantize} exclude each other: give one")
    return quantize or dtype or "fp32"


def order_of(source: str, arch: str | None, options: Mapping[str, Any]) -> Order:
    """What the arguments and options of a command ask for. Raises InputError."""
    given = {name: options[name] for name in ("dataset", "image_size", "seed", "max_size") if options[name] is not None}
    given["reading"] = reading(options)
    if arch is None and (zoo := named(source)):
        where = local(zoo, options["data_dir"])
        return Order(where, Path("export"), **{"dataset": zoo.dataset, **given}, known=zoo.info)
    path = Path(source)
    if arch is None and path.suffix and not path.exists():
        raise InputError(f"{source}: there is no such weights file; STUDY or STUDY ARCH exports from a study")
    if arch is not None or not path.is_file():
        return _from_study(opened_study(source, options["out"], options["storage"]), arch, options, given)
    if options["weights"]:
        raise InputError("--weights goes with a STUDY and an ARCH: here SOURCE is the weights file")
    home = path.parent.parent if path.parent.name == "weights" else path.parent
    return Order(path, home / "export", **given)


def _from_study(
    opened: tuple[Path, Any, StudyConfig], arch: str | None, options: Mapping[str, Any], given: Any
) -> Order:
    from archsearch.report.tables import tested
    from archsearch.study.storage import stored_retrained

    folder, study, config = opened
    found = tested(stored_retrained(study))
    record = one_record(study, arch or _best(study, {*found}, folder), folder)
    meant = config.budget.size_format  # a limit on the bytes of another format says nothing of this file
    known = {
        "dataset": config.data.name,
        "image_size": None if "size" in config.space.input else config.data.image_size,
        "seed": config.seed,
        "max_size": config.budget.get("max_size") if meant in (SAFETENSORS, options.get("kind")) else None,
    }
    given["reading"] = reading(given["reading"], config.data)
    return Order(
        options["weights"] or _weights(folder, record.arch),
        folder / "export",
        **{**known, **given},
        arch=record.arch,
        config=config,
        tested=found.get(record.arch),
    )


def _best(study: Any, retrained: set[str], folder: Path) -> str:
    """The id of the most accurate network on validation images, of the retrained ones if there are any."""
    from archsearch.study.records import front
    from archsearch.study.storage import records

    best = front(records(study))
    if not best:
        raise InputError(f"study {folder.name!r} has no complete candidate yet: let `run --resume` go on")
    return ([one for one in best if one.arch in retrained] or best)[-1].arch


def _weights(folder: Path, arch: str) -> Path:
    """The retrained weights of the first seed, or those of the run."""
    found = folder / "weights" / f"{arch}.safetensors"
    retrained = sorted(found.parent.glob(f"{arch}-seed*.safetensors"), key=lambda path: (len(path.name), path.name))
    if not retrained and not found.exists():
        raise InputError(f"study {folder.name!r} keeps no weights of {arch}, it is not on the front: give --weights")
    return (retrained or [found])[0]


def images_for(source: Source, order: Order, data_dir: Path) -> Images:
    """The dataset of an order. Raises InputError where it is not the network's, or not the study's."""
    from archsearch.export import Images
    from archsearch.inference.evaluate import check_fit, part_of

    searched = order.config is not None and "size" in order.config.space.input
    size = order.image_size or (source.arch.input_shape[1] if searched else None)
    given = {"dataset": order.dataset, "image_size": size, "data_dir": data_dir, **order.reading}
    dataset = dataset_of(order.weights, source.arch, source.info, given)
    check_fit(numbered(source, dataset) if order.known else source, dataset, str(order.weights))
    if order.config and not check_images(dataset, order.dataset or order.config.data.name, data_dir, order.config):
        raise InputError(f"{dataset.name} is not the dataset of this study: its images or classes have changed")
    seed = split_seed(order.seed, source.info)
    return Images(part_of(dataset, "train", seed)[0], part_of(dataset, "validation", seed))


def _text(done: Exported, dtype: str, order: Order, written: Path, max_drop: float) -> list[str]:
    from archsearch.export.verify import points

    parity = done.parity
    words = parity.score.words
    chance = f"{f'{words} drop':<19}  {parity.fall()}: chance on so few, of --max-drop {points(max_drop)}"
    scored = f"{f'validation {words}':<19}  {parity.score.shown(parity.after)}, before export"
    limit = f", under {format_bytes(order.max_size)}" if order.max_size is not None else ""
    return [
        f"{done.path}  ({', '.join(filter(None, (dtype, done.variant.words)))}, from {order.weights})",
        f"bytes on disk        {format_count(done.bytes)}{limit}",
        f"largest difference   {parity.max_abs_diff:.3g} over {counted(parity.images, 'validation image')}"
        f" (outputs up to {parity.scale:.3g})",
        f"validation accuracy  {100 * parity.accuracy:.2f}%, before export {100 * parity.module_accuracy:.2f}%,"
        f" of {counted(parity.labelled, parity.what.removesuffix('s'))}",
        *([] if parity.score.is_accuracy else [f"{scored} {parity.score.shown(parity.before)}"]),
        *([chance] if parity.by_chance(max_drop) else []),
        f"model card           {written}",
    ]
