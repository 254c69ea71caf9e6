"""The documents: their links lead somewhere, and so does what messages and comments name."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from paths import ROOT

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").rglob("*.md")])
LINK = re.compile(r"\]\(([^)\s]+)[^)]*\)")
FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
NAMED = re.compile(r"(?<![\w/])docs/[\w./-]+\.(?:md|png)")
SOURCES = [path for folder in ("archsearch", "benchmarks", "scripts", "search_spaces", "tests")
           for path in sorted((ROOT / folder).rglob("*")) if path.suffix in (".py", ".toml")]  # fmt: skip


def anchors(text: str) -> set[str]:
    """Headings as GitHub links to them; of several with one name the second is `name-1`."""
    found: dict[str, int] = {}
    names = set()
    for heading in re.findall(r"^#+ (.+)$", FENCED.sub("", text), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        names.add(f"{name}-{found[name]}" if name in found else name)
        found[name] = found.get(name, 0) + 1
    return names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page: Path) -> None:
    links = [unquote(link) for link in LINK.findall(FENCED.sub("", page.read_text())) if "://" not in link]
    broken = []
    for path, _, heading in (link.partition("#") for link in links):
        file = page.parent / path if path else page
        if not file.exists() or (heading and heading not in anchors(file.read_text())):
            broken.append(f"{path}#{heading}")
    assert broken == []


def test_anchors_are_those_of_github() -> None:
    text = "# What `run` says\n## A, b and c\n```\n# no heading\n```\n## Twice\n## Twice\n"
    assert anchors(text) == {"what-run-says", "a-b-and-c", "twice", "twice-1"}


def test_pages_that_messages_and_comments_name_are_there() -> None:
    named = {(name, str(path.relative_to(ROOT))) for path in SOURCES for name in NAMED.findall(path.read_text())}
    assert len(named) > 10
    assert {pair for pair in named if not (ROOT / pair[0]).exists()} == set()
