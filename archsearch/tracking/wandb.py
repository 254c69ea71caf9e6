"""Weights & Biases: a group a study, a run a candidate; without an account it writes files to sync later."""

from __future__ import annotations

import netrc
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from archsearch.tracking.tracker import Value

PROJECT = "archsearch"
_HOST = "https://api.wandb.ai"


class Wandb:
    """Runs of one group. `mode`: None leaves it to W&B's own settings."""

    def __init__(self, folder: Path, study: str, mode: Literal["offline"] | None) -> None:
        self.folder, self.study, self.mode = folder, study, mode
        self._runs: dict[str, Any] = {}

    def open(self, config: Mapping[str, Value]) -> None:
        """Import it."""
        if self.mode == "offline":
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        self._wandb = wandb
        self.folder.mkdir(parents=True, exist_ok=True)
        self._config = dict(config)

    def _begin(self, name: str, kind: str, config: Mapping[str, Value]) -> Any:
        return self._wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            group=self.study,
            job_type=kind,
            name=name,
            dir=str(self.folder),
            mode=self.mode,
            config=dict(config),
            reinit="create_new",  # several candidates may train at the same time
            settings=self._wandb.Settings(silent=True, console="off", x_disable_stats=True),
        )

    def begin(self, arch: str, config: Mapping[str, Value]) -> None:
        """A run of its own."""
        self._runs[arch] = self._begin(arch, "candidate", config)

    def epoch(self, arch: str, epoch: int, metrics: Mapping[str, float]) -> None:
        """One row."""
        self._runs[arch].log(dict(metrics), step=epoch)

    def end(self, arch: str, state: str, summary: Mapping[str, float]) -> None:
        """What a row of W&B's table of runs shows."""
        run = self._runs.pop(arch, None)
        if run:
            run.summary.update({**summary, "state": state})
            run.finish(exit_code=int(state in ("failed", "lost")))

    def close(self, columns: Sequence[str], rows: Sequence[Sequence[Value | None]]) -> None:
        """A run for the search itself, with its config and the front as a table."""
        for arch in list(self._runs):
            self.end(arch, "lost", {})
        run = self._begin("search", "search", self._config)
        run.log({"front": self._wandb.Table(columns=list(columns), data=[list(row) for row in rows])})
        run.finish()


def _has_key() -> bool:
    """Whether W&B will find a key, which is not looked at."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or _HOST).hostname or ""
    try:
        return netrc.netrc().authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def make(folder: Path, study: str, say: Callable[[str], None]) -> Wandb:
    """Offline, with a line that says so, where neither a mode nor a key was given."""
    place = folder / "wandb"
    if os.environ.get("WANDB_MODE") or _has_key():
        return Wandb(place, study, None)
    say(f"wandb: no API key, so it is offline; `wandb sync {place}/wandb/offline-run-*` sends the runs later")
    return Wandb(place, study, "offline")
