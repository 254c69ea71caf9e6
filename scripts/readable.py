#!/usr/bin/env python3
"""Count words and sentences of pages, and hold those for beginners to their limits.

    python scripts/readable.py              README.md, tutorials and how-to pages: exit 1 where one is over a limit
    python scripts/readable.py PAGE...      these pages

Words are all words but those of code blocks, comments, addresses of links and pictures.
Sentences are those of paragraphs and list items: headings and tables are no prose. `code` in one is one word.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

ROOT = Path(__file__).resolve().parents[1]
MEAN, LONGEST = 18, 35
"""Words of a sentence: in the mean of a page, and of any one."""
README_WORDS = range(500, 701)
_HIDDEN = re.compile(r"^(```|~~~).*?^\1[^\n]*$|<!--.*?-->|!\[[^\]]*\]\([^)]*\)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_CODE = re.compile(r"(`+).+?\1", re.DOTALL)
_WORD = re.compile(r"\w[\w.,'’%/+-]*")
_END = re.compile(r"[.!?][\"')*_]*\s+(?=[\"'(*_]*[A-Z0-9])")
_ITEM = re.compile(r"\s*(?:[-*+]|\d+\.)\s+")
_NO_PROSE = re.compile(r"\s*(?:#|\||$)")


@dataclass(frozen=True)
class Page:
    """What was counted: all words, and the words of each sentence."""

    words: int
    sentences: list[tuple[int, str]]

    @property
    def mean(self) -> float:
        """Words a sentence; 0 without one."""
        return fmean(words for words, _ in self.sentences) if self.sentences else 0.0

    @property
    def longest(self) -> tuple[int, str]:
        """The longest sentence with its words."""
        return max(self.sentences, default=(0, ""))


def plain(text: str) -> str:
    """A page as it is read: without code blocks, comments, pictures and addresses."""
    return _LINK.sub(r"\1", _HIDDEN.sub("", text))


def paragraphs(text: str) -> list[str]:
    """Paragraphs and list items of what `plain` gives, each on one line."""
    found: list[list[str]] = [[]]
    for line in text.splitlines():
        if _NO_PROSE.match(line):
            found.append([])
            continue
        item = _ITEM.match(line)
        if item:
            found.append([])
        found[-1].append(line[item.end() :] if item else line.lstrip("> "))
    return [" ".join(lines) for lines in found if lines]


def words_of(text: str) -> int:
    """Words of a piece of plain text."""
    return len(_WORD.findall(text))


def count(text: str) -> Page:
    """Count a page of Markdown."""
    read = plain(text)
    prose = paragraphs(_CODE.sub("CODE", read))
    sentences = [part for paragraph in prose for part in _END.sub("\n", paragraph).split("\n")]
    return Page(words_of(read), [(words_of(part), part.strip()) for part in sentences if words_of(part)])


def faults(name: str, page: Page) -> list[str]:
    """What is over a limit, a line each."""
    found = []
    if page.mean > MEAN:
        found.append(f"{name}: {page.mean:.1f} words a sentence, at most {MEAN}: divide the longest")
    found += [f"{name}: {words} words, at most {LONGEST}: {text}" for words, text in page.sentences if words > LONGEST]
    if name == "README.md" and page.words not in README_WORDS:
        found.append(f"{name}: {page.words} words, not {README_WORDS.start} to {README_WORDS.stop - 1}")
    return found


def pages() -> list[Path]:
    """What is read first: README, tutorials, how-to pages, and the index."""
    docs = ROOT / "docs"
    folders = (docs / "tutorials", docs / "how-to")
    return [ROOT / "README.md", docs / "index.md", *sorted(page for folder in folders for page in folder.glob("*.md"))]


def main(names: list[str]) -> int:
    """Print a line a page, then what is over a limit; 1 where anything is."""
    found: list[str] = []
    for path in [Path(name).resolve() for name in names] or pages():
        name = str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
        page = count(path.read_text())
        found += faults(name, page)
        figures = f"{page.words:6,} words  {len(page.sentences):4} sentences"
        sys.stdout.write(f"{figures}  mean {page.mean:4.1f}  longest {page.longest[0]:3}  {name}\n")
    sys.stdout.write("".join(f"{line}\n" for line in found))
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
