"""Blocks, stems and heads: one file a family, each a function from dims to an expression."""

from archsearch.network.blocks import gates, grouped, heads, inception, mlp, mobile, nin, plain, residual, stems
from archsearch.network.blocks.registry import Dims, Entry, Value, block, expand, head, lookup, names, stem, unknown

__all__ = [
    "Dims", "Entry", "Value", "block", "expand", "gates", "grouped", "head", "heads", "inception", "lookup", "mlp",
    "mobile", "names", "nin", "plain", "residual", "stem", "stems", "unknown",
]  # fmt: skip
