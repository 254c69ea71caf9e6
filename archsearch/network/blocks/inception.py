"""Inception: four branches side by side (Szegedy et al. 2014, Going deeper with convolutions, arXiv 1409.4842)."""

from __future__ import annotations

from archsearch.errors import SpecError
from archsearch.network.blocks.common import conv, scaled
from archsearch.network.blocks.registry import block
from archsearch.network.layers import Expr, Norm, Pool, Seq, concat, seq


@block("inception")
def inception(
    c_in: int,
    width: int,
    stride: int,
    *,
    share: float = 0.5,
    reduce: float = 0.5,
    kernel: int = 5,
    pool: str = "max",
    one: int = 0,
    reduce3: int = 0,
    three: int = 0,
    reduce5: int = 0,
    five: int = 0,
    act: str = "relu",
    norm: bool = True,
    eps: float = 1e-5,
) -> Expr:
    """1x1; 1x1 then 3x3; 1x1 then `kernel`; 3x3 pooling then 1x1; concatenated to `width` channels.

    `share`: the 3x3 branch's part of the width; the other three share the rest 2:1:1.
    `reduce`: channels of a 1x1 reduction over those of the convolution behind it.
    `one`, `reduce3`, `three`, `reduce5`, `five`: these widths one by one, as papers list them; 0 leaves a width
    to the shares. The pooling branch gets what remains. `pool`: max or avg.

    Raises:
        SpecError: the branches leave nothing for the pooling branch (a width below 4, or explicit ones too wide).
    """
    three = three or scaled(width, share)
    five = five or scaled(width, (1 - share) / 4)
    one = one or scaled(width, (1 - share) / 2)
    rest = width - one - three - five
    if rest < 1 or min(one, three, five) < 1:
        raise SpecError(f"width = {width}: no room for branches of {one}, {three} and {five} channels and a fourth")

    def layer(out: int, size: int = 1, step: int = 1) -> Seq:
        return conv(out, size, step, act=act, norm=norm and Norm(eps))

    return concat(
        layer(one, 1, stride),
        seq(layer(reduce3 or scaled(three, reduce)), layer(three, 3, stride)),
        seq(layer(reduce5 or scaled(five, reduce)), layer(five, kernel, stride)),
        seq(Pool(pool, 3, stride, 1), layer(rest)),
    )
