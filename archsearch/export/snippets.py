"""The lines of a model card that open a picture and print its class, by archsearch or by the format's own runtime."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from archsearch._utils.formats import files_of, format_of
from archsearch.export.job import Source
from archsearch.metrics.thresholds import is_several


def loading(name: str, source: Source, entry: Mapping[str, Any]) -> str:
    """Lines of Python for a file of a network.

    Args:
        entry: what the card says of the file.
    """
    channels, height, width = source.arch.input_shape
    kind = format_of(Path(name)) if channels in _MODES else "safetensors"  # no picture file has other channels
    if is_several(source.info):
        kind = "safetensors"  # archsearch reads every format and its thresholds
    code = _CODE.get(kind) or (_LOAD if channels in _MODES else _LOAD_ARRAY)
    if not isinstance(source.info.get("classes"), list):
        code = _NAMES.sub("", code).replace("network.classes[logits.argmax()]", "logits.argmax()")
        code = code.replace("classes[logits.argmax()]", "logits.argmax()")
    if is_several(source.info):
        code = code.replace(*_ONE_CLASS).replace("print(logits.argmax())", _NUMBERS)
    picture = _PICTURE.format(
        mode=_MODES.get(channels), size=f"{width}, {height}", shape=f"{height}, {width}, {channels}"
    )
    last = json.dumps(files_of(Path(name))[-1].name)
    fed = _INTEGERS.format(**entry["input"]) if "input" in entry else "pixels"
    return f"```python\n{code.format(name=json.dumps(name), last=last, picture=picture, fed=fed)}```"


_MODES = {1: "L", 3: "RGB"}
_NAMES = re.compile(
    r"import json\n(import zipfile\n)?\n|about = .*\n|, extra_files=about|classes = .*\n|with zipfile.*\n( .*\n)*"
)
_LOAD = """import archsearch

network = archsearch.load({name})
logits = network(network.preprocess("picture.jpg"))
print(network.classes[logits.argmax()])
"""
_ONE_CLASS = (
    "print(network.classes[logits.argmax()])",
    "said = zip(network.classes, logits[0].sigmoid(), network.thresholds)\n"
    "print([name for name, probability, threshold in said if probability > threshold])",
)
_NUMBERS = "print(logits.sigmoid())"
_LOAD_ARRAY = _LOAD.replace('"picture.jpg"', 'numpy.load("picture.npy")').replace("import a", "import numpy\nimport a")
_PICTURE = """picture = ImageOps.exif_transpose(Image.open("picture.jpg")).convert("{mode}")
picture = ImageOps.fit(picture, ({size}), Image.Resampling.BILINEAR)
pixels = np.asarray(picture, np.float32).reshape(1, {shape}).transpose(0, 3, 1, 2) / 255
"""
_ONNX = """import json

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession({name})
classes = json.loads(session.get_modelmeta().custom_metadata_map["info"])["classes"]
{picture}(logits,) = session.run(None, {{"images": pixels}})
print(classes[logits.argmax()])
"""
_PT2 = """import json

import numpy as np
import torch
from PIL import Image, ImageOps

about = {{"archsearch.json": ""}}
network = torch.export.load({name}, extra_files=about).module()
classes = json.loads(json.loads(about["archsearch.json"])["info"])["classes"]
{picture}logits = network(torch.from_numpy(pixels))
print(classes[logits.argmax()])
"""
_INTEGERS = "np.clip(np.round(pixels / {scale!r}) + {zero_point}, -128, 127).astype(np.{dtype})"
_ABOUT = """with zipfile.ZipFile({last}) as about:
    classes = json.loads(json.loads(about.read("archsearch.json"))["info"])["classes"]
"""
_LITERT = f"""import json
import zipfile

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps

interpreter = Interpreter({{name}})
interpreter.allocate_tensors()
(source,), (sink,) = interpreter.get_input_details(), interpreter.get_output_details()
{_ABOUT}{{picture}}interpreter.set_tensor(source["index"], {{fed}})
interpreter.invoke()
logits = interpreter.get_tensor(sink["index"])
print(classes[logits.argmax()])
"""
_EXECUTORCH = f"""import json
import zipfile

import numpy as np
import torch
from executorch.runtime import Runtime
from PIL import Image, ImageOps

method = Runtime.get().load_program({{name}}).load_method("forward")
{_ABOUT}{{picture}}(logits,) = method.execute([torch.from_numpy(np.ascontiguousarray(pixels))])
print(classes[logits.argmax()])
"""
_OPENVINO = f"""import json
import zipfile

import numpy as np
import openvino
from PIL import Image, ImageOps

network = openvino.Core().compile_model({{name}}, "CPU")
{_ABOUT}{{picture}}logits = network(pixels)[0]
print(classes[logits.argmax()])
"""
_NCNN = f"""import json
import zipfile

import ncnn
import numpy as np
from PIL import Image, ImageOps

network = ncnn.Net()
network.load_param({{name}})
network.load_model({{last}})
{_ABOUT}{{picture}}extractor = network.create_extractor()
extractor.input(network.input_names()[0], ncnn.Mat(np.ascontiguousarray(pixels[0])).clone())
logits = np.array(extractor.extract(network.output_names()[0])[1])
print(classes[logits.argmax()])
"""
_CODE = {
    "onnx": _ONNX,
    "pt2": _PT2,
    "litert": _LITERT,
    "executorch": _EXECUTORCH,
    "openvino": _OPENVINO,
    "ncnn": _NCNN,
}
