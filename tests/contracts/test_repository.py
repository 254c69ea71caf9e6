"""The files around the code: one version, links that lead somewhere, names of what is there."""

from __future__ import annotations

import re
import tomllib
from urllib.parse import unquote

import pytest
from hatchling.metadata.core import ProjectMetadata
from hatchling.plugin.manager import PluginManager
from paths import ROOT

import archsearch

LINK = re.compile(r"\]\(([^)\s]+)\)")
PATH = re.compile(
    r"`((?:archsearch|benchmarks|docs|scripts|search_spaces|tests|\.ci|\.github)/[\w./-]*|[\w.-]+\.(?:md|toml))`"
)
PAGES = ["CONTRIBUTING.md", "CHANGELOG.md"]
BLOCK_TESTS = "tests/contracts/test_blocks.py"
TO_BE_MADE = {"archsearch/data/parquet.py", "tests/data/test_parquet.py"}
"""What the recipe for a dataset format would add."""


def anchors(text: str) -> set[str]:
    """Headings as GitHub links to them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_package_is_built_with_the_version_of_the_code() -> None:
    assert ProjectMetadata(str(ROOT), PluginManager()).version == archsearch.__version__
    assert "version" not in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_to_files_and_headings(name: str) -> None:
    links = [unquote(link) for link in LINK.findall((ROOT / name).read_text()) if "://" not in link]
    for path, _, heading in (link.partition("#") for link in links):
        assert (ROOT / path).exists(), path
        assert not heading or heading in anchors((ROOT / (path or name)).read_text()), heading


def test_what_contributing_names_is_there() -> None:
    named = set(PATH.findall((ROOT / "CONTRIBUTING.md").read_text()))
    assert len(named) > 60
    assert {name for name in named if not (ROOT / name).exists()} == TO_BE_MADE


def test_the_code_that_contributing_names_is_there() -> None:
    """Names of functions, classes and constants, by their last part."""
    source = "\n".join(path.read_text() for path in [*(ROOT / "archsearch").rglob("*.py"), ROOT / BLOCK_TESTS])
    named = set(
        re.findall(r"`@?(\w*(?:[a-z]_|[A-Z]|_[a-z])\w*(?:\.\w+)*)[^`/ ]*`", (ROOT / "CONTRIBUTING.md").read_text())
    )
    words = set(re.findall(r"\w+", source))
    assert len(named) > 40
    assert {name for name in named if name.rpartition(".")[2] not in words} == {"load_parquet", "val_score"}


def test_contributing_has_every_package_in_its_table() -> None:
    rows = re.findall(r"^\| `archsearch/(\w+)(?:/|\.py)` \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    floors = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]["layers"]
    assert {name for floor in floors for name in floor.split(" | ")} == set(rows)
    assert all((ROOT / "archsearch" / row).is_dir() or (ROOT / "archsearch" / f"{row}.py").is_file() for row in rows)
