"""What a score is called and how its values are written, by the names of `--metric`; `metrics` computes it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from archsearch.errors import InputError

ACCURACY = "accuracy"
BALANCED_ACCURACY = "balanced-accuracy"
RECALL = "recall:"
WORDS = {
    ACCURACY: "accuracy",
    BALANCED_ACCURACY: "balanced accuracy",
    "macro-f1": "macro F1",
    "macro-auroc": "macro AUROC",
    "average-precision": "mean average precision",
    "cohen-kappa": "Cohen's kappa",
    "quadratic-kappa": "quadratic kappa",
}
"""In a sentence and on an axis."""
NAMES = (*WORDS, f"{RECALL}CLASS")
"""What `--metric` takes."""
_SHARES = (ACCURACY, BALANCED_ACCURACY, RECALL)


@dataclass(frozen=True)
class Score:
    """A score by its name, the higher the better; one of no known name is written as a plain number.

    Accuracy, balanced accuracy and recall are shares of images and written in percent, all others as they are.
    """

    name: str = ACCURACY

    @property
    def words(self) -> str:
        """In a sentence and on an axis: `macro F1`."""
        if self.name.startswith(RECALL):
            return f"recall of {self.name.removeprefix(RECALL)}"
        return WORDS.get(self.name, self.name)

    @property
    def title(self) -> str:
        """At the beginning of a line."""
        return self.words[:1].upper() + self.words[1:]

    @property
    def is_accuracy(self) -> bool:
        """Whether it is what is measured anyway, and no column of its own holds it."""
        return self.name == ACCURACY

    @property
    def unit(self) -> str:
        """`%` for shares of images, "" for others."""
        return "%" if self.name.startswith(_SHARES) else ""

    def drawn(self, value: float | None) -> float:
        """A value as an axis has it; None as 0."""
        return (100 if self.unit else 1) * (value or 0.0)

    def shown(self, value: float) -> str:
        """`81.23%` or `0.8123`."""
        return f"{self.drawn(value):.2f}%" if self.unit else f"{value:.4f}"

    def spread(self, mean: float, std: float | None) -> str:
        """`97.20% ± 0.12` or `0.8123 ± 0.0012`; without a deviation where that is None."""
        if std is None:
            return self.shown(mean)
        return f"{self.shown(mean)} ± {self.shown(std).removesuffix('%')}"

    def named(self, value: float, part: str = "") -> str:
        """`97.20% validation accuracy` or `validation macro F1 0.8123`, for the part `validation`."""
        words = f"{part} {self.words}".lstrip()
        return f"{self.shown(value)} {words}" if self.is_accuracy else f"{words} {self.shown(value)}"

    @property
    def column(self) -> str:
        """Where the tables have it."""
        return "val_accuracy" if self.is_accuracy else "val_score"

    @property
    def objective(self) -> str:
        """What the study's first objective is called."""
        return f"val_{self.name}".replace("-", "_")

    @property
    def slug(self) -> str:
        """Its name, fit for a folder's name."""
        return re.sub(r"[^\w.-]+", "-", self.name).strip("-.")

    @property
    def best(self) -> str:
        """`most accurate network` or `network with the highest macro F1`."""
        return "most accurate network" if self.is_accuracy else f"network with the highest {self.words}"

    @property
    def better(self) -> str:
        """`more accurate` or `higher in macro F1`."""
        return "more accurate" if self.is_accuracy else f"higher in {self.words}"

    @property
    def equal(self) -> str:
        """`as accurate` or `as high in macro F1`."""
        return "as accurate" if self.is_accuracy else f"as high in {self.words}"

    @property
    def no_worse(self) -> str:
        """`no less accurate` or `no lower in macro F1`."""
        return "no less accurate" if self.is_accuracy else f"no lower in {self.words}"


def score_named(name: str) -> Score:
    """The score of a name of `--metric`; which classes there are is not asked. Raises InputError."""
    if name not in WORDS and not (name.startswith(RECALL) and name != RECALL):
        raise InputError(f"--metric {name}: must be one of {', '.join(NAMES)}")
    return Score(name)
