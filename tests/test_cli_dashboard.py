"""`archsearch dashboard` in a real browser."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from conftest import STUDY
from playwright.sync_api import Browser, Page, sync_playwright

FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip


@pytest.fixture(scope="module")
def address(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the dashboard of the finished study listens."""
    folder = tmp_path_factory.mktemp("dashboard") / STUDY
    shutil.copytree(finished / "results" / STUDY, folder)
    code = f"from archsearch.cli import main; main(['dashboard', {str(folder)!r}, '--port', '0'])"
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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for all: more than a thousand pages would not cost as much as a start."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert path, "the dashboard is tested in Chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


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


def test_feasible_trials_are_not_shown_as_infeasible(page: Page, address: str, finished: Path) -> None:
    trials = pd.read_csv(finished / "results" / STUDY / "trials.csv", dtype={"arch": str})
    for number, summary in enumerate(trials.summary):
        page.goto(f"{address}dashboard/studies/1/trials?numbers={number}")
        page.get_by_text(summary).first.wait_for()
        text = page.inner_text("body").lower()
        assert f"trial {number}" in text
        assert "infeasible" not in text


def test_a_picture_of_the_study(page: Page, address: str, tmp_path: Path) -> None:
    """The front's plot is drawn, with both objectives on its axes."""
    page.goto(f"{address}dashboard/studies/1")
    page.locator(".js-plotly-plot").first.wait_for()
    page.get_by_text("Pareto").first.wait_for()
    picture = page.screenshot(path=tmp_path / "dashboard.png")
    assert len(picture) > 20_000
