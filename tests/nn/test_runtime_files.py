"""Weights counted in the files of LiteRT, OpenVINO and ncnn, by files that the tests write byte for byte."""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from exports import ARCH, INFO

from archsearch.errors import InputError
from archsearch.network.ram import ram_bytes
from archsearch.nn import trailer
from archsearch.nn.files import measure_file
from archsearch.nn.inspect import measure_target
from archsearch.nn.measured import Measured
from archsearch.nn.runtime_files import Unreadable, count
from archsearch.nn.weights import describe


def found(path: Path) -> Measured:
    return measure_target(str(path))


# files as their formats have them


class Table:
    """A flat buffer's table: its bytes, and where in them it begins, which is behind the list of its fields' places.

    A field of at most four bytes stands in it; of a longer one, or of a table, the distance to it.
    """

    def __init__(self, *fields: bytes | Table | None) -> None:
        places = [0 if one is None else 4 + 4 * i for i, one in enumerate(fields)]
        head = struct.pack(f"<{2 + len(fields)}H", 4 + 2 * len(fields), 4 + 4 * len(fields), *places)
        head += bytes(-len(head) % 4)
        self.start = len(head)
        inline, behind = struct.pack("<i", len(head)), b""
        for i, one in enumerate(fields):
            content, inside = (one.content, one.start) if isinstance(one, Table) else (one or b"", 0)
            if len(content) > 4:
                inline += struct.pack("<I", 4 * (len(fields) - i) + len(behind) + inside)
                behind += content + bytes(-len(content) % 4)
            else:
                inline += content.ljust(4, b"\0")
        self.content = head + inline + behind


def vector(*numbers: int) -> bytes:
    return struct.pack(f"<I{len(numbers)}i", len(numbers), *numbers).ljust(8, b"\0")


def tables(*made: Table) -> bytes:
    offsets, behind = b"", b""
    for i, one in enumerate(made):
        offsets += struct.pack("<I", 4 * (len(made) - i) + len(behind) + one.start)
        behind += one.content
    return struct.pack("<I", len(made)) + offsets + behind


def tensor(shape: Sequence[int], kind: int, buffer: int, scaled: bool = False) -> Table:
    scale = Table(None, None, vector(1)) if scaled else None
    return Table(vector(*shape), bytes([kind]), struct.pack("<I", buffer), None, scale)


def tflite(*tensors: Table, buffers: int = 6) -> bytes:
    """A model of one graph; buffer 0 is empty, as in all of them."""
    data = [Table(None), *(Table(vector(*range(9))) for _ in range(1, buffers))]
    model = Table(struct.pack("<I", 3), None, tables(Table(tables(*tensors))), None, tables(*data))
    return struct.pack("<I", 8 + model.start) + b"TFL3" + model.content


LITERT = tflite(
    tensor((8, 3, 3, 4), 9, 1, scaled=True),  # int8 weights
    tensor((8,), 2, 2, scaled=True),  # their biases
    tensor((5, 7), 0, 3),  # float weights
    tensor((5, 7), 0, 3),  # the same once more
    tensor((), 0, 4),  # a number
    tensor((4,), 2, 5),  # a shape
    tensor((1, 8, 8, 3), 0, 0),  # pixels
)
PARAM = """7767517
6 6
Input          in0   0 1 in0 0=8 1=8 2=3
MemoryData     mean  0 1 m 0=1 1=1 2=3
Convolution    conv  1 1 in0 a 0=8 1=3 5=1 6=216 -23310=1,2.0e-1
PReLU          act   1 1 a b 0=8
ReLU           r     1 1 b c 0=1.000000e-01
InnerProduct   fc    1 1 c out 0=4 1=1 2=32
"""


def layer(number: int, kind: str, data: str = "") -> str:
    return f'<layer id="{number}" name="n{number}" type="{kind}"><data {data}/></layer>'


def constant(number: int, kind: str, shape: str, offset: int = 0, size: int = 4) -> str:
    return layer(number, "Const", f'element_type="{kind}" shape="{shape}" offset="{offset}" size="{size}"')


def edge(start: int, end: int, port: int) -> str:
    return f'<edge from-layer="{start}" from-port="0" to-layer="{end}" to-port="{port}"/>'


def xml(layers: Sequence[str], edges: Sequence[str]) -> str:
    return (
        f'<?xml version="1.0"?><net name="n" version="11"><layers>{"".join(layers)}</layers>'
        f"<edges>{''.join(edges)}</edges></net>"
    )


XML = xml(
    [
        layer(0, "Parameter"),
        constant(1, "i8", "4, 8", 0, 32), layer(2, "Convert"),  # weights of eight bits
        constant(3, "u8", "4, 1", 32, 4), layer(4, "Convert"), layer(5, "Subtract"),  # their zero points
        constant(6, "f16", "4, 1", 36, 8), layer(7, "Convert"), layer(8, "Multiply"),  # their scales
        layer(9, "MatMul"),
        constant(10, "f32", "1, 4", 44, 16), layer(11, "Add"),  # a bias
        constant(12, "f32", "", 60, 4), constant(13, "f32", "1, 4", 44, 16), layer(14, "FakeQuantize"),  # ranges
        constant(15, "i64", "2", 64, 16), layer(16, "Reshape"),  # a shape
        constant(17, "f32", "1, 4", 80, 16), layer(18, "Multiply"),  # a factor of features
    ],
    [
        edge(1, 2, 0), edge(3, 4, 0), edge(2, 5, 0), edge(4, 5, 1), edge(6, 7, 0), edge(5, 8, 0), edge(7, 8, 1),
        edge(0, 9, 0), edge(8, 9, 1), edge(9, 11, 0), edge(10, 11, 1), edge(11, 14, 0), edge(12, 14, 1),
        edge(13, 14, 2), edge(14, 16, 0), edge(15, 16, 1), edge(16, 18, 0), edge(17, 18, 1),
    ],
)  # fmt: skip
WEIGHTS = {"m.tflite": 8 * 36 + 8 + 35, "m.xml": 32 + 4 + 4, "m.ncnn.param": 3 + 216 + 8 + 8 + 32 + 4}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "m.tflite").write_bytes(LITERT)
    (tmp_path / "m.pte").write_bytes(b"\x30\0\0\0ET12" + bytes(900))
    (tmp_path / "m.xml").write_text(XML)
    (tmp_path / "m.bin").write_bytes(bytes(96))
    (tmp_path / "m.ncnn.param").write_text(PARAM)
    (tmp_path / "m.ncnn.bin").write_bytes(bytes(4 * 271))
    return tmp_path


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_of_files_by_others(files: Path, name: str) -> None:
    measured = found(files / name)
    beside = (files / name).with_suffix(".bin")
    size = (files / name).stat().st_size + (beside.stat().st_size if beside.exists() and name != "m.tflite" else 0)
    assert (measured.values["params"], measured.values["size_bytes"], measured.values["macs"]) == (
        WEIGHTS[name], size, None
    )  # fmt: skip
    assert measured.note == "not counted: macs (archsearch did not write it)"


def test_a_program_of_executorch_by_others_has_bytes_alone(files: Path) -> None:
    measured = found(files / "m.pte")
    assert (measured.values["params"], measured.values["size_bytes"]) == (None, 908)


def test_a_name_without_an_ending(files: Path) -> None:
    (files / "model").write_bytes(LITERT)
    assert found(files / "model").values["params"] == WEIGHTS["m.tflite"]


@pytest.mark.parametrize("name", [*WEIGHTS, "m.pte"])
def test_files_of_archsearch_know_their_network(files: Path, name: str) -> None:
    own(files / name)
    measured = found(files / name)
    cost = ARCH.cost
    assert measured.values["params"] == cost.params
    assert measured.values["macs"] == cost.macs
    assert measured.values["peak_activation_bytes"] == cost.peak_activation_bytes()
    assert measured.what.endswith(f"3x8x8, {ARCH.id}, 4 classes")
    assert sum(row.params for row in measured.layers) == cost.params
    assert not measured.note


def own(path: Path, room: int = 4 * ARCH.cost.params, info: dict[str, Any] = INFO) -> None:
    """Make it a file of archsearch, as large as its network's."""
    last = path.with_suffix(".bin") if path.suffix in (".xml", ".param") else path
    metadata = describe(ARCH, info)
    last.write_bytes(
        trailer.append(last.read_bytes() + bytes(room), trailer.pair(path, metadata) if last != path else metadata)
    )


@pytest.mark.parametrize(("dtype", "known"), [("int8", True), ("fp32", False)])
def test_the_arena_of_an_own_int8_file(files: Path, dtype: str, known: bool) -> None:
    own(files / "m.tflite", info={**INFO, "dtype": dtype})
    assert found(files / "m.tflite").values["ram_bytes"] == (ram_bytes(ARCH.cost) if known else None)


@pytest.mark.parametrize("room", [0, 2**21])
def test_metadata_of_a_network_of_another_size_are_not_believed(files: Path, room: int) -> None:
    own(files / "m.tflite", room)
    measured = found(files / "m.tflite")
    assert measured.values["params"] == WEIGHTS["m.tflite"]
    assert "the network in its metadata has another size" in measured.note


@pytest.mark.parametrize("name", ["m.xml", "m.ncnn.param"])
def test_two_files_of_different_networks(files: Path, name: str) -> None:
    own(files / name)
    (files / name).write_text((files / name).read_text() + " ")
    with pytest.raises(InputError, match=r"the \.bin beside it belongs to another file: copy both again"):
        found(files / name)
    (files / name).with_suffix(".bin").unlink()
    with pytest.raises(InputError, match=r"\.bin, are not beside it"):
        found(files / name)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace('size="16"', 'size="1600"'), "shorter than its constants"),
        (lambda text: text.replace("<net", "<!DOCTYPE n [<!ENTITY a 'b'>]><net"), "has a document type"),
        (lambda text: text.replace("<edges>", "<body/><edges>"), "has a graph inside of a layer"),
        (lambda text: text.replace("4, 8", "40000, 80000"), "more weights than bits"),
        (lambda text: text.replace("4, 8", "four"), "it is broken: ValueError"),
        (lambda text: text[:-30], "it is broken: ExpatError"),
    ],
)
def test_what_of_openvino_is_not_counted(files: Path, change: Callable[[str], str], words: str) -> None:
    (files / "m.xml").write_text(change(XML))
    with pytest.raises(Unreadable, match=words):
        count(files / "m.xml", ".xml")
    measured = found(files / "m.xml")
    assert measured.values["params"] is None
    assert words in measured.note


@pytest.mark.parametrize(
    ("text", "room", "words"),
    [
        (PARAM.replace("7767517", "7767518"), 0, "does not begin with ncnn's number"),
        (PARAM, 10**6, r"its \.bin holds more than the layers that are counted"),
        (PARAM.replace("6=216", "6=216000"), 0, "more weights than bits"),
        (PARAM.replace("0=4 1=1 2=32", "2=-32"), 0, "it is broken: ValueError"),
        (PARAM.replace(" 1 1 in0", " one 1 in0"), 0, "it is broken: ValueError"),
    ],
)
def test_what_of_ncnn_is_not_counted(files: Path, text: str, room: int, words: str) -> None:
    (files / "m.ncnn.param").write_text(text)
    (files / "m.ncnn.bin").write_bytes(bytes(1084 + room))
    with pytest.raises(Unreadable, match=words):
        count(files / "m.ncnn.param", ".param")


def test_more_tensors_than_there_are(files: Path) -> None:
    many = tflite(*[tensor((2, 2), 0, 1)] * 600)
    (files / "m.tflite").write_bytes(many)
    assert count(files / "m.tflite", ".tflite") == 4
    crowded = many.replace(struct.pack("<I", 600), struct.pack("<I", 10**6))
    (files / "m.tflite").write_bytes(crowded)
    with pytest.raises(Unreadable, match="it is broken"):
        count(files / "m.tflite", ".tflite")


# damage


def mutated(content: bytes, random: random.Random) -> bytes:
    """With some bytes changed, a part cut out, or a part doubled."""
    found = bytearray(content)
    for _ in range(random.choice([1, 3, 30])):
        found[random.randrange(len(found))] = random.choice([0, 1, 255, random.randrange(256)])
    first, second = sorted(random.randrange(len(found)) for _ in range(2))
    return bytes(random.choice([found, found[:second], found[:first] + found[second:], found[:second] + found[first:]]))


def answered(path: Path) -> int | str | None:
    """The bytes of a file, or why it is refused."""
    try:
        return measure_file(str(path), path, None, None).values["size_bytes"]
    except InputError as error:
        return f"refused: {error}"


@pytest.mark.parametrize("written", ["by others", "by archsearch"])
@pytest.mark.parametrize("name", [*WEIGHTS, "m.pte"])
def test_damaged_files_are_a_figure_or_one_line(files: Path, name: str, written: str) -> None:
    path = files / name
    if written == "by archsearch":
        own(path)
    parts = [path, *(one for one in [path.with_suffix(".bin")] if one.exists() and path.suffix in (".xml", ".param"))]
    whole = {part: part.read_bytes() for part in parts}
    made = random.Random(f"{name} {written}")
    for _ in range(150):
        damaged = made.choice(parts)
        for part, content in whole.items():
            part.write_bytes(mutated(content, made) if part == damaged else content)
        start = time.process_time()
        answer = answered(path)
        assert answer == sum(part.stat().st_size for part in parts) or (
            str(answer).startswith("refused: ") and str(answer).isprintable()
        )
        assert time.process_time() - start < 1
