"""Stages whose blocks share their kernels."""

from __future__ import annotations

from dataclasses import replace

import pytest

from archsearch.errors import SpecError
from archsearch.network.arch import Arch
from archsearch.network.stage import Part, Stage


def network(depth: int, *, shared: bool, width: int = 8, block: str = "separable") -> Arch:
    stage = Stage(block, width, depth, shared=shared)
    return Arch((3, 8, 8), 4, Part("conv", (("width", 8),)), (stage,), Part("linear"))


@pytest.mark.parametrize(("width", "kernels"), [(8, 1), (12, 2)])
def test_equal_blocks_have_one_set_of_kernels_and_norms_of_their_own(width: int, kernels: int) -> None:
    """With another width the first block is none of them."""
    plain, tied = (network(5, shared=shared, width=width).cost for shared in (False, True))
    again = width * (9 + width)
    assert plain.params - tied.params == (5 - kernels) * again
    assert (plain.macs, plain.peak, plain.buffers) == (tied.macs, tied.peak, tied.buffers)
    assert plain.size_bytes() - tied.size_bytes() >= 4 * (5 - kernels) * again
    assert tied.size_bytes("int8") < plain.size_bytes("int8")


def test_a_shared_stage_survives_its_file_and_is_another_candidate() -> None:
    arch = network(3, shared=True)
    assert Arch.from_toml(arch.to_toml()) == arch
    assert "shared = true" in arch.to_toml()
    assert "shared" not in network(3, shared=False).to_toml()
    assert "separable 8x3 shared" in arch.summary
    assert arch.id != network(3, shared=False).id
    assert arch.id != network(4, shared=True).id


def test_where_nothing_is_equal_it_is_the_same_candidate() -> None:
    assert network(1, shared=True).id == network(1, shared=False).id
    assert network(2, shared=True, width=12).id == network(2, shared=False, width=12).id


def test_blocks_that_shrink_their_map_share_nothing() -> None:
    arch = network(3, shared=True, block="plain")
    shrinking = replace(arch, stages=(replace(arch.stages[0], dims=(("padding", 0),)),))
    with pytest.raises(SpecError, match=r"stage1: blocks that share their kernels keep the shape of their map"):
        assert shrinking.cost
    with pytest.raises(SpecError, match="shared = 1: must be true or false"):
        Stage("plain", 8, shared=1)  # as a file may have it
