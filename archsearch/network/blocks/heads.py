"""Heads: from the last map, or the last features, to the logits."""

from __future__ import annotations

from archsearch.network.blocks.common import conv, dropped
from archsearch.network.blocks.grouped import divisor
from archsearch.network.blocks.registry import head
from archsearch.network.layers import Act, AdaptivePool, Conv, Dropout, Expr, Flatten, Linear, Norm, Pool, Shape, seq


@head("linear", ("hidden", "classes"))
def linear(
    shape: Shape,
    classes: int,
    *,
    hidden: int = 0,
    dropout: float = 0.0,
    preact: bool = False,
    act: str = "relu",
    norm: bool = False,
) -> Expr:
    """Global average pooling and one linear layer; (features,) go to the linear layer as they are.

    `hidden`: width of a linear layer with `act` behind the pooling, 0 for none (MobileNetV3, Howard et al. 2019);
    `norm` normalises it. `preact`: norm and `act` first, as pre-activation residual blocks need it.
    """
    before = [Norm(), Act(act)] if preact else []
    pool = [AdaptivePool(1), Flatten()] if len(shape) == 3 else []
    middle = _hidden(hidden, [], False, act, norm) if hidden else []
    return seq(*before, *pool, *middle, *dropped(dropout), Linear(classes))


@head("nin", ("hidden", "classes"))
def nin(
    shape: Shape, classes: int, *, hidden: int = 0, act: str = "relu", norm: bool = True, dropout: float = 0.0
) -> Expr:
    """A 1x1 convolution to one map a class, then global average pooling (Lin, Chen, Yan 2013).

    `hidden`: channels of a 1x1 convolution before it, 0 for none.
    """
    drop = [Dropout(dropout)] if dropout else []
    mix = [conv(hidden, 1, act=act, norm=norm)] if hidden else []
    return seq(*drop, *mix, Conv(classes, 1, bias=True), AdaptivePool(1), Flatten())


@head("grouped")
def grouped(shape: Shape, classes: int, *, groups: int = 1000, dropout: float = 0.0) -> Expr:
    """Global average pooling and a linear layer in groups: a class reads its share of the channels alone.

    `groups`: at most so many, as far as they divide channels and classes: 80 channels and 10 classes have 10 groups,
    with 80 weights instead of 800. 64 channels and 10 classes have 2.
    """
    number = divisor(groups, shape[0], classes)
    return seq(AdaptivePool(1), *dropped(dropout), Conv(classes, 1, groups=number, bias=True), Flatten())


@head("mlp")
def mlp(
    shape: Shape,
    classes: int,
    *,
    size: int = 0,
    hidden: int = 128,
    hidden2: int = 0,
    hidden3: int = 0,
    dropout: float = 0.0,
    drop_first: bool = False,
    act: str = "relu",
    norm: bool = False,
) -> Expr:
    """Flatten, up to three hidden layers (a width of 0 leaves one out), a linear layer: LeNet, AlexNet, VGG.

    `size`: average the map down to at most `size` x `size` first, 0 for not at all, 1 for global pooling.
    `dropout`: behind every hidden layer, with `drop_first` in front of each instead (AlexNet).
    """
    hidden_layers = (
        part
        for width in (hidden, hidden2, hidden3)
        if width
        for part in _hidden(width, dropped(dropout), drop_first, act, norm)
    )
    return seq(*_pooled(shape, size), Flatten(), *hidden_layers, Linear(classes))


@head("googlenet")
def googlenet(
    shape: Shape,
    classes: int,
    *,
    size: int = 4,
    width: int = 128,
    hidden: int = 1024,
    dropout: float = 0.7,
    act: str = "relu",
    norm: bool = True,
    eps: float = 1e-3,
) -> Expr:
    """GoogLeNet's auxiliary classifier (Szegedy et al. 2014), as torchvision has it.

    Average pooling to `size` x `size`, a 1x1 convolution to `width` channels, a hidden layer (0 for none), dropout.
    """
    return seq(
        AdaptivePool(size),
        conv(width, 1, act=act, norm=norm and Norm(eps)),
        Flatten(),
        *(_hidden(hidden, dropped(dropout), False, act, False) if hidden else dropped(dropout)),
        Linear(classes),
    )


def _hidden(width: int, drop: list[Expr], drop_first: bool, act: str, norm: bool) -> list[Expr]:
    layer: list[Expr] = [Linear(width, bias=not norm), *([Norm()] if norm else []), Act(act)]
    return [*drop, *layer] if drop_first else [*layer, *drop]


def _pooled(shape: Shape, size: int) -> list[Expr]:
    """The pooling to at most `size` x `size`: plain windows where they fit, which every exporter knows."""
    if size == 0 or len(shape) != 3 or max(shape[1:]) <= size:
        return []
    height, width = shape[1:]
    if size > 1 and height == width and height % size == 0:
        return [Pool("avg", height // size)]
    return [AdaptivePool(size)]
