"""`archsearch evaluate --corrupt`: a table, its figures as JSON, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import Answer, small_npz
from exports import info_of, settled
from sklearn.metrics import f1_score

from archsearch.data import load_dataset
from archsearch.inference import open_runner
from archsearch.inference.corruptions import CORRUPTIONS, corrupted
from archsearch.inference.evaluate import accuracy
from archsearch.network.arch import Arch
from archsearch.network.stage import Part, Stage
from archsearch.nn import weights

Command = Callable[..., Answer]


def network_for(path: Path, spec: str, shape: tuple[int, int, int]) -> Path:
    """A weights file of an untrained network."""
    arch = Arch(shape, 2, Part("flatten"), (Stage("dense", 4),), Part("linear"))
    return weights.save(path, settled(arch), arch, {**info_of(arch), "classes": ["0", "1"], "dataset": spec})


@pytest.fixture
def pictures(work: Path) -> Path:
    """32 colour pictures of 32 pixels a side, dark and bright stripes, and an untrained network for them."""
    rng = np.random.default_rng(0)
    labels = np.arange(32) % 2
    pixels = rng.integers(0, 60, (32, 32, 32, 3)).astype(np.uint8)
    pixels[:, ::4] += (100 * labels[:, None, None, None]).astype(np.uint8)
    parts = {f"{part}_{what}": found for part in ("train", "test")
             for what, found in (("images", pixels), ("labels", labels))}  # fmt: skip
    small_npz(work / "stripes.npz", **parts)
    return network_for(work / "w.safetensors", "npz:stripes.npz", (3, 32, 32))


def test_a_table_and_its_figures(command: Command, pictures: Path, work: Path) -> None:
    answer = command("evaluate", pictures, "--corrupt", "--json")
    assert answer.status == 0, answer.err
    found = json.loads(answer.out)
    assert list(found)[:3] == ["accuracy", "n", "per_class"]
    assert list(found)[-1] == "corrupted"
    damaged = found["corrupted"]
    assert list(damaged) == ["mean", "worst", "by"]
    assert list(damaged["by"]) == list(CORRUPTIONS)
    cells = [score for scores in damaged["by"].values() for score in scores]
    assert len(cells) == 45
    assert damaged["mean"] == pytest.approx(sum(cells) / 45)
    assert damaged["worst"] == min(cells)
    images, labels = load_dataset(f"npz:{work / 'stripes.npz'}").test()
    logits = open_runner(pictures)(torch.cat(list(corrupted(images, "motion_blur", 2))))
    assert damaged["by"]["motion_blur"][1] == accuracy(logits, labels)

    answer = command("evaluate", pictures, "--corrupt")
    assert answer.status == 0, answer.err
    lines = answer.out.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("corrupted"))
    assert lines[at - 1] == ""
    assert lines[at].split() == ["corrupted", "1", "2", "3", "4", "5", "mean"]
    rows = {line.split()[0]: line.split()[1:] for line in lines[at + 1 : at + 10]}
    for name, scores in damaged["by"].items():
        assert rows[name] == [f"{100 * score:.2f}%" for score in (*scores, sum(scores) / 5)]
    assert lines[at + 10].startswith(f"mean {100 * damaged['mean']:.2f}%, worst {100 * damaged['worst']:.2f}% (")
    assert lines[at + 10].endswith(f", without corruption {100 * found['accuracy']:.2f}%")
    assert lines[at + 11 :] == []
    plain = command("evaluate", pictures)
    assert plain.out.splitlines() == lines[: at - 1]
    assert "corrupted" not in json.loads(command("evaluate", pictures, "--json").out)


def test_small_images_are_refused(command: Command, work: Path) -> None:
    tiny = np.zeros((8, 6, 6), dtype=np.uint8)
    labels = np.arange(8) % 2
    small_npz(work / "tiny.npz", train_images=tiny, train_labels=labels, test_images=tiny, test_labels=labels)
    file = network_for(work / "t.safetensors", "npz:tiny.npz", (1, 6, 6))
    answer = command("evaluate", file, "--corrupt")
    assert (answer.status, answer.out) == (2, "")
    assert f"{file}: images of 6 pixels a side: corruptions need 8 at least, leave them out" in answer.error


def test_they_go_by_the_metric(command: Command, pictures: Path, work: Path) -> None:
    answer = command("evaluate", pictures, "--corrupt", "--metric", "macro-f1", "--json")
    assert answer.status == 0, answer.err
    found = json.loads(answer.out)
    damaged = found["corrupted"]
    assert list(damaged) == ["metric", "mean", "worst", "by"]
    images, labels = load_dataset(f"npz:{work / 'stripes.npz'}").test()
    logits = open_runner(pictures)(torch.cat(list(corrupted(images, "contrast", 5))))
    wanted = f1_score(labels, logits.argmax(1), average="macro", zero_division=0)
    assert damaged["by"]["contrast"][4] == pytest.approx(wanted, abs=1e-9)
    answer = command("evaluate", pictures, "--corrupt", "--metric", "macro-f1")
    row, last = answer.out.splitlines()[-2:]
    assert row.split()[-1] == f"{sum(damaged['by']['jpeg_compression']) / 5:.4f}"
    assert last.startswith(f"macro F1 mean {damaged['mean']:.4f}, worst {damaged['worst']:.4f} (")
    assert last.endswith(f", without corruption {found['macro-f1']:.4f}")
