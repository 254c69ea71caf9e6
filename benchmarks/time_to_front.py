"""How many seconds of training does a front cost? Two settings of `run`, seed by seed, on one core after the other.

    python benchmarks/time_to_front.py --dataset digits --seconds 60 --seeds 0
    python benchmarks/time_to_front.py --dataset npz:cifar10.npz --image-size 16 --limits '--max-params 500k' \\
        --seconds 3600 --seeds 0,1,2 --judge-epochs 48

Both settings search for as long: `--this` (by default `--inherit`) and `--other` (by default nothing), by turns first.
Their seconds are those of all trainings so far. At each of `--marks` equal parts of the shorter search, the front by
validation accuracy is judged: at most `--members` networks of it, evenly over size with the most accurate among them,
are trained from scratch for `--judge-epochs`, by `--judges` seeds from 1000 on that nothing was chosen by. Hypervolume
is that of (mean test accuracy, log parameters), reference (accuracy 0, log of the largest network of both searches).

OUT/time_to_front/NAME gets a folder for each search, one of judged networks, and table.csv. Every command is printed
before it starts; what is finished is not done again.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from archsearch import pareto
from archsearch._utils.files import write_text

TRIALS, FIRST_SEED = 1_000_000, 1000
SETTINGS = ("this", "other")


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--limits", default="--max-params 50k", help="and other options of both searches")
    parser.add_argument("--this", default="--inherit", help="options of one search")
    parser.add_argument("--other", default="", help="options of the other one")
    parser.add_argument("--seconds", type=float, default=120, help="of each search")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--marks", type=int, default=3)
    parser.add_argument("--members", type=int, default=3)
    parser.add_argument("--judges", type=int, default=1)
    parser.add_argument("--judge-epochs", type=int, default=20)
    parser.add_argument("--name", help="of the results; by default the dataset's")
    parser.add_argument("--out", type=Path, default=Path("results"))
    options = parser.parse_args(words)
    options.name = options.name or Path(options.dataset.partition(":")[2] or options.dataset).stem
    if min(options.seconds, options.marks, options.members, options.judges) <= 0:
        parser.error("--seconds, --marks, --members and --judges must be above zero")
    return options


def clocked(trials: pd.DataFrame) -> pd.DataFrame:
    """The complete candidates, each with `at`: the seconds of all trainings when it was finished."""
    trials = trials.assign(at=trials.train_seconds.cumsum())
    return trials[trials.state == "complete"]


def front_at(done: pd.DataFrame, seconds: float, members: int) -> list[str]:
    """Ids of at most so many networks on the front of what was finished by then, smallest first."""
    rows = done[done["at"] <= seconds].reset_index(drop=True)
    if rows.empty:
        return []
    keep = pareto.front([*zip(rows.params, -rows.val_accuracy, strict=True)])
    rows = rows[np.array(keep)].sort_values("params")
    chosen = np.linspace(len(rows) - 1, 0, min(members, len(rows))).round().astype(int)
    return [str(arch) for arch in rows.arch.iloc[sorted(set(chosen))]]


def judged(scores: pd.DataFrame, most: float) -> tuple[float, float]:
    """Hypervolume and best accuracy of networks: columns `params` and `test_accuracy`; `most`: parameters."""
    if scores.empty:
        return 0.0, 0.0
    means = scores.groupby("arch")[["params", "test_accuracy"]].mean()
    points = np.column_stack([-means.test_accuracy, np.log(means.params)])
    return pareto.hypervolume(points, (0.0, np.log(most) + 1e-9)), float(means.test_accuracy.max())


class Comparison:
    """The searches and judgements of one dataset, in one folder."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.folder: Path = options.out / "time_to_front" / options.name
        self.book = self.folder / "done.json"
        self.done: list[str] = json.loads(self.book.read_text()) if self.book.exists() else []
        size = ["--image-size", options.image_size] if options.image_size else []
        self.data = ["--dataset", options.dataset, *size]

    def run(self) -> pd.DataFrame:
        """Everything that is left to do; returns the table."""
        rows = [row for turn, seed in enumerate(self.options.seeds.split(",")) for row in self.seed(turn, seed)]
        table = pd.DataFrame(rows)
        write_text(self.folder / "table.csv", table.to_csv(index=False))
        return table

    def seed(self, turn: int, seed: str) -> list[dict[str, object]]:
        """Both searches of a seed, and their fronts at each mark."""
        found = {name: self.search(name, seed) for name in (SETTINGS if turn % 2 == 0 else SETTINGS[::-1])}
        end = min(done["at"].max() for done in found.values())
        most = max(done.params.max() for done in found.values())
        rows: list[dict[str, object]] = []
        for mark in range(1, self.options.marks + 1):
            for name in SETTINGS:
                seconds, done = mark * end / self.options.marks, found[name]
                scores = self.judge(self.study(name, seed), front_at(done, seconds, self.options.members))
                volume, best = judged(scores, most)
                count = int((done["at"] <= seconds).sum())
                rows.append({"seed": seed, "setting": name, "seconds": round(seconds, 1), "complete": count,
                             "hypervolume": round(volume, 4), "best": round(best, 4)})  # fmt: skip
        return rows

    def study(self, name: str, seed: str) -> str:
        """The name of a search's study."""
        return f"{name}-{seed}"

    def search(self, name: str, seed: str) -> pd.DataFrame:
        """The complete candidates of as long a search as asked for."""
        options, study = self.options, self.study(name, seed)
        own = shlex.split(f"{options.limits} {getattr(options, name)}")
        self.call(
            study, "run", *self.data, *own, "--seed", seed, "--trials", TRIALS, "--timeout", f"{options.seconds:g}s",
            "--study", study, "--out", self.folder, "--resume",
        )  # fmt: skip
        done = clocked(pd.read_csv(self.folder / study / "trials.csv", dtype={"arch": str}))
        if done.empty:
            raise SystemExit(f"time_to_front: nothing was complete in {study}: give more --seconds")
        return done

    def judge(self, study: str, archs: Sequence[str]) -> pd.DataFrame:
        """A row for each full training of these networks."""
        for arch in archs:
            file = self.folder / study / "archs" / f"{arch}.toml"
            self.call(
                f"judge {arch}", "retrain", file, *self.data, "--seeds", self.options.judges, "--first-seed",
                FIRST_SEED, "--epochs", self.options.judge_epochs, "--study", "judged", "--out", self.folder,
            )  # fmt: skip
        if not archs:
            return pd.DataFrame()
        every = pd.read_csv(self.folder / "judged" / "retrain.csv", dtype={"arch": str})
        return every[every.arch.isin(archs)]

    def call(self, part: str, *words: object) -> None:
        """Run a command that is not done yet."""
        if part in self.done:
            return
        print(shlex.join(["archsearch", *map(str, words)]), flush=True)
        command = [sys.executable, "-c", "import sys; from archsearch.cli import main; sys.exit(main())"]
        status = subprocess.run([*command, *map(str, words)], stdout=subprocess.DEVNULL).returncode
        if status:
            raise SystemExit(status)
        self.done.append(part)
        write_text(self.book, json.dumps(self.done) + "\n")


def main() -> None:
    """Do what is left, then print the table."""
    print(Comparison(parse(sys.argv[1:])).run().to_string(index=False))


if __name__ == "__main__":
    main()
