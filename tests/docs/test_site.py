"""The site: it builds without a warning, its links lead somewhere, and it fits a phone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pytest
from paths import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SHOWN = ["index.html", "tutorials/own-photos/index.html", "reference/cli/index.html", "evidence/cifar10-6MB/index.html",
         "notebooks/first-search/index.html"]  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    config = str(ROOT / "scripts" / "mkdocs.yml")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-f", config, "-d", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_link_of_the_site_leads_somewhere(site: Path) -> None:
    """Anchors too; the links of the theme as well as ours."""
    pages = {path: path.read_text() for path in site.rglob("*.html") if path.name != "404.html"}
    assert len(pages) > 40
    broken = []
    for page, text in pages.items():
        for found in re.findall(r'(?:href|src)="?([^"\s>]+)', text):
            link = urlsplit(found)
            if link.scheme or link.netloc:
                continue
            file = (page.parent / unquote(link.path)).resolve() if link.path else page
            file = file / "index.html" if file.is_dir() else file
            anchor = unquote(link.fragment)
            if not file.exists() or (anchor and not re.search(rf'id="?{re.escape(anchor)}["\s>]', file.read_text())):
                broken.append(f"{page.relative_to(site)}: {found}")
    assert broken == []


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", SHOWN)
def test_a_page_fits(site: Path, browser: Browser, name: str, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 844})
    page.goto((site / name).as_uri())
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("h1").is_visible()
    page.close()


@pytest.mark.slow
def test_every_release_has_its_version_of_the_site(tmp_path: Path) -> None:
    for name in ("docs", "scripts"):
        shutil.copytree(ROOT / name, tmp_path / name)
    one = {f"GIT_{who}_{what}": "a@test" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = {**os.environ, **one, "NO_MKDOCS_2_WARNING": "1"}

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    mike = (sys.executable, "-c", "from mike.driver import main; main()")
    run("git", "init", "-q", "-b", "main")
    run("git", "commit", "-q", "--allow-empty", "-m", "a release")
    for version in ("0.1", "0.2"):
        run(*mike, "deploy", "-F", "scripts/mkdocs.yml", "--update-aliases", version, "latest")
    run(*mike, "set-default", "-F", "scripts/mkdocs.yml", "latest")
    found = json.loads(run("git", "show", "gh-pages:versions.json"))
    assert [(one["version"], one["aliases"]) for one in found] == [("0.2", ["latest"]), ("0.1", [])]
    files = run("git", "ls-tree", "-r", "--name-only", "gh-pages").split()
    assert {"index.html", "0.1/index.html", "0.2/zoo/index.html"} <= {*files}
    assert '"provider":"mike"' in re.sub(r"\s", "", run("git", "show", "gh-pages:0.2/index.html"))
