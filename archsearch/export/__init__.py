"""Trained networks as files to ship, each checked on real images before it takes its place.

    result = export(Source.open("w.safetensors"), Path("model.onnx"), images, "onnx", "int8", max_size=6e6)

A file is written beside its target, opened by the runtime that its users will have, held against the network's
own outputs, its accuracy measured again and its bytes counted; only then it is renamed. Otherwise nothing is left.
"""

from archsearch.export.job import DTYPES_OF, Exported, Images, Source, check_kind, export
from archsearch.export.verify import ACCURACY_DROP, TOLERANCE, Checks
from archsearch.inference import format_of

__all__ = [
    "ACCURACY_DROP",
    "DTYPES_OF",
    "TOLERANCE",
    "Checks",
    "Exported",
    "Images",
    "Source",
    "check_kind",
    "export",
    "format_of",
]
