"""The folder of `export --format web` in a real browser: pixels and answers are those of the library.

The runtime is taken from ARCHSEARCH_TEST_DATA, or `data/`, into which it is downloaded from npm once.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paths import ROOT
from PIL import Image
from playwright.sync_api import Browser, Page
from serving import Quiet, serving
from sklearn.datasets import load_digits, load_sample_image

import archsearch
from archsearch._utils.certified import find
from archsearch.errors import InputError
from archsearch.export.web import runtime, write_web

pytestmark = pytest.mark.slow
DATA = Path(os.environ.get("ARCHSEARCH_TEST_DATA", ROOT / "data"))
PIXELS = """async ([data, shape]) => {
  const { pictured } = await import("./picture.mjs");
  const blob = await (await fetch("data:image/png;base64," + data)).blob();
  return Array.from(await pictured(blob, shape));
}"""
PHOTO = load_sample_image("flower.jpg")


@pytest.fixture(scope="module", params=["cifar10-78k"])
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a server shows the page of a network that is ready."""
    try:
        runtime(DATA)
    except InputError as error:
        pytest.skip(str(error))  # CI, too, owes no way to npm
    folder = write_web(tmp_path_factory.mktemp("site") / "site", f"zoo:{request.param}", DATA)
    with serving(partial(Quiet, directory=folder)) as url:
        yield f"{url}/"


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """The open page; complaints and requests to others fail the test at its end."""
    context = browser.new_context(viewport={"width": 390, "height": 844})
    context.set_default_timeout(300_000)
    page = context.new_page()
    trouble: list[str] = []
    own = (address, "data:", "blob:")
    page.on("console", lambda message: trouble.append(message.text))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith(own) else trouble.append(request.url))
    page.goto(address)
    page.wait_for_function("document.getElementById('state').textContent === 'Ready.'")
    yield page
    context.close()
    assert trouble == []


def said(page: Page) -> list[tuple[str, float]]:
    """The answers, as the page shows them."""
    rows = page.locator("#answers li")
    texts = [row.locator("span").all_inner_texts() for row in rows.all()]
    return [(name, float(share.removesuffix("%"))) for name, share in texts]


def expected(path: Path) -> tuple[list[str], Any]:
    network = archsearch.load("zoo:cifar10-78k")
    shares = (network(network.preprocess(path))[0] / network.temperature).softmax(0)
    assert network.classes
    return [network.classes[i] for i in shares.argsort(descending=True)[:5]], shares.sort(descending=True).values[:5]


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_photo_gets_the_label_of_the_library(page: Page, tmp_path: Path, suffix: str) -> None:
    """A large JPEG file is decoded small by Pillow and whole by browsers, so that probabilities differ a little."""
    path = tmp_path / f"photo.{suffix}"
    Image.fromarray(PHOTO).save(path, **({"quality": 95} if suffix == "jpg" else {}))
    page.set_input_files("#file", path)
    page.wait_for_selector("#answers li")
    names, shares = expected(path)
    found = said(page)
    assert found[0][0] == names[0] == page.locator("#state").inner_text()
    if suffix == "png":
        assert [name for name, _ in found] == names
    by = 2.0 if suffix == "png" else 10.0
    assert found[0][1] == pytest.approx(100 * float(shares[0]), abs=by)
    assert page.locator("#shown").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("address", ["mnist-44k"], indirect=True)
def test_digits_of_other_hands_are_read(page: Page, tmp_path: Path) -> None:
    """A picture of each digit, scanned for another dataset than the one of the training."""
    answers = []
    images, labels = load_digits(return_X_y=True)
    for digit in range(10):
        pixels = (images[labels == digit][0].reshape(8, 8) * 255 / 16).astype(np.uint8)
        frame = Image.new("L", (280, 280))
        frame.paste(Image.fromarray(pixels).resize((200, 200), Image.Resampling.BICUBIC), (40, 40))
        path = tmp_path / f"{digit}.png"
        frame.save(path)
        page.evaluate("document.getElementById('state').textContent = ''")
        page.set_input_files("#file", path)
        page.wait_for_function("document.getElementById('state').textContent.length === 1")
        answers.append(page.locator("#state").inner_text())
    assert sum(answer == str(digit) for digit, answer in enumerate(answers)) >= 9, answers


def test_the_same_picture_again(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(PHOTO).save(path)
    for _ in range(2):
        page.evaluate("document.getElementById('answers').replaceChildren()")
        page.set_input_files("#file", path)
        page.wait_for_selector("#answers li")


def test_what_is_no_picture(page: Page, tmp_path: Path) -> None:
    (tmp_path / "some.png").write_bytes(b"no picture")
    page.set_input_files("#file", tmp_path / "some.png")
    page.wait_for_function("document.getElementById('state').textContent.startsWith('This picture cannot be read')")
    assert said(page) == []


def test_a_dropped_picture(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(PHOTO).save(path)
    page.evaluate(
        """async (data) => {
          const transfer = new DataTransfer();
          const blob = await (await fetch("data:image/png;base64," + data)).blob();
          transfer.items.add(new File([blob], "photo.png", { type: "image/png" }));
          document.getElementById("drop").dispatchEvent(new DragEvent("drop", { dataTransfer: transfer }));
        }""",
        base64.b64encode(path.read_bytes()).decode(),
    )
    page.wait_for_selector("#answers li")
    assert said(page)[0][0] == expected(path)[0][0]


def test_bytes_are_said(page: Page) -> None:
    assert page.locator("#bytes").inner_text() == (
        "Loaded: network 82.5 kB (int8), onnxruntime-web 1.30.0 14.31 MB. Pictures stay in this browser."
    )


def test_the_camera_that_is_missing_is_said(page: Page) -> None:
    page.click("#camera")
    page.wait_for_function("document.getElementById('state').textContent.startsWith('No camera: ')")


@pytest.mark.parametrize("size", [(50, 40), (37, 90), (8, 8), (640, 427)])
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_those_of_preprocess(page: Page, tmp_path: Path, size: tuple[int, int], channels: int) -> None:
    """Within one of 255: Pillow chooses the order of its two passes by the picture."""
    network = archsearch.load(ROOT / find("cifar10-78k" if channels == 3 else "mnist-44k").file)
    path = tmp_path / "noise.png"
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(noise).save(path)
    _, height, width = network.input_shape
    shape = {"channels": channels, "height": height, "width": width}
    found = page.evaluate(PIXELS, [base64.b64encode(path.read_bytes()).decode(), shape])
    wanted = (network.preprocess(path)[0] * 255).round().permute(1, 2, 0).flatten().numpy()
    assert np.abs(np.array(found) - wanted).max() <= 1
