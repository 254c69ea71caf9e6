"""Seeds stay what they were: results of earlier studies depend on them."""

from __future__ import annotations

import pytest

from archsearch._utils.seeds import seed_of


@pytest.mark.parametrize(
    ("parts", "seed"),
    [((0, "0123456789ab"), 2029827644), ((0, "worker", 2), 3753394328), (("host-1",), 1243059884)],
)
def test_the_bits_are_fixed(parts: tuple[int | str, ...], seed: int) -> None:
    assert seed_of(*parts) == seed
