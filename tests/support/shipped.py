"""Files of formats whose converters take seconds, written once a session."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

from filelock import FileLock
from toolchains import name_of

from archsearch._utils.formats import files_of
from archsearch.export import Exported, Images, Source, export


class Shelf:
    """`shelf(kind, dtype)` is a file of one network, exported. Not to be changed.

    Processes that test at the same time share `home`.
    """

    def __init__(self, source: Source, images: Images, home: Path) -> None:
        self.source, self.images, self.home = source, images, home
        self.made: dict[tuple[str, str], Exported] = {}

    def __call__(self, kind: str, dtype: str = "fp32") -> Exported:
        if (kind, dtype) not in self.made:
            folder = self.home / f"{kind}-{dtype}"
            note = self.home / f"{kind}-{dtype}.exported"  # not in the folder, which holds the files alone
            with FileLock(f"{folder}.lock"):
                if not note.exists():
                    done = export(self.source, folder / name_of(kind), self.images, kind, dtype, check_images=50)
                    note.write_bytes(pickle.dumps(done))
            self.made[kind, dtype] = pickle.loads(note.read_bytes())
        return self.made[kind, dtype]

    def copy(self, folder: Path, kind: str, dtype: str = "fp32") -> Path:
        """A copy of all its files, to be changed."""
        folder.mkdir(parents=True, exist_ok=True)
        for file in files_of(self(kind, dtype).path):
            shutil.copy(file, folder)
        return folder / name_of(kind)
