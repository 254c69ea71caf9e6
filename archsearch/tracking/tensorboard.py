"""TensorBoard: a folder a candidate, `tensorboard --logdir OUT/STUDY/tracking/tensorboard` shows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from archsearch.tracking.tracker import Value

_TAGS = {
    "val_accuracy": "accuracy/validation",
    "val_score": "score/validation",
    "val_loss": "loss/validation",
    "train_loss": "loss/training",
    "learning_rate": "learning_rate",
}


class TensorBoard:
    """Event files: curves and hyperparameters of every candidate, config and front as text."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writers: dict[str, Any] = {}
        self._configs: dict[str, Mapping[str, Value]] = {}

    def open(self, config: Mapping[str, Value]) -> None:
        """Import it, and write the config."""
        from torch.utils.tensorboard import SummaryWriter

        self._make = SummaryWriter
        self._text("config", _table(("name", "value"), list(config.items())))

    def begin(self, arch: str, config: Mapping[str, Value]) -> None:
        """A writer of its own."""
        self._writers[arch] = self._make(str(self.folder / arch))
        self._configs[arch] = config

    def epoch(self, arch: str, epoch: int, metrics: Mapping[str, float]) -> None:
        """One scalar each."""
        for name, value in metrics.items():
            self._writers[arch].add_scalar(_TAGS.get(name, name), value, epoch)

    def end(self, arch: str, state: str, summary: Mapping[str, float]) -> None:
        """Its hyperparameters, with the results beside them."""
        writer, config = self._writers.pop(arch, None), self._configs.pop(arch, {})
        if writer is None:
            return
        if summary:
            results = {f"result/{name}": value for name, value in summary.items()}
            writer.add_hparams({**config, "state": state}, results, run_name=".")
        writer.close()

    def close(self, columns: Sequence[str], rows: Sequence[Sequence[Value | None]]) -> None:
        """The front as text."""
        for writer in self._writers.values():
            writer.close()
        self._text("front", _table(columns, rows))

    def _text(self, name: str, text: str) -> None:
        writer = self._make(str(self.folder / "search"))
        writer.add_text(name, text)
        writer.close()


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def make(folder: Path, study: str, say: Callable[[str], None]) -> TensorBoard:
    """Event files below `folder`."""
    return TensorBoard(folder / "tensorboard")
