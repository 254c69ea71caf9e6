"""From a budget to a certified file in a given time, as a chain of `archsearch` commands that goes on where it stopped.

    python benchmarks/campaign.py cifar10-6MB --time 2h
    python benchmarks/campaign.py cifar10-5M --time 20m -- --workers auto
    python benchmarks/campaign.py mnist --time 1h --npz --baseline -- --max-macs 5M --space my_space.toml

Two fifths of the time (`--search-share`) search, the rest trains the front's most accurate network fully, as many
epochs as fit (300 at most) for every seed; then it is exported to ONNX, as fp32 and as int8. Beyond that time,
`--baseline` gives random proposals as long as the search was given, in OUT/NAME/random, and `--references` trains the
textbook's networks that fit as the search's candidates were. What stands behind `--` is given to every search. Every
command is printed before it starts; OUT/NAME/campaign.json remembers what each part has spent, so that the same line,
started again after whatever ended it, spends only what is left. Ctrl-C lets the command that runs end in order, and
SIGTERM ends it.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from archsearch._utils.files import write_text
from archsearch._utils.units import format_seconds, parse_seconds

SEARCH_SHARE, SEEDS = 0.4, 3
LEAST, TRIALS = 20.0, "1000000"
"""Seconds that are worth beginning a part for; and more candidates than the time allows."""
NOTED_EVERY = 60.0
INTERRUPTED, TERMINATED = 130, 143

EXPORTERS = ("onnx", "onnxruntime", "onnxscript")
MUON = "--recipe optimiser=muon"
FULL = "--recipe batch_size=512 --recipe lr=0.2 --recipe flip=2 --recipe cutout=8 --recipe policy=trivial"


@dataclass(frozen=True)
class Campaign:
    """A dataset, its limits, epochs of a search's candidate, options of the search and of the winner's training."""

    dataset: str
    limits: str
    epochs: int
    options: str = ""
    full: str = ""


CAMPAIGNS = {
    "digits": Campaign("digits", "--max-params 20k", 5),
    "mnist": Campaign("mnist", "--max-params 44427", 5, "--recipe rotate=10"),
    "fashion-mnist": Campaign("fashion-mnist", "--max-params 100k --min-params 40k", 8, MUON),
    "cifar10-78k": Campaign("cifar10", "--max-params 78043 --min-params 40k", 16, f"--space compact {MUON}"),
    "cifar10-6MB": Campaign("cifar10", "--max-size 6MB", 12, f"--space deep {MUON}", FULL),
    "cifar10-5M": Campaign("cifar10", "--max-params 5e6", 12, f"--space deep {MUON}", FULL),
    "cifar100-5M": Campaign("cifar100", "--max-params 5e6", 16, MUON, FULL),
}
"""The lower limits keep all trainings of a small budget near it, whose best network is what is asked for."""


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The command line; `more` is what stands behind `--`, which argparse itself would not take after the options."""
    at = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(
        usage="%(prog)s NAME --time TIME [OPTION ...] [-- OPTION OF archsearch run ...]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=CAMPAIGNS)
    parser.add_argument("--time", type=parse_seconds, required=True, help="of search and training: 20m, 2h, 12h")
    parser.add_argument("--search-share", type=float, default=SEARCH_SHARE, help="of the time, for the search")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="full trainings of the winner")
    parser.add_argument(
        "--compile", action="store_true", help="full trainings by torch.compile, which needs a C compiler"
    )
    parser.add_argument("--baseline", action="store_true", help="random proposals, as long as the search was given")
    parser.add_argument("--references", action="store_true", help="train the textbook's networks that fit as well")
    parser.add_argument("--npz", action="store_true", help="take NAME.npz of this folder, download nothing")
    parser.add_argument("--out", type=Path, default=Path("campaigns"), help="folder of the campaigns")
    options = parser.parse_args(words[:at])
    if options.time < LEAST / 2:
        parser.error(f"--time {options.time:g}s: nothing is trained in less than {LEAST / 2:g} seconds")
    if not 0 < options.search_share < 1:
        parser.error(f"--search-share {options.search_share:g}: must be between 0 and 1")
    if options.seeds < 1:
        parser.error(f"--seeds {options.seeds}: at least one training is needed")
    options.more = list(words[at + 1 :])
    return options


class Parts:
    """The parts of a campaign, each with what it may spend, in seconds."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.campaign = options, CAMPAIGNS[options.name]
        self.folder: Path = options.out / options.name
        self.book = self.folder / "campaign.json"
        self.state: dict[str, Any] = json.loads(self.book.read_text()) if self.book.exists() else {}

    def all(self) -> None:
        """Everything that is left to do."""
        if "winner" not in self.state:
            limit = self.options.search_share * self.options.time
            self.search("search", limit, self.folder)
            self.note(winner=self.best(), limit=limit)
        if self.options.baseline:
            limit = self.state.get("limit", self.spent("search"))  # older books have none
            self.search("baseline", limit, self.folder / "random", "--sampler", "random")
        self.retrain(self.state["winner"], float(self.options.time) - self.spent("search"))
        self.export(self.state["winner"])
        if self.options.references:
            self.references()

    def search(self, part: str, limit: float, folder: Path, *more: str) -> None:
        """A search in a folder, unless its time is over."""
        if not self.is_over(part, limit):
            timeout = f"{limit - self.spent(part):.0f}s"
            self.run(part, folder, *more, "--trials", TRIALS, "--timeout", timeout, "--resume")

    def run(self, part: str, folder: Path, *more: object) -> None:
        """`archsearch run` with the options of every search."""
        dataset = f"npz:{self.campaign.dataset}.npz" if self.options.npz else self.campaign.dataset
        self.call(
            part, "run", "--dataset", dataset, *self.campaign.limits.split(), "--epochs", self.campaign.epochs,
            *self.campaign.options.split(), *self.options.more, *more, "--study", folder.name, "--out", folder.parent,
        )  # fmt: skip

    def best(self) -> str:
        """The front's most accurate network."""
        front = pd.read_csv(self.folder / "pareto.csv", dtype={"arch": str})
        if front.empty:
            raise SystemExit("campaign: no candidate was trained to the end: give more --time")
        return str(front.arch.iloc[-1])

    def references(self) -> None:
        """The textbook's networks that fit, trained as a candidate is; the search has no more trainings."""
        if "references" not in self.state:
            trained = pd.read_csv(self.folder / "trials.csv").state.isin(["complete", "stopped"]).sum()
            self.run("references", self.folder, "--references", "--trials", trained, "--resume")
            self.note(references=True)

    def retrain(self, winner: str, limit: float) -> None:
        """The winner's full trainings that are left, unless their time is over; those that are begun fix the epochs."""
        if len(self.trained(winner)) < self.options.seeds and not self.is_over("retrain", limit):
            within, timeout = (max(LEAST, left) for left in (limit, limit - self.spent("retrain")))
            self.call(
                "retrain", "retrain", self.folder, "--arch", winner, "--seeds", self.options.seeds,
                *self.campaign.full.split(), *(["--compile"] if self.options.compile else []),
                "--within", f"{within:.0f}s", "--timeout", f"{timeout:.0f}s",
            )  # fmt: skip

    def trained(self, winner: str) -> list[Path]:
        """The weights of its full trainings, by seed."""
        found = (self.folder / "weights").glob(f"{winner}-seed*.safetensors")
        return sorted(found, key=lambda path: (len(path.name), path))

    def export(self, winner: str) -> None:
        """The first full training as ONNX, where that has not been done since it was trained."""
        if not (trained := self.trained(winner)):
            raise SystemExit("campaign: no full training came to its end: the same line with more --time goes on")
        weights = trained[0]
        for name, precision in (("model.onnx", []), ("model.int8.onnx", ["--quantize", "int8"])):
            target = self.folder / "export" / winner / name
            if not target.exists() or target.stat().st_mtime < weights.stat().st_mtime:
                words = (self.folder, winner, "--weights", weights, "--format", "onnx", *precision)
                self.call("export", "export", *words)

    def is_over(self, part: str, limit: float) -> bool:
        """Whether a part has spent what it may, or too little is left to begin anything."""
        return self.spent(part) > 0 and limit - self.spent(part) < LEAST

    def note(self, **values: Any) -> None:
        """Write something down."""
        self.state |= values
        write_text(self.book, json.dumps(self.state, indent=2))

    def spent(self, part: str) -> float:
        """Seconds that the commands of a part have run."""
        return float(self.state.get("spent", {}).get(part, 0.0))

    def call(self, part: str, *words: object) -> None:
        """Run a command and write down its time, also where it fails, which ends the campaign."""
        command = [sys.executable, "-c", "from archsearch.cli import main; main()", *map(str, words)]
        print(shlex.join(["archsearch", *command[3:]]), flush=True)
        before, clock = self.spent(part), time.monotonic()
        process = subprocess.Popen(command)
        try:
            while (status := _waited(process)) is None:
                self._spend(part, before + time.monotonic() - clock)
        except KeyboardInterrupt:  # a terminal sends it to the command as well
            process.wait()
            raise SystemExit(INTERRUPTED) from None
        except SystemExit:  # SIGTERM, which the command has not heard of
            process.terminate()
            process.wait()
            raise
        finally:
            self._spend(part, before + time.monotonic() - clock)
        if status:
            raise SystemExit(status)

    def _spend(self, part: str, seconds: float) -> None:
        self.note(spent={**self.state.get("spent", {}), part: round(seconds, 1)})


def _waited(process: subprocess.Popen[bytes]) -> int | None:
    """Its exit status, or None where it has not ended in the next minute."""
    try:
        return process.wait(NOTED_EVERY)
    except subprocess.TimeoutExpired:
        return None


def main() -> None:
    """Run what is left, then say what was spent."""
    if missing := [name for name in EXPORTERS if importlib.util.find_spec(name) is None]:
        raise SystemExit(f"campaign: the last part needs {' and '.join(missing)}: pip install '.[export]'")
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(TERMINATED))
    parts = Parts(parse(sys.argv[1:]))
    parts.all()
    print(", ".join(f"{part} {format_seconds(seconds)}" for part, seconds in parts.state["spent"].items()))


if __name__ == "__main__":
    main()
