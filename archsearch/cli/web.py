"""`archsearch export --format web`: a folder for browsers, from a study, a weights file, or an ONNX file."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archsearch._utils.certified import named
from archsearch._utils.formats import format_of
from archsearch._utils.units import format_bytes, format_count
from archsearch.errors import InputError

if TYPE_CHECKING:
    from archsearch.export import Exported

WEB = "web"


def shipped_onnx(source: str) -> str | None:
    """SOURCE where it is an ONNX file, by path or by zoo:NAME; None for a study and for weights. Raises InputError."""
    known = named(source)
    if known and known.format != "onnx":
        raise InputError(f"{source} is no ONNX file, which is what browsers run: archsearch zoo lists others")
    return source if known or (Path(source).is_file() and format_of(Path(source)) == "onnx") else None


def write_site(folder: Path, model: str | Callable[[Path], Exported], data_dir: Path) -> dict[str, Any]:
    """Write the folder; what `--json` says of it.

    Args:
        model: an ONNX file or `zoo:NAME`, or what makes a file at a path.
    """
    from archsearch.export.web import runtime, write_web

    runtime(data_dir)  # before anything that takes minutes
    parity = None
    with tempfile.TemporaryDirectory() as temporary:
        if isinstance(model, str):
            write_web(folder, model, data_dir)
        else:
            made = model(Path(temporary) / "model.onnx")
            parity = made.parity
            write_web(folder, made.path, data_dir)
    return {
        "path": str(folder),
        "bytes": sum(path.stat().st_size for path in folder.iterdir()),
        "max_abs_diff": parity and parity.max_abs_diff,
        "accuracy": parity and parity.accuracy,
    }


def words(plain: dict[str, Any], source: str) -> list[str]:
    """What is said of a folder that was written."""
    folder = Path(plain["path"])
    model = (folder / "model.onnx").stat().st_size
    lines = [
        f"{folder}  (page for browsers, from {source})",
        f"bytes            {format_count(plain['bytes'])}: the network {format_count(model)}, the page and its runtime"
        f" {format_bytes(plain['bytes'] - model)}",
    ]
    if plain["accuracy"] is not None:
        lines.append(f"validation accuracy  {100 * plain['accuracy']:.2f}%, in ONNX Runtime")
    return [*lines, f"to see it        python -m http.server --directory {folder}, then http://localhost:8000"]
