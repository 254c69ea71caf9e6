"""What a search does, told to TensorBoard, MLflow or W&B: each an extra, off unless asked for."""

from archsearch.tracking.observer import Tracking
from archsearch.tracking.tracker import NAMES, Tracker, make_tracker, require

__all__ = ["NAMES", "Tracker", "Tracking", "make_tracker", "require"]
