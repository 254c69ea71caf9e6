"""Candidates a minute by number of workers, in real runs of the command line; ratios first.

    python benchmarks/workers.py --workers 1,2 --trials 12 --rounds 3
    python benchmarks/workers.py --workers 1,auto --dataset cifar10 --device cuda --max-params 200k

Rounds alternate between the numbers of workers, so that a slow minute of the machine hits all of them. Time
runs from the first claim to the last result in the study: starting Python and loading the data are left out.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import optuna

from archsearch.study.storage import records, sqlite_url


def measure(workers: str, options: argparse.Namespace, folder: Path) -> tuple[float, float]:
    """Candidates a minute, and seconds of the whole command, of one run with that many workers."""
    command = [
        sys.executable, "-c", "from archsearch.cli import main; main()", "run", "--workers", workers,
        "--max-params", options.max_params, "--trials", str(options.trials), "--epochs", str(options.epochs),
        "--dataset", options.dataset, "--data-dir", options.data_dir, "--device", options.device,
        "--space", options.space, "--no-rungs", "--sampler", options.sampler, "--study", "s", "--out", str(folder),
    ]  # fmt: skip
    clock = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    whole = time.monotonic() - clock
    study = optuna.load_study(study_name="s", storage=sqlite_url(folder / "s" / "study.db"))
    done = {record.trial for record in records(study)}
    trials = [trial for trial in study.get_trials() if trial.number in done]
    start = min(trial.datetime_start for trial in trials if trial.datetime_start)
    end = max(trial.datetime_complete for trial in trials if trial.datetime_complete)
    return 60 * len(trials) / (end - start).total_seconds(), whole


def main(words: list[str] | None = None) -> None:
    """Print ratios to the first number of workers, then what was measured."""
    options = _options(words)
    numbers = options.workers.split(",")
    rates: dict[str, list[float]] = {number: [] for number in numbers}
    for turn in range(options.rounds):
        for number in numbers:
            with tempfile.TemporaryDirectory() as folder:
                rate, whole = measure(number, options, Path(folder))
            rates[number].append(rate)
            print(
                f"round {turn + 1}, {number} workers: {rate:.1f} candidates a minute, {whole:.1f} s in all", flush=True
            )
    for number in numbers[1:]:
        ratios = [b / a for a, b in zip(rates[numbers[0]], rates[number], strict=True)]
        shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"--workers {number} against {numbers[0]}: {statistics.median(ratios):.2f} times (rounds: {shown})")
    cores = len(os.sched_getaffinity(0))
    print(f"{options.dataset}, {options.space}, under {options.max_params}, {options.epochs} epochs, {cores} cores")


def _options(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--space", default="resnin")
    parser.add_argument("--max-params", default="200k")
    parser.add_argument("--sampler", default="random")
    return parser.parse_args(words)


if __name__ == "__main__":
    main()
