"""When a graph is written at once: once torch was seen to write the same with each of its operators."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from exports import ARCH, info_of, settled

from archsearch.export import graphs
from archsearch.export.direct import direct_model
from archsearch.export.graphs import Graphs, outline
from archsearch.inference.pixels import PixelNetwork, normalisation_of
from archsearch.network.arch import Arch
from archsearch.network.stage import Stage

OTHER = replace(ARCH, stages=(Stage("basic", 12),))
NEW = replace(ARCH, stages=(Stage("basic", 8, dims=(("act", "tanh"),)),))


def network_of(arch: Arch) -> PixelNetwork:
    return PixelNetwork(settled(arch), normalisation_of(info_of(arch), 3, ""))


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of networks that torch was asked for; it writes what is written at once."""
    found: list[str] = []

    def write(network: PixelNetwork, arch: Arch) -> Any:
        found.append(arch.id)
        return direct_model(network, arch)

    monkeypatch.setattr(graphs, "onnx_model", write)
    return found


def test_torch_is_asked_once_for_every_operator(exported: list[str]) -> None:
    written = Graphs()
    for arch in (ARCH, ARCH, OTHER, NEW, NEW, ARCH):
        assert outline(written(network_of(arch), arch)) == outline(direct_model(network_of(arch), arch))
    assert exported == [ARCH.id, NEW.id]


def test_where_torch_writes_another_graph_it_writes_all(exported: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    written, network = Graphs(), network_of(ARCH)
    older = direct_model(network, ARCH)
    older.opset_import[0].version = 18
    monkeypatch.setattr(graphs, "onnx_model", lambda network, arch: exported.append(arch.id) or older)
    assert [written(network, ARCH) is older for _ in range(3)] == [True] * 3
    assert exported == [ARCH.id] * 3


def test_what_only_torch_can_write_says_nothing_of_the_rest(
    exported: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    written, network = Graphs(), network_of(ARCH)
    written(network, ARCH)
    with monkeypatch.context() as patched:
        patched.setattr(graphs, "direct_model", lambda network, arch: None)
        written(network, ARCH)
    written(network, ARCH)
    assert exported == [ARCH.id] * 2


def test_weights_and_names_are_no_part_of_an_outline_but_shapes_are() -> None:
    network = network_of(ARCH)
    first, second = (direct_model(network, ARCH) for _ in range(2))
    second.graph.node[0].name = "other"
    second.graph.initializer[0].raw_data = bytes(len(second.graph.initializer[0].raw_data))
    assert outline(first) == outline(second)
    wide = replace(ARCH, input_shape=(3, 16, 16))
    assert outline(first) != outline(direct_model(network_of(wide), wide))
