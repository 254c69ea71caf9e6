"""What commands print on a real terminal of 60 to 120 columns: ids and figures whole, one front, no ghosts."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from commands import STUDY, Process
from terminal import UNSET, Terminal

from archsearch._utils.units import format_bytes, format_count
from archsearch.cli.screen import columns, shortened, wrapped

Start = Callable[..., Process]
WIDTHS = [60, 120]
RUN = ["run", "--max-params", "20k", "--space", "tiny.toml", "--study", "s", "--seed", "3", "--no-rungs"]


def shown(start: Start, terminal: Terminal, *args: str, status: int = 0) -> str:
    """What a command leaves on the terminal."""
    assert start(*args, terminal=terminal.path, environment=UNSET).wait().status == status
    return terminal.text()


def check_front(text: str, front: pd.DataFrame, width: int) -> None:
    """Every row of the front with all that must be there, each on one line; the network as far as there is room."""
    assert text.count("Pareto front") == 1
    for row in front.itertuples():
        (line,) = [line for line in text.splitlines() if str(row.arch) in line]
        size = format_bytes(row.size_bytes)
        assert re.search(rf"{100 * row.val_accuracy:.2f}% +{format_count(row.params)}( params)? +{size}(  |$)", line)
        assert len(line) <= width
        network = line.partition(size)[2].strip()
        assert network.removesuffix(" …") == row.summary[: len(network.removesuffix(" …"))]
        assert network or width < 80


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype={"arch": str})


@pytest.mark.parametrize("width", WIDTHS)
def test_a_run_ends_with_one_front(start: Start, work: Path, window: Callable[[int], Terminal], width: int) -> None:
    text = shown(start, window(width), *RUN, "--trials", "2", "--epochs", "1")
    check_front(text, read(work / "results" / "s" / "pareto.csv"), width)
    assert "now: " not in text
    assert len(re.findall(r"\bchecked [\d,]+, over budget [\d,]+", text.replace("\n ", ""))) == 1
    assert text.startswith("archsearch: digits, ")
    assert text.splitlines()[-1].split()[-1] == "results/s/"


def test_a_resize_leaves_no_ghosts(start: Start, work: Path, window: Callable[[int], Terminal]) -> None:
    terminal = window(100)
    process = start(*RUN, "--trials", "2", "--epochs", "60", terminal=terminal.path, environment=UNSET)
    terminal.until(lambda text: re.search(r"trained 1 of 2", text) is not None)
    for width in (60, 120, 80):
        terminal.resize(width)
        seen = terminal.until(lambda text: re.search(r"epoch \d+/60", text) is not None)
        for words in ("trained 1 of ", "Pareto front:", "now: ", "over budget "):
            assert seen.count(words) == 1, seen
    assert process.wait().status == 0
    text = terminal.text()
    check_front(text, read(work / "results" / "s" / "pareto.csv"), 80)
    assert "now: " not in text


def test_an_interrupt_leaves_the_front_so_far(start: Start, work: Path, window: Callable[[int], Terminal]) -> None:
    terminal = window(80)
    process = start(*RUN, "--trials", "9", "--epochs", "60", terminal=terminal.path, environment=UNSET)
    terminal.until(lambda text: re.search(r"Pareto front:\n.*\n[0-9a-f]{12} ", text) is not None)
    process.signal(2)
    assert process.wait().status == 130
    text = terminal.text()
    check_front(text, read(work / "results" / "s" / "pareto.csv"), 80)
    assert text.rstrip().endswith("interrupted; everything finished is saved, --resume goes on")


@pytest.mark.parametrize("width", WIDTHS)
def test_other_commands(start: Start, study: Path, window: Callable[[int], Terminal], width: int) -> None:
    terminal, front = window(width), read(study / "pareto.csv")
    best = front.iloc[-1]
    check_front(shown(start, terminal, "pareto", STUDY), front, width)
    texts = {
        "show": shown(start, window(width), "show", STUDY, best.arch),
        "retrain": shown(start, window(width), "retrain", STUDY, "--seeds", "1", "--epochs", "1"),
        "check": shown(start, window(width), "check", f"{study}/archs/{best.arch}.toml", "--max-size", "1kB", status=1),
        "spaces": shown(start, window(width), "spaces"),
        "space": shown(start, window(width), "spaces", "resnin"),
        "evaluate": shown(start, window(width), "evaluate", f"{study}/weights/{best.arch}.safetensors"),
        "export": shown(start, window(width), "export", STUDY, best.arch, "--format", "safetensors"),
    }
    assert f"params: {best.params:,}" in texts["show"]
    assert f"val_accuracy: {100 * best.val_accuracy:.2f}%" in texts["show"]
    assert re.search(rf"{best.arch} +{best.params:,} +\d+\.\d\d% +1", texts["retrain"])
    assert f"{best.size_bytes:,}" in texts["check"]
    assert all(word in texts["spaces"] for word in ("\nresnin ", "\ninception ", " 207,401,596,416"))
    assert "stage3.depth > 0 and stage3.block = resnin" in texts["space"]
    assert re.search(r"\n9 +30 +\d+\.\d\d%", texts["evaluate"])
    for name, text in texts.items():
        # What the terminal breaks is one line here. A path is left whole for it to break.
        broken = [line for line in text.splitlines() if len(line) > width and "/" not in line]
        assert not broken, (name, broken)


def test_columns_that_do_not_fit_stand_below() -> None:
    rows = [("name", "123,456", "where it exists"), ("n", "7", "")]
    assert columns(rows, (0, 2), width=80) == ["name  123,456  where it exists", "n           7"]
    assert columns(rows, (0, 2), width=20) == ["name  123,456", "  where it exists", "n           7"]
    assert columns(rows, (0, 2), width=10) == ["name", "  123,456", "  where it", "  exists", "n", "        7"]
    assert columns([], (0,), width=10) == []


def test_words_give_way_and_then_go() -> None:
    rows = [("5becde75cb04", "95.32%", "conv16 | resnin 4x3 k3 | nin")]
    assert columns(rows, (0, 2), width=50, cut=True) == ["5becde75cb04  95.32%  conv16 | resnin 4x3 k3 | nin"]
    assert columns(rows, (0, 2), width=40, cut=True) == ["5becde75cb04  95.32%  conv16 | resnin …"]
    assert columns(rows, (0, 2), width=30, cut=True) == ["5becde75cb04  95.32%"]
    assert columns(rows, (0, 2), width=15, cut=True) == ["5becde75cb04", "  95.32%"]


def test_lines_break_between_words() -> None:
    assert wrapped(["weights: results/digits-resnin-params5M/ of it", ""], 30) == [
        "weights:", "  results/digits-resnin-params5M/", "  of it", "",
    ]  # fmt: skip
    assert shortened("conv16 | nin 8x1", 16) == "conv16 | nin 8x1"
    assert shortened("conv16 | nin 8x1", 12) == "conv16 …"
    assert shortened("conv16nin8x1", 8) == "conv16 …"
