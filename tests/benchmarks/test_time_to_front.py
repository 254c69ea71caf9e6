"""benchmarks/time_to_front.py: what is on a front when, how it is judged, and that nothing is done twice."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from by_path import benchmark_module

module = benchmark_module("time_to_front")
TRIALS = pd.DataFrame(
    {
        "arch": ["0a", "0b", "0c", "0d", "0e"],
        "val_accuracy": [0.5, 0.9, 0.7, 0.95, 0.6],
        "params": [100, 400, 200, 800, 300],
        "train_seconds": [10.0, 20.0, 5.0, 30.0, 10.0],
        "state": ["complete", "complete", "stopped", "complete", "complete"],
    }
)


def test_seconds_are_those_of_every_training() -> None:
    assert module.clocked(TRIALS)["at"].tolist() == [10, 30, 65, 75]


@pytest.mark.parametrize(
    ("seconds", "members", "archs"),
    [
        (5, 3, []),
        (10, 3, ["0a"]),
        (64, 3, ["0a", "0b"]),
        (100, 3, ["0a", "0b", "0d"]),
        (100, 2, ["0a", "0d"]),
        (100, 1, ["0d"]),
    ],
)
def test_a_front_is_of_what_was_finished(seconds: float, members: int, archs: list[str]) -> None:
    assert module.front_at(module.clocked(TRIALS), seconds, members) == archs


def test_judges_are_averaged() -> None:
    scores = pd.DataFrame({"arch": ["a", "a", "b"], "params": [100, 100, 50], "test_accuracy": [0.8, 0.6, 0.5]})
    volume, best = module.judged(scores, 100 * math.e)
    assert volume == pytest.approx(0.5 * math.log(2) + 0.7)
    assert best == pytest.approx(0.7)
    assert module.judged(scores[:0], 100) == (0, 0)


def test_searches_go_by_turns_and_nothing_is_done_twice(tmp_path: Path) -> None:
    options = module.parse(["--seeds", "0,1", "--seconds", "5", "--marks", "1", "--out", str(tmp_path)])
    assert options.name == "digits"
    lines: list[str] = []

    class Noted(module.Comparison):
        def call(self, part: str, *words: Any) -> None:
            if part in self.done:
                return
            self.done.append(part)
            lines.append(" ".join(map(str, words)))
            if words[0] == "run":
                (self.folder / part).mkdir(parents=True)
                TRIALS.to_csv(self.folder / part / "trials.csv", index=False)
            else:
                table = pd.DataFrame(
                    {"arch": ["0a", "0b", "0d"], "params": [1, 2, 3], "test_accuracy": [0.1, 0.2, 0.3]}
                )
                (self.folder / "judged").mkdir(exist_ok=True)
                table.to_csv(self.folder / "judged" / "retrain.csv", index=False)

    comparison = Noted(options)
    table = comparison.run()
    assert table.complete.tolist() == [4] * 4
    assert table.best.tolist() == [0.3] * 4
    studies = [line.split("--study ")[1].split()[0] for line in lines if line.startswith("run")]
    assert studies == ["this-0", "other-0", "other-1", "this-1"]
    assert [("--inherit" in line) for line in lines if line.startswith("run")] == [True, False, False, True]
    assert sum(line.startswith("retrain") for line in lines) == 3
    count = len(lines)
    comparison.run()
    assert len(lines) == count
    assert (comparison.folder / "table.csv").exists()
