"""The page's sentences, figures and rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from archsearch._utils.scores import Score
from archsearch._utils.units import counted, format_bytes, format_count, format_ms, format_seconds
from archsearch.network.limits import LATENCY, LIMITS
from archsearch.report.html.contents import PageContents
from archsearch.report.tables import Tested
from archsearch.space import inputs
from archsearch.study.records import Record

_PHASES = {
    "step_seconds": "training steps",
    "data_seconds": "data and augmentation",
    "eval_seconds": "evaluation",
    "overhead_seconds": "set-up and the rest",
}
_NEAR, _WORTH_SAYING, _WHOLE = 0.01, 1.1, 99.5
_ACCURACY = Score()


@dataclass(frozen=True)
class Amount:
    """A named amount and its share of the largest one, in percent."""

    name: str
    amount: str
    width: float


def headline(contents: PageContents) -> list[tuple[str, str]]:
    """The winner's figures: (value, what it is)."""
    winner, score = contents.front[-1], contents.score
    figures = [
        (score.shown(winner.score or 0.0), f"validation {score.words}"),
        (format_count(winner.params), "parameters"),
        (format_bytes(winner.size_bytes), f"on disk at {contents.budget.written.words}"),
        (format_count(winner.macs), "multiply-accumulates"),
    ]
    if winner.arch in contents.tests:
        test = contents.tests[winner.arch]
        seeds = f", {counted(test.seeds, 'seed')}" if test.seeds > 1 else ""
        figures.insert(1, (score_words(test, score), f"test {score.words}{seeds}"))
    return figures


def score_words(test: Tested, score: Score = _ACCURACY) -> str:
    """`97.20% ± 0.12`, without a deviation where there is one seed; `–` where the score is not defined."""
    if score.is_accuracy:
        return score.spread(test.mean, test.std)
    return "–" if test.score_mean is None else score.spread(test.score_mean, test.score_std)


def smaller(contents: PageContents) -> str:
    """What a point of the score would save; empty if nothing."""
    winner, score = contents.front[-1], contents.score
    least = score.drawn(winner.score) - score.drawn(_NEAR)
    near = next(r for r in contents.front if score.drawn(r.score) >= least)
    ratio = winner.params / near.params
    if ratio < _WORTH_SAYING:
        return ""
    times = f"{ratio:.2g}" if ratio < _WHOLE else format_count(ratio)
    within = "one point" if score.unit else f"{_NEAR:g}"
    return (
        f"Within {within} of it: {score.shown(near.score or 0.0)} with {format_count(near.params)} parameters, "
        f"{times} times fewer."
    )


def story(contents: PageContents) -> str:
    """What the search did, in one sentence or two."""
    counts, history = contents.counts, contents.history
    states = {state: sum(r.state == state for r in history) for state in ("complete", "stopped", "failed")}
    trained = states["complete"] + states["stopped"]
    done = f"{counted(trained, 'candidate')} {'was' if trained == 1 else 'were'} trained"
    if states["stopped"]:
        done += f", {states['stopped']:,} of them stopped early"
    if states["failed"]:
        done += f"; {states['failed']:,} failed"
    if not counts:
        return f"{done}."
    checked = counts["checked"]
    return (
        f"{counted(checked, 'candidate')} {'was' if checked == 1 else 'were'} checked by arithmetic; "
        f"{counts['over_budget']:,} distinct ones were over budget and cost no training. {done}."
    )


def claim(contents: PageContents) -> str:
    """What the front is, by everything that was trained: a stopped candidate counts at its last measurement."""
    front, better, score = contents.front, stopped_ahead(contents), contents.score
    beats = f"as small and {score.better}, or {score.equal} and smaller."
    if not better:
        return f"Nothing that was trained here is {beats}"
    first = better[0]
    beaten = sum(any(_beats(record, other) for record in better) for other in front)
    ahead = "One that was stopped early is" if len(better) == 1 else f"{len(better):,} that were stopped early are"
    return (
        f"Nothing that was trained to the end is {beats} "
        f"{ahead} ahead of {beaten:,} of these {counted(len(front), 'network')}: {first.arch} had "
        f"{score.shown(first.score or 0.0)} with {format_count(first.params)} parameters after "
        f"{counted(first.epochs, 'epoch')}."
    )


def stopped_ahead(contents: PageContents) -> list[Record]:
    """Stopped candidates that beat a network of the front by their last measurement, the best first."""
    stopped = [r for r in contents.history if r.state == "stopped" and r.score is not None]
    ahead = [r for r in stopped if any(_beats(r, other) for other in contents.front)]
    return sorted(ahead, key=lambda r: -(r.score or 0.0))


def _beats(one: Record, other: Record) -> bool:
    """Whether it is as small and scores as high at least, and is better in one of both."""
    mine, theirs = (one.score or 0.0, -one.params), (other.score or 0.0, -other.params)
    return mine != theirs and mine[0] >= theirs[0] and mine[1] >= theirs[1]


def inherited(contents: PageContents) -> str:
    """What scores are worth where networks began with weights of others; empty where none did."""
    some = [record for record in contents.history if "parent" in record.usage]
    if not some:
        return ""
    return (
        f"{len(some):,} of {len(contents.history):,} networks began with weights of another, so that scores come from"
        " unequal training: point at a mark for the epochs behind it. retrain trains from scratch."
    )


def front_rows(contents: PageContents) -> list[dict[str, str]]:
    """The front's table, smallest first."""
    return [_row(record, contents.tests.get(record.arch), contents.score) for record in contents.front]


def fast_rows(contents: PageContents) -> list[dict[str, str]]:
    """The table of the front by milliseconds, the fastest first."""
    return [_row(record, contents.tests.get(record.arch), contents.score) for record in contents.fast_front]


def fast_claim(contents: PageContents) -> str:
    """What the front by milliseconds is, and how these were measured."""
    timing, score = contents.budget.timing, contents.score
    how = f", measured with random weights before the training ({timing.words})" if timing else ""
    return (
        f"Nothing that was trained to the end is as fast and {score.better}, or {score.equal} and faster."
        f" Milliseconds are those of one image{how}."
    )


def _row(record: Record, test: Tested | None, score: Score) -> dict[str, str]:
    return {
        "key": f"t{record.trial}",
        "arch": record.arch,
        "summary": record.summary,
        "score": score.shown(record.score or 0.0),
        "accuracy": "" if score.is_accuracy else _ACCURACY.shown(record.val_accuracy or 0.0),
        "test": score_words(test, score) if test else "",
        "params": format_count(record.params),
        "size": format_bytes(record.size_bytes),
        "macs": format_count(record.macs),
        "ms": format_ms(record.more[LATENCY]) if LATENCY in record.more else "–",
        "epochs": str(record.epochs),
        "time": format_seconds(record.train_seconds),
    }


def broken_limits(contents: PageContents) -> list[Amount]:
    """How many distinct candidates broke each limit; one may break several."""
    broke = {name: n for name, n in contents.counts.get("broke", {}).items() if n > 0}
    titles = {limit.measure: limit.title for limit in LIMITS} | {"no network": "no network at all"}
    rows = [(titles.get(name, name), n, format_count(n)) for name, n in broke.items()]
    return _shares(sorted(rows, key=lambda row: -row[1]))


def importances(contents: PageContents, most: int = 12) -> list[Amount]:
    """The dims that matter most."""
    rows = [(name, share, f"{100 * share:.0f}%") for name, share in contents.importance.shares.items()]
    return _shares(rows[:most])


def phases(contents: PageContents) -> list[Amount]:
    """Seconds of all trainings by what they went into, as far as these were measured."""
    total = {name: sum(r.usage.get(name, 0.0) for r in contents.history) for name in _PHASES}
    rows = [(_PHASES[name], seconds, _time(seconds)) for name, seconds in total.items() if seconds > 0]
    return _shares(rows)


def states(contents: PageContents) -> list[Amount]:
    """Seconds of training by what became of the candidates."""
    names = {"complete": "trained to the end", "stopped": "stopped early", "failed": "failed"}
    rows = [(words, sum(r.train_seconds for r in contents.history if r.state == s)) for s, words in names.items()]
    return _shares([(words, seconds, _time(seconds)) for words, seconds in rows if seconds > 0])


def _time(seconds: float) -> str:
    """A duration that is not nothing."""
    return format_seconds(seconds) if seconds >= 0.5 else "under 1 s"


def _shares(rows: Sequence[tuple[str, float, str]]) -> list[Amount]:
    most = max((amount for _, amount, _ in rows), default=1.0)
    return [Amount(name, words, round(100 * amount / most, 1)) for name, amount, words in rows]


def origin(about: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What it takes to repeat the search, but for the command."""
    data, space = about.get("dataset", {}), about.get("space", {})
    shape = inputs.words(about.get("inputs") or [about.get("input", [])])
    rows = [
        ("dataset", f"{data.get('name', '')}, {counted(about.get('classes', 0), 'class')} of {shape}"),
        ("fingerprint", data.get("fingerprint")),
        ("maximised", Score(about["metric"]).words if about.get("metric") else None),
        ("validation share", f"{data['validation']:.3g}" if data.get("validation") else None),
        ("search space", space.get("name")),
        ("seed", about.get("seed")),
        ("device", about.get("device")),
        ("workers", about.get("workers")),
        ("recipe", _pairs(about.get("settled_recipe") or about.get("recipe", {}))),
        ("versions", _pairs(about.get("versions", {}))),
        ("machine", about.get("machine")),
        ("git commit", about.get("git_commit")),
    ]
    return [(name, str(value)) for name, value in rows if value not in (None, "")]


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_short(value)}" for name, value in values.items())


def _short(value: Any) -> Any:
    """A float with the digits that say something."""
    return f"{value:.6g}" if isinstance(value, float) else value
