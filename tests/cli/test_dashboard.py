"""`archsearch dashboard` in a real browser."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import optuna
import pandas as pd
import pytest
from commands import STUDY
from playwright.sync_api import Browser, Page

from archsearch.study.storage import sqlite_url


@pytest.fixture(scope="module")
def address(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the dashboard of the finished study listens."""
    folder = tmp_path_factory.mktemp("dashboard") / STUDY
    shutil.copytree(finished / "results" / STUDY, folder)
    other = optuna.create_study(study_name="other", storage=sqlite_url(folder / "study.db"))
    for value in (1.0, -1.0):
        other.add_trial(optuna.trial.create_trial(value=0.5, system_attrs={"constraints": [value]}))
    # A shell's background jobs, and all that they start, ignore Ctrl-C unless they say otherwise.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{heed}; from archsearch.cli import main; main(['dashboard', {str(folder)!r}, '--port', '0'])"
    server = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert server.stdout
    first = server.stdout.readline()
    found = re.search(r"http://127\.0\.0\.1:\d+/", first)
    assert found, first
    yield found.group()
    server.send_signal(signal.SIGINT)
    out, err = server.communicate(timeout=30)
    assert server.returncode == 130
    assert "Traceback" not in out + err


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1500, "height": 1200})
    page.set_default_timeout(60_000)
    yield page
    page.close()


def test_the_study_is_listed_and_opens(page: Page, address: str) -> None:
    page.goto(address)
    page.get_by_text(STUDY).first.click()
    page.get_by_text("val_accuracy").first.wait_for()
    text = page.inner_text("body")
    assert STUDY in text
    assert "val_accuracy" in text
    assert "params" in text


def test_a_trial_shows_what_a_person_wants_to_know(page: Page, address: str, finished: Path) -> None:
    trials = pd.read_csv(finished / "results" / STUDY / "trials.csv", dtype={"arch": str})
    page.goto(f"{address}dashboard/studies/1/trials?numbers=0")
    page.get_by_text(trials.summary[0]).first.wait_for()
    text = page.inner_text("body")
    for name in ("summary", "macs", "epochs", "size_bytes", "arch"):
        assert name in text
    for value in (trials.arch[0], str(trials.macs[0]), str(trials.size_bytes[0])):
        assert value in text


NAMES = "[...document.querySelectorAll('.js-plotly-plot')].flatMap(plot => (plot.data ?? []).map(trace => trace.name))"


def traces(page: Page, url: str) -> set[str]:
    """What the timeline of a study tells apart; a plot of one kind has no legend."""
    page.goto(url)
    page.wait_for_function(f"{NAMES}.includes('Complete')")
    return set(page.evaluate(NAMES))


def test_feasible_trials_are_not_shown_as_infeasible(page: Page, address: str) -> None:
    """The second study is the proof that an infeasible one would show here."""
    assert "Infeasible" not in traces(page, f"{address}dashboard/studies/1")
    assert "Infeasible" in traces(page, f"{address}dashboard/studies/2")


def test_a_picture_of_the_study(page: Page, address: str, tmp_path: Path) -> None:
    """The front's plot is drawn, with both objectives on its axes."""
    page.goto(f"{address}dashboard/studies/1")
    page.locator(".js-plotly-plot").first.wait_for()
    page.get_by_text("Pareto").first.wait_for()
    picture = page.screenshot(path=tmp_path / "dashboard.png")
    assert len(picture) > 20_000


def test_the_note_links_the_front_to_trials_with_their_files(page: Page, address: str, finished: Path) -> None:
    best = pd.read_csv(finished / "results" / STUDY / "pareto.csv", dtype={"arch": str})
    page.goto(f"{address}dashboard/studies/1/note")
    page.get_by_text("the front").first.wait_for()
    links = [link.get_attribute("href") for link in page.locator("table a").all()]
    assert links == [f"/dashboard/studies/1/trials?numbers={number}" for number in best.trial]
    page.locator("table a").first.click()
    for name in (f"{best.arch[0]}.safetensors", f"{best.arch[0]}.toml"):
        page.get_by_text(name).first.wait_for()


def test_the_files_can_be_had_from_the_dashboard(page: Page, address: str, finished: Path) -> None:
    best = pd.read_csv(finished / "results" / STUDY / "pareto.csv", dtype={"arch": str})
    page.goto(f"{address}dashboard/studies/1/trials?numbers={best.trial[0]}")
    link = page.locator(f"a[download='{best.arch[0]}.safetensors']").first
    link.wait_for(state="attached")
    answer = page.request.get(address.rstrip("/") + str(link.get_attribute("href")))
    assert answer.body() == (finished / "results" / STUDY / "weights" / f"{best.arch[0]}.safetensors").read_bytes()
