"""Finished candidates as tables: columns as the contract fixes them, accuracies as fractions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from archsearch import pareto
from archsearch.storage import Record

if TYPE_CHECKING:
    import pandas as pd

BASE_COLUMNS = [
    "arch", "val_accuracy", "params", "size_bytes", "macs", "peak_activation_bytes",
    "epochs", "train_seconds", "trial", "seed", "summary",
]  # fmt: skip
USAGE_COLUMNS = [
    "images_per_second", "data_seconds", "step_seconds", "eval_seconds", "overhead_seconds", "peak_memory_bytes",
]  # fmt: skip
TRIAL_COLUMNS = [*BASE_COLUMNS, "state", "reason", *USAGE_COLUMNS]
REJECT_COLUMNS = ["arch", "params", "size_bytes", "macs", "broke"]


@dataclass(frozen=True)
class Reject:
    """A distinct candidate over budget; without a network its sizes are None and `broke` says why."""

    arch: str
    params: int | None
    size_bytes: int | None
    macs: int | None
    broke: str


def front(records: Sequence[Record]) -> list[Record]:
    """The complete candidates that no other one beats in (val_accuracy up, params down), smallest first."""
    complete = [record for record in records if record.state == "complete" and record.val_accuracy is not None]
    if not complete:
        return []
    keep = pareto.front([(record.params, -_accuracy(record)) for record in complete])
    return sorted((r for r, kept in zip(complete, keep, strict=True) if kept), key=lambda r: r.params)


def _accuracy(record: Record) -> float:
    return record.val_accuracy or 0.0


def front_table(records: Sequence[Record]) -> pd.DataFrame:
    """The front with the columns of `pareto.csv`."""
    return _frame(front(records), BASE_COLUMNS)


def trials_table(records: Sequence[Record]) -> pd.DataFrame:
    """Every finished candidate with the columns of `trials.csv`."""
    frame = _frame(records, TRIAL_COLUMNS)
    outside = frame["state"] == "reference"
    return frame.astype({"trial": "Int64"}).assign(trial=lambda table: table["trial"].mask(outside))


def rejects_table(rejects: Sequence[Reject]) -> pd.DataFrame:
    """Candidates over budget with the columns of `rejected.csv`."""
    return _frame(rejects, REJECT_COLUMNS)


def _frame(rows: Sequence[object], columns: list[str]) -> pd.DataFrame:
    import pandas as pd

    frame = pd.DataFrame([[_cell(row, name) for name in columns] for row in rows], columns=columns)
    whole = [name for name in ("params", "size_bytes", "macs") if name in columns]
    return frame.astype(dict.fromkeys(whole, "Int64"))


def _cell(row: object, name: str) -> object:
    return row.usage.get(name) if isinstance(row, Record) and name in USAGE_COLUMNS else getattr(row, name)
