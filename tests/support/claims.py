"""Claims to made-up networks, and their records."""

from __future__ import annotations

from typing import Any

import optuna
from optuna.distributions import IntDistribution

from archsearch.network.budget import LimitCheck, Verdict
from archsearch.space.reader import parse_space
from archsearch.study.leases import Claim, Seat, make_claim
from archsearch.study.records import Record

FITS = Verdict((LimitCheck("params", 1000.0, 900),))
WIDTH = {"stem.width": IntDistribution(4, 16)}
SPACE = parse_space(
    '[stem]\ntype = "conv"\nwidth = { int = [2, 9] }\n[[stage]]\nblock = "nin"\n'
    'width = { int = [2, 6] }\n[head]\ntype = "linear"\n',
    "small",
)


def record(arch: str = "a" * 12, **changes: Any) -> Record:
    values = {"val_accuracy": 0.5, "curve": [[1, 0.5]], **changes}
    return Record(arch=arch, params=900, size_bytes=4000, macs=7000, peak_activation_bytes=640, epochs=1,
                  train_seconds=1.0, trial=-1, seed=0, summary="s", **values)  # fmt: skip


def claim(study: optuna.Study, arch: str = "a" * 12, seat: Seat | None = None, **options: Any) -> Claim:
    return make_claim(study, record(arch), {"stem.width": 8}, WIDTH, FITS, seat or Seat(), **options)


def last(study: optuna.Study) -> optuna.trial.FrozenTrial:
    return study.get_trials()[-1]
