"""The head of a model card: YAML that Hugging Face reads, with what is known of a network and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from archsearch._utils.formats import FORMATS, format_of
from archsearch._utils.scores import ACCURACY, RECALL, Score
from archsearch._utils.sharing import shipped
from archsearch._utils.units import counted
from archsearch.export.job import Source
from archsearch.metrics.thresholds import is_several

if TYPE_CHECKING:
    from archsearch.report.tables import Tested

TASK = "image-classification"
HEAD = re.compile(r"\A---\n.*?\n---\n\s*", re.DOTALL)
"""What stands before a card's own text."""
_DATASETS = {
    "mnist": "ylecun/mnist",
    "fashion-mnist": "zalando-datasets/fashion_mnist",
    "cifar10": "uoft-cs/cifar10",
    "cifar100": "uoft-cs/cifar100",
}
"""Hugging Face's names of datasets that archsearch knows by one."""
_METRICS = {"macro-f1": "f1", "macro-auroc": "roc_auc"}
"""Its names of metrics; those of others are ours."""


def header(source: Source, files: Iterable[str], tested: Tested | None) -> str:
    """The YAML of a card, between two lines of dashes.

    A licence is left out, as nobody has said one; datasets are named where Hugging Face has them.

    Args:
        files: names of the files that the card lists.
        tested: what retraining measured on the test split; without it, what the weights' metadata say.
    """
    known = _DATASETS.get(_dataset(source))
    kinds = {FORMATS[format_of(Path(name))].suffix.strip(".").partition(".")[0] for name in files}
    several = ["multi-label"] if is_several(source.info) else []
    about: dict[str, Any] = {"library_name": "archsearch", "pipeline_tag": TASK}
    about["tags"] = ["neural-architecture-search", *several, *sorted(kinds)]
    if known:
        about["datasets"] = [known]
    if metrics := _metrics(source.info, tested):
        about["model-index"] = [{"name": f"archsearch-{source.arch.id}", "results": [_result(source, known, metrics)]}]
    text = yaml.safe_dump(about, sort_keys=False, allow_unicode=True, width=float("inf"))
    return f"---\n{text}---"


def plain(text: object) -> str:
    """A class name or path from a file, as one line without markup."""
    return "".join(c if c.isprintable() and c not in "`<>|" else "?" for c in str(text))


def _dataset(source: Source) -> str:
    return plain(shipped(str(source.info.get("dataset", "unknown data"))))


def _result(source: Source, known: str | None, metrics: list[dict[str, Any]]) -> dict[str, Any]:
    name = _dataset(source)
    dataset = {"type": known or re.sub(r"[^\w.-]+", "-", name).strip("-.") or "data", "name": name, "split": "test"}
    return {"task": {"type": TASK, "name": "Image classification"}, "dataset": dataset, "metrics": metrics}


def _metrics(info: Mapping[str, Any], tested: Tested | None) -> list[dict[str, Any]]:
    """What was measured on the test split, by accuracy and by the metric of the training."""
    of = f", mean of {counted(tested.seeds, 'training')}" if tested and tested.seeds > 1 else ""
    found = [
        (ACCURACY, tested.mean if tested else info.get("test_accuracy")),
        (info.get("metric"), tested.score_mean if tested else info.get("test_score")),
    ]
    return [
        {"type": _metric(name), "value": round(float(value), 6), "name": f"test {plain(Score(name).words)}{of}"}
        for name, value in found
        if isinstance(name, str) and isinstance(value, int | float)
    ]


def _metric(name: str) -> str:
    return "recall" if name.startswith(RECALL) else _METRICS.get(name, name.replace("-", "_"))
