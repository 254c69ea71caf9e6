"""A network to a file of another format: `python convert.py JOB.json`, in the interpreter that has the converter.

`python convert.py --serve` does one job after the other, whose paths come by standard input, a line each. A line of
JSON goes back: why the job failed, "" where it is done. What converters say goes to standard error.

The job says `format`, `dtype` (fp32, fp16, int8 or int8-weights), `out` (the file), `package` (archsearch's own),
and `weights` (a safetensors file) or `onnx` (a file of the same network); for int8 also `calibration` (an .npy of uint8
images) and `per_channel`; `imports`, files and modules of `--import` with blocks of a user's own, and `here`, the
folder that modules are found in; `installed`, modules of packages with such blocks, and the file of each package.
An environment that has the converter need not have archsearch: its code is taken from `package`, its packages are not.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np


def executorch(job: dict[str, Any]) -> None:
    """A program whose operators are XNNPACK's, for one image."""
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    network, example = _network(job)
    if job["dtype"] == "int8":
        from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
            XNNPACKQuantizer,
            get_symmetric_quantization_config,
        )

        quantizer = XNNPACKQuantizer()
        quantizer.set_global(get_symmetric_quantization_config(is_per_channel=job["per_channel"]))
        network = _quantized(network, example, quantizer, job)
    program = torch.export.export(network, (example,))
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    Path(job["out"]).write_bytes(lowered.to_executorch().buffer)


def litert(job: dict[str, Any]) -> None:
    """A flat buffer for one image."""
    import litert_torch
    import torch

    network, example = _network(job)
    more = {}
    if job["dtype"] == "int8":
        from litert_torch.quantize.pt2e_quantizer import PT2EQuantizer, get_symmetric_quantization_config
        from litert_torch.quantize.quant_config import QuantConfig

        quantizer = PT2EQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=job["per_channel"]))
        network = _quantized(network, example, quantizer, job)
        more = {"quant_config": QuantConfig(pt2e_quantizer=quantizer)}
    with torch.no_grad():
        litert_torch.convert(network, (example,), **more).export(job["out"])
    if job["dtype"] == "int8-weights":
        from ai_edge_quantizer import quantizer as weights_alone
        from ai_edge_quantizer import recipe

        eight = weights_alone.Quantizer(job["out"])
        eight.load_quantization_recipe(recipe.weight_only_wi8_afp32())
        eight.quantize().export_model(job["out"], overwrite=True)
    _strip(job["out"])


def _strip(path: str) -> None:
    """Without the names of tensors: modules' paths, some 20 kB for 20 layers. Tensors are found by their places."""
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(path)
    flatbuffer_utils.strip_strings(model)
    flatbuffer_utils.write_model(model, path)


def openvino(job: dict[str, Any]) -> None:
    """An .xml and a .bin, any batch size."""
    import openvino as ov

    model = ov.convert_model(job["onnx"])
    if job["dtype"] == "int8":
        import nncf

        images = [batch.astype(np.float32) / 255 for batch in _batches(job, 16)]
        model = nncf.quantize(model, nncf.Dataset(images), subset_size=len(images))
    elif job["dtype"] == "int8-weights":
        import nncf

        model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM)
    ov.save_model(model, job["out"], compress_to_fp16=job["dtype"] == "fp16")
    _tighten(Path(job["out"]))


def _tighten(path: Path) -> None:
    """An .xml without indentation, and without what the converter says of itself behind the graph."""
    graph, end, _ = path.read_text(encoding="utf-8").rpartition("</edges>")
    path.write_text(re.sub(r">\s+<", "><", graph + end) + "</net>", encoding="utf-8")


def ncnn(job: dict[str, Any]) -> None:
    """A .param and a .bin, by pnnx."""
    spec = importlib.util.find_spec("pnnx")  # found, not imported: its Python part wants torch
    assert spec
    assert spec.submodule_search_locations
    program = f"{spec.submodule_search_locations[0]}/{'pnnx.exe' if sys.platform == 'win32' else 'pnnx'}"
    shape = ",".join(map(str, [1, *job["shape"]]))
    out = Path(job["out"])
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder) / "model.onnx"
        here.write_bytes(Path(job["onnx"]).read_bytes())
        words = [program, here.name, f"inputshape=[{shape}]", f"fp16={int(job['dtype'] == 'fp16')}"]
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
        made = [Path(folder) / f"model.ncnn.{suffix}" for suffix in ("param", "bin")]
        if done.returncode or not all(one.exists() for one in made):
            raise RuntimeError(f"pnnx ends with {done.returncode}: {(done.stderr.strip().splitlines() or [''])[-1]}")
        out.write_bytes(made[0].read_bytes())
        out.with_suffix(".bin").write_bytes(made[1].read_bytes())


CONVERTERS = {"executorch": executorch, "litert": litert, "openvino": openvino, "ncnn": ncnn}


def _network(job: dict[str, Any]) -> tuple[Any, Any]:
    """The network of the weights file, pixels to logits, and an image for it."""
    import torch

    _find("archsearch", f"{job['package']}/__init__.py")
    from archsearch.inference.pixels import DTYPES, PixelNetwork, normalisation_of
    from archsearch.network.blocks.imports import load
    from archsearch.nn import weights
    from archsearch.nn.build import untied

    sys.path.append(job["here"])
    for own in job["imports"]:
        load(own)
    for own, file in job["installed"].items():
        _find(own.partition(".")[0], file)
        importlib.import_module(own)
    path = Path(job["weights"])
    found = weights.read(path)
    normalisation = normalisation_of(found.info, found.arch.input_shape[0], str(path))
    dtype = "fp32" if job["dtype"].startswith("int8") else job["dtype"]
    # ExecuTorch 1.5.1 folds a norm into a kernel that several places share, and answers wrongly
    network = PixelNetwork(untied(weights.load_module(path)), normalisation, DTYPES[dtype])
    return network, torch.zeros(1, *found.arch.input_shape)


def _find(name: str, file: str | None) -> None:
    """Import a module or package from its own file, and nothing else that lies beside it, unless it is there."""
    if file is None or importlib.util.find_spec(name):
        return
    folder = [str(Path(file).parent)] if Path(file).name == "__init__.py" else None
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=folder)
    assert spec
    assert spec.loader
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


def _quantized(network: Any, example: Any, quantizer: Any, job: dict[str, Any]) -> Any:
    """The network with int8 weights and activations, whose ranges the calibration images gave."""
    import torch
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    prepared = prepare_pt2e(torch.export.export(network, (example,)).module(), quantizer)
    with torch.no_grad():
        for batch in _batches(job, 1):
            prepared(torch.from_numpy(batch).float() / 255)
    return convert_pt2e(prepared, fold_quantize=job["format"] != "litert")


def _batches(job: dict[str, Any], size: int) -> list[Any]:
    images = np.load(job["calibration"])
    return [images[start : start + size] for start in range(0, len(images), size)]


def failure(path: str) -> str:
    """Do a job; why it failed, or ""."""
    job = json.loads(Path(path).read_text())
    try:
        CONVERTERS[job["format"]](job)
    except Exception as error:  # noqa: BLE001 - four converters, as many kinds of errors
        words = " ".join(str(error).split())
        return f"{type(error).__name__}: {words}"[:400]
    return ""


def serve() -> None:
    """Jobs by standard input, each in the folder that it lies in."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    home = Path.cwd()
    for line in sys.stdin:
        os.chdir(Path(line).parent)
        said = failure(line.rstrip("\n"))
        os.chdir(home)
        answers.write(json.dumps(said) + "\n")
        answers.flush()


def main() -> None:
    """Do the job; the last line of standard error says why where it fails."""
    if sys.argv[1] == "--serve":
        serve()
    elif said := failure(sys.argv[1]):
        sys.exit(said)


if __name__ == "__main__":
    main()
