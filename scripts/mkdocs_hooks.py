"""For the site: links out of docs/ lead to the repository where its address is known, else only their words stay."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s#:]+)(#[^)\s]*)?\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """A page's Markdown with its links out of docs/ changed.

    ARCHSEARCH_REPOSITORY is where files are read, such as `https://HOST/OWNER/NAME/blob/main`.
    """
    folder = (DOCS / page.file.src_uri).parent
    repository = os.environ.get("ARCHSEARCH_REPOSITORY", "").rstrip("/")

    def changed(match: re.Match[str]) -> str:
        words, path, heading = match[1], match[2], match[3] or ""
        file = (folder / path).resolve()
        if file.is_relative_to(DOCS) or not file.is_relative_to(ROOT):
            return match[0]
        return f"[{words}]({repository}/{file.relative_to(ROOT)}{heading})" if repository else words

    return LINK.sub(changed, markdown)
