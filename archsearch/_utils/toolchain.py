"""Where converters and runtimes of other formats are: in this environment, or in one of their own.

They do not all agree on versions of torch and numpy. What is installed beside archsearch is used; otherwise
`archsearch export --setup NAME` makes an environment with pinned versions in the data folder, once.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

from archsearch.errors import InputError

DATA = Path("data")
"""The data folder, where nothing else is said."""
FOLDER = "toolchains"
"""Below the data folder."""
_LOCKS = Path(__file__).with_name("locks")
_MARK = "archsearch-lock.txt"
"""In an environment that was made whole: the lock that it was made from."""


@dataclass(frozen=True)
class Toolchain:
    """What a format needs besides archsearch.

    Args:
        convert, run: modules that must be importable for either.
        megabytes: of the environment that `set_up` makes, measured.
    """

    name: str
    convert: tuple[str, ...]
    run: tuple[str, ...]
    megabytes: int


TOOLCHAINS = {
    one.name: one
    for one in (
        Toolchain("litert", ("litert_torch", "ai_edge_litert"), ("ai_edge_litert",), 0),
        Toolchain("executorch", ("executorch", "torchao"), ("executorch",), 0),
        Toolchain("openvino", ("openvino", "nncf"), ("openvino",), 0),
        Toolchain("ncnn", ("pnnx", "ncnn"), ("ncnn",), 0),
    )
}


@dataclass(frozen=True)
class Interpreter:
    """A Python that has a toolchain: `command` and a script's path run there."""

    command: tuple[str, ...]

    @property
    def environment(self) -> dict[str, str]:
        """The variables of its processes."""
        return {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}


HERE = Interpreter((sys.executable, "-P"))
"""This one. A script's own folder is no place to import from: `host.py` stands beside an `onnx.py`."""


def interpreter(name: str, data_dir: Path, *, convert: bool = False) -> Interpreter:
    """The Python that runs a toolchain's files, or converts to them.

    Raises:
        InputError: there is none, with the commands that make one.
    """
    tools = TOOLCHAINS[name]
    if all(importlib.util.find_spec(module) for module in (tools.convert if convert else tools.run)):
        return HERE
    folder = data_dir / FOLDER / name
    python = _python(folder)
    if (folder / _MARK).exists():
        if (folder / _MARK).read_text() == lock(name):
            return Interpreter((str(python.absolute()), "-I"))
        raise InputError(f"{folder} holds other versions than this archsearch needs: archsearch export --setup {name}")
    raise InputError(
        f"{name} files need packages that are not here: pip install 'archsearch[{name}]', or, for an environment of"
        f" their own, archsearch export --setup {name}"
    )


def lock(name: str) -> str:
    """The pinned packages of a toolchain, as pip reads them."""
    return (_LOCKS / f"{name}.txt").read_text()


def set_up(name: str, data_dir: Path) -> Path:
    """Make a toolchain's environment, unless it is there with the same versions; its folder.

    Raises:
        InputError: pip cannot install it: no network, no room, or no such version for this Python.
    """
    folder = data_dir / FOLDER / name
    if (folder / _MARK).exists() and (folder / _MARK).read_text() == lock(name):
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True, symlinks=os.name != "nt")
    command = [_python(folder), "-I", "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
    done = subprocess.run([*command, "-r", _LOCKS / f"{name}.txt"], stderr=subprocess.PIPE, text=True)
    if done.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise InputError(f"pip cannot install {name}: {(said or ['no word'])[-1][:300]}")
    (folder / _MARK).write_text(lock(name))
    return folder


def _python(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
