"""`report.html` in a real browser: phone and desktop, light and dark, mouse, keyboard and touch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Browser, Page
from studies import config, make_study

from archsearch.data.pixels import Pixels
from archsearch.inference.mistakes import confident_mistakes
from archsearch.inference.scores import judge
from archsearch.report.html import write_page
from archsearch.report.html.evaluation import write_evaluation
from archsearch.report.scores import for_page

SIZES = {"phone": {"width": 390, "height": 844}, "desktop": {"width": 1280, "height": 900}}
MODES = [("phone", "light"), ("phone", "dark"), ("desktop", "light"), ("desktop", "dark")]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page") / "a-study-with-quite-a-long-name-params5M-size6MB-macs100M"
    return write_page(folder, make_study(folder), config())


@pytest.fixture(params=MODES, ids="-".join)
def page(request: pytest.FixtureRequest, browser: Browser, report: Path) -> Iterator[Page]:
    """The open page; complaints and requests to others fail the test at its end."""
    size, mode = request.param
    context = browser.new_context(viewport=SIZES[size], color_scheme=mode, has_touch=size == "phone")
    page = context.new_page()
    trouble: list[str] = []
    page.on("console", lambda message: trouble.append(message.text))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("request", lambda request: trouble.append(request.url) if request.url != report.as_uri() else None)
    page.on("dialog", lambda dialog: (trouble.append(dialog.message), dialog.dismiss()))
    page.goto(report.as_uri())
    yield page
    context.close()
    assert [text for text in trouble if not text.startswith("data:,")] == []


def tip(page: Page, chart: str = "#front") -> str:
    """The tooltip, which must lie within the window."""
    found = page.locator(f"{chart} .tip")
    box, window = found.bounding_box(), page.viewport_size
    assert box
    assert window
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= window["width"]
    return found.inner_text()


def test_the_plot_is_there_and_the_page_does_not_scroll_sideways(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    plot = page.locator("#front .plot").bounding_box()
    assert plot
    for mark in page.locator("#front button.mark").all():
        box = mark.bounding_box()
        assert box
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        assert plot["x"] - 1 <= x <= plot["x"] + plot["width"] + 1
        assert plot["y"] - 1 <= y <= plot["y"] + plot["height"] + 1
    assert page.locator("#front button.mark.front").count() >= 2
    small = page.evaluate("innerWidth < 640")
    assert page.locator("#front .label").all_inner_texts() == ["1" if small else "lenet5"]
    assert page.locator(".references li", has_text="lenet5").is_visible() == small
    assert page.locator("#curves polyline").count() >= 10


def test_background_and_text_follow_the_mode(page: Page) -> None:
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(15, 19, 24)" if dark else "rgb(245, 246, 248)")


def test_the_keyboard_reaches_every_mark(page: Page) -> None:
    marks = page.locator("#front button.mark")
    seen = set()
    marks.first.focus()
    for _ in range(marks.count()):
        seen.add(page.evaluate("document.activeElement.dataset.k"))
        assert "parameters" in tip(page)
        page.keyboard.press("ArrowRight")
    assert len(seen) == marks.count()
    page.keyboard.press("Escape")
    assert page.locator("#front .tip").is_hidden()


def test_tab_goes_from_front_to_front(page: Page) -> None:
    best = page.locator("#front button.mark.front")
    best.first.focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.matches('.mark.front, .mark.reference')")


def test_a_pointer_shows_architecture_accuracy_and_size(page: Page) -> None:
    mark = page.locator("#front button.mark.front").first
    mark.scroll_into_view_if_needed()
    if page.evaluate("navigator.maxTouchPoints"):
        mark.tap()
    else:
        mark.hover()
    first, second, third, _ = tip(page).splitlines()
    assert page.locator("table.front tbody th").first.inner_text().startswith(first)
    assert "% validation accuracy" in second
    assert "parameters" in third
    key = mark.get_attribute("data-k")
    assert page.locator(f"#curves polyline[data-k='{key}'].on").count() == 1
    assert page.locator(f"tr[data-k='{key}'].on").count() == 1


def test_it_looks_like_something(page: Page, tmp_path: Path) -> None:
    assert len(page.screenshot(path=tmp_path / "page.png", full_page=True)) > 40_000


def test_without_motion_nothing_moves(browser: Browser, report: Path) -> None:
    for motion, moves in (("reduce", False), ("no-preference", True)):
        page = browser.new_page(reduced_motion=motion)
        page.goto(report.as_uri())
        seconds = page.evaluate(
            "getComputedStyle(document.querySelector('button.mark'), '::before').transitionDuration"
        )
        page.close()
        assert (seconds != "0s") == moves


@pytest.mark.parametrize("size", SIZES)
def test_an_evaluation_fits_and_shows_its_errors(browser: Browser, tmp_path: Path, size: str) -> None:
    generator = torch.Generator().manual_seed(0)
    names = tuple(f"a class with a long name {i} <i>" for i in range(12))
    labels = torch.arange(240) % 12
    logits = torch.randn(240, 12, generator=generator) + 2 * torch.eye(12)[labels]
    images = Pixels.of(torch.randint(0, 256, (240, 3, 32, 32), generator=generator).to(torch.uint8))
    found = for_page("w on some", judge(logits, labels, names), images, confident_mistakes(logits, labels, names))
    path = write_evaluation(tmp_path / "page.html", found)
    page = browser.new_page(viewport=SIZES[size])
    trouble: list[str] = []
    page.on("console", lambda message: trouble.append(message.text))
    page.goto(path.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    shown = page.evaluate("[...document.images].map((image) => [image.complete, image.naturalWidth])")
    assert shown == [[True, 32]] * len(found["mistakes"])
    assert len(shown) == 24
    assert page.locator("table.matrix tbody tr").count() == page.locator("table.classes tbody tr").count() == 12
    assert page.locator("table.classes tbody th").first.inner_text() == names[0]
    page.close()
    assert trouble == []
