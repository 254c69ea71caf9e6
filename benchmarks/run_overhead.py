"""What a run costs beside its trainings, and whether its memory grows with the number of trials. Linux only.

    python benchmarks/run_overhead.py --trials 200 --epochs 1 --max-params 3k      memory over short trials
    python benchmarks/run_overhead.py --trials 8 --epochs 40 --max-params 200k     share of the time, longer trainings

Runs `archsearch run` on digits, without rungs, and prints one line a figure: the wall time that was no training, start
and imports apart; and resident memory of all its processes over the run.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pandas as pd

MAIN = "from archsearch.cli import main; main()"


def family(pid: int) -> list[int]:
    """A process and all that come from it."""
    found = [pid]
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            found += family(int(child))
    return found


def resident(pid: int) -> float:
    """MB of a process and all that come from it; pages that they share count in each."""
    total = 0
    for one in family(pid):
        match = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{one}/status").read_text())
        total += int(match[1]) if match else 0
    return total / 1024


class Watched:
    """A run, its finished trials with the time of each, and its memory at each."""

    def __init__(self, command: list[str]) -> None:
        self.start = time.monotonic()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.ends: list[float] = []
        self.memory: list[float] = []
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            if line.startswith("["):
                self.ends.append(time.monotonic() - self.start)
                self.memory.append(resident(self.process.pid))

    def wait(self) -> float:
        """Seconds of the whole run."""
        self.reader.join()
        if self.process.wait():
            sys.exit(f"archsearch run ended with {self.process.returncode}")
        return time.monotonic() - self.start


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--max-params", default="3k")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        words = ["run", "--no-rungs", "--study", "s", "--out", folder, "--max-params", options.max_params]
        words += ["--trials", str(options.trials), "--epochs", str(options.epochs)]
        run = Watched([sys.executable, "-c", MAIN, *words])
        wall = run.wait()
        table = pd.read_csv(Path(folder) / "s" / "trials.csv")
    seconds = list(table["train_seconds"])
    between = run.ends[-1] - run.ends[0] - sum(seconds[1:])
    print(f"trials {len(seconds)}, of {sum(seconds) / len(seconds):.2f} s each; {wall:.0f} s in all")
    rate, part = between / (len(seconds) - 1), between / sum(seconds[1:])
    print(f"beside training: {rate:.3f} s a trial, {100 * part:.1f}% of the trainings")
    print(f"start and end: {wall - run.ends[-1] + run.ends[0] - seconds[0]:.1f} s")
    for part in (0.05, 0.25, 0.5, 0.75, 1.0):
        place = max(0, round(part * len(run.memory)) - 1)
        print(f"resident after {place + 1} trials: {run.memory[place]:.0f} MB")


if __name__ == "__main__":
    main()
