"""A package of one's own blocks for archsearch, and a search space that uses them."""

from pathlib import Path

SPACE = Path(__file__).parent / "space.toml"
