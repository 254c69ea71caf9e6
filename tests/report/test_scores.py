"""A judged network in words, and its errors as pictures."""

from __future__ import annotations

import base64
import json
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from archsearch.data.pixels import Pixels
from archsearch.inference.mistakes import confident_mistakes
from archsearch.inference.scores import judge
from archsearch.report.scores import (
    Cell,
    calibrated,
    cell,
    class_columns,
    class_rows,
    for_page,
    lead,
    metric_rows,
    thumbnail,
)

NAMES = ("cat", "dog", "owl")


def page(n: int = 60, classes: tuple[str, ...] = NAMES, several: bool = False) -> dict[str, object]:
    generator = torch.Generator().manual_seed(4)
    labels = torch.arange(n) % len(classes)
    logits = torch.randn(n, len(classes), generator=generator) * 2
    logits[torch.arange(n), labels] += 2
    answers = torch.nn.functional.one_hot(labels).bool() if several else labels
    images = Pixels.of(torch.randint(0, 256, (n, 3, 6, 6), generator=generator).to(torch.uint8))
    found = judge(logits, answers, classes, (logits, labels))
    return for_page("w on some", found, images, confident_mistakes(logits, answers, classes))


def picture(uri: str) -> Image.Image:
    kind, _, text = uri.partition(",")
    assert kind == "data:image/png;base64"
    return Image.open(BytesIO(base64.b64decode(text)))


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "L")])
def test_a_small_image_is_kept_as_it_is(channels: int, mode: str) -> None:
    image = torch.randint(0, 256, (channels, 5, 7), dtype=torch.uint8)
    found = picture(thumbnail(image))
    assert (found.format, found.mode, found.size) == ("PNG", mode, (7, 5))
    pixels = torch.from_numpy(np.array(found)).view(5, 7, -1).permute(2, 0, 1)
    assert torch.equal(pixels, image if channels == 3 else image[:1])


def test_a_large_one_is_made_small() -> None:
    assert picture(thumbnail(torch.zeros(3, 240, 160, dtype=torch.uint8))).size == (53, 80)


@pytest.mark.parametrize(
    ("name", "value", "span", "words"),
    [
        ("recall", 0.95333, (0.9267, 0.9766), "95.33% (92.7–97.7)"),
        ("macro-f1", 0.95333, (0.9267, 0.9766), "0.9533 (0.93–0.98)"),
        ("accuracy", 1.0, (0.5, 1.0), "100.00% (50.0–100.0)"),
        ("macro-auroc", 1.0, None, "1.0000"),
        ("recall", None, None, "–"),
    ],
)
def test_a_figure_and_its_interval(name: str, value: float | None, span: tuple[float, float], words: str) -> None:
    assert str(cell(name, value, span)) == words


def test_rows_and_sentences() -> None:
    scores = json.loads(json.dumps(page()))
    assert [name for name, _ in metric_rows(scores)] == [
        "accuracy", "balanced accuracy", "macro F1", "macro AUROC", "mean average precision", "Cohen's kappa",
        "quadratic kappa", "calibration error (ECE)",
    ]  # fmt: skip
    assert all(found.interval != "–" for _, found in metric_rows(scores))
    assert [(name, images) for name, images, _ in class_rows(scores)] == [(name, "20") for name in NAMES]
    recall = class_rows(scores)[0][2][0]
    assert recall == cell("recall", scores["recall"]["cat"], scores["intervals"]["recall"]["cat"])
    low, high = scores["intervals"]["accuracy"]
    assert lead(scores) == f"{100 * scores['accuracy']:.2f}% of 60 images (95%: {100 * low:.1f} to {100 * high:.1f})"
    assert calibrated(scores).endswith("fitted on these images; labels stay")
    assert sum(map(sum, scores["confusion"])) == 60
    assert len(scores["mistakes"]) == min(24, round(60 * (1 - scores["accuracy"])))
    assert scores["confused"][0][2] >= scores["confused"][-1][2]
    assert calibrated({**scores, "temperature": None}, "for a reason").endswith("no temperature: for a reason")


def test_of_many_classes_the_worst_are_shown() -> None:
    scores = page(120, tuple(f"c{i}" for i in range(30)))
    rows = class_rows(scores, 5)
    recalls = sorted(scores["recall"].values())
    assert [scores["recall"][name] for name, _, _ in rows] == recalls[:5]
    assert scores["confusion"] is None
    assert len(class_rows(scores)) == 30


def test_several_labels() -> None:
    scores = page(several=True)
    assert class_columns(scores) == ["recall", "precision", "f1", "auroc"]
    assert (scores["confusion"], scores["confused"], calibrated(scores)) == (None, [], "")
    assert isinstance(class_rows(scores)[0][2][3], Cell)
