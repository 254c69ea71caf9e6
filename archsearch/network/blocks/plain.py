"""Plain convolutions, one after the other, and pooling between them: LeNet, AlexNet, VGG.

LeCun et al. 1998 (Gradient-based learning applied to document recognition); Krizhevsky 2014 (arXiv
1404.5997); Simonyan, Zisserman 2014 (arXiv 1409.1556).
"""

from __future__ import annotations

from archsearch.errors import SpecError
from archsearch.network.blocks.common import dropped, gated, normalised
from archsearch.network.blocks.registry import block
from archsearch.network.layers import Conv, Expr, Norm, Pool, seq


@block("plain", ("spatial",))
def plain(
    c_in: int,
    width: int,
    stride: int,
    *,
    kernel: int = 3,
    padding: int = -1,
    dilation: int = 1,
    se: float = 0.0,
    dropout: float = 0.0,
    act: str = "relu",
    norm: bool = True,
    bias: bool = False,
    eps: float = 1e-5,
) -> Expr:
    """One k x k convolution, normalised and activated; a stack of them is a stage of VGG.

    `padding`: pixels on each side, -1 to keep the map's size. `se`: hidden width of a squeeze-and-excitation
    over `width`, 0 for none. `bias`: also in front of a norm, where it changes nothing but the count.
    """
    layer = Conv(width, kernel, stride, padding, dilation, bias=bias or not norm)
    return seq(normalised(layer, act, norm and Norm(eps)), *gated(width, se, act), *dropped(dropout))


@block("pooling")
def pooling(
    c_in: int,
    width: int,
    stride: int,
    *,
    kind: str = "max",
    kernel: int = 0,
    padding: int = 0,
    ceil: bool = False,
    dropout: float = 0.0,
) -> Expr:
    """Pooling alone, where a stage's `down` does not do: overlapping windows, or behind the last convolution.

    `kind`: max or avg. `kernel`: the window's side, 0 for the stride. `ceil`: round the output size up.
    `width` must be the channels that come in.
    """
    if width != c_in:
        raise SpecError(f"width = {width}: pooling keeps its {c_in} channels")
    return seq(Pool(kind, kernel or stride, stride, padding, ceil), *dropped(dropout))
