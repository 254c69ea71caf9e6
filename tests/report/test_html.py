"""`report.html`: what it says, without a browser."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import optuna
import pytest
from studies import BUDGET, NAME, accuracy_apart, config, make_study, retrained

from archsearch._utils.scores import Score
from archsearch.report.html import write_page
from archsearch.report.html.axes import epoch_axis, log_axis, percent_axis, score_axis
from archsearch.report.html.charts import curve_chart, front_chart, reject_histogram
from archsearch.report.html.contents import PageContents, read_contents
from archsearch.report.html.importance import LEAST, importance
from archsearch.report.html.words import claim, headline, origin, smaller
from archsearch.report.html.write import render
from archsearch.report.labels import Box
from archsearch.study.records import Record
from archsearch.study.storage import create_study, drop_retrained, open_storage, records, sqlite_url


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page") / "<b>study"


@pytest.fixture(scope="module")
def study(folder: Path) -> optuna.Study:
    return make_study(folder, trials=20)


@pytest.fixture(scope="module")
def contents(folder: Path, study: optuna.Study) -> PageContents:
    return read_contents(folder, study, config())


@pytest.fixture(scope="module")
def text(folder: Path, study: optuna.Study) -> str:
    return write_page(folder, study, config()).read_text(encoding="utf-8")


def row(trial: int, accuracy: float | None, params: int, state: str = "complete") -> Record:
    return Record(f"{trial:012x}", accuracy, params, 4 * params, 10 * params, 64, 3, 0.5, trial, 0, "s", state)


def test_the_page_tells_of_the_winner_and_of_every_measured_candidate(text: str, contents: PageContents) -> None:
    winner = contents.front[-1]
    plain = html.unescape(text)
    assert winner.summary in plain
    assert f"{100 * (winner.val_accuracy or 0):.2f}%" in plain
    assert f"{winner.params:,} parameters" in plain
    for record in contents.history:
        shown = f'data-k="t{record.trial}"' in text
        assert shown == (record.val_accuracy is not None), record
    assert 'data-k="r-lenet5"' in text
    assert f"{contents.counts['over_budget']:,} distinct ones were over budget" in plain


def test_networks_that_began_with_others(contents: PageContents) -> None:
    front, other = contents.front[-1], contents.front[0]
    born = replace(front, usage={**front.usage, "parent": other.trial, "lineage_epochs": 13.5})
    history = [born if record.trial == born.trial else record for record in contents.history]
    marks = {mark.key: mark.lines for mark in front_chart(replace(contents, history=history)).marks}
    assert marks[f"t{born.trial}"][-1] == f"began with candidate {other.trial}: 13.5 epochs in all"
    assert not any("began" in line for line in marks[f"t{other.trial}"])
    said = render(replace(contents, history=history))
    assert f"1 of {len(history)} networks began with weights of another" in said
    assert "began with" not in render(contents)


def test_the_page_names_no_folder_of_this_machine(tmp_path: Path) -> None:
    study = make_study(tmp_path / "s", trials=2)
    about = json.loads((tmp_path / "s" / "run.json").read_text())
    about["dataset"] = {**about["dataset"], "name": "folder:/home/me/photos"}
    about["command"] = "archsearch run --dataset folder:/home/me/photos --out /home/me/results"
    (tmp_path / "s" / "run.json").write_text(json.dumps(about))
    text = write_page(tmp_path / "s", study, config()).read_text(encoding="utf-8")
    assert "folder:photos" in text
    assert "--out results" in text
    assert "/home/me" not in text


def test_the_table_has_a_row_for_each_of_the_front(text: str, contents: PageContents) -> None:
    (body,) = re.findall(r"<tbody>(.*?)</tbody>", text, re.DOTALL)
    assert re.findall(r"<small>(\w{12})</small>", body) == [record.arch for record in contents.front]


@pytest.mark.parametrize(
    ("params", "words"),
    [(4_001, ""), (4_400, "1.1 times"), (42_000, "10 times"), (398_400, "100 times"), (4_200_000, "1,050 times")],
)
def test_what_a_point_of_accuracy_would_save(contents: PageContents, params: int, words: str) -> None:
    found = smaller(replace(contents, history=[row(0, 0.3, 100), row(1, 0.895, 4_000), row(2, 0.9, params)]))
    assert found == (f"Within one point of it: 89.50% with 4,000 parameters, {words} fewer." if words else "")


def test_names_of_users_are_text(text: str) -> None:
    assert "alert(1)" in text
    assert "<script>alert" not in text
    assert "<b>study" not in text
    assert len(re.findall(r"<script", text)) == 1
    assert html.escape(NAME, quote=False).split("&#")[0][:20] in text


def test_a_page_of_another_score_speaks_of_it_alone(tmp_path: Path) -> None:
    study = make_study(tmp_path / "s", trials=12, metric="macro-f1")
    by = config(metric="macro-f1")
    best = read_contents(tmp_path / "s", study, by).front
    retrained(study, best[-1], (0.5, 0.6), 0.25)
    contents = read_contents(tmp_path / "s", study, by)
    page = html.unescape(render(contents))
    assert "<title>s: macro F1 against size</title>" in page
    assert "<h1>The network with the highest macro F1 under" in page
    assert "<h2>Macro F1 against size</h2>" in page
    assert [value for value, words in headline(contents) if "macro F1" in words] == [
        f"{best[-1].score:.4f}", "0.2500 ± 0.0000",
    ]  # fmt: skip
    assert f"validation macro F1 {best[-1].score:.4f}" in page
    assert f'<td data-name="accuracy">{100 * accuracy_apart(best[-1].params):.2f}%</td>' in page
    assert "as small and higher in macro F1, or as high in macro F1 and smaller" in claim(contents)
    assert "validation accuracy" not in page
    assert ("maximised", "macro F1") in origin(contents.about)
    chart = front_chart(contents)
    assert [tick.label for tick in chart.y.ticks if "%" in tick.label] == []
    assert len(chart.marks) > len(best)


def test_a_small_gain_of_a_score_that_is_no_share(contents: PageContents) -> None:
    rows = [
        replace(row(i, 0.5, params), val_score=score) for i, (score, params) in enumerate([(0.895, 400), (0.9, 900)])
    ]
    found = smaller(replace(contents, history=rows, about={**contents.about, "metric": "macro-f1"}))
    assert found == "Within 0.01 of it: 0.8950 with 400 parameters, 2.2 times fewer."


@pytest.mark.parametrize("values", [[-0.2, 0.9], [0.5], [], [0.991, 0.992], [-1.0, 1.0]])
def test_an_axis_of_numbers_stays_within_what_there_is(values: list[float]) -> None:
    axis = score_axis(values, Score("cohen-kappa"))
    assert len(axis.ticks) >= 2
    assert all(-1 <= float(tick.label) <= 1 for tick in axis.ticks)
    assert [tick.at for tick in axis.ticks] == sorted(tick.at for tick in axis.ticks)
    assert all(0 <= axis.place(value) <= 100 for value in values)
    assert axis.low >= (0 if min(values, default=0) >= 0 else -1)


def test_nothing_is_asked_of_others(text: str) -> None:
    assert not re.findall(r"(?:src|href)=[\"'](?!data:|weights/|archs/|[a-z.]+[\"'])", text)
    assert not re.findall(r"https?:|//[a-z]|@import|url\(", text)
    assert "default-src 'none'" in text


def test_it_is_the_same_again(folder: Path, study: optuna.Study, text: str) -> None:
    assert write_page(folder, study, config()).read_text(encoding="utf-8") == text


def test_the_test_accuracy_is_shown_as_soon_as_the_study_has_it(
    folder: Path, study: optuna.Study, contents: PageContents, text: str
) -> None:
    assert "test accuracy" not in text
    for record in contents.front:
        retrained(study, record, (0.906, 0.912, 0.918))
    later = render(read_contents(folder, study, config()))
    for record in contents.front:
        drop_retrained(study, record.arch)
    assert later.count("91.20% ± 0.60") == len(contents.front) + 1
    assert "test accuracy, 3 seeds" in later


def test_the_front_is_a_staircase_that_ends_at_the_budget(contents: PageContents) -> None:
    chart = front_chart(contents)
    best = contents.front
    first, last = chart.x.place(best[0].params), best[-1]
    assert chart.stairs.startswith(f"M{first} ")
    assert chart.stairs.count("V") == len(best) - 1
    assert chart.stairs.endswith(f"H{chart.edge}")
    assert chart.edge == chart.x.place(BUDGET.get("max_params") or 0)
    assert chart.x.place(last.params) < chart.edge < 100


def test_the_rug_shows_only_sizes_within_the_axis(contents: PageContents) -> None:
    chart = front_chart(contents)
    places = [float(at) for at in re.findall(r"M([\d.]+) 0V10", chart.rug)]
    inside = [r for r in contents.rejects if r.params and chart.x.low <= r.params <= chart.x.high]
    assert 0 < len(places) <= len(inside)
    assert places == sorted(set(places))


def test_the_histogram_holds_every_reject(contents: PageContents) -> None:
    histogram = reject_histogram(contents)
    assert histogram
    counted = sum(int(bar.label.split()[0].replace(",", "")) for bar in histogram.bars)
    assert counted == len([r for r in contents.rejects if r.params])
    assert max(bar.height for bar in histogram.bars) == 100


def test_curves_end_where_the_training_did(contents: PageContents) -> None:
    chart = curve_chart(contents)
    ends = {curve.end.key: curve for curve in chart.curves}
    stopped = next(r for r in contents.history if r.state == "stopped")
    assert ends[f"t{stopped.trial}"].end.x == chart.x.place(2) == 50
    assert ends["r-lenet5"].end.x == 100
    assert [rung.at for rung in chart.rungs] == [50]
    long = replace(stopped, curve=[[float(e), 0.5] for e in range(1, 1001)])
    (curve,) = curve_chart(replace(contents, history=[long], references=[])).curves
    assert len(curve.points.split()) <= 61
    assert curve.end.x == 100


def test_labels_of_references_do_not_lie_on_each_other(contents: PageContents) -> None:
    near = [replace(row(i, 0.9 + i / 1000, 500 + i, "reference"), reason=f"net{i}") for i in range(4)]
    labels = front_chart(replace(contents, references=near)).labels
    boxes = [label_box(label.text, label.x, label.y, label.left) for label in labels]
    assert len(boxes) == 4
    assert all(one.covers(two) == 0 for one, two in combinations(boxes, 2))


FEW = [[], [row(0, None, 5, "failed")], [row(0, 0.5, 7)], [row(0, 0.5, 7, "stopped")], [row(0, 1, 1), row(1, 0, 1)]]


@pytest.mark.parametrize("rows", FEW)
@pytest.mark.parametrize("about", [{}, {"budget": {"max_size": 1e6}}, config().to_json()])
def test_few_candidates_make_a_page(rows: list[Record], about: dict[str, object]) -> None:
    page = render(PageContents("s", about, rows))
    assert page.count("<h1>") == 1
    assert ("was trained to the end yet" in page) == (not any(r.state == "complete" for r in rows))
    assert page.count('class="mark') >= sum(r.val_accuracy is not None for r in rows)


def test_a_hundred_candidates_make_a_small_file(contents: PageContents) -> None:
    curve = [[float(epoch), 0.123456 + epoch / 1000] for epoch in range(1, 201)]
    rows = [replace(row(i, 0.5 + i / 1000, 1000 + 37 * i), curve=curve, summary="conv64 · " * 8) for i in range(100)]
    assert len(render(replace(contents, history=rows)).encode()) < 300_000


def test_importances_are_shares_of_the_dims(study: optuna.Study) -> None:
    found = importance(study)
    complete = sum(r.state == "complete" for r in records(study))
    assert found.trials == complete >= LEAST
    assert set(found.shares) == {"stem.width", "stage1.width"}
    assert sum(found.shares.values()) == pytest.approx(1)
    assert found == importance(study)


def test_rejects_in_the_study_do_not_count_as_trainings(study: optuna.Study, tmp_path: Path) -> None:
    """Stock samplers learn from rejects that are complete trials of accuracy 0."""
    before = importance(study)
    other = create_study(open_storage(sqlite_url(tmp_path / "study.db")), "s", config())
    other.add_trials(study.get_trials())
    trial = study.get_trials()[0]
    other.add_trial(
        optuna.trial.create_trial(values=[0.0, 9e9], params=trial.params, distributions=trial.distributions)
    )
    assert importance(other) == before


def test_few_trainings_have_no_importances_and_the_page_says_so(tmp_path: Path) -> None:
    study = create_study(open_storage(sqlite_url(tmp_path / "study.db")), tmp_path.name, config())
    page = write_page(tmp_path, study, config()).read_text()
    assert f"Not known: 0 complete trainings are too few, it takes {LEAST}." in page


@pytest.mark.parametrize("values", [[1, 1], [100, 5e6], [3, 1e9], [870, 1100], [99, 101], []])
def test_a_log_axis_has_ticks_in_order_and_its_values_inside(values: list[float]) -> None:
    axis = log_axis(values)
    assert 2 <= len(axis.ticks) <= 14 or max(values, default=9) / min(values, default=1) < 2.1
    assert [tick.at for tick in axis.ticks] == sorted(tick.at for tick in axis.ticks)
    assert all(0 < axis.place(value) < 100 for value in values)
    assert axis.place(1e-12) == 0
    assert axis.place(1e12) == 100


@pytest.mark.parametrize("values", [[0, 100], [50.0], [99.1, 99.2], [], [0.0]])
def test_a_percent_axis_stays_within_what_there_is(values: list[float]) -> None:
    axis = percent_axis(values)
    assert axis.low >= 0
    assert len(axis.ticks) >= 2
    assert all(float(tick.label.rstrip("%")) <= 100 for tick in axis.ticks)
    assert all(0 <= axis.place(value) <= 100 for value in values)


@pytest.mark.parametrize("epochs", [0, 1, 2, 5, 20, 37, 200, 1000])
def test_epochs_are_whole(epochs: int) -> None:
    labels = [tick.label for tick in epoch_axis(epochs).ticks]
    assert labels[0] == "0"
    assert all(label == str(int(label)) for label in labels)
    assert 2 <= len(labels) <= 7


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_contrasts_are_those_of_aa_in_both_modes(text: str) -> None:
    palettes = [
        dict(re.findall(r"--(\w+): (#\w{6});", block)) for block in re.findall(r":root \{(.*?)\}", text, re.DOTALL)
    ]
    assert len(palettes) == 2

    def contrast(palette: dict[str, str], one: str, two: str) -> float:
        bright, dark = sorted((luminance(palette[one]), luminance(palette[two])), reverse=True)
        return (bright + 0.05) / (dark + 0.05)

    for palette in palettes:
        for ground in ("card", "page"):
            assert all(contrast(palette, ink, ground) >= 4.5 for ink in ("ink", "dim", "reference", "front"))
        assert all(contrast(palette, graphic, "card") >= 3 for graphic in ("done", "stopped", "bar"))


def test_the_claim_counts_stopped_candidates_at_their_last_measurement(contents: PageContents) -> None:
    complete = [row(0, 0.90, 20_994), row(1, 0.95, 90_000)]
    plain = "Nothing that was trained here is as small and more accurate, or as accurate and smaller."
    for harmless in (row(2, 0.80, 14_626, "stopped"), row(2, 0.97, 90_001, "stopped"), row(2, None, 5, "failed")):
        assert claim(replace(contents, history=[*complete, harmless])) == plain
    ahead = [row(2, 0.9799, 14_626, "stopped"), row(3, 0.96, 90_000, "stopped")]
    words = claim(replace(contents, history=[*complete, *ahead]))
    assert words.startswith("Nothing that was trained to the end is as small and more accurate")
    assert "2 that were stopped early are ahead of 2 of these 2 networks" in words
    assert "000000000002 had 97.99% with 14,626 parameters after 3 epochs." in words
    page = render(replace(contents, history=[*complete, ahead[0]]))
    assert "One that was stopped early is ahead of 2 of these 2 networks" in page


def test_names_lie_on_no_mark_and_on_no_other_name(contents: PageContents) -> None:
    """At several sizes of the front, with references in the middle of it."""
    for count in (1, 5, 20, 60):
        history = [row(i, 0.5 + 0.4 * i / count, int(1000 * 1.12**i)) for i in range(count)]
        names = ("lenet5", "resnet-course-small", "cnn-mlp")
        references = [
            replace(row(i, 0.6 + 0.05 * i, 3000 + 40 * i, "reference"), reason=name) for i, name in enumerate(names)
        ]
        chart = front_chart(replace(contents, history=history, references=references))
        boxes = [label_box(label.text, label.x, label.y, label.left) for label in chart.labels]
        marks = [Box(mark.x - 1, mark.y - 2, mark.x + 1, mark.y + 2) for mark in chart.marks]
        assert len(boxes) == 3
        assert all(box.covers(mark) == 0 for box in boxes for mark in marks), count
        assert all(one.covers(two) == 0 for one, two in combinations(boxes, 2)), count


def label_box(text: str, x: float, y: float, left: bool) -> Box:
    """In a chart of 600 by 290 pixels, letters of 6.5 pixels."""
    wide = 6.5 * len(text) / 6
    start = x - 1.8 - wide if left else x + 1.8
    return Box(start, y - 2.4, start + wide, y + 2.4)
