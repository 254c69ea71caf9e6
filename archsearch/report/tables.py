"""Finished candidates as tables: columns as the contract fixes them, accuracies as fractions."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from archsearch.network.limits import LATENCY
from archsearch.study.records import Record, Reject, Retrained, front

if TYPE_CHECKING:
    import pandas as pd

BASE_COLUMNS = [
    "arch", "val_accuracy", "params", "size_bytes", "macs", "peak_activation_bytes",
    "epochs", "train_seconds", "trial", "seed", "summary",
]  # fmt: skip
USAGE_COLUMNS = [
    "images_per_second", "data_seconds", "step_seconds", "eval_seconds", "overhead_seconds", "peak_memory_bytes",
]  # fmt: skip
BIRTH_COLUMNS = ["init_share", "parent", "lineage_epochs"]
"""The share of a network's parameters that did not begin from nothing; with `--inherit` the trial that they come from,
and the epochs that they have seen: its own, and as large a share of the parent's as it inherited. Only where known."""
TRIAL_COLUMNS = [*BASE_COLUMNS, "state", "reason", *USAGE_COLUMNS]
SCORE_COLUMN = "val_score"
"""What a study maximises, where that is not the accuracy."""
TEST_COLUMNS = ["test_accuracy_mean", "test_accuracy_std", "test_seeds"]
TEST_SCORE_COLUMNS = ["test_score_mean", "test_score_std"]
RETRAINED_COLUMNS = [
    "arch", "seed", "test_accuracy", "mirrored", "epochs", "train_seconds", "params", "device", "start", "recipe",
]  # fmt: skip
REJECT_COLUMNS = ["arch", "params", "size_bytes", "macs", "broke"]


@dataclass(frozen=True)
class Tested:
    """Accuracy on the test split over retrainings: mean and deviation (ddof 1, None for a single one) as fractions.

    `score_mean`, `score_std`: those of the study's metric, None where it is the accuracy or not defined there.
    """

    mean: float
    std: float | None
    seeds: int
    score_mean: float | None = None
    score_std: float | None = None


def tested(rows: Sequence[Retrained]) -> dict[str, Tested]:
    """What retraining measured, by network."""
    every: dict[str, list[Retrained]] = {}
    for row in rows:
        every.setdefault(row.arch, []).append(row)
    return {arch: _tested(found) for arch, found in every.items()}


def _tested(rows: Sequence[Retrained]) -> Tested:
    mean, std = _moments([row.test_accuracy for row in rows])
    scores = [row.test_score for row in rows if row.test_score is not None]
    if len(scores) < len(rows):
        return Tested(mean, std, len(rows))
    return Tested(mean, std, len(rows), *_moments(scores))


def _moments(values: Sequence[float]) -> tuple[float, float | None]:
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def front_table(records: Sequence[Record], retrained: Sequence[Retrained] = ()) -> pd.DataFrame:
    """The front with the columns of `pareto.csv`; with retrainings also those of the test split."""
    import pandas as pd

    rows = front(records)
    frame = _frame(rows, [*BASE_COLUMNS, *_scored(records), *_more(records)])
    if not retrained:
        return frame
    found = tested(retrained)
    scored = TEST_SCORE_COLUMNS if any(row.test_score is not None for row in retrained) else []
    columns = [*TEST_COLUMNS, *scored]
    tests = [_test_cells(found.get(row.arch))[: len(columns)] for row in rows]
    kinds = {name: "Int64" if name == "test_seeds" else "float64" for name in columns}
    return frame.join(pd.DataFrame(tests, columns=columns, dtype=object).astype(kinds))


def _test_cells(found: Tested | None) -> list[float | None]:
    return [found.mean, found.std, found.seeds, found.score_mean, found.score_std] if found else [None] * 5


def retrained_table(rows: Sequence[Retrained]) -> pd.DataFrame:
    """Retrainings with the columns of `retrain.csv`, one row each; the recipe as JSON."""
    scored = ["test_score"] if any(row.test_score is not None for row in rows) else []
    frame = _frame(rows, [*RETRAINED_COLUMNS, *scored])
    return frame.assign(recipe=[json.dumps(row.recipe) for row in rows])


def trials_table(records: Sequence[Record]) -> pd.DataFrame:
    """Every finished candidate with the columns of `trials.csv`."""
    frame = _frame(records, [*TRIAL_COLUMNS, *_scored(records), *_more(records), *_begun(records)])
    outside = frame["state"] == "reference"
    whole = ["trial", *({"parent"} & {*frame})]
    return frame.astype(dict.fromkeys(whole, "Int64")).assign(trial=lambda table: table["trial"].mask(outside))


def _scored(records: Sequence[Record]) -> list[str]:
    """The column of another score than the accuracy, where there is one."""
    return [SCORE_COLUMN] if any(record.val_score is not None for record in records) else []


def _more(records: Sequence[Record]) -> list[str]:
    """Measures beyond the base columns that the study limits."""
    return list(dict.fromkeys(name for record in records for name in record.more))


def _begun(records: Sequence[Record]) -> list[str]:
    """The columns of networks that did not begin from nothing, where there are any."""
    return [name for name in BIRTH_COLUMNS if any(name in record.usage for record in records)]


def rejects_table(rejects: Sequence[Reject]) -> pd.DataFrame:
    """Candidates over budget with the columns of `rejected.csv`."""
    timed = [LATENCY] if any(reject.latency_ms is not None for reject in rejects) else []
    return _frame(rejects, [*REJECT_COLUMNS, *timed])


def _frame(rows: Sequence[object], columns: list[str]) -> pd.DataFrame:
    import pandas as pd

    frame = pd.DataFrame([[_cell(row, name) for name in columns] for row in rows], columns=columns)
    whole = [name for name in ("params", "size_bytes", "macs") if name in columns]
    return frame.astype(dict.fromkeys(whole, "Int64"))


def _cell(row: object, name: str) -> object:
    if isinstance(row, Record) and not hasattr(row, name):
        return row.usage.get(name) if name in (*USAGE_COLUMNS, *BIRTH_COLUMNS) else row.more.get(name)
    return getattr(row, name)
