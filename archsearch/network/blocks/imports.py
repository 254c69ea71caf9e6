"""Blocks of a user's own, from a Python file or a module: importing it runs its code, which registers them."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import zlib
from pathlib import Path

from archsearch.errors import InputError, one_line

_loaded: dict[str, None] = {}


def load(what: str, folder: Path | None = None) -> str:
    """Import a file (`blocks/mine.py`) or a module (`mine`, also from the current folder), once.

    Args:
        folder: where the path of a file begins; None: the current folder.

    Returns:
        What it is on this machine: the file's whole path, or the module's name.

    Raises:
        InputError: there is no such file or module, or its code raises.
    """
    path = file_of(what, folder)
    found = str(path) if path else what
    if found in _loaded:
        return found
    try:
        if path:
            _import_file(path)
        else:
            _importable(Path.cwd())
            importlib.import_module(what)
    except ModuleNotFoundError as error:
        if error.name == what:
            raise InputError(f"--import {what}: there is neither such a file nor such a module") from None
        raise InputError(f"--import {what}: needs {error.name!r}, which is not installed") from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - it is not our code
        raise InputError(f"--import {what}: its code raised {one_line(error)}") from None
    _loaded[found] = None
    return found


def file_of(what: str, folder: Path | None = None) -> Path | None:
    """The file that is meant; None for a module's name. Raises InputError where a file is meant and there is none."""
    base = folder or Path.cwd()
    named = base / what
    if named.suffix != ".py" and "/" not in what:
        named = base / f"{what}.py"
        return named.resolve() if named.is_file() else None
    if not named.is_file():
        raise InputError(f"--import {what}: there is no file {named}")
    return named.resolve()


def loaded() -> tuple[str, ...]:
    """All that `load` has imported in this process, for other processes to import."""
    return tuple(_loaded)


def _import_file(path: Path) -> None:
    name = f"{path.stem}_{zlib.crc32(str(path).encode()):08x}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    _importable(path.parent)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise


def _importable(folder: Path) -> None:
    """What lies beside a file can be imported by it, behind all that is installed."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
