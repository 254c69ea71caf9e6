"""Files as targets of `check`: each kind counted as the module it came from, and what cannot be counted said."""

from __future__ import annotations

import json
import logging
import sys
import warnings
import zipfile
from argparse import Namespace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from archsearch.cli import _run
from archsearch.errors import InputError
from archsearch.network import zoo
from archsearch.nn.build import build
from archsearch.nn.inspect import measure_target
from archsearch.nn.measured import ON_DISK, Measured
from archsearch.nn.weights import save

SMALL = zoo.load("resnet-course-small").arch
PARAMS = (8 * 3 * 9 + 8) + 2 * 8 + 8 + (8 * 8 * 4 + 8) + (8 * 10 + 10)
MACS = 8 * 27 * 64 + 8 * 64 * 8 * 4 + 8 * 10


class Net(nn.Module):
    """Every kind of state: weights, a learned scale, statistics, a normalisation, an index."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.up, self.head = nn.ConvTranspose2d(8, 8, 2, 2), nn.Linear(8, 10)
        self.scale = nn.Parameter(torch.full((8, 1, 1), 2.0))
        self.register_buffer("mean", torch.full((3, 1, 1), 0.5))
        self.register_buffer("index", torch.arange(1000))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head((self.up(self.norm(self.conv(x - self.mean))) * self.scale).mean((2, 3)))


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    module = Net()
    nn.init.normal_(module.norm.bias)
    return module.eval()


def found(path: Path, dtype: str | None = None, shape: tuple[int, ...] | None = None) -> Measured:
    return measure_target(str(path), dtype, shape)


def test_integers_are_no_parameters(net: nn.Module, tmp_path: Path) -> None:
    torch.save(net.state_dict(), tmp_path / "w.pt")
    safetensors.torch.save_file(net.state_dict(), tmp_path / "w.safetensors")
    torch.save(net.state_dict(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    for name in ("w.pt", "w.safetensors", "old.pt"):
        measured = found(tmp_path / name)
        assert measured.values["params"] == PARAMS + 3  # nothing in a file says that `mean` is a buffer
        assert measured.values["size_bytes"] == (tmp_path / name).stat().st_size
        assert measured.size_dtype == ON_DISK


def test_bytes_of_weights_at_a_dtype(net: nn.Module, tmp_path: Path) -> None:
    path = save(tmp_path / "w.safetensors", build(SMALL), SMALL, {})
    assert found(path, "int8").values["size_bytes"] == SMALL.cost.size_bytes("int8")
    assert found(path, "int8").size_dtype == "int8"
    assert found(path).values["size_bytes"] == path.stat().st_size
    torch.save(net.state_dict(), tmp_path / "w.pt")
    half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in net.state_dict().items()}
    safetensors.torch.save_file(half, tmp_path / "half.safetensors")
    on_disk = (tmp_path / "half.safetensors").stat().st_size
    for name in ("w.pt", "half.safetensors"):
        assert on_disk <= (found(tmp_path / name, "fp16").values["size_bytes"] or 0) <= on_disk + 16_000


@pytest.mark.parametrize("key", ["model", "state_dict", "my_network"])
def test_a_checkpoint_counts_the_model_alone(net: nn.Module, tmp_path: Path, key: str) -> None:
    state = net.state_dict()
    moments = {"state": {i: {"exp_avg": torch.zeros(5000), "step": torch.tensor(3.0)} for i in range(3)}}
    checkpoint = {"epoch": 3, key: state, "optimizer_states": [moments], "args": Namespace(lr=0.1)}
    torch.save(checkpoint, tmp_path / "c.ckpt")
    measured = found(tmp_path / "c.ckpt")
    safetensors.torch.save_file(state, tmp_path / "w.safetensors")
    alone = (tmp_path / "w.safetensors").stat().st_size
    assert measured.values["params"] == PARAMS + 3
    assert abs((measured.values["size_bytes"] or 0) - alone) < 200
    assert "optimizer_states 60" in measured.note


def test_the_average_of_a_checkpoint_is_not_the_model(net: nn.Module, tmp_path: Path) -> None:
    average = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    torch.save({"ema": average, "model": net.state_dict()}, tmp_path / "c.pt")
    measured = found(tmp_path / "c.pt")
    assert measured.values["params"] == PARAMS + 3
    assert "ema" in measured.note


def test_torchscript_knows_its_parameters(net: nn.Module, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated")
        scripted = torch.jit.script(net)
        torch.jit.save(scripted, tmp_path / "s.pt")
        torch.jit.save(torch.jit.freeze(scripted), tmp_path / "frozen.pt")
    measured = found(tmp_path / "s.pt")
    assert (measured.values["params"], measured.values["macs"]) == (PARAMS, None)
    assert "not counted: macs" in measured.note
    assert (found(tmp_path / "frozen.pt").values["params"] or 0) > 500


@pytest.mark.parametrize("dynamic", [True, False])
def test_a_graph_of_torch_export(net: nn.Module, tmp_path: Path, dynamic: bool) -> None:
    shapes = ({0: torch.export.Dim("batch")},) if dynamic else None
    program = torch.export.export(net, (torch.zeros(4, 3, 8, 8),), dynamic_shapes=shapes)
    torch.export.save(program, tmp_path / "m.pt2")
    measured = found(tmp_path / "m.pt2")
    assert (measured.values["params"], measured.values["macs"]) == (PARAMS, MACS)
    assert measured.values["size_bytes"] == (tmp_path / "m.pt2").stat().st_size
    with pytest.raises(InputError, match="exported at"):
        found(tmp_path / "m.pt2", shape=(3, 9, 9))


def test_tied_parameters_of_a_graph_count_once(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False)
            self.b.weight = self.a.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(self.a(x))

    torch.export.save(torch.export.export(Tied().eval(), (torch.zeros(2, 8),)), tmp_path / "m.pt2")
    measured = found(tmp_path / "m.pt2")
    assert (measured.values["params"], measured.values["macs"]) == (64, 128)


def onnx_file(net: nn.Module, path: Path) -> Path:
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        shapes = ({0: torch.export.Dim("batch"), 2: torch.export.Dim("h", min=4), 3: torch.export.Dim("w", min=4)},)
        program = torch.onnx.export(net, (torch.zeros(2, 3, 8, 8),), dynamo=True, dynamic_shapes=shapes, verbose=False)
    logging.disable(logging.NOTSET)
    assert program is not None
    path.write_bytes(program.model_proto.SerializeToString())
    return path


def test_an_onnx_graph(net: nn.Module, tmp_path: Path) -> None:
    path = onnx_file(net, tmp_path / "m.onnx")
    measured = found(path, shape=(3, 8, 8))
    assert measured.values["params"] == PARAMS - 16  # the norm is folded into the convolution
    assert measured.values["macs"] == MACS
    assert found(path).values["macs"] is None
    assert "give --input-shape" in found(path).note
    with pytest.raises(InputError, match="its graph takes"):
        found(path, shape=(4, 8, 8))


def test_external_data_of_onnx_are_bytes_of_it(net: nn.Module, tmp_path: Path) -> None:
    import onnx

    model = onnx.load(onnx_file(net, tmp_path / "m.onnx"))
    options = {"all_tensors_to_one_file": True, "location": "m.data", "size_threshold": 0}
    onnx.save_model(model, tmp_path / "e.onnx", save_as_external_data=True, **options)
    size = sum((tmp_path / name).stat().st_size for name in ("e.onnx", "m.data"))
    assert found(tmp_path / "e.onnx").values["size_bytes"] == size
    (tmp_path / "m.data").unlink()
    with pytest.raises(InputError, match=r"its weights, m\.data, are not beside it"):
        found(tmp_path / "e.onnx")


def onnx_nodes(path: Path, nodes: list[object], tensors: dict[str, object]) -> Path:
    import numpy as np
    import onnx
    from onnx import helper, numpy_helper

    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()],
    )  # fmt: skip
    opset = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    path.write_bytes(helper.make_model(graph, opset_imports=opset).SerializeToString())
    return path


def test_quantised_onnx_weights_are_parameters(tmp_path: Path) -> None:
    import numpy as np
    from onnx import helper

    scales = {"s": np.float32(0.1), "z": np.int8(0), "w": np.ones((8, 3, 3, 3), np.int8), "b": np.ones(8, np.int32)}
    integer = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("QLinearConv", ["q", "s", "z", "w", "s", "z", "s", "z", "b"], ["c"]),
        helper.make_node("DequantizeLinear", ["c", "s", "z"], ["y"]),
    ]
    qdq = [
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["r"]),
        helper.make_node("Conv", ["x", "r"], ["y"]),
    ]
    measured = found(onnx_nodes(tmp_path / "q.onnx", integer, scales))
    assert (measured.values["params"], measured.values["macs"]) == (8 * 27 + 8, 8 * 36 * 27)
    measured = found(onnx_nodes(tmp_path / "d.onnx", qdq, scales))
    assert (measured.values["params"], measured.values["macs"]) == (8 * 27, 8 * 36 * 27)


def test_operators_without_a_rule_do_not_pass_silently(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import numpy as np
    from onnx import helper

    packed = [helper.make_node("MatMulNBits", ["x", "w"], ["y"], domain="com.microsoft", K=8, N=8, bits=4)]
    path = onnx_nodes(tmp_path / "p.onnx", packed, {"w": np.ones((8, 4), np.uint8)})
    assert _run(["check", str(path), "--max-size", "1MB"]) == 0
    assert "not counted: params, macs" in capsys.readouterr().out
    assert _run(["check", str(path), "--max-params", "1M"]) == 2
    assert "params cannot be measured here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content"), [("m.tflite", b"\x1c\0\0\0TFL3xxxx"), ("m.pte", b"\0\0\0\0ET12"), ("m.engine", b"anything")]
)
def test_other_files_have_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert _run(["check", str(path), "--max-size", "1kB", "--size-dtype", "int8", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["size_bytes"], said["params"], said["macs"]) == (len(content), None, None)
    assert said["size_dtype"] == "file"
    assert "--size-dtype int8 is for" in said["note"]
    assert _run(["check", str(path), "--max-macs", "1M"]) == 2


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("m.onnx", b"", "no readable ONNX"),
        ("m.onnx", b"hello", "no readable ONNX"),
        ("m.pt2", b"hello", "no readable .pt2"),
        ("m.pt2", b"PK\x03\x04hello", "no readable .pt2"),
        ("m.tflite", b"hello world", "no LiteRT file"),
        ("m.tflite", b"", "no LiteRT file"),
        ("m.param", b"7767517", "m.bin, are not beside it"),
        ("m.onnx", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ],
)
def test_broken_model_files(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=says):
        found(tmp_path / name)


def test_a_zip_file_by_somebody_else(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.pt", "w") as file:
        file.writestr("a/b.txt", "hello")
    with pytest.raises(InputError, match="zip file that torch did not write"):
        found(tmp_path / "w.pt")


def test_nothing_in_a_checkpoint_is_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "touched",)

    torch.save({"model": {"w": torch.ones(3)}, "evil": Evil()}, tmp_path / "c.pt")
    assert found(tmp_path / "c.pt").values["params"] == 3
    assert not (tmp_path / "touched").exists()


def test_backbones_of_torchvision_are_not_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a download")

    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    measured = measure_target("torchvision:lraspp_mobilenet_v3_large", input_shape=(3, 64, 64))
    assert measured.values["params"] == 3_221_538


@pytest.mark.parametrize(("name", "params"), [("mobilenetv3_small_050", 1_593_224), ("resnet18.a1_in1k", 11_689_512)])
def test_timm(name: str, params: int) -> None:
    """Parameters of timm's results CSVs."""
    measured = measure_target(f"timm:{name}")
    assert measured.values["params"] == params
    assert measured.what == "timm, 3x224x224"


def test_a_model_that_timm_lacks() -> None:
    with pytest.raises(InputError, match=r"timm has no model 'resnet81' .did you mean 'resnet"):
        measure_target("timm:resnet81")


def test_without_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r"pip install 'archsearch\[timm\]'"):
        measure_target("timm:resnet18")


def test_packed_weights_in_a_state_dict_are_counted(tmp_path: Path) -> None:
    """torch.ao keeps weight and bias of a dynamically quantised layer in a tuple."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates each part of torch.ao by another kind of warning
        plain = nn.Sequential(nn.Flatten(), nn.Linear(48, 10), nn.Conv2d(1, 2, 3))
        quantised = torch.ao.quantization.quantize_dynamic(plain, {nn.Linear}, dtype=torch.qint8)
        torch.save(quantised.state_dict(), tmp_path / "q.pt")
    measured = measure_target(str(tmp_path / "q.pt"))
    assert measured.values["params"] == 48 * 10 + 10 + 2 * 9 + 2
    assert measured.values["size_bytes"] == (tmp_path / "q.pt").stat().st_size
