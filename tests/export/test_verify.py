"""The gate on the score: by the metric of a network's training, else by accuracy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from exports import CLASSES, settled
from torch import Tensor
from torch.nn.functional import one_hot

from archsearch.errors import ExportFailed
from archsearch.export import Checks, Images, Source, export, write
from archsearch.export.job import _Attempt
from archsearch.export.verify import compare
from archsearch.metrics import metric_of
from archsearch.network.arch import Arch
from archsearch.nn import weights

LABELS = torch.tensor([0] * 380 + [1] * 20)


def missing(rare: int) -> tuple[Tensor, Tensor]:
    """Logits that are all right, and ones that miss so many of the 20 images of the rare class."""
    right = one_hot(LABELS, 2).float()
    wrong = right.clone()
    wrong[380 : 380 + rare] = torch.tensor([1.0, 0.0])
    return right, wrong


def test_a_rare_class_that_is_lost_is_little_accuracy_and_much_of_a_macro_metric() -> None:
    plain = compare(*missing(4), LABELS, 400)
    assert (plain.judged, plain.score.name, plain.before, plain.after) == (None, "accuracy", 1, 0.99)
    replace(plain, max_abs_diff=0.0).require("fp16", 0.01)
    parity = compare(*missing(4), LABELS, 400, metric_of("balanced-accuracy", ("a", "b")))
    assert (parity.accuracy, parity.lost, parity.labelled) == (0.99, 4, 400)
    assert (parity.score.name, parity.before, parity.after) == ("balanced-accuracy", 1, pytest.approx(0.9))
    assert 0.01 < parity.least_drop < parity.drop == pytest.approx(0.1)
    words = (
        r"^at fp16 the validation balanced accuracy drops from 100.00% to 90.00%, 10.00 points on 400 images: more than"
        r" --max-drop 1 point, beyond chance; what helps: --dtype fp32"
    )
    with pytest.raises(ExportFailed, match=words):
        replace(parity, max_abs_diff=0.0).require("fp16", 0.01)
    replace(parity, max_abs_diff=0.0).require("fp16", 0.11)


def test_a_drop_of_a_metric_may_be_chance() -> None:
    for name in ("macro-f1", "balanced-accuracy", "macro-auroc", "recall:b"):
        parity = replace(compare(*missing(1), LABELS, 400, metric_of(name, ("a", "b"))), max_abs_diff=0.0)
        assert parity.drop > 0.01 or name == "macro-auroc"
        assert parity.by_chance(0.01) is (parity.drop > 0.01)
        parity.require("int8", 0.01)


def test_outputs_that_are_no_numbers_have_no_metric() -> None:
    right, wrong = missing(1)
    wrong[0] = torch.nan
    parity = compare(right, wrong, LABELS, 400, metric_of("macro-f1", ("a", "b")))
    assert parity.judged is None
    with pytest.raises(ExportFailed, match="an output differs by inf"):
        parity.require("fp16")


def test_outputs_that_are_far_off_at_int8_say_what_helps() -> None:
    parity = replace(compare(*missing(0), LABELS, 400), max_abs_diff=0.6)
    with pytest.raises(ExportFailed, match=r"differs by 0\.6 on 400 images, .* 0\.5; what helps: .*retrain --quantize"):
        parity.require("int8")
    with pytest.raises(ExportFailed, match=r"allowed at fp32 are 0\.0001$"):
        parity.require("fp32")


def rarest(images: Images) -> int:
    """The class of the fewest images, of some at least."""
    counts = images.validation[1].bincount(minlength=4)
    return int(torch.where(counts > 0, counts, 1000).argmin())


def recall(images: Images) -> str:
    return f"recall:{CLASSES[rarest(images)]}"


def few(images: Images, number: int) -> Images:
    """The images, but of the rarest class so many, some of them again, at places from 5 on."""
    pixels, labels = images.validation
    chosen = labels == rarest(images)
    others, mine = (~chosen).nonzero().flatten(), chosen.nonzero().flatten()
    mine = mine[torch.arange(number) % len(mine)]
    order = torch.cat([others[:5], mine, others[5:]])
    return Images(images.train, (pixels.subset(order), labels[order]))


@pytest.fixture
def turned(images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files answer as their network does, but never say the rarest class."""
    monkeypatch.setattr("archsearch.export.verify.TOLERANCE", {"fp32": 1e9})

    def save(path: Path, module: Any, arch: Arch, info: Any, dtype: str) -> None:
        other = settled(arch)
        other.head[-1].bias.data[rarest(images)] -= 1000
        weights.save(path, other, arch, info)

    monkeypatch.setattr(write, "write_safetensors", save)


@pytest.mark.usefixtures("turned")
def test_the_metric_is_that_of_the_training_or_the_one_given(source: Source, images: Images, tmp_path: Path) -> None:
    target, name = tmp_path / "m.safetensors", recall(images)
    assert export(source, target, few(images, 1), "safetensors", max_drop=0.1).parity.score.is_accuracy
    trained = replace(source, info={**source.info, "metric": name})
    for opened, given in ((trained, {}), (source, {"metric": name})):
        done = export(opened, target, few(images, 1), "safetensors", max_drop=0.1, **given)
        assert done.parity.score.name == name
        assert (done.parity.before, done.parity.after, done.parity.by_chance(0.1)) == (1, 0, True)
    target.unlink()
    with pytest.raises(ExportFailed, match=r"the validation recall of .* drops from 100.00% to 0.00%"):
        export(trained, target, few(images, 10), "safetensors", max_drop=0.5)
    assert list(tmp_path.iterdir()) == []


def test_where_the_images_leave_it_undefined_it_is_accuracy(source: Source, images: Images, tmp_path: Path) -> None:
    for name in ("macro-auroc", recall(images), "recall:of none", "unheard of"):
        opened = replace(source, info={**source.info, "metric": name})
        done = export(opened, tmp_path / "m.safetensors", few(images, 0), "safetensors")
        assert done.parity.score.is_accuracy


@pytest.mark.parametrize("metric", ["accuracy", "recall"])
def test_a_sample_that_leaves_the_metric_undefined_is_not_taken(
    source: Source, images: Images, tmp_path: Path, metric: str
) -> None:
    some = few(images, 1)
    opened = replace(source, info={**source.info, "metric": recall(images) if metric == "recall" else metric})
    attempt = _Attempt(opened, some, "pt2", "fp16", tmp_path, Checks(check_images=3))
    checked = attempt._checked[1]
    assert len(checked) == (3 if metric == "accuracy" else len(some.validation[1]))
    assert (rarest(images) in checked) is (metric == "recall")
