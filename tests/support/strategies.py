"""Random networks for the tests: draws from the shipped spaces, expressions, and what torch says of them."""

from __future__ import annotations

import random
import time
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from typing import Any
from unittest.mock import patch

import tomli_w
import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import fx, nn

from archsearch.errors import SpecError
from archsearch.network.arch import Arch
from archsearch.network.cost import measure
from archsearch.network.layers import (
    ACTIVATIONS,
    Act,
    AdaptivePool,
    Aux,
    Combinator,
    Conv,
    Dropout,
    Expr,
    Flatten,
    Leaf,
    Linear,
    Norm,
    Pool,
    Shape,
    add,
    concat,
    mul,
    seq,
)
from archsearch.nn.build import AuxHead, Cat, Product, Sum, build, build_expr
from archsearch.space.reader import load_space, shipped

SPACES = tuple(shipped())
SMALL = ((3, 16, 16), (1, 8, 8))
SPATIAL = (Conv, Pool, AdaptivePool)


def few(examples: int) -> settings:
    """Hypothesis settings: so many examples."""
    return settings(max_examples=examples)


def draws(space: str, number: int, seed: int = 0) -> Iterator[Arch]:
    """Random candidates of a shipped space, for small images of one and three channels in turn."""
    rng = random.Random(f"{space}/{seed}")
    found = load_space(space)
    for i in range(number):
        yield found.random(rng, SMALL[i % 2], (10, 3)[i % 3 == 0])


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fails where the body takes more processor time than this."""
    start = time.process_time()
    yield
    taken = time.process_time() - start
    assert taken < seconds, f"took {taken:.1f} s"


def bare(network: Arch | Expr, shape: Shape = ()) -> nn.Sequential:
    """The module with weights of 0.01 and ones elsewhere: random ones would take most of a test's time."""
    kinds = (nn.Conv2d, nn.Linear)
    with ExitStack() as stack:
        for kind in kinds:
            stack.enter_context(patch.object(kind, "reset_parameters", lambda self: None))
        module = build(network) if isinstance(network, Arch) else nn.Sequential(build_expr(network, shape))
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, kinds):
                for parameter in layer.parameters():
                    parameter.fill_(0.01)
    return module


# expressions


def leaves(expr: Expr) -> Iterator[Leaf]:
    """Every leaf of the deployed network, in order of evaluation (auxiliary classifiers left out)."""
    if isinstance(expr, Leaf):
        yield expr
    elif isinstance(expr, Combinator) and not isinstance(expr, Aux):
        for part in expr.parts:
            yield from leaves(part)


_leaves = st.one_of(
    st.builds(
        Conv,
        st.integers(1, 6),
        st.integers(1, 5),
        st.integers(1, 3),
        dilation=st.integers(1, 2),
        groups=st.sampled_from([1, 1, 2, 3]),
        bias=st.booleans(),
    ),
    st.builds(Norm),
    st.builds(Act, st.sampled_from(ACTIVATIONS)),
    st.builds(
        Pool, st.sampled_from(["max", "avg"]), st.integers(1, 4), st.integers(0, 3), st.integers(0, 2), st.booleans()
    ),
    st.builds(AdaptivePool, st.integers(1, 3)),
    st.builds(Dropout, st.floats(0, 0.9)),
    st.just(Flatten()),
    st.builds(Linear, st.integers(1, 9), st.booleans()),
)
_keeping = st.one_of(st.builds(Norm), st.builds(Act, st.sampled_from(ACTIVATIONS)), st.builds(Dropout, st.floats(0, 1)))


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    """(channels, height, width)."""
    return draw(st.integers(1, 4)), draw(st.integers(1, 9)), draw(st.integers(1, 9))


@st.composite
def expressions(draw: st.DrawFn, shape: Shape, depth: int = 2) -> Expr:
    """Any network over an image of `shape`: leaves that can take their input, and joins nested up to `depth`."""
    parts: list[Expr] = []
    for _ in range(draw(st.integers(0, 5))):
        join = depth and len(shape) == 3 and draw(st.booleans())
        part = draw(joins(shape, depth - 1)) if join else draw(_leaves)
        try:
            shape = measure(part, shape).out
        except SpecError:
            continue
        parts.append(part)
    return seq(*parts)


@st.composite
def joins(draw: st.DrawFn, shape: Shape, depth: int) -> Expr:
    """A sum, concatenation or product of two to four branches."""
    join = draw(st.sampled_from([add, concat, mul]))
    out, stride = draw(st.sampled_from([shape[0], 2, 3])), draw(st.integers(1, 2))
    parts = [draw(branches(shape, out, stride, depth)) for _ in range(draw(st.integers(2, 4)))]
    gate = seq(AdaptivePool(1), Conv(out, 1, bias=True), Act("sigmoid"))
    return join(*parts, gate) if join is mul and draw(st.booleans()) else join(*parts)


@st.composite
def branches(draw: st.DrawFn, shape: Shape, out: int, stride: int, depth: int) -> Expr:
    """A sequence from `shape` to `out` channels at `stride`: the identity where it can be."""
    parts: list[Expr] = []
    for _ in range(draw(st.integers(0, 2))):
        inner = draw(joins(shape, depth - 1)) if depth and draw(st.booleans()) else draw(_keeping)
        if _fits(inner, shape, shape):
            parts.append(inner)
    if (out, stride) != (shape[0], 1) or draw(st.booleans()):
        parts.append(Conv(out, 1, stride))
    return seq(*parts)


def _fits(expr: Expr, shape: Shape, wanted: Shape) -> bool:
    try:
        return measure(expr, shape).out == wanted
    except SpecError:
        return False


# what torch says


def live_peak(module: nn.Module, shape: Shape) -> int:
    """The largest sum of live values of one image in evaluation, over a trace of single operations.

    Every operation writes a new tensor, but for those that give their input back; a tensor lives from the
    operation that writes it to the last that reads it. The input and the output count.
    """
    graph = _Tracer().trace(module.eval())
    sizes = _Sizes(fx.GraphModule(module, graph))
    with torch.no_grad():
        sizes.run(torch.zeros(1, *shape))
    home: dict[fx.Node, fx.Node] = {}
    born: dict[fx.Node, int] = {}
    last: dict[fx.Node, int] = {}
    for step, node in enumerate(graph.nodes):
        for source in node.all_input_nodes:
            last[home[source]] = step
        shares = node.op == "call_module" and isinstance(module.get_submodule(node.target), nn.Flatten | nn.Dropout)
        home[node] = home[node.all_input_nodes[0]] if shares else node
        if not shares and node.op != "output":
            born[node] = last[node] = step
    return max(sum(sizes.of[n] for n in born if born[n] <= step <= last[n]) for step in range(len(graph.nodes)))


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, qualified_name: str) -> bool:
        return not isinstance(m, nn.Sequential | Sum | Cat | Product | AuxHead)


class _Sizes(fx.Interpreter):
    """Runs a trace and keeps how many values every node writes."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module, garbage_collect_values=False)
        self.of: dict[fx.Node, int] = {}

    def run_node(self, n: fx.Node) -> object:
        result = super().run_node(n)
        if isinstance(result, torch.Tensor):
            self.of[n] = result.numel()
        return result


def macs_by_hooks(module: nn.Module, shape: Shape) -> int:
    """Multiplications of convolutions and linear layers for one image, counted while it runs."""
    total = 0

    def hook(layer: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        nonlocal total
        weight = layer.weight
        assert isinstance(weight, torch.Tensor)
        total += output[0].numel() * weight[0].numel()

    layers = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_hook(hook) for layer in layers]
    with torch.no_grad():
        module.eval()(torch.zeros(1, *shape))
    for handle in handles:
        handle.remove()
    return total


# broken files


NASTY: list[object] = [
    0, -1, 1, 2, 7, 10**9, 10**15, 2**63 - 1, -(2**63), 10**30, 10**5000, True, False, 0.5, -0.0, 1e308, float("nan"),
    float("inf"), "", "basic", "nin", "1", "x" * 300, "line\nbreak\x1b[31m", [], [1], [1, 8, 8], [[[[]]]], ["a", 1], {},
    {"int": [1, 4]}, {"int": [1, 10**9]}, {"int": [0, 10**15], "log": True}, {"float": [0.1, 2.0]}, {"int": [4, 1]},
    {"choice": []}, {"choice": ["basic", "nin"]}, {"choice": [1, 1]}, {"choice": [float("nan"), 1e300]},
    {"a": {"b": {}}}, {"points": 3}, {"choice": [{"int": [1, 2]}]},
]  # fmt: skip
TYPOS = ("stgae", "widht", "block", "width", "depth", "kernel", "type", "choice", "int", "nin", "lr", "a\nb", "")


@st.composite
def mutated(draw: st.DrawFn, text: str) -> str:
    """A TOML file after one to four changes of values, keys or characters."""
    data = tomllib.loads(text)
    for _ in range(draw(st.integers(0, 3))):
        _mutate(draw, data)
    text = tomli_w.dumps(_dumpable(data))
    for _ in range(draw(st.integers(0, 1)) or not text):
        at, length = draw(st.integers(0, len(text))), draw(st.integers(0, 12))
        text = text[:at] + draw(st.text("[]{}=\"'.,\n#xX-+0123456789einf\x00", max_size=6)) + text[at + length :]
    return text


def _mutate(draw: st.DrawFn, node: Any) -> None:
    """Change one entry of nested dicts and lists in place."""
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return
        key = draw(st.sampled_from(keys))
        inner = node[key]
        if not isinstance(inner, dict | list) or not inner or draw(st.integers(0, 3)) == 0:
            break
        node = inner
    action = draw(st.sampled_from(["replace", "replace", "drop", "rename", "nest", "twice"]))
    if action == "drop":
        del node[key]
    elif action == "rename" and isinstance(node, dict):
        node[draw(st.sampled_from(TYPOS))] = node.pop(key)
    elif action == "nest":
        for _ in range(draw(st.sampled_from([1, 3, 50]))):
            inner = {"a": inner}
        node[key] = inner
    elif action == "twice":
        node[key] = [inner, deepcopy(inner)]
    else:
        node[key] = deepcopy(draw(st.sampled_from(NASTY)))


def _dumpable(value: Any) -> Any:
    """Numbers that Python will not print in decimal are given as text: the parser never sees them otherwise."""
    if isinstance(value, dict):
        return {key: _dumpable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_dumpable(inner) for inner in value]
    return "9" * 5000 if isinstance(value, int) and abs(value) > 10**4000 else value
