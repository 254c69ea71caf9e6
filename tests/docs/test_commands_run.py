"""Tutorials and how-to pages: their `sh` and `python` blocks run, one after the other, in an empty folder.

Sizes are cut by the `archsearch` on the path: two candidates and an epoch for `run`, an epoch for `retrain`, and tiny
images for `cifar10`. Everything else is as the page has it. `<!-- test: NAME ... -->` on a page says what lies in
the folder before (`WORLD`), or which extra of archsearch the page needs.
"""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from layouts import fill
from paths import ROOT
from shells import program
from toolchains import HOSTED, installed

from archsearch._utils.certified import PLACE

PAGES = sorted(page for name in ("tutorials", "how-to") for page in (ROOT / "docs" / name).glob("*.md"))
OWN_TESTS = {"many-machines", "own-blocks"}
"""Pages whose blocks another file of this folder runs."""
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
RUN = {
    "run": ["--trials", "2", "--epochs", "1", "--device", "cpu"],
    "retrain": ["--epochs", "1", "--seeds", "1", "--device", "cpu"],
    "export": ["--check-images", "20", "--max-drop", "100"],
    "bench": ["--seconds", "0.2", "--check-images", "20"],
}
WORDS = f"""
words = ["npz:cifar10.npz" if word == "cifar10" else word for word in words]
asked = "--setup" in words or "--help" in words
words += [] if asked else {RUN}.get(words[0], [])
"""
"""How a program changes the words that a page gives it."""


def needs(page: Path) -> list[str]:
    found = re.search(r"<!-- test: (.*?) -->", page.read_text())
    return found[1].split() if found else []


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of what is run, in order."""
    return [(language, text) for language, text in BLOCK.findall(page.read_text()) if language in ("sh", "python")]


def photos(folder: Path) -> None:
    fill(folder / "photos", ["."], ["cat", "dog"], 12)


def cifar(folder: Path) -> None:
    """60 images of ten classes as an .npz, and a contest's batch of 8 without labels."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 10
    images = rng.integers(0, 256, (60, 32, 32, 3), dtype=np.uint8)
    np.savez(
        folder / "cifar10.npz",
        train_images=images,
        train_labels=labels,
        test_images=images[:20],
        test_labels=labels[:20],
    )
    batch = {b"data": images[:8].transpose(0, 3, 1, 2).reshape(8, -1), b"ids": list(range(8))}
    (folder / "cifar_test_nolabel.pkl").write_bytes(pickle.dumps(batch))


WORLD: dict[str, Callable[[Path], None]] = {"photos": photos, "cifar": cifar}


@pytest.fixture
def environment(tmp_path: Path, _preloaded: None) -> Iterator[dict[str, str]]:
    """One with `archsearch`, and a `pip` that only takes extras which exist."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "pip").write_text(f"""#!{sys.executable}
import re, sys
named = {{extra for word in sys.argv for list in re.findall(r"\\[(.*)\\]", word) for extra in list.split(",")}}
sys.exit(f"no such extra: {{named}}" if named - set({list(extras)}) else 0)
""")
    (folder / "pip").chmod(0o755)
    path = f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    pythonpath = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    with program(folder / "archsearch", words=WORDS):
        yield {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "PYTHONPATH": pythonpath,
               PLACE: str(ROOT)}  # fmt: skip


def run(language: str, text: str, folder: Path, environment: dict[str, str]) -> None:
    command = ["bash", "-euo", "pipefail", "-c", text] if language == "sh" else [sys.executable, "-c", text]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    said = done.stdout + done.stderr
    if "not measurable on this busy machine" in said:  # `bench` says so by its exit status
        return
    assert done.returncode == 0, f"{text}\n{said}"


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if page.stem not in OWN_TESTS], ids=lambda page: page.stem)
def test_the_blocks_run(page: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    for extra in set(needs(page)) & set(HOSTED):
        if not installed(extra) and not os.environ.get("CI"):
            pytest.skip(f"needs the extra {extra}")
    work = tmp_path / "work"
    work.mkdir()
    for name in set(needs(page)) & set(WORLD):
        WORLD[name](work)
    if page.stem == "ci-gate":
        (work / "models.py").write_text(dict(blocks(page))["python"])
    for language, text in blocks(page):
        run(language, text, work, environment)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_needs_is_known(page: Path) -> None:
    assert set(needs(page)) <= set(WORLD) | set(HOSTED)


def test_every_option_of_a_block_exists() -> None:
    """Also of blocks that are not run."""
    from archsearch.cli import cli

    named = 0
    for page in [ROOT / "README.md", ROOT / "docs" / "faq.md", *PAGES]:
        text = "\n".join(text.replace("\\\n", " ") for language, text in BLOCK.findall(page.read_text()))
        for command, rest in re.findall(r"archsearch ([a-z]+)\b([^\n#|>]*)", text):
            if command not in cli.list_commands(None):
                continue
            known = {
                word
                for option in cli.get_command(None, command).params
                for word in (*option.opts, *option.secondary_opts)
            }
            used = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", rest))
            assert used <= known, f"{page.name}: archsearch {command} {used - known}"
            named += 1
    assert named > 40
