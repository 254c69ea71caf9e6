"""A network to a file of each format. What is written here is checked in `export.verify`."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from archsearch.errors import ExportFailed, one_line
from archsearch.export.slim import without_notes
from archsearch.inference.onnx import IMAGES, LOGITS, need
from archsearch.inference.pixels import DTYPES, PixelNetwork
from archsearch.inference.pt2 import METADATA
from archsearch.network.arch import Arch
from archsearch.nn import weights

_TRAINING = (
    "recipe", "normalisation", "epochs", "train_seconds", "device", "start", "mirrored",
    "val_accuracy", "val_score", "test_accuracy", "test_score",
)  # fmt: skip
"""Facts of a training, and the normalisation, which is in the graph."""
_TRACES = ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node")


def without_training(info: Mapping[str, Any]) -> dict[str, Any]:
    """What a file says that is run and not trained on: the rest is in the weights that it was made from."""
    return {key: value for key, value in info.items() if key not in _TRAINING}


def write_safetensors(path: Path, module: nn.Module, arch: Arch, info: Mapping[str, Any], dtype: str) -> None:
    """The weights at a precision, with the metadata of `weights.save`, without names beside it. Raises OSError."""
    weights.save_tensors(path, deepcopy(module).to(DTYPES[dtype]), arch, info)


def write_pt2(path: Path, network: PixelNetwork, arch: Arch, info: Mapping[str, Any]) -> None:
    """An archive of `torch.export`, any batch size, without stack traces (they name folders of this machine).

    Raises:
        ExportFailed: torch cannot trace the network.
        OSError: the file cannot be written.
    """
    with _tracing():
        program = torch.export.export(network, (_example(arch),), dynamic_shapes=_any_batch())
    for node in program.graph.nodes:
        for key in _TRACES:
            node.meta.pop(key, None)
    torch.export.save(program, path, extra_files={METADATA: json.dumps(weights.describe(arch, info))})


def onnx_model(network: PixelNetwork, arch: Arch) -> Any:
    """An `onnx.ModelProto` of the network, any batch size; norms are folded into convolutions where they follow one.

    Raises:
        InputError: a package of the extra `export` is missing.
        ExportFailed: torch cannot trace the network.
    """
    for name in ("onnx", "onnxscript"):
        need(name)
    with _tracing():
        program = torch.onnx.export(
            network,
            (_example(arch),),
            dynamo=True,
            dynamic_shapes=_any_batch(),
            input_names=[IMAGES],
            output_names=[LOGITS],
            verbose=False,
        )
    assert program is not None
    return program.model_proto


def write_onnx(path: Path, model: Any, arch: Arch, info: Mapping[str, Any]) -> None:
    """An ONNX file with our metadata and nothing of the exporter's notes. Raises OSError."""
    without_notes(model)
    for key, value in weights.describe(arch, info).items():
        model.metadata_props.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())


def _example(arch: Arch) -> torch.Tensor:
    return torch.zeros(2, *arch.input_shape)


def _any_batch() -> tuple[dict[int, Any]]:
    return ({0: torch.export.Dim("batch")},)


@contextmanager
def _tracing() -> Iterator[None]:
    """Quiet, and with one kind of error: the exporters warn about themselves and raise nearly anything."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:
        raise ExportFailed(f"this network cannot be exported: {one_line(error)}") from error
    finally:
        logging.disable(level)
