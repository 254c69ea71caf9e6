"""Files: those that come with archsearch; and writing whole, a temporary file beside the target, then a rename."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def shipped_folder() -> Path:
    """The folder of the search spaces and references that come with archsearch, installed or in a checkout."""
    installed = Path(__file__).parents[1] / "search_spaces"
    return installed if installed.is_dir() else installed.parent.parent / "search_spaces"


def write_with(path: Path, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a temporary file, then put it in place of `path` in one step.

    `path` holds either its old content or all of the new one, whatever happens in between.

    Raises:
        OSError: the folder cannot be written or the disk is full; it names `path`, and nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if error.errno is not None:
            error.filename = str(path)
        raise
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path


def write_text(path: Path, text: str) -> Path:
    """Write UTF-8 text whole. Raises OSError as `write_with` does."""
    return write_with(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _umask() -> int:
    # The process's umask can only be read by setting it.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
