"""The files around the code: one version, links that lead somewhere, names of what is there."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml
from hatchling.metadata.core import ProjectMetadata
from hatchling.plugin.manager import PluginManager
from paths import ROOT

import archsearch

LINK = re.compile(r"\]\(([^)\s]+)\)")
PATH = re.compile(
    r"`((?:archsearch|benchmarks|docs|scripts|search_spaces|tests|\.ci|\.github)/[\w./-]*|[\w.-]+\.(?:md|toml))`"
)
PAGES = ["CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "llms.txt"]
BLOCK_TESTS = "tests/contracts/test_blocks.py"


def anchors(text: str) -> set[str]:
    """Headings as GitHub links to them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_package_is_built_with_the_version_of_the_code() -> None:
    assert ProjectMetadata(str(ROOT), PluginManager()).version == archsearch.__version__
    assert "version" not in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_citation_and_changelog_have_the_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(citation["version"]) == archsearch.__version__
    assert citation.keys() >= {"cff-version", "message", "title", "authors", "license", "type"}
    assert f"\n## {archsearch.__version__}\n" in (ROOT / "CHANGELOG.md").read_text()


def test_llms_txt_lists_every_page() -> None:
    text = (ROOT / "llms.txt").read_text()
    assert re.match(r"# \S.*\n\n> ", text)
    assert {str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")} <= set(LINK.findall(text))


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_to_files_and_headings(name: str) -> None:
    links = [unquote(link) for link in LINK.findall((ROOT / name).read_text()) if "://" not in link]
    for path, _, heading in (link.partition("#") for link in links):
        assert (ROOT / path).exists(), path
        assert not heading or heading in anchors((ROOT / (path or name)).read_text()), heading


def test_what_contributing_names_is_there() -> None:
    named = set(PATH.findall((ROOT / "CONTRIBUTING.md").read_text()))
    assert len(named) > 60
    assert {name for name in named if not (ROOT / name).exists()} == set()


@pytest.mark.parametrize(
    "page", sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md"), ROOT / "benchmarks" / "RESULTS.md"])
)
def test_files_that_the_documents_name_are_there(page: Path) -> None:
    named = set(re.findall(r"(?<![\w/.-])((?:archsearch|benchmarks|scripts|tests)/[\w/-]+\.\w+)", page.read_text()))
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_code_that_contributing_names_is_there() -> None:
    """Names of functions, classes and constants, by their last part."""
    source = "\n".join(path.read_text() for path in [*(ROOT / "archsearch").rglob("*.py"), ROOT / BLOCK_TESTS])
    named = set(
        re.findall(r"`@?(\w*(?:[a-z]_|[A-Z]|_[a-z])\w*(?:\.\w+)*)[^`/ ]*`", (ROOT / "CONTRIBUTING.md").read_text())
    )
    words = set(re.findall(r"\w+", source))
    assert len(named) > 40
    assert {name for name in named if name.rpartition(".")[2] not in words} == set()


def test_contributing_has_every_package_in_its_table() -> None:
    rows = re.findall(r"^\| `archsearch/(\w+)(?:/|\.py)` \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    floors = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]["layers"]
    assert {name for floor in floors for name in floor.split(" | ")} == set(rows)
    assert all((ROOT / "archsearch" / row).is_dir() or (ROOT / "archsearch" / f"{row}.py").is_file() for row in rows)


def workflow() -> dict[str, Any]:
    return yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())


def test_the_workflow_runs_what_is_there() -> None:
    commands = [step["run"] for job in workflow()["jobs"].values() for step in job["steps"] if "run" in step]
    assert commands
    for command in commands:
        script = ROOT / command.split()[0]
        assert script.is_file()
        assert os.access(script, os.X_OK)


def test_the_classifiers_say_what_is_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    tested = workflow()["jobs"]["check"]["strategy"]["matrix"]["python"]
    prefix = "Programming Language :: Python :: "
    assert [name.removeprefix(prefix) for name in project["classifiers"] if name.startswith(prefix)] == tested
    assert project["requires-python"] == f">={tested[0]}"


def test_hooks_for_contributors_are_the_checks() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    script = (ROOT / "scripts" / "check").read_text()
    assert all(" ".join(hook["entry"].split()[:2]).removesuffix(" --force-exclude") in script for hook in hooks)
    assert {hook["language"] for hook in hooks} == {"system"}
