"""What several test files share: tiny spaces, finished studies, and cheap real processes."""

from __future__ import annotations

import gc
import multiprocessing
import multiprocessing.forkserver
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from postgres import Postgres, binaries

from archsearch.cli import _run, main

if "PYTEST_XDIST_WORKER" in os.environ:
    # A process a core tests at the same time: torch, imported later, is to use one thread in each.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

TINY = """summary = "tiny"
[stem]
type = "conv"
width = { choice = [4, 8] }
[[stage]]
block = { choice = ["basic", "nin"] }
width = { choice = [8, 12, 16, 256] }
stride = 2
kernel = { choice = [1, 3] }
[head]
type = "linear"
"""
RUN = ["run", "--max-params", "20k", "--space", "tiny.toml", "--trials", "5", "--epochs", "2", "--seed", "3"]
STUDY = "digits-tiny-params20k"
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "COLUMNS": "160", "TERM": "xterm-256color"}
PRELOAD = [
    "archsearch.cli.run", "archsearch.workers.local", "archsearch.training.fit", "archsearch.report.files",
    "archsearch.cli.live",
    "matplotlib.backends.backend_agg", "optuna.storages", "rich.live", "sklearn.datasets", "torch._dynamo",
]  # fmt: skip


CHROMIUM = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync"]  # fmt: skip


@dataclass
class Answer:
    """What a command said: its exit status and both streams."""

    status: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line on stderr; anything else is a failure."""
        lines = self.err.splitlines()
        assert len(lines) == 1, f"stderr must hold one line: {self.err!r}"
        assert lines[0].startswith("archsearch: ")
        return lines[0]


class Process:
    """`archsearch ARGS` in a process of its own, forked from one that has imported everything."""

    def __init__(
        self, args: list[str], cwd: Path, log: Path, terminal: str = "", environment: dict[str, str] | None = None
    ) -> None:
        log.mkdir(parents=True, exist_ok=True)
        self.log = log
        self.args = args
        context = multiprocessing.get_context("forkserver")
        self.process = context.Process(target=_child, args=(args, str(cwd), str(log), terminal, environment or {}))
        self.process.start()

    def lines(self) -> list[str]:
        """What stands on stdout by now, in whole lines."""
        path = self.log / "out"
        return path.read_text().split("\n")[:-1] if path.exists() else []

    def signal(self, number: int) -> None:
        assert self.process.pid
        os.kill(self.process.pid, number)

    def wait(self, seconds: float = 120) -> Answer:
        self.process.join(seconds)
        status = self.process.exitcode
        if status is None:
            self.process.kill()
            self.process.join()
            pytest.fail(f"archsearch {' '.join(self.args)} was still running after {seconds} s: {self.lines()}")
        texts = [(self.log / name).read_text() if (self.log / name).exists() else "" for name in ("out", "err")]
        return Answer(status, *texts)


def _child(args: list[str], cwd: str, log: str, terminal: str, environment: dict[str, str]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(cwd)
    sys.path.insert(0, cwd)
    for number, name in ((1, "out"), (2, "err")):
        flags = os.O_RDWR | (0 if terminal else os.O_CREAT | os.O_APPEND)
        os.dup2(os.open(terminal or str(Path(log) / name), flags, 0o666), number)
    os.environ.update(ENVIRONMENT | environment)
    # Its workers come from the process that it comes from, too: a second one would import everything again.
    server = multiprocessing.forkserver
    server.ensure_running = server._forkserver.ensure_running = lambda: None
    sys.argv = ["archsearch", *args]
    main(args)


@pytest.fixture(scope="session")
def _preloaded() -> None:
    before = dict(os.environ)
    os.environ.update(ENVIRONMENT)
    multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOAD)
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


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of this session's own. Without one its tests are skipped; on CI that is a failure."""
    if binaries() is None:
        reason = "PostgreSQL is not installed (Debian: apt-get install postgresql)"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    with Postgres(Path(tempfile.gettempdir())) as server:
        yield server


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


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which a real `archsearch run` has left its results. Not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
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


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below a folder by its relative path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def small_npz(path: Path, **changes: object) -> Path:
    """Two classes of dark and bright 8x8 pictures that anything can tell apart; None leaves an array out."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    images = (rng.integers(0, 60, (60, 8, 8)) + 180 * labels[:, None, None]).astype(np.uint8)
    arrays: dict[str, object] = {
        "train_images": images, "train_labels": labels, "test_images": images[:10], "test_labels": labels[:10],
        **changes,
    }  # fmt: skip
    np.savez(path, allow_pickle=True, **{name: value for name, value in arrays.items() if value is not None})
    return path


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


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One for all, as its start costs most. Without Chromium its tests are skipped; on CI that is a failure."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not path:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("pages are tested in Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM)
        yield browser
        browser.close()
