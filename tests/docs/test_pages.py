"""The pages for beginners are short and plain, the index leads to them, and generated pages are what is generated."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from by_path import script_module
from paths import ROOT

DOCS = ROOT / "docs"
GENERATED = {"space_reference": "space-file.md", "api_reference": "python-api.md"}


def printed(script: str) -> str:
    command = [sys.executable, str(ROOT / "scripts" / f"{script}.py")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_pages_for_beginners_are_plain() -> None:
    assert "README.md" in printed("readable")


@pytest.mark.parametrize("script", GENERATED)
def test_a_generated_page_is_up_to_date(script: str) -> None:
    assert printed(script) == (DOCS / "reference" / GENERATED[script]).read_text()


def test_the_index_leads_to_every_tutorial_and_how_to_page() -> None:
    linked = set(re.findall(r"\]\(([^)#]+)", (DOCS / "index.md").read_text()))
    pages = {str(path.relative_to(DOCS)) for name in ("tutorials", "how-to") for path in (DOCS / name).glob("*.md")}
    assert pages
    assert pages - linked == set()


def test_what_is_counted() -> None:
    readable = script_module("readable")
    text = """# A heading counts as words

One sentence of six words here. Another with `some code --here` and a [link](http://a.b/c.d) in 3.5 s!

- an item is one
- so is this

| a | table |
|---|---|
| is | no prose |

```sh
nothing of this. Is counted.
```
<!-- nor this -->
"""
    page = readable.count(text)
    assert [words for words, _ in page.sentences] == [6, 9, 4, 3]
    assert page.words == 5 + 6 + 11 + 4 + 3 + 2 + 3
    assert page.mean == pytest.approx(5.5)


def test_what_is_too_long_is_named(tmp_path: Path) -> None:
    readable = script_module("readable")
    page = readable.count(" ".join(["word"] * 40) + ".")
    mean, longest = readable.faults("page.md", page)
    assert "40.0 words a sentence" in mean
    assert "40 words, at most 35" in longest
    assert len(readable.faults("README.md", readable.count("Short."))) == 1
    (tmp_path / "page.md").write_text("Short and plain.")
    assert readable.main([str(tmp_path / "page.md")]) == 0
