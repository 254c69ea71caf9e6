"""What the tests of the datasets share."""

from __future__ import annotations

import numpy as np
import pytest

from archsearch.data import load_dataset
from archsearch.errors import DataError


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def error_line(spec: object, **options: object) -> str:
    """The message of the DataError that loading raises: one line that starts with the dataset."""
    with pytest.raises(DataError) as caught:
        load_dataset(str(spec), **options)
    message = str(caught.value)
    assert "\n" not in message
    return message
