"""Fixtures that several test files share: finished studies, cheap real processes, a database, a browser."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import multiprocessing.forkserver
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from commands import ENVIRONMENT, RUN, STUDY, TINY, Answer, Process
from filelock import FileLock
from postgres import Postgres, binaries
from terminal import Terminal

from archsearch.cli import _run

if "PYTEST_XDIST_WORKER" in os.environ:
    # A process a core tests at the same time: torch, imported later, is to use one thread in each.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

hypothesis.settings.register_profile("archsearch", deadline=None)  # no timed tests
hypothesis.settings.load_profile("archsearch")

SHARED = "ARCHSEARCH_TEST_SHARED"
"""The environment variable: a folder that outlives a session, for what takes long to make."""
CHROMIUM = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync"]  # fmt: skip


def pytest_collection_finish() -> None:
    """What was imported stays: later collections, one after each `command`, need not search it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def _preloaded() -> None:
    before = dict(os.environ)
    os.environ.update(ENVIRONMENT)
    multiprocessing.get_context("forkserver").set_forkserver_preload(["warm"])
    with contextlib.chdir(Path(__file__).parent / "support"):  # where `warm` is found: Python 3.11 hands on no path
        multiprocessing.forkserver.ensure_running()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def start(_preloaded: None, work: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Process]]:
    """`start(*args)` starts `archsearch` in `work` or `cwd`; what still runs at the end of the test is killed."""
    started: list[Process] = []

    def begin(*args: str, terminal: str = "", cwd: Path = work, environment: dict[str, str] | None = None) -> Process:
        started.append(Process([*args], cwd, tmp_path_factory.mktemp("log"), terminal, environment))
        return started[-1]

    yield begin
    for process in started:
        process.process.kill()
        process.process.join()


def missing(reason: str) -> None:
    """Skip a test whose program is not installed; on CI that is a failure."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of this session's own. Without one its tests are skipped; on CI that is a failure."""
    if binaries() is None:
        missing("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    with Postgres(Path(tempfile.gettempdir())) as server:
        yield server


@pytest.fixture
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int], Terminal]]:
    """`window(80)` opens a terminal of 80 columns. Without tmux its tests are skipped; on CI that is a failure."""
    if not shutil.which("tmux"):
        missing("terminals are tested in tmux: apt-get install tmux")
    opened: list[Terminal] = []

    def begin(width: int) -> Terminal:
        opened.append(Terminal(tmp_path_factory.mktemp("tmux") / "socket", width))
        return opened[-1]

    yield begin
    for terminal in opened:
        terminal.close()


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """An empty working folder with a tiny search space."""
    (tmp_path / "tiny.toml").write_text(TINY)
    return tmp_path


@pytest.fixture
def command(
    _preloaded: None, work: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Answer]:
    """`command(*args)` runs `archsearch` in this process, in `work`."""
    monkeypatch.chdir(work)

    def run(*args: object) -> Answer:
        capfd.readouterr()
        words = [str(arg) for arg in args]
        monkeypatch.setattr(sys, "argv", ["archsearch", *words])
        status = _run(words)
        gc.collect()  # closes databases, as the end of a process does
        captured = capfd.readouterr()
        return Answer(status, captured.out, captured.err)

    return run


def shared(factory: pytest.TempPathFactory, name: str) -> Path:
    """A folder of this session, the same in all processes that test at the same time; or one in `SHARED`."""
    here = factory.getbasetemp()
    home = here.parent if "PYTEST_XDIST_WORKER" in os.environ else here
    folder = Path(os.environ.get(SHARED, home)) / name
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which a real `archsearch run` has left its results. Not to be changed, nor its database opened."""
    folder = shared(tmp_path_factory, "finished")
    with FileLock(f"{folder}.lock"):
        if not (folder / "stdout").exists():
            (folder / "tiny.toml").write_text(TINY)
            done = subprocess.run(
                [sys.executable, "-c", "from archsearch.cli import main; main()", *RUN],
                cwd=folder, env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, timeout=300, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            assert done.stderr == ""
            (folder / "stdout").write_text(done.stdout)
    return folder


@pytest.fixture
def study(finished: Path, work: Path) -> Path:
    """A copy of the finished study, `work`/results/STUDY."""
    shutil.copytree(finished / "results", work / "results")
    return work / "results" / STUDY


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A weights file of `exports.ARCH`, opened as an export's source."""
    from exports import source_of

    return source_of(tmp_path_factory.mktemp("weights") / "w.safetensors")


@pytest.fixture(scope="session")
def images(source: Any) -> Any:
    """Images on which the source's network is sure."""
    from exports import images_of

    return images_of(source)


@pytest.fixture(scope="session")
def shelf(source: Any, images: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Files of the source's network in other formats, see `shipped.Shelf`."""
    from shipped import Shelf

    return Shelf(source, images, shared(tmp_path_factory, "shelf"))


@pytest.fixture(scope="session", autouse=True)
def _forks() -> Iterator[None]:
    """Converters and runtimes that take seconds to import do so once."""
    from forks import Forks

    from archsearch.export import converted
    from archsearch.inference import hosted

    with contextlib.closing(Forks()) as forks, pytest.MonkeyPatch.context() as patch:
        for module in (converted, hosted):
            patch.setattr(module, "subprocess", forks)
        yield


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One for all, as its start costs most. Without Chromium its tests are skipped; on CI that is a failure."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not path:
        missing("pages are tested in Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM)
        yield browser
        browser.close()
