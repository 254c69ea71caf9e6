"""A static folder that classifies pictures in a browser: an ONNX file, onnxruntime-web, and a page.

    folder = write_web(Path("site"), Path("model.int8.onnx"))

Nothing is asked of other servers: the runtime is copied into the folder. It is fetched from npm once, by version and
SHA-256, into the data folder.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from archsearch._utils.certified import local, named
from archsearch._utils.download import digest, download
from archsearch._utils.files import write_text, write_with
from archsearch._utils.toolchain import DATA
from archsearch.errors import InputError
from archsearch.inference.classifier import levels_of, names_of
from archsearch.inference.metadata import temperature_of
from archsearch.inference.onnx import content
from archsearch.inference.runner import Runner, open_runner
from archsearch.metrics.thresholds import thresholds_in

VERSION = "1.30.0"
"""Of onnxruntime-web."""
REGISTRY = "NPM_CONFIG_REGISTRY"
"""npm's own variable, for a mirror of its registry."""
_NPM = "https://registry.npmjs.org"
_ARCHIVE = 33_106_585, "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"
RUNTIME = {
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
"""Its files that the page loads, and their SHA-256."""
MODEL, PAGE, SCRIPT = "model.onnx", "index.html", "picture.mjs"
_HERE = Path(__file__).with_name("page")


def write_web(folder: Path, model: str | Path, data_dir: Path = DATA) -> Path:
    """Write the folder for an ONNX file, the page last; its path.

    Args:
        model: an ONNX file that archsearch wrote, perhaps compressed by xz; or `zoo:NAME`, which knows its classes.
        data_dir: where the runtime is kept.

    Raises:
        InputError: no such file, a network that a browser has no pictures for, or a folder with other files.
        OSError: the folder cannot be written.
    """
    runner, known = open_runner(model, data_dir=data_dir), named(model)
    file = local(known, data_dir) if known else Path(model)
    about = describe(runner, file)
    names = {MODEL, PAGE, SCRIPT, *RUNTIME}
    if foreign := sorted({path.name for path in folder.glob("*")} - names):
        raise InputError(f"{folder}: holds other files, such as {foreign[0]}: give a new folder")
    for name, data in {**runtime(data_dir), MODEL: content(file)}.items():
        write_with(folder / name, partial(Path.write_bytes, data=data))
    write_text(folder / SCRIPT, (_HERE / SCRIPT).read_text(encoding="utf-8"))
    write_text(folder / PAGE, page(about))
    return folder


def describe(runner: Runner, model: Path) -> dict[str, Any]:
    """What the page must know of a network.

    Raises:
        InputError: its pictures have other channels than grey or colour, or 16 bits, which browsers cut to 8.
    """
    channels, height, width = runner.arch.input_shape
    info: Mapping[str, Any] = runner.info
    if channels not in (1, 3):
        raise InputError(f"{model} takes {channels} channels: a browser has pictures of 1 or 3")
    if levels_of(info):
        raise InputError(f"{model} was trained on 16-bit pictures, which browsers cut to 8 bits")
    classes = names_of(info, runner.arch.classes, model)
    return {
        "channels": channels,
        "height": height,
        "width": width,
        "classes": [*(classes or map(str, range(runner.arch.classes)))],
        "thresholds": thresholds_in(info, runner.arch.classes),
        "temperature": temperature_of(info, model),
        "precision": str(info.get("dtype", "")),
        "runtime": f"onnxruntime-web {VERSION}",
    }


def page(about: Mapping[str, Any]) -> str:
    """The page for a network; names cannot end the script that holds them."""
    known = json.dumps(about, ensure_ascii=False).replace("<", "\\u003c")
    return (_HERE / PAGE).read_text(encoding="utf-8").replace("{{ about }}", known)


def runtime(data_dir: Path) -> dict[str, bytes]:
    """The runtime's files by name, from the data folder, into which they are downloaded once.

    Raises:
        InputError: they are not there and cannot be downloaded.
    """
    home = data_dir / "web" / f"onnxruntime-web-{VERSION}"
    found = {name: data for name in RUNTIME if (data := _kept(home / name))}
    if len(found) == len(RUNTIME):
        return found
    url = f"{os.environ.get(REGISTRY, _NPM).rstrip('/')}/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"
    try:
        archive = download(url, *_ARCHIVE)
    except InputError as error:
        raise InputError(
            f"--format web needs onnxruntime-web {VERSION}: {error}: see {REGISTRY}, or put {' and '.join(RUNTIME)}"
            f" into {home}"
        ) from None
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for name in RUNTIME:
            member = tar.extractfile(f"package/dist/{name}")
            assert member  # the archive is the one that is known
            found[name] = member.read()
            write_with(home / name, partial(Path.write_bytes, data=found[name]))
    return found


def _kept(path: Path) -> bytes:
    """The file's bytes; none where it is missing or another one."""
    data = path.read_bytes() if path.is_file() else b""
    return data if digest(data) == RUNTIME[path.name] else b""
