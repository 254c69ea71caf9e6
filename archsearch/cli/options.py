"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from archsearch._utils.formats import FORMATS
from archsearch._utils.places import check_name
from archsearch._utils.units import BYTES as IN_BYTES
from archsearch._utils.units import COUNT as IN_COUNT
from archsearch._utils.units import MILLISECONDS, parse_bytes, parse_count, parse_milliseconds, parse_seconds
from archsearch.cli.targets import say_target, target_option
from archsearch.errors import InputError, StudyError
from archsearch.network.budget import Budget
from archsearch.network.file_size import DTYPE_BYTES, SAFETENSORS
from archsearch.network.format_table import FACTORS
from archsearch.network.layers import Shape
from archsearch.network.limits import LIMITS, Limit
from archsearch.network.timing import RUNTIMES, Timing
from archsearch.nn.inputs import DTYPES, Input
from archsearch.space.inputs import MOST_SIZES

if TYPE_CHECKING:
    from optuna.study import Study

    from archsearch.study.config import StudyConfig, StudyData
    from archsearch.study.records import Record

Function = TypeVar("Function", bound=Callable[..., Any])


class Quantity(click.ParamType[float]):
    """A number with a unit, by a parser of `units`."""

    def __init__(self, name: str, parse: Callable[[str], float]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The parsed number; InputError's message becomes click's."""
        if not isinstance(value, str):
            return float(value)
        try:
            return self._parse(value)
        except InputError as error:
            self.fail(str(error), param, ctx)


class ShapeType(click.ParamType[Shape]):
    """An image's shape, `3,224,224` or `3x224x224`."""

    name = "c,h,w"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Shape:
        """The numbers; anything but positive whole ones is refused."""
        if isinstance(value, tuple):
            return value
        parts = str(value).replace("x", ",").split(",")
        if not all(part.strip().isdecimal() and len(part) < 11 and int(part) > 0 for part in parts):
            self.fail(f"{value!r} is no shape: write channels, height and width, such as 3,224,224", param, ctx)
        return tuple(map(int, parts))


class InputType(click.ParamType[Input]):
    """One input of a module: a shape, and where it is not the module's own its dtype: `16:int64`."""

    name = "c,h,w[:dtype]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Input:
        """The input; a shape may be empty where a dtype follows (`:int64`): one value an image."""
        if isinstance(value, Input):
            return value
        shape, colon, dtype = str(value).partition(":")
        if colon and dtype not in DTYPES:
            self.fail(f"{value!r} has no known dtype: write one of {', '.join(DTYPES)}", param, ctx)
        return Input(SHAPE.convert(shape, param, ctx) if shape or not colon else (), dtype)


class SizesType(click.ParamType[tuple[int, ...]]):
    """One side of square images in pixels, or several: `64,96,128`; the smallest first."""

    name = "n[,n...]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """The numbers; anything but different positive whole ones is refused."""
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in str(value).split(",")]
        if not all(part.isdecimal() and len(part) < 11 and int(part) > 0 for part in parts):
            self.fail(f"{value!r}: write pixels of a side, from 1, or several: 64,96,128", param, ctx)
        sizes = sorted(map(int, parts))
        if len(set(sizes)) < len(sizes) or len(sizes) > MOST_SIZES:
            self.fail(f"{value!r}: write every size once, {MOST_SIZES} at most", param, ctx)
        return tuple(sizes)


SHAPE = ShapeType()
SIZES = SizesType()
INPUT = InputType()
COUNT = Quantity("count", parse_count)
BYTES = Quantity("size", parse_bytes)
SECONDS = Quantity("time", parse_seconds)
QUANTITIES = {IN_COUNT: COUNT, IN_BYTES: BYTES, MILLISECONDS: Quantity("time", parse_milliseconds)}


def limits(function: Function) -> Function:
    """The budget: every upper limit that a cost tells, and `size_dtype`, `size_format` and `--target`."""
    dtype = click.option(
        "--size-dtype",
        type=click.Choice(list(DTYPE_BYTES)),
        default="fp32",
        show_default=True,
        help="Precision at which bytes are counted.",
    )
    form = click.option(
        "--size-format",
        type=click.Choice([SAFETENSORS, *FACTORS]),
        default=SAFETENSORS,
        show_default=True,
        help="Format of the file whose bytes --max-size bounds.",
    )
    options = [_limit(limit) for limit in LIMITS if not (limit.lower or limit.measured)]
    for option in reversed([*options, dtype, form, target_option]):
        function = option(function)
    return function


def lower_limits(function: Function) -> Function:
    """Every lower limit, such as `min_params`: for what searches, not for what checks a network."""
    for limit in reversed([limit for limit in LIMITS if limit.lower]):
        function = _limit(limit)(function)
    return function


def measured_limits(function: Function) -> Function:
    """Limits on what is measured, `max_latency`, and how: `runtime`, `threads`, `precision`, `measure_with`."""
    precisions = dict.fromkeys(dtype for one in RUNTIMES.values() for dtype in FORMATS[one.kind].dtypes)
    options = [
        *(_limit(limit) for limit in LIMITS if limit.measured),
        click.option(
            "--runtime",
            type=click.Choice([*RUNTIMES]),
            help=f"Who runs the file whose milliseconds --max-latency limits.  [default: {Timing().runtime}]",
        ),
        click.option("--threads", type=click.IntRange(1), help="Of the runtime.  [default: 1]"),
        click.option("--precision", type=click.Choice([*precisions]), help="Of that file.  [default: fp32]"),
        click.option(
            "--measure-with",
            metavar="COMMAND",
            help="Measure by a command, 'ssh pi measure.sh {file}', whose last line is milliseconds.",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def _timing(options: Mapping[str, Any]) -> Timing | None:
    """How milliseconds are measured; None where they are not limited. Raises InputError."""
    fields = {"runtime": "runtime", "threads": "threads", "precision": "precision", "measure_with": "command"}
    given = {name: options[name] for name in fields if options.get(name) is not None}
    if options.get("max_latency") is not None:
        return Timing(**{fields[name]: value for name, value in given.items()})
    for name in given:
        raise InputError(f"--{name.replace('_', '-')} goes with --max-latency, such as --max-latency 5ms")
    return None


def _limit(limit: Limit) -> Callable[[Function], Function]:
    kind = QUANTITIES[limit.unit]
    return click.option(f"--{limit.option.replace('_', '-')}", type=kind, help=limit.help)


def budget_of(options: Mapping[str, Any]) -> Budget:
    """The budget that the options of `limits` and `lower_limits` ask for; a target is said. Raises InputError."""
    say_target()
    names = ["size_dtype", "size_format", *(limit.option for limit in LIMITS)]
    return Budget(timing=_timing(options), **{name: options[name] for name in names if name in options})


def out_option(function: Function) -> Function:
    """`--out`: the folder that holds the studies."""
    option = click.option(
        "--out",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path("results"),
        show_default=True,
        help="Folder that holds one folder per study.",
    )
    return option(function)


def storage_option(
    *, required: bool = False, default: str = "SQLite at OUT/STUDY/study.db"
) -> Callable[[Function], Function]:
    """`--storage`, or the environment variable ARCHSEARCH_STORAGE."""
    known = "" if required else f"  [default: {default}]"
    return click.option(
        "--storage",
        envvar="ARCHSEARCH_STORAGE",
        show_envvar=True,
        required=required,
        metavar="URL",
        help=f"Optuna storage, where a password is better kept in the environment.{known}",
    )


def data_dir_option(function: Function) -> Function:
    """`--data-dir`: where torchvision's datasets and decoded pictures are."""
    option = click.option(
        "--data-dir",
        type=click.Path(path_type=Path),
        default=Path("data"),
        show_default=True,
        help="Where downloaded datasets and, in its folder cache, decoded pictures lie.",
    )
    return option(function)


device_option = click.option(
    "--device", default="auto", show_default=True, help="auto (CUDA if there is one), cpu, cuda, cuda:1 or mps."
)
data_memory_option = click.option(
    "--data-memory",
    type=BYTES,
    metavar="SIZE",
    help="Images of more bytes are streamed, such as 2GB.  [default: half of all memory; of a GPU's two fifths]",
)
timeout_option = click.option(
    "--timeout", type=SECONDS, help="Start no further candidate after this time: 20m, 90s, 2h."
)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")


def data_options(function: Function) -> Function:
    """Which dataset, for commands that can know it from a file: `dataset`, `data_dir`, `image_size`, `reading`."""
    for option in reversed(
        [
            click.option("--dataset", help="As in `run`: cifar10, folder:DIR, ...  [default: that of the training]"),
            data_dir_option,
            click.option(
                "--image-size", type=click.IntRange(1), help="Resize images to N x N pixels.  [default: as trained]"
            ),
            folder_options,
        ]
    ):
        function = option(function)
    return function


def folder_options(function: Function) -> Function:
    """How `folder:DIR` is read: `skip_broken`, `nested`."""
    skip = click.option("--skip-broken", is_flag=True, help="Leave unreadable pictures out and go on.")
    nested = click.option(
        "--nested", is_flag=True, help="folder:DIR: folders inside of class folders belong to the class."
    )
    return skip(nested(function))


def reading(options: Mapping[str, Any], data: StudyData | None = None) -> dict[str, Any]:
    """`skip_broken` and `nested` for `load_dataset`, as given or as the study has them."""
    return {key: bool(options[key] or (data and getattr(data, key))) for key in ("skip_broken", "nested")}


def split_option(function: Function) -> Function:
    """`--seed`: of the run whose validation split is meant."""
    option = click.option(
        "--seed",
        type=click.IntRange(0),
        help="Of the run: fixes the validation split.  [default: that of the training, else 0]",
    )
    return option(function)


def study_folder(study: str, out: Path) -> Path:
    """The folder of a study given as that folder or as its name. Raises StudyError."""
    for folder in (Path(study), out / study):
        if (folder / "study.db").exists():
            return folder
    raise StudyError(f"there is no study {study!r}: neither {study}/study.db nor {out / study}/study.db exists")


def opened_study(study: str, out: Path, storage: str | None) -> tuple[Path, Any, StudyConfig]:
    """A study's folder, the study, and what it carries; with a storage STUDY is its name there. Raises StudyError."""
    from archsearch.study.storage import load_study, open_existing, open_storage

    if storage is None:
        folder = study_folder(study, out)
        return folder, *open_existing(folder)
    check_name(study)
    return out / study, *load_study(open_storage(storage), study)


def one_record(study: Study, arch: str, folder: Path) -> Record:
    """The candidate whose id begins with `arch`, the latest where it was trained several times. Raises InputError."""
    from archsearch.study.storage import records, stored_references

    found = [record for record in records(study) if record.arch.startswith(arch)]
    if len({record.arch for record in found}) != 1:
        references = [one for one in stored_references(study) if one.arch.startswith(arch)]
        if references and not found:
            one = references[0]
            raise InputError(f"{one.arch} is a reference, not a candidate: ref:{one.reason} names its network")
        what = "several candidates" if found else "no candidate"
        raise InputError(f"study {folder.name!r} has {what} {arch!r}: ids are in {folder / 'trials.csv'}")
    return found[-1]
