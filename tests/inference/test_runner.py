"""Files that are run: what archsearch wrote is, and nothing in any other is executed."""

from __future__ import annotations

import io
import json
import lzma
import pickle
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from exports import ARCH, edited, rewritten
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from archsearch.errors import InputError
from archsearch.export import Images, Source, export
from archsearch.inference import format_of, open_runner
from archsearch.inference import onnx as runtime_onnx
from archsearch.inference.pixels import normalisation_of

GRAPH, SAMPLE, EXTRA = "models/model.json", "data/sample_inputs/model.pt", "extra/archsearch.json"
CONFIG = "data/weights/model_weights_config.json"
Members = dict[str, bytes]


@pytest.fixture(scope="module")
def shipped(source: Source, images: Images, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shipped")
    for kind in ("safetensors", "onnx", "pt2"):
        export(source, folder / f"model.{kind}", images, kind)
    return folder


@pytest.fixture
def own(shipped: Path, tmp_path: Path) -> Path:
    """A folder with a copy of every format, to be broken."""
    return Path(shutil.copytree(shipped, tmp_path / "own"))


def error_of(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        open_runner(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    return message


# sound files


def test_a_format_is_known_by_its_ending() -> None:
    assert [format_of(Path(name)) for name in ("a.onnx", "a.int8.onnx.xz", "b.c.pt2", "w.safetensors", "w.xz")] == [
        "onnx", "onnx", "pt2", "safetensors", "safetensors",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["safetensors", "onnx", "pt2"])
def test_batches_of_any_size_give_the_networks_logits(shipped: Path, source: Source, images: Images, kind: str) -> None:
    runner = open_runner(shipped / f"model.{kind}")
    many = images.validation[0][:].repeat(5, 1, 1, 1)  # more than one batch
    wanted = source.network()(many.float() / 255)
    assert torch.allclose(runner(many), wanted, atol=1e-5)
    assert torch.allclose(runner(many[:1]), wanted[:1], atol=1e-5)
    assert runner(many[:0]).shape == (0, 4)
    assert runner.info["classes"] == source.info["classes"]


def test_pixels_are_normalised_inside(source: Source) -> None:
    mean, std = (torch.tensor(source.info["normalisation"][key]).view(1, -1, 1, 1) for key in ("mean", "std"))
    pixels = torch.rand(5, *ARCH.input_shape)
    with torch.no_grad():
        assert torch.allclose(source.network()(pixels), source.module((pixels - mean) / std), atol=1e-5)


def test_only_safetensors_run_elsewhere_than_on_the_cpu(shipped: Path) -> None:
    for kind in ("onnx", "pt2"):
        with pytest.raises(InputError, match=f"{kind} files run on the CPU here, not on meta"):
            open_runner(shipped / f"model.{kind}", torch.device("meta"))


@pytest.mark.parametrize(
    "found",
    [None, 3, {}, {"mean": [0.5]}, {"mean": [0.5], "std": [0.0]}, {"mean": [0.5], "std": ["1"]},
     {"mean": [0.5, 0.5], "std": [1, 1]}, {"mean": [float("nan")], "std": [1]}, {"mean": 0.5, "std": 1}],
)  # fmt: skip
def test_a_normalisation_that_is_none(found: object) -> None:
    with pytest.raises(InputError, match="w: its metadata have"):
        normalisation_of({"normalisation": found}, 1, "w")


# files of any format that are none


@pytest.mark.parametrize("kind", ["safetensors", "onnx", "pt2"])
@pytest.mark.parametrize("content", [b"", b"\x00" * 99, b"PK\x03\x04 broken", b"{}", "half"], ids=str)
def test_what_is_no_such_file(own: Path, kind: str, content: bytes | str) -> None:
    path = own / f"model.{kind}"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if isinstance(content, str) else content)
    assert "no readable safetensors" in error_of(path) or f"no {'.pt2' if kind == 'pt2' else 'ONNX'} file" in error_of(
        path
    )


@pytest.mark.parametrize("kind", ["safetensors", "onnx", "pt2"])
def test_a_file_that_is_not_there(tmp_path: Path, kind: str) -> None:
    assert "there is no such file" in error_of(tmp_path / f"model.{kind}")
    (tmp_path / f"model.{kind}").mkdir()
    assert "there is no such file" in error_of(tmp_path / f"model.{kind}")


def with_metadata(path: Path, change: Callable[[dict[str, str]], object]) -> None:
    """Change the metadata of a file of any format."""
    if path.suffix == ".pt2":
        rewritten(path, edited(EXTRA, change))
    elif path.suffix == ".onnx":
        model = onnx.load(path)
        metadata = {entry.key: entry.value for entry in model.metadata_props}
        change(metadata)
        del model.metadata_props[:]
        for key, value in metadata.items():
            model.metadata_props.add(key=key, value=value)
        path.write_bytes(model.SerializeToString())
    else:
        state = load_file(path)
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
        change(metadata)
        save_file(state, path, metadata=metadata)


@pytest.mark.parametrize("kind", ["safetensors", "onnx", "pt2"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda meta: meta.pop("arch"), "its metadata has no architecture"),
        (lambda meta: meta.update(arch="]["), "no valid TOML"),
        (lambda meta: meta.update(arch=ARCH.to_toml().replace('"basic"', '"bsaic"')), "did you mean 'basic'"),
        (lambda meta: meta.update(info="{"), "its metadata 'info' is no JSON object"),
        (lambda meta: meta.update(info="[" * 100_000), "its metadata 'info' is no JSON object"),
    ],
    ids=["none", "no TOML", "unknown block", "no JSON", "deep JSON"],
)
def test_metadata_that_were_tampered_with(own: Path, kind: str, change: Callable[..., object], words: str) -> None:
    with_metadata(own / f"model.{kind}", change)
    assert words in error_of(own / f"model.{kind}")


@pytest.mark.parametrize("kind", ["safetensors", "onnx", "pt2"])
def test_an_architecture_of_other_shapes(own: Path, kind: str) -> None:
    five = ARCH.to_toml().replace("classes = 4", "classes = 5")
    with_metadata(own / f"model.{kind}", lambda meta: meta.update(arch=five))
    words = {"safetensors": "shape (4, 12), not (5, 12)"}.get(kind, "its graph")
    assert words in error_of(own / f"model.{kind}")


def test_metadata_that_are_no_object(own: Path) -> None:
    rewritten(own / "model.pt2", lambda members: members.update({EXTRA: b"[1]"}))
    assert "its metadata is no JSON object" in error_of(own / "model.pt2")
    rewritten(own / "model.pt2", lambda members: members.pop(EXTRA))
    assert "its metadata has no architecture" in error_of(own / "model.pt2")


def test_an_onnx_file_of_someone_else(tmp_path: Path) -> None:
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    ports = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 3]) for name in "xy"]
    graph = onnx.helper.make_graph([node], "g", ports[:1], ports[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / "foreign.onnx")
    assert "its metadata has no architecture" in error_of(tmp_path / "foreign.onnx")


def test_an_onnx_file_without_onnx_runtime(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"ONNX files need onnxruntime: pip install 'archsearch\[export\]'"):
        open_runner(own / "model.onnx")


# what xz has compressed


def test_a_compressed_graph_is_the_same_graph(shipped: Path, images: Images, tmp_path: Path) -> None:
    packed = tmp_path / "model.onnx.xz"
    packed.write_bytes(lzma.compress((shipped / "model.onnx").read_bytes()))
    pixels = images.validation[0][:]
    assert torch.equal(open_runner(packed)(pixels), open_runner(shipped / "model.onnx")(pixels))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda packed: b"what xz does not write", "no file that xz wrote"),
        (lambda packed: packed[:-40], "it is cut off"),
        (lambda packed: lzma.compress(b"no graph"), "no ONNX file that can be run"),
    ],
)
def test_a_compressed_graph_that_is_none(own: Path, spoil: Callable[[bytes], bytes], message: str) -> None:
    packed = own / "model.onnx.xz"
    packed.write_bytes(spoil(lzma.compress((own / "model.onnx").read_bytes())))
    assert message in error_of(packed)


def test_a_compressed_graph_that_would_fill_the_memory(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_onnx, "_MOST_BYTES", 1000)
    packed = own / "model.onnx.xz"
    packed.write_bytes(lzma.compress((own / "model.onnx").read_bytes()))
    assert "it holds more than 2 GiB" in error_of(packed)


# bombs


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "exploded"


def pickled(marker: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save(((Bomb(marker),), {}), buffer)
    return buffer.getvalue()


def bombs(marker: Path) -> dict[str, Callable[[Members], object]]:
    """Ways to make `torch.export.load` run code or write files."""
    evil = f"__import__('pathlib').Path({str(marker)!r}).touch()"

    def first_node(change: dict[str, Any]) -> Callable[[Members], None]:
        return edited(GRAPH, lambda program: program["graph_module"]["graph"]["nodes"][0].update(change))

    def pickled_weight(members: Members) -> None:
        edited(CONFIG, lambda config: next(iter(config["config"].values())).update(use_pickle=True))(members)
        members["data/weights/weight_0"] = pickled(marker)

    def size(program: Any) -> None:
        program["graph_module"]["graph"]["tensor_values"]["images"]["sizes"][0]["as_expr"]["expr_str"] = evil

    def argument(program: Any) -> None:
        arg = {"name": "filename", "arg": {"as_string": "somefile"}, "kind": 1}
        program["graph_module"]["graph"]["nodes"][0]["inputs"].append(arg)

    def renamed(members: Members) -> None:
        members[GRAPH] = members[GRAPH].replace(b'"images"', json.dumps(f"images={evil}").encode())

    return {
        "pickled weight": pickled_weight,
        "legacy weights": lambda members: members.update({"data/weights/model.pt": pickled(marker)}),
        "opaque constant": lambda members: members.update({"data/constants/opaque_obj_0": pickled(marker)}),
        "a size that is code": edited(GRAPH, size),
        "a range that is code": edited(GRAPH, lambda program: program["range_constraints"].update({evil: {}})),
        "another function of torch": first_node({"target": "torch.hub.load"}),
        "another operator": first_node({"target": "torch.ops.prim.Print.default"}),
        "a file name": edited(GRAPH, argument),
        "an input name that is code": renamed,
        "a node name that is code": first_node({"name": evil}),
        "a compiled library": lambda members: members.update({"data/aotinductor/model/a.so": b"ELF"}),
    }


@pytest.mark.parametrize("name", bombs(Path()))
def test_an_archive_with_a_bomb_is_refused_and_not_run(own: Path, marker: Path, name: str) -> None:
    path = rewritten(own / "model.pt2", bombs(marker)[name])
    assert "no .pt2 file of a network: " in error_of(path)
    assert not marker.exists()


@pytest.mark.parametrize("name", ["pickled weight", "a size that is code"])
def test_the_bombs_are_live(own: Path, marker: Path, name: str) -> None:
    path = rewritten(own / "model.pt2", bombs(marker)[name])
    with pytest.raises(Exception, match=r".*"):
        torch.export.load(path)
    assert marker.exists()


def test_what_only_debugging_needs_is_left_out_before_loading(own: Path, marker: Path) -> None:
    evil = f"__import__('pathlib').Path({str(marker)!r}).touch()"

    def edit(members: Members) -> None:
        members[SAMPLE] = pickled(marker)
        edited(GRAPH, lambda program: program.update(guards_code=[evil]))(members)
        edited(GRAPH, lambda program: program["graph_module"].update(metadata={"x": evil}))(members)

    path = rewritten(own / "model.pt2", edit)
    assert open_runner(path)(torch.zeros(1, *ARCH.input_shape, dtype=torch.uint8)).shape == (1, 4)
    assert not marker.exists()


def test_two_files_of_one_name_in_an_archive(own: Path, marker: Path) -> None:
    with zipfile.ZipFile(own / "model.pt2", "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr(archive.namelist()[0], pickled(marker))
    assert "two of its files have one name" in error_of(own / "model.pt2")


def test_an_archive_that_unpacks_to_more_than_it_is(own: Path) -> None:
    with zipfile.ZipFile(own / "model.pt2", "a", zipfile.ZIP_DEFLATED) as archive:
        top = archive.namelist()[0].partition("/")[0]
        archive.writestr(f"{top}/data/weights/weight_99", bytes(10_000_000))
    assert "its parts are larger than it is" in error_of(own / "model.pt2")


@pytest.mark.parametrize("device", ["meta", "cuda", "nonsense"])
def test_a_graph_for_another_device(own: Path, device: str) -> None:
    def move(members: Members) -> None:
        members[GRAPH] = members[GRAPH].replace(b'"cpu"', json.dumps(device).encode())
        members[CONFIG] = members[CONFIG].replace(b'"cpu"', json.dumps(device).encode())

    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("this device is here")
    error_of(rewritten(own / "model.pt2", move))


@pytest.mark.parametrize("kind", ["safetensors", "onnx", "pt2"])
def test_a_pickle_under_another_name(tmp_path: Path, marker: Path, kind: str) -> None:
    path = tmp_path / f"model.{kind}"
    path.write_bytes(pickle.dumps(Bomb(marker)))
    error_of(path)
    path.write_bytes(pickled(marker))
    error_of(path)
    assert not marker.exists()


def test_an_archive_of_another_network_than_its_metadata_say(own: Path) -> None:
    class Two(nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return a + b

    with zipfile.ZipFile(own / "model.pt2") as archive:
        extra = next(archive.read(name) for name in archive.namelist() if name.endswith(EXTRA))
    program = torch.export.export(Two(), (torch.zeros(2), torch.zeros(2)))
    torch.export.save(program, own / "model.pt2", extra_files={"archsearch.json": extra.decode()})
    assert "it takes 2 inputs, not images alone" in error_of(own / "model.pt2")
