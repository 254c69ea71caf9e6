"""MLflow: an experiment a study, a run a search, and below it a run a candidate."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from archsearch.study.storage import sqlite_url
from archsearch.tracking.tracker import Value

_PARENT = "mlflow.parentRunId"
_NAME = "mlflow.runName"
_LONGEST = 6000  # characters of a parameter's value in MLflow
_STATUS = {"complete": "FINISHED", "stopped": "FINISHED", "failed": "FAILED", "lost": "KILLED"}


class MLflow:
    """Runs in a SQLite file beside the study, or wherever MLFLOW_TRACKING_URI says."""

    def __init__(self, folder: Path, study: str) -> None:
        self.folder, self.study = folder, study
        self._runs: dict[str, str] = {}

    def open(self, config: Mapping[str, Value]) -> None:
        """Import it, find or make the experiment, begin the search's run."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self.folder.mkdir(parents=True, exist_ok=True)
        elsewhere = os.environ.get("MLFLOW_TRACKING_URI")
        self._client = MlflowClient(elsewhere or sqlite_url(self.folder / "mlflow.db"))
        known = self._client.get_experiment_by_name(self.study)
        place = None if elsewhere else (self.folder / "artifacts").absolute().as_uri()
        self._experiment = known.experiment_id if known else self._client.create_experiment(self.study, place)
        self._search = self._begin("search", {}, config)

    def _begin(self, name: str, tags: Mapping[str, str], config: Mapping[str, Value]) -> str:
        from mlflow.entities import Param

        run = self._client.create_run(self._experiment, tags={_NAME: name, **tags})
        params = [Param(key, str(value)[:_LONGEST]) for key, value in config.items()]
        self._client.log_batch(run.info.run_id, params=params)
        return str(run.info.run_id)

    def begin(self, arch: str, config: Mapping[str, Value]) -> None:
        """A run below the search's."""
        self._runs[arch] = self._begin(arch, {_PARENT: self._search}, config)

    def epoch(self, arch: str, epoch: int, metrics: Mapping[str, float]) -> None:
        """All metrics in one call."""
        self._log(self._runs[arch], metrics, epoch)

    def _log(self, run: str, metrics: Mapping[str, float], step: int) -> None:
        import time

        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self._client.log_batch(run, metrics=[Metric(name, value, now, step) for name, value in metrics.items()])

    def end(self, arch: str, state: str, summary: Mapping[str, float]) -> None:
        """Its state as a tag and a status."""
        run = self._runs.pop(arch, None)
        if run:
            self._log(run, {f"result.{name}": value for name, value in summary.items()}, 0)
            self._client.set_tag(run, "state", state)
            self._client.set_terminated(run, _STATUS[state])

    def close(self, columns: Sequence[str], rows: Sequence[Sequence[Value | None]]) -> None:
        """The front as a table of the search's run."""
        for arch in list(self._runs):
            self.end(arch, "lost", {})
        table = {name: [row[i] for row in rows] for i, name in enumerate(columns)}
        self._client.log_table(self._search, table, "front.json")
        self._client.set_terminated(self._search)


def make(folder: Path, study: str, say: Callable[[str], None]) -> MLflow:
    """A tracker whose database and artifacts lie below `folder`."""
    return MLflow(folder / "mlflow", study)
