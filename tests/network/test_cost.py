"""The formula against torch: what is counted without building equals what is built, traced, run and written."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from strategies import SPACES, bare, draws, expressions, few, live_peak, macs_by_hooks, shapes, within
from torch import nn
from torchinfo import summary

from archsearch import count
from archsearch.errors import InputError, SpecError
from archsearch.network.arch import Arch
from archsearch.network.cost import Cost, chain, measure
from archsearch.network.file_size import DTYPE_BYTES, element_bytes
from archsearch.network.layer_cost import LeafCost, leaf_cost
from archsearch.network.layers import (
    Act,
    AdaptivePool,
    Aux,
    Conv,
    Custom,
    Dropout,
    Expr,
    Flatten,
    Leaf,
    Linear,
    Pool,
    Shape,
    add,
    concat,
    mul,
    seq,
)
from archsearch.network.stage import Part, Stage
from archsearch.nn.build import AuxHead, build, build_expr
from archsearch.nn.weights import deployed_state, save

# draws of every shipped space

TENSORS = (nn.Module.parameters, nn.Module.buffers)


def check_counts(arch: Arch) -> nn.Module:
    """Parameters, buffers and multiply-accumulates."""
    module = bare(arch)
    cost = arch.cost
    aux = [part.head for part in module.modules() if isinstance(part, AuxHead)]
    aux_params, aux_buffers = (sum(t.numel() for head in aux for t in tensors(head)) for tensors in TENSORS)
    assert cost.params == sum(p.numel() for p in module.parameters()) - aux_params, arch.summary
    assert cost.aux_params == aux_params, arch.summary
    assert cost.buffers == sum(b.numel() for b in module.buffers()) - aux_buffers, arch.summary
    assert cost.macs == macs_by_hooks(module, arch.input_shape), arch.summary
    return module


def check_torchinfo(arch: Arch, module: nn.Module) -> None:
    """torchinfo's totals. Its multiply-adds count biases and norms on top of the products."""
    found = summary(module, input_data=torch.zeros(1, *arch.input_shape), device="cpu", verbose=0)
    assert found.total_params == arch.cost.params + arch.cost.aux_params, arch.summary
    products = sum(
        layer.macs - (_bias(layer.module) * (1 if isinstance(layer.module, nn.Linear) else _pixels(layer.output_size)))
        for layer in found.summary_list
        if isinstance(layer.module, (nn.Linear, nn.Conv2d))
    )
    assert products == arch.cost.macs, arch.summary


def ties(arch: Arch) -> bool:
    """Whether a kernel has several places: torchinfo 1.8 counts the norms behind the later ones twice."""
    return any(stage.shared and stage.depth > 1 for stage in arch.stages)


def _bias(layer: nn.Module) -> int:
    return 0 if layer.bias is None else len(layer.bias)


def _pixels(size: list[int]) -> int:
    return size[2] * size[3]


def check_training(arch: Arch, module: nn.Module) -> None:
    """A forward and a backward pass: logits of the right shape, a finite gradient everywhere."""
    logits = module.train()(torch.rand(2, *arch.input_shape))
    assert logits.shape == (2, arch.classes), arch.summary
    answers = [logits, *(part.logits for part in module.modules() if isinstance(part, AuxHead))]
    sum(nn.functional.cross_entropy(answer, torch.tensor([0, 1])) for answer in answers).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters()), arch.summary


@pytest.mark.parametrize("space", SPACES)
def test_the_formula_is_exact_on_draws(space: str) -> None:
    for i, arch in enumerate(draws(space, 200 // len(SPACES))):
        module = check_counts(arch)
        if i % 11 == 0 and not ties(arch):
            check_torchinfo(arch, module)
        if i % 5 == 0:
            check_training(arch, module)


@pytest.mark.slow
@pytest.mark.parametrize("space", SPACES)
def test_the_formula_is_exact_on_many_draws(space: str) -> None:
    for i, arch in enumerate(draws(space, 200, seed=1)):
        module = check_counts(arch)
        if i % 10 == 0 and not ties(arch):
            check_torchinfo(arch, module)
        if i % 20 == 0:
            check_training(arch, module)


@pytest.mark.parametrize("space", SPACES)
def test_a_built_network_trains_from_its_own_start(space: str) -> None:
    for arch in draws(space, 2, seed=2):
        module = build(arch).train()
        logits = module(torch.rand(4, *arch.input_shape))
        assert logits.shape == (4, arch.classes)
        answers = [logits, *(part.logits for part in module.modules() if isinstance(part, AuxHead))]
        sum(answer.square().sum() for answer in answers).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
        assert arch.cost.out == (arch.classes,)


@pytest.mark.parametrize("space", SPACES)
def test_peak_activations_of_draws_equal_the_liveness_of_a_trace(space: str) -> None:
    for arch in draws(space, 40 // len(SPACES), seed=3):
        assert arch.cost.peak == live_peak(bare(arch), arch.input_shape), arch.summary


# any expression


@st.composite
def networks(draw: st.DrawFn) -> tuple[Expr, Shape]:
    shape = draw(shapes())
    return draw(expressions(shape)), shape


@few(120)
@given(networks())
def test_any_expression_costs_what_its_module_has(network: tuple[Expr, Shape]) -> None:
    expr, shape = network
    cost = measure(expr, shape)
    module = bare(expr, shape)
    state = build_expr(expr, shape).state_dict()
    assert cost.params == sum(p.numel() for p in module.parameters())
    assert cost.buffers == sum(b.numel() for b in module.buffers())
    assert cost.contents.tensors == len(state)
    assert cost.contents.chars == sum(len(name) + len(",".join(map(str, t.shape))) for name, t in state.items())
    assert cost.macs == macs_by_hooks(module, shape)
    assert cost.peak == live_peak(module, shape)
    with torch.no_grad():
        assert module.eval()(torch.zeros(2, *shape)).shape == (2, *cost.out)


X = 2 * 4 * 4  # values of the input in the hand-made cases


@pytest.mark.parametrize(
    ("expr", "peak"),
    [
        pytest.param(seq(), X, id="identity"),
        pytest.param(Dropout(0.5), X, id="view"),
        pytest.param(Conv(4), X + 2 * X, id="one layer reads and writes"),
        pytest.param(seq(Conv(4), Act()), 4 * X, id="the input dies when it was read"),
        pytest.param(add(seq(), Conv(2)), 3 * X, id="a shortcut keeps the input"),
        pytest.param(add(seq(), seq(Conv(4), Conv(2))), 4 * X, id="the shortcut waits for the wide layer"),
        pytest.param(seq(Flatten(), Dropout(0.1)), X, id="views of views"),
        pytest.param(add(*[Conv(2)] * 4), 4 * X, id="a sum keeps one total"),
        pytest.param(concat(*[Conv(2)] * 4), 8 * X, id="a concatenation keeps every branch"),
        pytest.param(concat(seq(), seq()), X + 2 * X, id="both branches are the input"),
        pytest.param(mul(seq(), seq(AdaptivePool(1), Act("sigmoid"))), 2 * X + 2, id="squeeze and excite"),
    ],
)
def test_peaks_by_hand(expr: Expr, peak: int) -> None:
    assert measure(expr, (2, 4, 4)).peak == peak
    assert live_peak(bare(expr, (2, 4, 4)), (2, 4, 4)) == peak


def test_peak_bytes_follow_the_dtype() -> None:
    cost = measure(Conv(4), (2, 4, 4))
    assert {dtype: cost.peak_activation_bytes(dtype) for dtype in DTYPE_BYTES} == {
        "fp32": 384, "fp16": 192, "bf16": 192, "int8": 96,
    }  # fmt: skip


def test_the_course_projects_networks_have_their_published_parameters() -> None:
    def resnet(*widths: int) -> Arch:
        stages = tuple(Stage("basic", width, stride=1 + (i > 0)) for i, width in enumerate(widths))
        return Arch((3, 32, 32), 10, Part("conv", (("width", widths[0]),)), stages, Part("linear"))

    assert count(resnet(16, 32, 64)).params == 78_042
    assert count(resnet(64, 128, 256, 512)).params == 4_903_242


def test_auxiliary_classifiers_are_counted_apart() -> None:
    head = seq(AdaptivePool(1), Flatten(), Linear(10))
    plain, extended = seq(Conv(8), Conv(8)), seq(Conv(8), Aux(head), Conv(8))
    without, with_aux = measure(plain, (3, 8, 8)), measure(extended, (3, 8, 8))
    assert with_aux.aux_params == 8 * 10 + 10
    assert without.aux_params == 0
    names = ("out", "params", "buffers", "macs", "peak")
    assert all(getattr(with_aux, name) == getattr(without, name) for name in names)
    assert with_aux.contents.tensors == without.contents.tensors
    assert with_aux.peak == live_peak(bare(extended, (3, 8, 8)), (3, 8, 8))


def test_count_wants_a_shape_for_an_expression() -> None:
    assert count(Conv(4), (3, 8, 8)).params == 108
    with pytest.raises(SpecError, match="input shape"):
        count(Conv(4))


# bytes on disk


def int8(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Kernels and matrices as bytes with one scale a row."""
    scales = {f"{name}_scale": torch.ones(len(t)) for name, t in state.items() if t.ndim > 1}
    return {name: t.to(torch.int8) if t.ndim > 1 else t for name, t in state.items()} | scales


def cast(state: dict[str, torch.Tensor], dtype: str) -> dict[str, torch.Tensor]:
    if dtype == "int8":
        return int8(state)
    kind = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[dtype]
    return {name: t.to(kind) if t.is_floating_point() else t for name, t in state.items()}


INFO = {"recipe": {"epochs": 20, "lr": 0.4}, "normalisation": {"mean": [0.5], "std": [0.2]}, "classes": list("0123")}


def check_sizes(arch: Arch, folder: Path) -> None:
    """The formula bounds every file from above, by less than 16,000 bytes."""
    module = bare(arch)
    path = save(folder / "w.safetensors", module, arch, INFO)
    assert 0 <= arch.cost.size_bytes() - path.stat().st_size < 16_000, arch.summary
    metadata = {"archsearch": "1", "arch": arch.to_toml()}
    for dtype in ("fp16", "bf16", "int8"):
        save_file(cast(deployed_state(module), dtype), path, metadata=metadata)
        assert 0 <= arch.cost.size_bytes(dtype) - path.stat().st_size < 16_000, (dtype, arch.summary)


@pytest.mark.parametrize("space", SPACES)
def test_sizes_of_draws(space: str, tmp_path: Path) -> None:
    for arch in draws(space, 32 // len(SPACES), seed=4):
        check_sizes(arch, tmp_path)


def plain_arch(*stages: Stage) -> Arch:
    return Arch((3, 32, 32), 10, Part("conv", (("width", 8),)), stages, Part("linear"))


@pytest.mark.parametrize(
    "arch",
    [
        pytest.param(plain_arch(Stage("basic", 4, 30), Stage("basic", 8, 30, 2)), id="734 tensors"),
        pytest.param(plain_arch(Stage("bottleneck", 16, 150)), id="2,708 tensors"),
        pytest.param(plain_arch(*[Stage("basic", 4 + 4 * (i % 2)) for i in range(100)]), id="100 stages"),
        pytest.param(plain_arch(), id="no stage"),
        pytest.param(plain_arch(Stage("basic", 8, dims=(("norm", False),))), id="biases"),
    ],
)
def test_sizes_of_extremes(arch: Arch, tmp_path: Path) -> None:
    check_sizes(arch, tmp_path)


def test_an_unknown_dtype_is_bad_input() -> None:
    with pytest.raises(InputError, match=r"'fp8'.*fp32, fp16, bf16, int8"):
        element_bytes("fp8")


@few(30)
@given(networks())
def test_smaller_dtypes_never_make_larger_files(network: tuple[Expr, Shape]) -> None:
    cost = measure(*network)
    assert cost.size_bytes("fp32") + cost.contents.tensors >= cost.size_bytes("bf16") >= cost.size_bytes("fp16")


# layers that cannot take their input


@pytest.mark.parametrize(
    ("expr", "shape", "words"),
    [
        (Conv(0), (3, 8, 8), "out = 0: must be a whole number of at least 1"),
        (Conv(4, 0), (3, 8, 8), "kernel = 0"),
        (Conv(4, 3, 0), (3, 8, 8), "stride = 0"),
        (Conv(4, 3, dilation=2**31 - 1), (3, 8, 8), "dilation = 2147483647, padding = 2147483647: too wide"),
        (Conv(4, 5, dilation=2**30 - 1), (3, 8, 8), "kernel = 5, dilation = 1073741823, .* too wide"),
        (Conv(4, 1, dilation=2**64), (3, 8, 8), "too wide"),
        (Conv(4, 3, padding=2**31), (3, 8, 8), "too wide"),
        (Conv(4, 9, padding=0), (3, 8, 8), "window of 9 is larger than its map of 8"),
        (Conv(4, groups=2), (3, 8, 8), "groups = 2: must divide 3 input and 4 output"),
        (Conv(4), (3,), r"needs an image .* not \(3,\)"),
        (Act("rleu"), (3, 8, 8), "'rleu': use one of relu"),
        (Pool("min"), (3, 8, 8), "'min': use one of max, avg"),
        (Pool("max", 3, padding=2), (3, 8, 8), "at most half"),
        (Pool("max", 4), (3, 2, 2), "window of 4"),
        (AdaptivePool(0), (3, 8, 8), "size = 0"),
        (Linear(4), (3, 8, 8), r"put Flatten\(\) before it"),
        (Linear(0), (3,), "out = 0"),
        (Dropout(1.0), (3,), r"must be in \[0, 1\)"),
        (Dropout(float("nan")), (3,), r"must be in \[0, 1\)"),
        (add(Conv(4), Conv(5)), (3, 8, 8), "equal shapes"),
        (concat(Conv(4), Conv(4, stride=2)), (3, 8, 8), "equal maps"),
        (mul(Conv(4), Conv(4, stride=2)), (3, 8, 8), "one value a channel"),
        (add(Conv(4)), (3, 8, 8), "at least two branches"),
        (Leaf(), (3, 8, 8), "derive it from archsearch.network.Custom"),
        (3, (3, 8, 8), "no expression"),
    ],
)
def test_what_makes_no_network_is_a_spec_error(expr: Expr, shape: Shape, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        measure(expr, shape)
    with pytest.raises(SpecError, match=words):
        build_expr(expr, shape)


@few(100)
@given(st.sampled_from(["max", "avg"]), *[st.integers(0, 6)] * 4, st.booleans())
def test_pooling_is_refused_or_as_torch_does_it(
    kind: str, size: int, kernel: int, stride: int, padding: int, ceil: bool
) -> None:
    pool = Pool(kind, kernel, stride, padding, ceil)
    shape = (1, size + 1, 2 * size + 1)
    try:
        out = leaf_cost(pool, shape).out
    except SpecError:
        return
    assert build_expr(pool, shape)(torch.zeros(1, *shape)).shape == (1, *out)


def test_a_chain_names_its_parts_and_costs_their_characters() -> None:
    parts = [("stem", Conv(4)), ("head", Conv(4))]
    renamed = [("stem_of_the_network", Conv(4)), ("head", Conv(4))]
    longer = chain(renamed, (3, 8, 8)).size_bytes() - chain(parts, (3, 8, 8)).size_bytes()
    assert longer == len("stem_of_the_network") - len("stem")


def test_counting_is_fast() -> None:
    archs = list(draws("resnin", 200, seed=random.randrange(10**6)))
    with within(1.0):
        assert all(isinstance(arch.cost, Cost) for arch in archs)


@dataclass(frozen=True, slots=True)
class Work(Custom):
    """A layer without a state that multiplies."""

    def cost(self, shape: Shape) -> LeafCost:
        return LeafCost(shape, macs=100)

    def build(self, shape: Shape) -> object:
        raise NotImplementedError


def test_work_without_a_state_counts_inside_a_sequence_too() -> None:
    assert measure(Work(), (3, 8, 8)).macs == 100
    assert measure(seq(Work(), Act("relu"), Work()), (3, 8, 8)).macs == 200
    assert measure(add(Work(), seq(Work())), (3, 8, 8)).macs == 200
