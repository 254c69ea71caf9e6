"""A search space: dims, the file that says them, what it holds and whether anything in it fits."""

from archsearch.space.reader import default_space, load_space, parse_space, shipped, space_text
from archsearch.space.space import Ask, SearchSpace, uniform

__all__ = ["Ask", "SearchSpace", "default_space", "load_space", "parse_space", "shipped", "space_text", "uniform"]
