"""The best small network for a folder of pictures: a search's winner against another space and two known networks.

    python benchmarks/photos.py folder:my_photos --name my_photos --minutes 40 --retrain-minutes 10
    python benchmarks/photos.py npz:photos.npz --name photos --image-size 64 --limits '--max-size 500kB --max-macs 20M'

Two searches of equal time, one after the other, under the same limits: `--space` and `--against`. Their most accurate
candidates, by validation images, are trained fully with `--seeds` seeds, `--retrain-minutes` each. So are
MobileNetV3-Small x0.5 and an EfficientNet-B0 under 1 MB (`ref:mobilenet-v3-small-050`, `ref:efficientnet-1mb`), by the
recipe of the first search, as many epochs as the time allows. Each full training reads the test split once, at its end.

OUT/photos/NAME gets a folder for each of the four, photos.json (commands, seconds), table.csv and table.md. Every
command is printed before it starts; what is finished is not done again.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from archsearch._utils.files import write_text
from archsearch.network.arch import Arch

LIMITS = "--max-size 1MB --max-macs 60M"
REFERENCES = ("mobilenet-v3-small-050", "efficientnet-1mb")
TRIALS, MOST_EPOCHS = 1_000_000, 10_000
"""More than the time allows."""


@dataclass(frozen=True)
class Entry:
    """A network of the comparison: its name, and what `retrain` takes."""

    name: str
    target: str


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="as of `archsearch run --dataset`; a path is a folder")
    parser.add_argument("--name", help="of the results; by default the folder's")
    parser.add_argument("--minutes", type=float, default=40, help="of each search")
    parser.add_argument("--retrain-minutes", type=float, default=10, help="of each full training")
    parser.add_argument("--seeds", type=int, default=3, help="full trainings of each network")
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--limits", default=LIMITS, help=f"of both searches: {LIMITS!r}")
    parser.add_argument("--space", default="photos", help="that is tried")
    parser.add_argument("--against", default="resnin", help="the other space")
    parser.add_argument("--against-limits", help="of the other space's search, where they are others")
    parser.add_argument("--search", default="", help="more options of both searches, such as '--workers 2'")
    parser.add_argument("--full", default="", help="more options of all full trainings: '--recipe policy=trivial'")
    parser.add_argument("--out", type=Path, default=Path("results"))
    options = parser.parse_args(words)
    if ":" not in options.dataset:
        options.dataset = f"folder:{options.dataset}"
    options.name = options.name or Path(options.dataset.partition(":")[2]).stem
    if min(options.minutes, options.retrain_minutes) <= 0 or options.seeds < 1:
        parser.error("--minutes, --retrain-minutes and --seeds must be above zero")
    if options.space == options.against:
        parser.error(f"--against {options.against}: give another space than --space")
    return options


class Comparison:
    """The parts of a comparison, in one folder."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.folder: Path = options.out / "photos" / options.name
        self.book = self.folder / "photos.json"
        self.parts: dict[str, dict[str, Any]] = json.loads(self.book.read_text()) if self.book.exists() else {}
        self.data = ["--dataset", options.dataset, "--image-size", options.image_size]

    def run(self) -> pd.DataFrame:
        """Everything that is left to do; returns the table."""
        spaces = (self.options.space, self.options.against)
        for space in spaces:
            self.search(space)
        if not self.has_winner(spaces[0]):
            raise SystemExit(f"photos: no candidate of {spaces[0]} was trained to the end: more --minutes, or --limits")
        entries = [
            *(Entry(space, str(self.folder / space)) for space in spaces if self.has_winner(space)),
            *(Entry(name, f"ref:{name}") for name in REFERENCES),
        ]
        for entry in entries:
            self.retrain(entry)
        table = pd.DataFrame([self.row(entry) for entry in entries])
        write_text(self.folder / "table.csv", table.to_csv(index=False))
        write_text(self.folder / "table.md", markdown(table))
        return table

    def search(self, space: str) -> None:
        """As many candidates as the time allows. A space in which nothing fits has none."""
        options = self.options
        timeout = f"{60 * options.minutes:.0f}s"
        limits = options.limits if space == options.space else options.against_limits or options.limits
        self.call(
            f"search {space}", "run", "--space", space, *self.data, *shlex.split(limits),
            "--trials", TRIALS, "--timeout", timeout, *shlex.split(options.search),
            "--study", space, "--out", self.folder, "--resume", may_fail=True,
        )  # fmt: skip

    def has_winner(self, space: str) -> bool:
        """Whether a search trained a candidate to the end."""
        front = self.folder / space / "pareto.csv"
        return front.exists() and not pd.read_csv(front).empty

    def retrain(self, entry: Entry) -> None:
        """All full trainings of a network, in the time of all its seeds."""
        options = self.options
        within = f"{60 * options.retrain_minutes * options.seeds:.0f}s"
        words: list[object] = ["--seeds", options.seeds, "--within", within, "--epochs", MOST_EPOCHS]
        if entry.target.startswith("ref:"):
            words += [*self.data, *self.recipe(), "--study", entry.name, "--out", self.folder]
        self.call(f"retrain {entry.name}", "retrain", entry.target, *words, *shlex.split(options.full))

    def recipe(self) -> list[str]:
        """The recipe of the first search, as options."""
        about = json.loads((self.folder / self.options.space / "run.json").read_text())
        return [
            word for key, value in about["recipe"].items() if key != "epochs" for word in ("--recipe", f"{key}={value}")
        ]

    def row(self, entry: Entry) -> dict[str, Any]:
        """What the full trainings of a network measured, and what it costs."""
        folder = self.folder / entry.name
        rows = pd.read_csv(folder / "retrain.csv", dtype={"arch": str})
        name = rows.arch.iloc[-1]
        rows = rows[rows.arch == name]
        arch = Arch.load(folder / "archs" / f"{name}.toml")
        return {
            "network": entry.name,
            "arch": name,
            "test_accuracy_mean": rows.test_accuracy.mean(),
            "test_accuracy_std": rows.test_accuracy.std(),
            "seeds": len(rows),
            "params": arch.cost.params,
            "size_bytes": arch.cost.size_bytes("fp32"),
            "macs": arch.cost.macs,
            "epochs": rows.epochs.iloc[0],
            "seconds_a_training": rows.train_seconds.mean(),
            "val_accuracy": self.validated(folder, name),
            "candidates": self.candidates(folder),
            "search_seconds": self.parts.get(f"search {entry.name}", {}).get("seconds"),
            "summary": arch.summary,
        }

    def validated(self, folder: Path, name: str) -> float | None:
        """The validation accuracy by which a search's winner was chosen."""
        if not (folder / "pareto.csv").exists():
            return None
        front = pd.read_csv(folder / "pareto.csv", dtype={"arch": str})
        return float(front[front.arch == name].val_accuracy.iloc[0])

    def candidates(self, folder: Path) -> int | None:
        """How many a search trained, those that were stopped early among them."""
        if not (folder / "trials.csv").exists():
            return None
        return int(pd.read_csv(folder / "trials.csv").state.isin(["complete", "stopped"]).sum())

    def call(self, part: str, *words: object, may_fail: bool = False) -> None:
        """Run a command that is not done yet, and write down its seconds."""
        if part in self.parts:
            return
        said = shlex.join(["archsearch", *map(str, words)])
        print(said, flush=True)
        clock = time.monotonic()
        command = [sys.executable, "-c", "import sys; from archsearch.cli import main; sys.exit(main())"]
        status = subprocess.run([*command, *map(str, words)]).returncode
        if status and not (may_fail and status == 1):
            raise SystemExit(status)
        seconds = round(time.monotonic() - clock, 1)
        self.parts[part] = {"command": said, "status": status, "seconds": seconds, "ended": time.strftime("%F %H:%M")}
        write_text(self.book, json.dumps(self.parts, indent=2) + "\n")


def markdown(table: pd.DataFrame) -> str:
    """The table for people."""
    lines = [
        "| network | test accuracy | seeds | parameters | bytes, fp32 | M MACs | epochs | seconds a training |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in table.itertuples():
        spread = "" if pd.isna(row.test_accuracy_std) else f" ± {100 * row.test_accuracy_std:.2f}"
        lines.append(
            f"| {row.network} | {100 * row.test_accuracy_mean:.2f}{spread} | {row.seeds} | {row.params:,} |"
            f" {row.size_bytes:,} | {row.macs / 1e6:.1f} | {row.epochs} | {row.seconds_a_training:.0f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Do what is left, then print the table."""
    comparison = Comparison(parse(sys.argv[1:]))
    print(markdown(comparison.run()), end="")


if __name__ == "__main__":
    main()
