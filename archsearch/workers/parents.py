"""Trained candidates of a study as the beginning of its later ones: which are kept, and who begins with whom."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from archsearch.errors import ArchsearchError
from archsearch.network.arch import Arch
from archsearch.network.kin import kinship
from archsearch.nn import weights
from archsearch.nn.inherit import inherit
from archsearch.sampler.asha import EFFORT
from archsearch.study.observers import Candidate, Observer
from archsearch.study.records import Record, front
from archsearch.training.setup import Birth

LATEST = 16
"""So many candidates are kept beside the front."""
MOST_BYTES = 256_000_000
"""Of all kept states together, two bytes a parameter; the latest go first."""
LEAST = 0.1
"""Relatives that are not as near as this are none."""
SPARED = 0.5
"""Of the epochs, for a candidate that inherits everything."""


def epochs_of(epochs: int, nearness: float) -> int:
    """How long a candidate trains whose relative is so near, where others train `epochs`.

    What is inherited has been trained already, what is new has not, and all of it must fit together: so half of the
    inherited share is spared. A candidate with everything inherited still has half of the cycle of the learning rate.
    """
    return max(1, round(epochs * (1 - SPARED * nearness)))


class Parents(Observer):
    """Keeps the states of complete candidates in float16, and finds each new candidate's nearest relative among them.

    Args:
        folder: OUT/STUDY/parents.
        records: of the study at this moment.
        trained: the module that was trained last.
        say: gets a line where a state cannot be read.
    """

    def __init__(
        self,
        folder: Path,
        records: Callable[[], Sequence[Record]],
        trained: Callable[[], nn.Module],
        say: Callable[[str], None],
    ) -> None:
        self.folder, self.records, self.trained, self.say = folder, records, trained, say
        self._archs: dict[str, Arch] = {}

    def measured(self, candidate: Candidate, record: Record, history: Sequence[Record]) -> None:
        """Keep a complete candidate's state, and drop those that are kept no longer."""
        if record.state != "complete":
            return
        keep, known = kept(history), {row.arch for row in history}
        if record.arch in keep:
            weights.save_tensors(self._path(record.arch), self.trained(), candidate.arch, {}, torch.float16)
        for path in self.folder.glob("*.safetensors"):
            if path.stem in known - keep:  # another worker's may not be in this history yet
                path.unlink(missing_ok=True)

    def __call__(self, arch: Arch, epochs: int) -> Birth | None:
        """How a candidate begins that would train `epochs` from scratch; None where no relative is at hand."""
        found = [(near, record) for record in self._at_hand(arch) if (near := self._nearness(arch, record)) >= LEAST]
        for near, record in sorted(found, key=lambda pair: (-pair[0], -pair[1].trial)):
            tensors = self._read(record)
            if tensors is not None:
                return self._birth(arch, epochs, near, record, tensors)
        return None

    def _at_hand(self, arch: Arch) -> Iterable[Record]:
        """Complete candidates of the study whose state is here."""
        done = [record for record in self.records() if record.state == "complete" and record.arch != arch.id]
        return (record for record in done if self._path(record.arch).exists())

    def _path(self, arch: str) -> Path:
        return self.folder / f"{arch}.safetensors"

    def _nearness(self, arch: Arch, record: Record) -> float:
        try:
            if record.arch not in self._archs:
                self._archs[record.arch] = weights.read(self._path(record.arch)).arch
            return kinship(arch, self._archs[record.arch]).nearness
        except ArchsearchError as error:
            self.say(f"{arch.id} does not begin with {record.arch}: {error}")
            return 0.0

    def _read(self, record: Record) -> dict[str, Tensor] | None:
        path = self._path(record.arch)
        try:
            return safetensors.torch.load_file(path)
        except (OSError, safetensors.SafetensorError) as error:
            self.say(f"{path} cannot be read, and nobody begins with it: {error}")
            return None

    def _birth(self, arch: Arch, epochs: int, near: float, parent: Record, tensors: dict[str, Tensor]) -> Birth:
        own = epochs_of(epochs, near)
        before = near * parent.usage.get("lineage_epochs", parent.epochs)
        theirs = self._archs[parent.arch]
        return Birth(
            start=lambda module: inherit(module, arch, theirs, tensors),
            epochs=own,
            parent=parent.arch,
            usage={
                "parent": parent.trial,
                "lineage_epochs": round(own + before, 2),
                EFFORT: round((own + before) / epochs, 4),
            },
        )


def kept(history: Sequence[Record]) -> set[str]:
    """Ids of the candidates whose states are kept: the front and the latest, as far as the bytes allow."""
    complete = [record for record in history if record.state == "complete"]
    useful = {record.arch for record in (*front(complete), *complete[-LATEST:])}
    found, total = set(), 0
    for record in reversed(complete):
        if record.arch in useful and total + 2 * record.params <= MOST_BYTES:
            found.add(record.arch)
            total += 2 * record.params
    return found
