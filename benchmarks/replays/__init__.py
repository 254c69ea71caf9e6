"""Replay a search on networks that were trained before: no training, only look-ups."""

from replays.loop import SAMPLERS, Replay, make_sampler, replay
from replays.table import Columns, Table

__all__ = ["SAMPLERS", "Columns", "Replay", "Table", "make_sampler", "replay"]
