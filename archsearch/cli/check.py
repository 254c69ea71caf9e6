"""`archsearch check`."""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import replace
from typing import Any

import click

from archsearch._utils.units import BYTES, MILLISECONDS, format_bytes, format_count, format_ms, format_short
from archsearch.cli.options import INPUT, budget_of, json_option, limits, measured_limits
from archsearch.cli.screen import columns, fits, wrapped
from archsearch.errors import InputError
from archsearch.network.budget import Budget, LimitCheck, Verdict
from archsearch.network.cost import Layer
from archsearch.network.file_size import SAFETENSORS, Written
from archsearch.network.limits import LATENCY, RAM, upper
from archsearch.network.timing import Timing
from archsearch.nn.inputs import Inputs, one_image
from archsearch.nn.inspect import measure_target
from archsearch.nn.measured import ON_DISK, Measured

HEAVIEST = 5
_WEIGHED = {"macs": 3, "activation": 4}
"""The columns of the heaviest layers that may be what they are heavy in."""


@click.command()
@click.argument("target")
@limits
@measured_limits
@click.option(
    "--input-shape",
    type=INPUT,
    multiple=True,
    help="Channels, height, width: 3,224,224. A module's next input: once more. With a dtype: 16:int64."
    "  [default: the target's own]",
)
@json_option
def check(target: str, input_shape: Inputs, as_json: bool, **options: Any) -> int:
    """Hold TARGET against limits: exit 0 if it is under all of them, 1 if not, 2 if it cannot be measured.

    \b
    TARGET   net.toml                    an architecture file
             ref:NAME                    a textbook network that comes with archsearch
             pkg.mod:callable            anything that gives a torch.nn.Module (the current folder is importable)
             torchvision:resnet18        a model of torchvision; timm:NAME one of timm
             model.safetensors, model.pt a weights file or a state dict: nothing in it is run
             model.onnx, model.pt2       a graph, counted by its operators
             model.tflite, .xml, ...     files of other runtimes: weights; of some the bytes alone

    Bytes of a file are those on disk, of weights also those at a --size-dtype that is given. With --size-format they
    are those of the file that `export` would write in that format, at most. For --max-latency a file of the runtime's
    format is run as it is, an architecture with random weights.
    Limits are strict. Without one the figures are printed and the exit status is 0.
    """
    budget = budget_of(options)
    with _foreign_code():
        measured = measure_target(target, _asked_dtype(budget), input_shape, budget.size_format)
        if budget.timing:
            measured = _timed(measured, budget.timing, input_shape)
    verdict = _verdict(budget, measured)
    click.echo(json.dumps(_json(measured, verdict)) if as_json else "\n".join(_text(measured, verdict, budget)))
    return 0 if verdict.ok else 1


def _timed(measured: Measured, timing: Timing, input_shape: Inputs) -> Measured:
    """With milliseconds, which are measured now. Raises InputError, ExportFailed, NotMeasurable."""
    from archsearch.export.timed import milliseconds_of

    found = milliseconds_of(measured.target, timing, one_image(measured.target, input_shape))
    return replace(measured, values={**measured.values, LATENCY: found})


def _asked_dtype(budget: Budget) -> str | None:
    """The dtype that stands on the command line: a file without it is held against a limit as it is."""
    source = click.get_current_context().get_parameter_source("size_dtype")
    return None if source is click.core.ParameterSource.DEFAULT else budget.size_dtype


@contextlib.contextmanager
def _foreign_code() -> Any:
    """The current folder is importable, and what a module prints when it is imported goes to stderr."""
    sys.path.insert(0, "")
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        sys.path.remove("")


def _verdict(budget: Budget, measured: Measured) -> Verdict:
    try:
        return budget.hold(measured.values)
    except InputError as error:
        raise InputError(f"{measured.target}: {error}" + (f": {measured.note}" if measured.note else "")) from None


def _json(measured: Measured, verdict: Verdict) -> dict[str, Any]:
    found = [
        {"name": check.name, "limit": _plain(check.limit), "value": check.value, "ok": check.ok}
        for check in verdict.limits
    ]
    extra = {} if measured.attention_macs is None else {"attention_macs": measured.attention_macs}
    form = {} if measured.size_format == SAFETENSORS else {"size_format": measured.size_format}
    words = {"size_dtype": measured.size_dtype, "note": measured.note, **form}
    return {"target": measured.target, **measured.values, **extra, "limits": found, "ok": verdict.ok, **words}


def _plain(limit: float) -> float:
    return int(limit) if float(limit).is_integer() else limit


def _text(measured: Measured, verdict: Verdict, budget: Budget) -> list[str]:
    rows = _rows(measured, verdict)
    rows = rows if fits(rows) else _rows(measured, verdict, exact=True)
    title = f"{measured.target}  ({measured.what}; {_bytes(measured, budget)})"
    lines = [*wrapped([title]), *columns(rows, left=(0, 4))]
    if measured.note:
        lines += wrapped([f"note: {measured.note}"])
    if measured.attention_macs:
        more = format_count(measured.attention_macs)
        lines += wrapped([f"note: not in macs: {more} of products of two activations, such as attention scores"])
    broken = [check for check in verdict.limits if not check.ok]
    if broken:
        lines += ["", *_heaviest(measured, broken[0]), ""]
    return [*lines, *wrapped([_answer(verdict)])]


def _bytes(measured: Measured, budget: Budget) -> str:
    if measured.size_dtype != ON_DISK:
        return f"bytes at {Written(measured.size_dtype, measured.size_format).words}"
    live = measured.values["peak_activation_bytes"] is not None
    return f"bytes on disk, activations at {budget.size_dtype}" if live else "bytes on disk"


def _rows(measured: Measured, verdict: Verdict, exact: bool = False) -> list[tuple[str, ...]]:
    held = {check.name: check for check in verdict.limits}
    told = [(name, value) for name, value in measured.values.items() if (name, value) != (RAM, None) or name in held]
    rows = [_row(name, value, held.get(name), exact) for name, value in told]
    return [("", "value", "limit", "margin", "verdict"), *rows]


def _row(name: str, value: float | None, check: LimitCheck | None, exact: bool) -> tuple[str, ...]:
    shown = "not measured" if value is None else _quantity(name, value, exact)
    if check is None:
        return name, shown, "", "", ""
    room = check.limit - check.value
    timed = upper(name).unit == MILLISECONDS
    margin = f"{room:{'+.3g' if timed else '+,.0f'}} ({100 * room / check.limit:+.1f}%)"
    return name, shown, _quantity(name, check.limit, exact), margin, "ok" if check.ok else "OVER"


def _quantity(name: str, value: float, exact: bool) -> str:
    """A value, with bytes in a unit too unless it is to be `exact` alone."""
    in_bytes = upper(name).unit == BYTES and not exact
    return f"{format_count(value)} = {format_bytes(value)}" if in_bytes else _plainly(name, value)


def _plainly(name: str, value: float) -> str:
    return format_ms(value) if upper(name).unit == MILLISECONDS else format_count(value)


def _heaviest(measured: Measured, broken: LimitCheck) -> list[str]:
    """The layers that weigh most in the first broken limit."""
    key = upper(broken.name).weighs
    found = sorted(measured.layers, key=lambda layer: getattr(layer, key), reverse=True)[:HEAVIEST]
    total = measured.values.get(key) or 0
    rows: list[tuple[str, ...]] = [("heaviest layers", "", "params", "MACs", "activations", "share")]
    rows += [_layer(layer, getattr(layer, key) / total if total else None) for layer in found]
    for spare in (4, 3):  # what gives way on a narrow terminal
        if not fits(rows) and _WEIGHED.get(key) != spare:
            rows = [(*row[:spare], *row[spare + 1 :]) for row in rows]
    return columns(rows, left=(0, 1))


def _layer(layer: Layer, share: float | None) -> tuple[str, ...]:
    figures = (format_count(layer.params), format_short(layer.macs), format_short(layer.activation))
    return layer.name or "(root)", layer.kind, *figures, "" if share is None else f"{100 * share:.1f}%"


def _answer(verdict: Verdict) -> str:
    if not verdict.limits:
        return "no limit given"
    broken = [
        f"{check.name} {_plainly(check.name, check.value)} is not under {_plainly(check.name, check.limit)}"
        for check in verdict.limits
        if not check.ok
    ]
    return f"over budget: {'; '.join(broken)}" if broken else "within budget"
