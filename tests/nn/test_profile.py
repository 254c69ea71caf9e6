"""What a module's forward pass costs: computed weights, fused kernels, packed weights, dtypes, several inputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn
from torch.ao import quantization
from torch.nn import functional
from torch.nn.utils import parametrizations, parametrize, prune
from torch.utils.flop_counter import FlopCounterMode
from torchvision.ops import DeformConv2d

from archsearch.errors import InputError
from archsearch.nn.inputs import Input
from archsearch.nn.profile import Traced, measure_module

IMAGE = (3, 8, 8)
CONV_MACS = 8 * 36 * 27 + 288 * 4


def measured(factory: Callable[[], object], shape: object = IMAGE) -> Traced:
    return measure_module(factory, "module", shape)


def conv() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 4)).eval()


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 30), nn.ReLU(), nn.Linear(30, 10))


class Cumulative(nn.Module):
    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return torch.tril(torch.ones(len(weight), len(weight))) @ weight


class Binary(nn.Module):
    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight.sign() * weight.abs().mean()


class LowRank(nn.Module):
    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.left, self.right = nn.Parameter(torch.zeros(rows, 2)), nn.Parameter(torch.zeros(2, columns))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return (weight + self.left @ self.right).t().contiguous().t()


def parametrised(part: Callable[[nn.Module], nn.Module]) -> Callable[[nn.Module], object]:
    return lambda layer: parametrize.register_parametrization(layer, "weight", part(layer))


@pytest.mark.parametrize(
    "change",
    [
        parametrizations.weight_norm, parametrizations.spectral_norm, nn.utils.weight_norm, nn.utils.spectral_norm,
        lambda layer: parametrizations.orthogonal(layer, orthogonal_map="matrix_exp"),
        lambda layer: parametrizations.orthogonal(layer, orthogonal_map="householder"),
        lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
        parametrised(lambda layer: Binary()), parametrised(lambda layer: Cumulative()),
        parametrised(lambda layer: LowRank(*layer.weight.shape)),
    ],
)  # fmt: skip
def test_a_parametrised_module_works_as_the_plain_one(change: Callable[[nn.Module], object]) -> None:
    def module() -> nn.Module:
        found = mlp()
        change(found[1])
        change(found[3])
        return found

    plain, found = measured(mlp), measured(module)
    assert (found.cost.macs, found.attention_macs) == (plain.cost.macs, 0) == (192 * 30 + 300, 0)
    assert found.cost.peak == plain.cost.peak


class Products(nn.Module):
    """A weight times what is read from an image."""

    def __init__(self, product: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(5, 192))
        self.product = product

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.product(self.weight, x.flatten())


@pytest.mark.parametrize(
    "product",
    [
        lambda weight, x: weight @ x,
        lambda weight, x: torch.addmv(torch.zeros(5), weight, x),
        lambda weight, x: torch.mv(weight, x, out=torch.zeros(5)),
        lambda weight, x: x @ weight.t().contiguous(),
        lambda weight, x: torch.einsum("oi,i->o", functional.normalize(weight), x),
        lambda weight, x: torch.addbmm(torch.zeros(1, 1), weight.view(5, 1, 192), x.expand(5, 1, 192).mT),
        lambda weight, x: functional.linear(x, weight.to(torch.int8).float()),
        lambda weight, x: sum(row.dot(x) for row in weight),
    ],
)
def test_every_way_to_multiply_by_a_weight(product: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
    found = measured(lambda: Products(product))
    assert (found.traced, found.note) == (True, "")
    assert (found.cost.macs, found.attention_macs) == (5 * 192, 0)


def test_weights_that_depend_on_the_image_are_no_weights() -> None:
    found = measured(lambda: Products(lambda weight, x: (weight * x.mean()) @ x))
    assert (found.cost.macs, found.attention_macs) == (0, 5 * 192)


def test_a_buffer_that_takes_the_image_is_no_weight_any_more() -> None:
    class Cache(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("seen", torch.zeros(4, 192))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.seen[:1] = x.flatten(1)
            return x.flatten(1) @ self.seen.mT

    found = measured(Cache)
    assert (found.cost.macs, found.attention_macs) == (0, 4 * 192)


def test_what_numpy_hands_on_is_not_taken_for_a_weight() -> None:
    class Numpy(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self[3](torch.from_numpy(self[1](x.flatten(1)).numpy()))

    assert measured(lambda: Numpy(*mlp())).cost.macs == 192 * 30 + 300


class Pair(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x.flatten(1), x.flatten(1))


class Deformed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.offset, self.layer = nn.Conv2d(3, 18, 3, padding=1), DeformConv2d(3, 8, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x, self.offset(x))


def test_bilinear_layers_and_deformable_convolutions() -> None:
    assert measured(lambda: Pair(nn.Bilinear(192, 192, 7))).cost.macs == 7 * 192 * 192
    assert measured(Deformed).cost.macs == 64 * 27 * (18 + 8)


@pytest.mark.parametrize(
    "factory",
    [
        conv,
        lambda: torch.jit.script(conv()),
        lambda: torch.jit.trace(conv(), torch.zeros(1, *IMAGE)),
        lambda: nn.Sequential(nn.Identity(), torch.jit.script(conv())),
        lambda: torch.export.export(conv(), (torch.zeros(1, *IMAGE),)).module(),
        lambda: torch.fx.symbolic_trace(conv()),
        lambda: conv().half(),
        lambda: conv().bfloat16(),
        lambda: conv().double(),
        lambda: (torch.ones(()).item(), conv().half())[1],
        lambda: torch.jit.script(conv().double()),
    ],
)
def test_the_same_module_in_other_forms_and_dtypes(factory: Callable[[], object]) -> None:
    found = measured(factory)
    wanted = 8 * 27 + 8 + 16 + 288 * 4 + 4
    assert (found.traced, found.cost.params, found.cost.macs) == (True, wanted, CONV_MACS)


def test_a_frozen_graph_has_its_weights_as_constants() -> None:
    found = measured(lambda: torch.jit.freeze(torch.jit.script(conv())))
    assert (found.cost.params, found.cost.macs) == (8 * 27 + 8 + 288 * 4 + 4, CONV_MACS)  # the norm is folded in


class Built(nn.Module):
    """A layer that is built on the meta device, or where a value is read, on the CPU."""

    def __init__(self, make: Callable[[], nn.Module], on_cpu: bool) -> None:
        super().__init__()
        if on_cpu:
            torch.ones(()).item()
        self.layer = make()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if isinstance(self.layer, nn.MultiheadAttention):
            return self.layer(x, x, x, need_weights=False)[0]
        found = self.layer(x)
        return found if isinstance(found, torch.Tensor) else found[0]


def encoder() -> nn.Module:
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(64, 4, 128, batch_first=True), 2)


@pytest.mark.parametrize("on_cpu", [False, True])
@pytest.mark.parametrize(
    ("make", "macs", "attention"),
    [
        (lambda: nn.MultiheadAttention(64, 4, batch_first=True), 16 * 4 * 64 * 64, 2 * 16 * 16 * 64),
        (encoder, 2 * 16 * (4 * 64 * 64 + 2 * 64 * 128), 2 * 2 * 16 * 16 * 64),
        (lambda: nn.LSTM(64, 32, 2, batch_first=True), 16 * 4 * (64 * 32 + 3 * 32 * 32), 0),
        (lambda: nn.GRU(64, 32, batch_first=True), 16 * 3 * (64 * 32 + 32 * 32), 0),
    ],
)
def test_fused_kernels_hide_nothing(make: Callable[[], nn.Module], macs: int, attention: int, on_cpu: bool) -> None:
    found = measured(lambda: Built(make, on_cpu), (16, 64))
    assert (found.cost.macs, found.attention_macs) == (macs, attention)
    assert torch.backends.mkldnn.enabled
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize(("factory", "shape"), [(encoder, (16, 64)), (conv, IMAGE)])
def test_an_independent_counter_finds_the_same(factory: Callable[[], nn.Module], shape: tuple[int, ...]) -> None:
    module, counter = factory().train(), FlopCounterMode(display=False)
    with counter:
        module(torch.zeros(2, *shape))
    found = measured(factory, shape)
    assert counter.get_total_flops() == 2 * 2 * (found.cost.macs + found.attention_macs)


def static() -> nn.Module:
    module = nn.Sequential(
        quantization.QuantStub(), nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 4),
        quantization.DeQuantStub(),
    ).eval()  # fmt: skip
    module.qconfig = quantization.get_default_qconfig("x86")
    quantization.prepare(module, inplace=True)
    module(torch.randn(2, *IMAGE))
    return quantization.convert(module)


def dynamic(module: nn.Module, kind: type[nn.Module]) -> nn.Module:
    return quantization.quantize_dynamic(module, {kind}, dtype=torch.qint8)


def test_packed_weights_are_parameters_of_one_byte() -> None:
    found, plain = measured(static), measured(conv)
    assert (found.cost.params, found.cost.macs) == (8 * 27 + 8 + 288 * 4 + 4, CONV_MACS)
    assert 8 * 27 + 288 * 4 < found.cost.size_bytes() - 8192 < plain.cost.size_bytes() - 8192
    part = measured(lambda: dynamic(conv(), nn.Linear))
    assert (part.cost.params, part.cost.macs) == (plain.cost.params, plain.cost.macs)


def test_packed_weights_of_a_quantised_lstm_are_counted_but_not_its_macs() -> None:
    found = measured(lambda: dynamic(nn.Sequential(nn.LSTM(4, 5)), nn.LSTM), (3, 4))
    assert found.cost.params == 4 * (4 * 5 + 5 * 5 + 2 * 5)
    assert found.uncounted == ("aten.quantized_lstm",)
    assert "aten.quantized_lstm" in found.note


def test_scripted_packed_weights_are_refused() -> None:
    with pytest.raises(InputError, match=r"scripted quantised module hides its weights: count it before torch\.jit"):
        measured(lambda: torch.jit.script(dynamic(conv(), nn.Linear)))


@torch.library.custom_op("archsearch_test::product", mutates_args=())
def foreign(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return x @ weight.mT


@foreign.register_fake
def _(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return x.new_empty(len(x), len(weight))


def test_operators_of_other_libraries_are_named() -> None:
    found = measured(lambda: Products(lambda weight, x: foreign(x[None], weight)))
    assert found.uncounted == ("archsearch_test.product",)


class State(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(100, 100, dtype=torch.complex64))
        for dtype in (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float8_e4m3fn):
            self.register_buffer(str(dtype).partition(".")[2], torch.zeros(1000).to(dtype))


def test_bytes_are_those_of_the_dtype(tmp_path: Path) -> None:
    safetensors.torch.save_file(State().state_dict(), tmp_path / "state.safetensors")
    on_disk = (tmp_path / "state.safetensors").stat().st_size
    cost = measured(State, None).cost
    assert (cost.params, cost.buffers) == (10_000, 7_000)
    assert on_disk <= cost.size_bytes("fp32") <= on_disk + 16_000
    assert cost.size_bytes("fp32") - cost.size_bytes("fp16") == 40_000
    assert cost.size_bytes("int8") == cost.size_bytes("fp32")


@dataclasses.dataclass(slots=True)
class Slots:
    logits: torch.Tensor


@dataclasses.dataclass
class Plain:
    found: Slots
    others: list[torch.Tensor]


class Several(nn.Module):
    """Takes an image and tokens. What it returns lives to the end, wherever it stands."""

    def __init__(self, result: Callable[[torch.Tensor, torch.Tensor], object]) -> None:
        super().__init__()
        self.conv, self.embed, self.head = nn.Conv2d(3, 8, 3), nn.Embedding(100, 8), nn.Linear(8, 2)
        self.result = result

    def forward(self, x: torch.Tensor, tokens: torch.Tensor) -> object:
        kept = self.conv(x)
        wide = functional.relu(kept)
        return self.result(kept, self.head(wide.mean((2, 3)) + self.embed(tokens).mean(1)))


@pytest.mark.parametrize(
    "result",
    [
        lambda one, two: (one, two),
        lambda one, two: {"features": [one], "logits": two},
        lambda one, two: Plain(Slots(two), [one]),
        lambda one, two: Slots({"logits": two, "features": one}),
    ],
)
def test_several_inputs_and_any_output(result: Callable[[torch.Tensor, torch.Tensor], object]) -> None:
    found = measured(lambda: Several(result), (Input(IMAGE), Input((16,), "int64")))
    assert (found.traced, found.note) == (True, "")
    assert found.cost.macs == 8 * 36 * 27 + 16
    # The feature map that is returned, its activation, and the vector that is pooled from that.
    assert found.cost.peak == 2 * 8 * 36 + 8


def test_inputs_say_what_they_are() -> None:
    found = measured(lambda: Several(lambda one, two: one), (Input(IMAGE), Input((16,), "float32")))
    assert not found.traced
    assert found.note.startswith("its forward pass at 3x8x8 and 16:float32 fails: ")
