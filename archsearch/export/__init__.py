"""Trained networks as files to ship, each checked on real images before it takes its place.

    result = export(Source.open("w.safetensors"), Path("model.onnx"), images, "onnx", "int8", max_size=6e6)

A file is written beside its target, its bytes counted, opened by the runtime that its users will have and held
against the network's own outputs and accuracy; only then it takes its place. Otherwise nothing is left.
"""

from archsearch._utils.formats import FORMATS, format_of
from archsearch.export.job import Exported, Images, Source, check_kind, export, sampled
from archsearch.export.verify import ACCURACY_DROP, TOLERANCE, Checks

__all__ = [
    "ACCURACY_DROP",
    "FORMATS",
    "TOLERANCE",
    "Checks",
    "Exported",
    "Images",
    "Source",
    "check_kind",
    "export",
    "format_of",
    "sampled",
]
