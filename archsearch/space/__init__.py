"""A search space: dims, the file that says them, what it holds and whether anything in it fits."""

from archsearch.space.reader import DEFAULT_SPACE, load_space, parse_space, shipped, space_text
from archsearch.space.space import Ask, SearchSpace, uniform

__all__ = ["DEFAULT_SPACE", "Ask", "SearchSpace", "load_space", "parse_space", "shipped", "space_text", "uniform"]
