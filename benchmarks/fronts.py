"""Is the front as good as that of another checkout? The README's first command by both, at the same time.

    git worktree add /tmp/old REVISION
    python benchmarks/fronts.py /tmp/old --seeds 0,1,2,3,4 --seconds 90

Seed by seed the two trees search side by side for as long, each on a core of its own, by turns. Prints the hypervolume
of (validation accuracy, log parameters) of the complete candidates, reference (accuracy 0, log 5M), how many
were trained and stopped, and how many of the stopped are better than the front says. Then the paired differences.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from archsearch import pareto

LIMIT = 5e6
HERE = Path(__file__).parent.parent

Point = tuple[float, float]


def search(tree: Path, out: Path, seed: int, seconds: int, core: int) -> subprocess.Popen[bytes]:
    """The search of one tree, its tables in `out`."""
    arguments = ["run", "--max-params", "5e6", "--trials", "100000", "--timeout", f"{seconds}s", "--seed", str(seed)]
    arguments += ["--study", "s", "--out", str(out)]
    return subprocess.Popen(
        [sys.executable, "-c", "from archsearch.cli import main; main()", *arguments],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
        stdout=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )


def points(table: Path) -> tuple[list[Point], list[Point]]:
    """(Accuracy, log parameters) of what `trials.csv` says was completed, and of what was stopped."""
    with table.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["state"] in ("complete", "stopped")]
    found = [(row["state"], (float(row["val_accuracy"]), float(np.log(float(row["params"]))))) for row in rows]
    done, stopped = ([point for state, point in found if state == wanted] for wanted in ("complete", "stopped"))
    return done, stopped


def hypervolume(done: Sequence[Point]) -> float:
    """In accuracy times nats."""
    return pareto.hypervolume(np.array(done).reshape(-1, 2) * (-1, 1), (0.0, np.log(LIMIT)))


def missed(done: Sequence[Point], stopped: Sequence[Point]) -> int:
    """How many stopped candidates no complete one matches in size and accuracy."""
    return sum(not any(a >= mine[0] and s <= mine[1] for a, s in done) for mine in stopped)


def main(arguments: Sequence[str] | None = None) -> None:
    """A line a run, then the differences of this tree to the other."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("other", type=Path, help="checkout to compare with")
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--seconds", type=int, default=90)
    options = parser.parse_args(arguments)
    cores = sorted(os.sched_getaffinity(0))
    trees = {"this": HERE, "other": options.other.resolve()}
    found: dict[str, list[float]] = {name: [] for name in trees}
    for turn, seed in enumerate(options.seeds.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            outs = {name: Path(folder, name) for name in trees}
            runs = [
                search(trees[name], outs[name], int(seed), options.seconds, cores[(i + turn) % len(cores)])
                for i, name in enumerate(trees)
            ]
            codes = [run.wait() for run in runs]
            if any(codes):
                sys.exit("a search failed: its message is above")
            for name, out in outs.items():
                done, stopped = points(out / "s" / "trials.csv")
                found[name].append(hypervolume(done))
                print(
                    f"seed {seed} {name}: hypervolume {found[name][-1]:.4f}, trained {len(done)}, stopped"
                    f" {len(stopped)}, better than the front {missed(done, stopped)}",
                    flush=True,
                )
    differences = np.array(found["this"]) - np.array(found["other"])
    spread = differences.std(ddof=1) if len(differences) > 1 else 0.0
    print(f"this - other: {differences.mean():+.4f} ± {spread:.4f} over {len(differences)} seed(s), paired")


if __name__ == "__main__":
    main()
