"""What is committed in `results/`, as tables of the pages below docs/evidence, from files alone: one row a network.

    python benchmarks/results.py              prints the tables
    python benchmarks/results.py --write      puts them into the pages, between their marks, and draws the picture

A group is a folder of `results/`; every folder below it with a `retrain.csv` gives a row for each of its networks,
every one with a `run.json` the row of a search: what it checked, rejected and trained, and its best on validation
images, beside the references that were trained with it. An exported file `FILE` with what `archsearch evaluate --json`
said of it beside it, as `FILE.test.json`, is a row too, together with those of other seeds beside it: its bytes are
those of the model, and those on disk where xz has compressed it.
`results/published.csv` has what others have measured: `group` and `name` say beside which row it belongs, an empty
`name` makes a row of its own; `dataset` says in which part of the picture it stands.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import pandas as pd

from archsearch import Arch
from archsearch._utils.files import write_with
from archsearch._utils.units import format_count
from archsearch.inference import Runner, format_of, open_runner
from archsearch.inference.onnx import content
from archsearch.network import zoo
from archsearch.network.blocks.registry import Value
from archsearch.network.recipe import Recipe
from archsearch.nn import weights
from archsearch.report.figure import FRONT, INK, REFERENCE, REJECTED
from archsearch.report.labels import Box, Name, place
from archsearch.report.tables import tested
from archsearch.retrain.plan import rows_of
from archsearch.study.records import Retrained

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROOT = Path(__file__).parent.parent
TESTED = ".test.json"
RESULTS, PAGES = ROOT / "results", ROOT / "docs" / "evidence"
PICTURE = PAGES / "results.png"
_HEAD = (
    "network", "parameters", "bytes", "M MACs", "published", "test accuracy", "seeds", "epochs", "recipe",
    "minutes each", "device",
)  # fmt: skip
_ALWAYS = ("epochs", "batch_size", "crop", "flip", "initial_scale")
"""Values of a recipe that are shown elsewhere or settled from the dataset."""


@dataclass(frozen=True)
class Published:
    """A figure of somebody else's; `accuracy` in percent."""

    group: str
    name: str
    dataset: str
    network: str
    params: int | None
    accuracy: float
    source: str


def published(path: Path = RESULTS / "published.csv") -> list[Published]:
    """Every row of the file."""
    with path.open(newline="") as file:
        return [
            Published(
                row["group"],
                row["name"],
                row["dataset"],
                row["network"],
                int(row["params"]) if row["params"] else None,
                float(row["accuracy"]),
                row["source"],
            )
            for row in csv.DictReader(file)
        ]


def folders(group: Path) -> list[Path]:
    """The folders of a group that hold retrained networks, the group itself first."""
    return sorted(path.parent for path in group.rglob("retrain.csv"))


def groups(results: Path = RESULTS) -> list[Path]:
    """The folders of `results/` that hold a search, retrained networks or tested files at any depth."""
    signs = ("run.json", "retrain.csv", f"*{TESTED}")
    return sorted(path for path in results.iterdir() if any([*path.rglob(sign)] for sign in signs))


@dataclass(frozen=True)
class Entry:
    """A trained network of a group: its rows are the trainings, one for an exported file."""

    folder: Path
    arch: Arch
    bytes: int
    file: str
    """What the exported file is; "" for the weights of retrainings, whose bytes are those at fp32."""
    rows: Sequence[Retrained]
    dataset: str

    def name(self, group: Path) -> str:
        """The folder's within its group; "" for what a search of the group itself found."""
        return "" if self.folder == group else str(self.folder.relative_to(group))


def entries(group: Path) -> list[Entry]:
    """Everything of a group that was tested."""
    return [*_retrained(group), *_exported(group)]


def _retrained(group: Path) -> Iterator[Entry]:
    for folder in folders(group):
        found: dict[str, list[Retrained]] = {}
        for row in rows_of(folder):
            found.setdefault(row.arch, []).append(row)
        for arch, rows in found.items():
            read = weights.read(folder / "weights" / f"{arch}-seed{rows[0].seed}.safetensors")
            yield Entry(folder, read.arch, read.arch.cost.size_bytes("fp32"), "", rows, plain_name(read.info))


def _exported(group: Path) -> Iterator[Entry]:
    """From `FOLDER/export/ARCH/FILE.test.json`."""
    found: dict[tuple[Path, str], list[tuple[Path, Runner, Retrained]]] = {}
    for said in sorted(group.rglob(f"*{TESTED}")):
        file = said.with_name(said.name.removesuffix(TESTED))
        runner = open_runner(file)
        info = runner.info
        row = Retrained(
            arch=runner.arch.id,
            seed=info["training_seed"],
            test_accuracy=json.loads(said.read_text())["accuracy"],
            mirrored=None,
            params=runner.arch.cost.params,
            **_training(file, runner),
        )
        kind = f"{info['dtype']} {format_of(file).upper()}"
        found.setdefault((file.parent, kind), []).append((file, runner, row))
    for (folder, kind), tests in found.items():
        files, [runner, *_], rows = zip(*tests, strict=True)
        packed = max((file.stat().st_size for file in files if file.suffix == ".xz"), default=None)
        label = kind if packed is None else f"{kind}; {format_count(packed)} by xz"
        size = max(len(content(file)) for file in files)
        yield Entry(folder.parents[1], runner.arch, size, label, rows, plain_name(runner.info))


def _training(file: Path, runner: Runner) -> dict[str, Any]:
    """What the training of an exported file was: its metadata say so in older ones, in others its weights' do.

    Raises ValueError where the weights are not in the folder.
    """
    names, info = ("epochs", "train_seconds", "device", "start", "recipe"), runner.info
    if "recipe" in info:
        return {name: info[name] for name in names}
    for row in rows_of(file.parents[2]):
        if (row.arch, row.seed) == (runner.arch.id, info.get("training_seed")):
            return {name: getattr(row, name) for name in names}
    raise ValueError(f"{file}: {file.parents[2] / 'weights'} has no training of it, seed {info.get('training_seed')}")


def plain_name(info: Mapping[str, Any]) -> str:
    """Of the dataset that a file was trained on: `mnist` for `npz:some/mnist.npz`."""
    return Path(str(info["dataset"]).removeprefix("npz:")).stem


def recipe_in_words(recipe: Mapping[str, Value], start: str) -> str:
    """What is not the default."""
    default = Recipe().to_dict()
    other = [f"{k}={v}" for k, v in recipe.items() if k not in _ALWAYS and v != default.get(k)]
    if recipe.get("flip") == 2:
        other.append("flip=2")
    if recipe.get("initial_scale", 1) == 1:  # trainings before 2026-11-23 have no such key, and saw whole images
        other.append("initial_scale=1")
    if start:
        other.append(start if start.startswith("taught by") else f"from {start}")
    return " ".join(other) or "default"


def table(group: Path) -> list[str]:
    """A group's table in Markdown, smallest network first; nothing where nothing was retrained."""
    known = [row for row in published() if row.group == group.name]
    lines: list[tuple[float, tuple[str, ...]]] = []
    for entry in entries(group):
        name = entry.name(group)
        beside = next((row for row in known if name and row.name == name), None)
        lines.append((entry.arch.cost.params, _row(entry, name, beside)))
    for row in known:
        if not row.name:
            size = "" if row.params is None else format_count(row.params)
            cells = (row.network, size, "", "", f"{row.accuracy:.2f}% ({row.source})", *[""] * 6)
            lines.append((row.params or 0, cells))
    return [_line(_HEAD), _line(["---"] * len(_HEAD)), *(_line(cells) for _, cells in sorted(lines))] if lines else []


def _row(entry: Entry, name: str, beside: Published | None) -> tuple[str, ...]:
    arch, rows = entry.arch, entry.rows
    found = tested(rows)[arch.id]
    deviation = "" if found.std is None else f" ± {100 * found.std:.2f}"
    recipes = {(row.epochs, recipe_in_words(row.recipe, row.start)) for row in rows}
    [(epochs, recipe)] = recipes  # trainings of one folder and network have one recipe: `retrain` refuses others
    return (
        f"{name or arch.id}: {arch.summary}",
        format_count(arch.cost.params),
        format_count(entry.bytes) + (f" ({entry.file})" if entry.file else ""),
        f"{arch.cost.macs / 1e6:.1f}",
        f"{beside.accuracy:.2f}% ({beside.source})" if beside else "",
        f"**{100 * found.mean:.2f}%**{deviation}",
        str(found.seeds),
        str(epochs),
        recipe,
        f"{fmean(row.train_seconds for row in rows) / 60:.0f}",
        " ".join(sorted({row.device for row in rows})),
    )


def searches(group: Path) -> list[str]:
    """The searches of a group in Markdown, minutes of training, accuracies in percent; then their commands."""
    rows: list[tuple[str, ...]] = []
    commands: list[str] = []
    for folder in sorted(path.parent for path in group.rglob("run.json")):
        about = json.loads((folder / "run.json").read_text())
        trials = pd.read_csv(folder / "trials.csv", dtype={"arch": str, "reason": str}).fillna({"reason": ""})
        mine, complete = trials[trials.state != "reference"], trials[trials.state == "complete"]
        name, counts = "search" if folder == group else str(folder.relative_to(group)), about["counts"]
        stopped = f", {stops} of them stopped" if (stops := int((mine.state == "stopped").sum())) else ""
        trained = f"{counts['trained']} trained{stopped}"
        rows.append((
            name,
            f"{counts['checked']:,} checked, {counts['over_budget']:,} over budget, {trained}",
            f"{mine.train_seconds.sum() / 60:.0f}",
            *_best(complete),
        ))  # fmt: skip
        rows += [
            (f"{row.reason} (reference)", "1 trained", f"{row.train_seconds / 60:.0f}", *_best(trials.loc[[index]]))
            for index, row in trials[trials.state == "reference"].iterrows()
        ]
        commands.append(about["command"])
    head = ("", "candidates", "minutes in training", "best on validation", "parameters", "validation accuracy")
    return [_line(head), _line(["---"] * 6), *map(_line, rows), "", "```sh", *commands, "```"] if rows else []


def _best(trials: pd.DataFrame) -> tuple[str, str, str]:
    """The most accurate network, the smallest where several are."""
    best = trials.sort_values(["val_accuracy", "params"], ascending=[False, True]).iloc[0]
    return f"{best.arch}: {best.summary}", format_count(int(best.params)), f"{100 * best.val_accuracy:.2f}%"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def again(group: Path) -> list[str]:
    """What benchmarks/again.py has measured of a group, in Markdown: the best of the search, then that of its twin."""
    if not (group / "again.csv").exists():
        return []
    trainings = pd.read_csv(group / "again.csv", dtype={"arch": str})
    head = ("trained again, by seeds that nothing was chosen by", "validation accuracy by seed", "mean")
    lines = []
    for arch, rows in trainings.groupby("arch", sort=False):
        accuracy = 100 * rows.sort_values("seed").val_accuracy
        each = ", ".join(f"{value:.2f}%" for value in accuracy)
        deviation = f" ± {accuracy.std():.2f}" if len(accuracy) > 1 else ""
        lines.append(_line((f"{arch}: {rows.summary.iloc[0]}", each, f"{accuracy.mean():.2f}%{deviation}")))
    return [_line(head), _line(["---"] * len(head)), *lines]


def everything(group: Path) -> list[str]:
    """What the page shows of a group: retrained networks, what was trained again, then searches."""
    found = [part for part in (table(group), again(group), searches(group)) if part]
    return [line for part in found for line in ("", *part)][1:]


def is_reference(arch: Arch) -> bool:
    """Whether these are the layers of a textbook network that comes with archsearch, made to fit images and classes."""
    return arch.id in {network.id for network in zoo.fitting(arch.input_shape, arch.classes).values()}


@dataclass(frozen=True)
class Measured:
    """A network of ours: mean test accuracy and its deviation (0 for one seed) in percent."""

    dataset: str
    name: str
    params: int
    accuracy: float
    deviation: float


def measured(group: Path) -> list[Measured]:
    """The networks of a group, each once; `name` is empty for what a search found, whatever its folder is called."""
    found: dict[tuple[Path, str], Measured] = {}
    for entry in entries(group):
        of = tested(entry.rows)[entry.arch.id]
        name = entry.name(group) if is_reference(entry.arch) else ""
        point = Measured(entry.dataset, name, entry.arch.cost.params, 100 * of.mean, 100 * (of.std or 0.0))
        found.setdefault((entry.folder, entry.arch.id), point)
    return list(found.values())


def picture(some: Iterable[Path], path: Path = PICTURE) -> None:
    """Test accuracy against parameters, a panel a dataset: what searches found, the textbook, what others published.

    A published figure without a count of parameters is a line; one beside a row of ours has no name.
    """
    from matplotlib.figure import Figure
    from PIL import Image

    ours = [row for group in some for row in measured(group)]
    names = list(dict.fromkeys(row.dataset for row in ours))
    lines = -(-len(names) // 2)
    figure = Figure(figsize=(11, 4.5 * lines), dpi=110, layout="constrained")
    for number, dataset in enumerate(names, 1):
        axes = figure.add_subplot(lines, 2, number)
        mine = [row for row in ours if row.dataset == dataset]
        _panel(axes, mine, [row for row in published() if row.dataset == dataset])
        axes.set(xscale="log", xlabel="parameters", ylabel="test accuracy (%)", title=dataset)
        axes.grid(which="major", alpha=0.25)
        axes.margins(x=0.18, y=0.1)
    figure.axes[0].legend(loc="lower left", fontsize=8)
    figure.draw_without_rendering()  # names are placed in pixels
    figure.set_layout_engine("none")
    for axes, dataset in zip(figure.axes, names, strict=True):
        mine = [row for row in ours if row.dataset == dataset]
        _named(axes, mine, [row for row in published() if row.dataset == dataset])
    whole = BytesIO()
    figure.savefig(whole)
    small = Image.open(whole).convert("RGB").quantize(64)  # a third of the bytes
    write_with(path, lambda temporary: small.save(temporary, format="png", optimize=True))


def _panel(axes: Axes, ours: list[Measured], others: list[Published]) -> None:
    kinds = (
        ("found by a search", FRONT, "o", [row for row in ours if not row.name]),
        ("textbook, our recipe", REFERENCE, "*", [row for row in ours if row.name]),
    )
    for label, colour, marker, rows in kinds:
        axes.errorbar(
            [row.params for row in rows],
            [row.accuracy for row in rows],
            [row.deviation for row in rows],
            fmt=marker, ms=9, color=colour, capsize=3, label=label, zorder=3,
        )  # fmt: skip
    placed = [row for row in others if row.params]
    axes.plot(
        [row.params for row in placed],
        [row.accuracy for row in placed],
        ls="", marker="D", mfc="none", color=REJECTED, label="published by others",
    )  # fmt: skip
    for row in others:
        if not row.params:
            axes.axhline(row.accuracy, ls=":", lw=1, color=REJECTED)
            axes.annotate(
                row.network, (0.02, row.accuracy), xycoords=("axes fraction", "data"), fontsize=7, color=INK,
                xytext=(0, 3), textcoords="offset points",
            )  # fmt: skip


def _named(axes: Axes, ours: list[Measured], others: list[Published]) -> None:
    """Names of references, and of others' networks without a row of ours, where they lie on no mark and no name."""
    names = [(row.name, row.params, row.accuracy) for row in ours if row.name]
    names += [(row.network, row.params, row.accuracy) for row in others if row.params and not row.name]
    points = [(row.params, row.accuracy) for row in (*ours, *others) if row.params]
    texts = [axes.text(0, 0, name, fontsize=7, color=INK, transform=None, va="bottom") for name, *_ in names]
    sizes = [text.get_window_extent() for text in texts]
    pixels = axes.transData.transform
    boxes = [Box(x - 7, y - 7, x + 7, y + 7) for x, y in map(pixels, points)]
    boxes += [Box(*text.get_window_extent().extents) for text in axes.texts[: -len(texts) or None]]
    wanted = [Name(*pixels((x, y)), size.width, size.height) for (_, x, y), size in zip(names, sizes, strict=True)]
    inside = Box(*axes.get_window_extent().extents)
    for text, box in zip(texts, place(wanted, boxes, inside, 9), strict=True):
        text.set_position((box.left, box.bottom))


def marks(name: str) -> tuple[str, str]:
    """What stands before and behind a group's table in the page."""
    return f"<!-- results/{name} -->", f"<!-- /results/{name} -->"


def page_of(group: Path) -> Path:
    """Where the tables of a group stand."""
    return PAGES / f"{group.name}.md"


def shown() -> list[Path]:
    """The groups whose pages the index links to, in its order."""
    linked = re.findall(r"\]\(([\w-]+)\.md\)", (PAGES / "index.md").read_text())
    return [RESULTS / name for name in dict.fromkeys(linked) if (RESULTS / name).is_dir()]


def page(text: str, group: Path) -> str:
    """A group's page with today's tables. Raises ValueError where it has no marks for them."""
    first, last = marks(group.name)
    before, _, rest = text.partition(first)
    _, found, after = rest.partition(last)
    if not found:
        raise ValueError(f"{page_of(group).name} has no place for the tables: {first} and {last}")
    return "\n".join([before + first, *everything(group), last + after])


def main(words: list[str] | None = None) -> None:
    """Print the tables, or write them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true")
    if parser.parse_args(words).write:
        for group in shown():
            file = page_of(group)
            file.write_text(page(file.read_text(), group))
        picture(shown())
        return
    for group in groups():
        print(f"results/{group.name}", *everything(group), "", sep="\n")


if __name__ == "__main__":
    main()
