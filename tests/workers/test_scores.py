"""What a library user's `evaluate` may give: any finite number; anything else is a failure, and nothing breaks."""

from __future__ import annotations

import decimal
import json
import math
import sqlite3
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from optuna.trial import TrialState

from archsearch import Arch, Budget, Evaluation, InputError, search
from archsearch.errors import StudyError, TrainingFailed
from archsearch.evaluation import Report
from archsearch.sampler.asha import Rungs
from archsearch.space.reader import load_space
from archsearch.study.observers import Candidate, Observer
from archsearch.study.storage import open_storage, records
from archsearch.workers.local import Result
from archsearch.workers.loop import Loop

optuna.logging.set_verbosity(optuna.logging.ERROR)
SPACE = load_space("resnin")
NOT_FINITE = {"nan": math.nan, "inf": math.inf, "minus_inf": -math.inf, "numpy_nan": np.float32("nan"),
              "torch_nan": torch.tensor(math.nan), "huge": 10**400}  # fmt: skip
NO_NUMBER = {"None": None, "text": "0.5", "numpy_text": np.str_("0.5"), "pair": (0.5, 0.1), "tensor": torch.ones(2),
             "complex": 1 + 1j, "dict": {"accuracy": 0.5}, "meta": torch.ones((), device="meta")}  # fmt: skip
NUMBERS = {"int": 1, "bool": True, "numpy": np.float32(0.5), "numpy_0d": np.array(0.5), "torch": torch.tensor(0.5),
           "torch_1": torch.tensor([0.5]), "half": torch.tensor(0.5, dtype=torch.float16),
           "gradient": torch.tensor(0.5, requires_grad=True), "decimal": decimal.Decimal("0.5")}  # fmt: skip


def run(evaluate: Callable[[Arch, Report], Any], **options: Any) -> Result:
    options = {"trials": 5, "budget": Budget(max_params=5e4), **options}
    return search(SPACE, evaluate=evaluate, input_shape=(3, 8, 8), classes=10, **options)


def formula(arch: Arch) -> float:
    return 1 - 1 / math.log(arch.cost.params)


def once(number: int, bad: Callable[[Report], Any]) -> Callable[[Arch, Report], Any]:
    """An evaluation by formula whose call of that number does something else."""
    calls: list[str] = []

    def evaluate(arch: Arch, report: Report) -> Any:
        calls.append(arch.id)
        return bad(report) if len(calls) == number else formula(arch)

    return evaluate


def stored(path: Path) -> optuna.Study:
    return optuna.create_study(
        study_name="s", storage=f"sqlite:///{path}", directions=["maximize", "minimize"], load_if_exists=True
    )


@pytest.mark.parametrize("value", [*NOT_FINITE.values(), *NO_NUMBER.values()], ids=[*NOT_FINITE, *NO_NUMBER])
def test_what_is_no_score_is_a_failure(value: Any) -> None:
    found = run(once(2, lambda report: value))
    assert [record.state for record in found.records] == ["complete", "failed", *["complete"] * 4]
    assert found.records[1].val_accuracy is None
    assert found.records[1].reason.startswith("score is ")
    assert found.records[1].reason.endswith(": give a finite number, the higher the better")
    assert found.reason == "trials"
    assert len(found.front) >= 1


@pytest.mark.parametrize("value", [math.nan, None, "0.5", Evaluation(math.nan)], ids=str)
def test_a_stored_study_stays_readable(value: Any, tmp_path: Path) -> None:
    evaluate = once(2, lambda report: value)
    assert len(run(evaluate, study=stored(tmp_path / "s.db")).records) == 6
    again = stored(tmp_path / "s.db")
    assert [trial.state for trial in again.trials][:3] == [TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE]
    assert len(run(evaluate, study=again, trials=7).records) == 8


@pytest.mark.parametrize("value", NUMBERS.values(), ids=NUMBERS)
def test_any_librarys_number_is_a_float(value: Any) -> None:
    def evaluate(arch: Arch, report: Report) -> Any:
        report(value if value == 1 else 1, value, {"loss": value, "note": "text"})
        return value

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Converting a tensor with requires_grad=True")
        found = run(evaluate, trials=1)
    assert found.front.val_accuracy.dtype == np.float64
    assert type(found.records[0].val_accuracy) is float
    assert found.records[0].curve == [[1, 1.0 if value == 1 else 0.5]]


def test_an_accuracy_among_the_metrics_is_another_than_the_score() -> None:
    def evaluate(arch: Arch, report: Report) -> Evaluation:
        report(1, -formula(arch), {"val_accuracy": 0.25})
        report(2, -formula(arch) - 1, {"val_accuracy": 0.5})
        return Evaluation(-formula(arch) - 1, metrics={"val_accuracy": 0.5})

    found = run(evaluate, trials=8, rungs=Rungs(4, 1, 2.0))
    assert {record.state for record in found.records} == {"complete", "stopped"}
    for record in found.records:
        last = 0.25 if record.state == "stopped" and record.epochs == 1 else 0.5
        assert (record.val_accuracy, record.val_score) == (last, record.curve[-1][1])
    assert (found.front.val_score < 0).all()
    assert "val_score" in repr(found)
    assert "val_score" not in repr(run(lambda arch, report: formula(arch)))


@pytest.mark.parametrize("value", [math.nan, None, "0.5", math.inf], ids=str)
@pytest.mark.parametrize("rungs", [None, Rungs(4, 1, 2.0)])
def test_what_is_reported_is_a_number_too(value: Any, rungs: Rungs | None) -> None:
    def bad(report: Report) -> float:
        report(1, 0.5)
        report(2, value)
        return 0.9

    found = run(once(2, bad), rungs=rungs, trials=6)
    assert found.records[1].state == "failed"
    assert found.records[1].reason.startswith("accuracy of epoch 2 is ")
    assert found.records[1].curve == [[1, 0.5]]
    assert sum(record.state != "failed" for record in found.records) == 6


@pytest.mark.parametrize(
    ("epochs", "words"),
    [
        ([0], r"report\(0, ...\): epochs are whole numbers, counted from 1: call report\(epoch \+ 1, ...\)"),
        ([1, 1], r"report\(1, ...\) after epoch 1: report every epoch once, in order"),
        ([2, 1], r"report\(1, ...\) after epoch 2"),
        ([1.5], "the first is 1"),
        ([-1], "the first is 1"),
        ([math.nan], "the first is 1"),
        (["one"], "the first is 1"),
    ],
)
def test_epochs_are_counted_from_one(epochs: Sequence[Any], words: str) -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])

    def evaluate(arch: Arch, report: Report) -> float:
        for epoch in epochs:
            report(epoch, 0.5)
        return 0.5

    with pytest.raises(InputError, match=words):
        run(evaluate, study=study)
    assert records(study) == []


def test_epochs_of_any_library_are_whole_numbers() -> None:
    def evaluate(arch: Arch, report: Report) -> float:
        for epoch in (np.int64(1), torch.tensor(2), 5.0):
            report(epoch, 0.5)
        return 0.5

    record = run(evaluate, trials=1).records[0]
    assert record.epochs == 5
    assert json.dumps(record.curve) == "[[1, 0.5], [2, 0.5], [5, 0.5]]"


def test_usage_keeps_finite_numbers_alone() -> None:
    usage: Mapping[str, Any] = {"step_seconds": torch.tensor(2.0), "data_seconds": math.nan, "eval_seconds": "long",
                                "peak_memory_bytes": 7}  # fmt: skip
    found = run(lambda arch, report: Evaluation(0.5, usage, before=math.nan), trials=1)
    assert found.records[0].usage == {"step_seconds": 2.0, "peak_memory_bytes": 7}
    assert math.isfinite(found.records[0].train_seconds)


def test_metrics_of_an_epoch_are_floats() -> None:
    told: list[Mapping[str, float]] = []

    class Watch(Observer):
        def epoch(self, candidate: Candidate, epoch: int, accuracy: float, metrics: Mapping[str, float]) -> None:
            told.append(metrics)

    def evaluate(arch: Arch, report: Report) -> float:
        report(1, 0.5, {"loss": torch.tensor(2.0), "note": "text"})
        return 0.5

    run(evaluate, trials=1, observers=[Watch()])
    assert told == [{"loss": 2.0}]
    assert type(told[0]["loss"]) is float


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("mine"), MemoryError("mine"), RuntimeError("mine")])
def test_errors_of_evaluate_end_the_search_as_they_are(error: Exception) -> None:
    def fail(report: Report) -> float:
        raise error

    study = optuna.create_study(directions=["maximize", "minimize"])
    with pytest.raises(type(error), match=r"^mine$"):
        run(once(2, fail), study=study)
    assert [record.state for record in records(study)] == ["complete"]


def test_nothing_unreadable_is_written_whoever_makes_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard at the write: a record that `measure` has not looked at."""
    from dataclasses import replace

    from archsearch.workers import loop

    real = loop.measure
    broken = {"val_accuracy": math.nan, "curve": [[1, math.nan]], "usage": {"step_seconds": math.inf}}
    monkeypatch.setattr(loop, "measure", lambda *args: replace(real(*args), **broken))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "MAX_FAILURES", 2)
        found = run(lambda arch, report: 0.5, study=stored(tmp_path / "s.db"))
    assert (found.reason, [record.state for record in found.records]) == ("failures", ["failed", "failed"])
    text = str([trial.user_attrs for trial in stored(tmp_path / "s.db").trials])
    assert "nan," not in text.replace("accuracy is nan, which", "")
    assert "inf" not in text


def poisoned(path: Path) -> None:
    """A study as an older archsearch left it after a score of nan, and with nan in another trial's curve."""
    run(once(9, lambda report: 0.0), study=stored(path), trials=4, rungs=Rungs(4, 1, 2.0))
    with sqlite3.connect(path) as database:
        database.execute("UPDATE trial_values SET value = NULL WHERE trial_id = 2 AND objective = 0")
        where = "WHERE key = 'result' AND trial_id = 2"
        [text] = database.execute(f"SELECT value_json FROM trial_user_attributes {where}").fetchone()
        result = json.dumps({**json.loads(text), "val_accuracy": math.nan})
        database.execute(f"UPDATE trial_user_attributes SET value_json = ? {where}", (result,))
        curve = "UPDATE trial_user_attributes SET value_json = '[[1, NaN], [2, null]]' WHERE key = 'curve'"
        database.execute(f"{curve} AND trial_id = 3")
    database.close()


@pytest.mark.parametrize("opened", ["by us", "by the user"])
def test_a_study_that_was_poisoned_is_read_again(opened: str, tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    poisoned(path)
    with pytest.raises(AssertionError):
        stored(path).get_trials()
    if opened == "by us":
        study = optuna.load_study(study_name="s", storage=open_storage(f"sqlite:///{path}"))
    else:
        study = stored(path)
    evaluate = once(9, lambda report: 0.0)
    found = run(lambda arch, report: (report(1, 0.5), evaluate(arch, report))[1], study=study, rungs=Rungs(4, 1, 2.0))
    assert [record.state for record in found.records] == ["complete", "failed", *["complete"] * 4]
    assert found.records[1].reason == "accuracy is nan, which is no finite number"
    assert found.records[2].curve == []
    assert len(stored(path).get_trials()) == 6


@pytest.mark.parametrize("directions", [["maximize"], ["minimize", "minimize"], ["maximize", "maximize"]])
def test_other_directions_are_refused(directions: list[str]) -> None:
    study = optuna.create_study(study_name="s", directions=directions)
    words = rf"study 's' has directions \({', '.join(directions)}\), a search has \(maximize, minimize\)"
    with pytest.raises(StudyError, match=words):
        run(lambda arch, report: 0.5, study=study)
    assert study.trials == []


@pytest.mark.parametrize("timeout", [0, -1, 0.0])
def test_no_time_is_a_limit_too(timeout: float) -> None:
    found = run(lambda arch, report: 0.5, timeout=timeout)
    assert (found.reason, len(found.records)) == ("timeout", 0)


@pytest.mark.parametrize("timeout", [math.nan, "1h"])
def test_a_timeout_is_a_number(timeout: Any) -> None:
    with pytest.raises(InputError, match=r"timeout=.*: give seconds, or None for no limit"):
        run(lambda arch, report: 0.5, timeout=timeout)


@pytest.mark.parametrize("sampler", ["pareto", "tpe", "nsga2", "random"])
@pytest.mark.parametrize("scale", [-2.3, 100.0])
def test_scores_in_any_unit(sampler: str, scale: float) -> None:
    """A negative loss, or per cent: the front is that of the scores."""

    def evaluate(arch: Arch, report: Report) -> float:
        score = scale * (1 - formula(arch) if scale < 0 else formula(arch))
        report(1, score)
        return score

    found = run(evaluate, sampler=sampler, trials=14, rungs=Rungs(3, 1, 2.0))
    assert found.reason == "trials"
    complete = [record for record in found.records if record.state == "complete"]
    wanted = [r for r in complete if not any(o.params <= r.params and o is not r for o in complete)]
    assert set(found.front.arch) >= {record.arch for record in wanted}
    assert found.front.val_accuracy.is_monotonic_increasing
    assert (found.front.val_accuracy < 0).all() == (scale < 0)


def test_a_reject_is_no_better_than_what_was_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Loop] = []
    real = Loop.start
    monkeypatch.setattr(Loop, "start", lambda self, *args: (kept.append(self), real(self, *args))[1])
    run(lambda arch, report: -5.0 + formula(arch), sampler="nsga2", trials=6, budget=Budget(max_params=1e4))
    trials = kept[0].draft._study.trials
    rejects = [t for t in trials if t.values and t.constraints["budget"] > 0]
    trained = [t for t in trials if t.values and t.constraints["budget"] < 0]
    assert rejects
    for reject in rejects:
        before = [trial.values[0] for trial in trained if trial.number < reject.number]
        assert reject.values[0] <= min([0.0, *before])


def test_training_failed_keeps_what_it_measured() -> None:
    def bad(report: Report) -> float:
        failure = TrainingFailed("no")
        failure.evaluation = Evaluation(math.nan, {"step_seconds": 3.0})
        raise failure

    assert run(once(1, bad), trials=1).records[0].usage == {"step_seconds": 3.0}
