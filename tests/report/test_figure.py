"""The Pareto picture: what is drawn, read from the figure itself."""

from __future__ import annotations

import struct
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from archsearch._utils.scores import Score
from archsearch.network.budget import Budget
from archsearch.report.figure import plot
from archsearch.report.labels import Box
from archsearch.study.records import Record

LIMIT = 1000.0


def row(trial: int, accuracy: float | None, params: int, state: str = "complete") -> Record:
    return Record(f"{trial:012x}", accuracy, params, 4 * params, 10 * params, 64, 3, 0.5, trial, 0, "s", state)


ROWS = [row(0, 0.9, 300), row(1, 0.8, 100), row(2, 0.85, 400), row(3, 0.7, 90, "stopped"), row(4, None, 80, "failed"),
        row(5, 0.95, 900)]  # fmt: skip


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Every picture that is saved."""
    found: list[Figure] = []
    saved = Figure.savefig

    def keep(self: Figure, *args: Any, **options: Any) -> None:
        found.append(self)
        saved(self, *args, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    return found


@pytest.fixture
def drawn(kept: list[Figure], tmp_path: Path) -> Any:
    """`drawn(rows, budget)` is the picture's axes."""

    def draw(rows: list[Record], budget: Budget) -> Axes:
        plot(tmp_path / "p.png", rows, budget, "a study")
        return kept[-1].axes[0]

    return draw


def stairs(axes: Axes) -> Any:
    return [line for line in axes.lines if line.get_drawstyle() == "steps-post"]


def test_a_log_size_axis_and_named_axes(drawn: Any) -> None:
    axes = drawn(ROWS, Budget(max_params=LIMIT))
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "linear")
    assert "parameters" in axes.get_xlabel()
    assert "accuracy" in axes.get_ylabel()
    assert axes.get_title() == "a study"


@pytest.mark.parametrize(
    ("name", "label", "height"),
    [("macro-f1", "validation macro F1", 0.4), ("balanced-accuracy", "validation balanced accuracy (%)", 40.0)],
)
def test_another_score_has_its_own_axis(
    tmp_path: Path, kept: list[Figure], name: str, label: str, height: float
) -> None:
    rows = [replace(row(0, 0.9, 300), val_score=0.4), replace(row(1, 0.95, 400), val_score=0.3)]
    plot(tmp_path / "p.png", rows, Budget(), "a study", Score(name))
    axes = kept[-1].axes[0]
    assert axes.get_ylabel() == label
    (line,) = stairs(axes)
    assert list(line.get_ydata()) == pytest.approx([height])


def test_the_front_is_a_staircase(drawn: Any) -> None:
    (line,) = stairs(drawn(ROWS, Budget(max_params=LIMIT)))
    assert list(line.get_xdata()) == [100, 300, 900]
    assert list(line.get_ydata()) == pytest.approx([80, 90, 95])


def test_the_budget_is_a_line_and_what_it_rejects_is_shaded(drawn: Any) -> None:
    axes = drawn(ROWS, Budget(max_params=LIMIT))
    assert [LIMIT, LIMIT] in [list(line.get_xdata()) for line in axes.lines]
    (shade,) = axes.patches
    left, right = shade.get_extents().transformed(axes.transData.inverted()).intervalx
    assert left == pytest.approx(LIMIT)
    assert right >= axes.get_xlim()[1] * 0.99
    assert axes.get_xlim()[0] < 80


def test_both_budgets_have_a_line(drawn: Any) -> None:
    axes = drawn(ROWS, Budget(max_params=LIMIT, max_size=2400))
    upright = {line.get_xdata()[0] for line in axes.lines if len(set(line.get_xdata())) == 1}
    assert LIMIT in upright
    assert len(upright) == 2


def test_every_measured_candidate_is_a_point(drawn: Any) -> None:
    axes = drawn(ROWS, Budget())
    points = {tuple(map(float, point)) for part in axes.collections for point in part.get_offsets()}
    assert {round(x) for x, _ in points} == {90, 100, 300, 400, 900}
    words = {text.get_text() for text in axes.get_legend().get_texts()}
    assert {"trained", "stopped early", "Pareto front"} <= words
    assert not axes.patches


@pytest.mark.parametrize("rows", [[], [row(0, None, 5, "failed")], [row(0, 0.5, 7)]])
@pytest.mark.parametrize("budget", [Budget(), Budget(max_params=10), Budget(max_size=1e6)])
def test_few_candidates_make_a_picture_without_a_warning(tmp_path: Path, rows: list[Record], budget: Budget) -> None:
    path = plot(tmp_path / "p.png", rows, budget, "t")
    content = path.read_bytes()
    width, height = struct.unpack(">II", content[16:24])
    assert content.startswith(b"\x89PNG")
    assert width > height > 300


def test_the_same_candidates_make_the_same_file(tmp_path: Path) -> None:
    one, two = (plot(tmp_path / name, ROWS, Budget(max_params=LIMIT), "t").read_bytes() for name in ("a.png", "b.png"))
    assert one == two


@pytest.mark.parametrize("count", [2, 8, 40])
def test_names_lie_on_no_mark_and_on_no_other_name(drawn: Any, count: int) -> None:
    history = [row(i, 0.5 + 0.4 * i / count, int(1000 * 1.15**i)) for i in range(count)]
    names = ("lenet5", "resnet-course-small", "cnn-mlp")
    history += [
        replace(row(i, 0.6 + 0.03 * i, 3000 + 40 * i, "reference"), reason=name) for i, name in enumerate(names)
    ]
    axes = drawn(history, Budget(max_params=1e6))
    boxes = [Box(*text.get_window_extent().extents) for text in axes.texts]
    places = [axes.transData.transform((r.params, 100 * (r.val_accuracy or 0))) for r in history]
    marks = [Box(x - 5, y - 5, x + 5, y + 5) for x, y in places]
    legend = Box(*axes.get_legend().get_window_extent().extents)
    assert len(boxes) == 3
    assert all(box.covers(other) == 0 for box in boxes for other in [*marks, legend])
    assert all(one.covers(two) == 0 for one, two in combinations(boxes, 2))
