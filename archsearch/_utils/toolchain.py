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

from archsearch.errors import InputError, one_line, printable

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
        megabytes: of the environment that `set_up` makes, measured on x86-64 Linux, Python 3.11.
        whole: its lock names all that is installed; else torch brings its own libraries for the platform.
    """

    name: str
    convert: tuple[str, ...]
    run: tuple[str, ...]
    megabytes: int
    whole: bool = False


TOOLCHAINS = {
    one.name: one
    for one in (
        Toolchain("litert", ("litert_torch", "ai_edge_litert"), ("ai_edge_litert",), 6600),
        Toolchain("executorch", ("executorch", "torchao"), ("executorch",), 6000),
        Toolchain("openvino", ("openvino", "nncf"), ("openvino",), 500, whole=True),
        Toolchain("ncnn", ("pnnx", "ncnn"), ("ncnn",), 210, whole=True),
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
    way = f"archsearch export --setup {name}" + (f" --data-dir {data_dir}" if data_dir != DATA else "")
    if not _is_whole(folder):
        raise InputError(
            f"{name} files need packages that are not here: pip install 'archsearch[{name}]', or, for an environment"
            f" of their own, {way}"
        )
    if not _is_current(name, folder):
        raise InputError(f"{folder} holds other versions than this archsearch needs: {way}")
    return Interpreter((str(python.absolute()), "-I"))


def lock(name: str) -> str:
    """The pinned packages of a toolchain, as pip reads them."""
    return (_LOCKS / f"{name}.txt").read_text()


def set_up(name: str, data_dir: Path) -> Path:
    """Make a toolchain's environment, unless it is there with the same versions; its folder.

    Raises:
        InputError: pip cannot install it: no network, no room, or no such version for this Python.
    """
    folder = data_dir / FOLDER / name
    if _is_whole(folder) and _is_current(name, folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    free, needed = shutil.disk_usage(folder.parent).free // 10**6, TOOLCHAINS[name].megabytes
    if free < needed:
        raise InputError(f"{folder.parent}: {free:,} MB are free, {needed:,} are needed: give another --data-dir")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        _install(name, folder)
        (folder / _MARK).write_text(lock(name))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def _install(name: str, folder: Path) -> None:
    """Raises InputError where pip is missing or does not install the lock."""
    try:
        venv.create(folder, with_pip=True, symlinks=os.name != "nt")
    except (OSError, subprocess.CalledProcessError) as error:
        raise InputError(f"{folder}: this Python makes no environment with pip: {one_line(error)}") from None
    command: list[str | Path] = [
        _python(folder),
        "-I",
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--quiet",
    ]
    command += ["--no-deps"] if TOOLCHAINS[name].whole else []
    done = subprocess.run([*command, "-r", _LOCKS / f"{name}.txt"], stderr=subprocess.PIPE, text=True)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise InputError(f"pip cannot install {name}: {printable((said or ['no word'])[-1])[:300]}")


def _is_whole(folder: Path) -> bool:
    """Whether an environment was made to its end, and its Python is still there."""
    return (folder / _MARK).is_file() and _python(folder).exists()


def _is_current(name: str, folder: Path) -> bool:
    return (folder / _MARK).read_text(errors="replace") == lock(name)


def _python(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
