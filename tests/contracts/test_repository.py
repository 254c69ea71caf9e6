"""The files around the code: one version, links that lead somewhere, names of what is there."""

from __future__ import annotations

import tomllib
from pathlib import Path

from hatchling.metadata.core import ProjectMetadata
from hatchling.plugin.manager import PluginManager

import archsearch

ROOT = Path(__file__).parents[2]


def test_the_package_is_built_with_the_version_of_the_code() -> None:
    assert ProjectMetadata(str(ROOT), PluginManager()).version == archsearch.__version__
    assert "version" not in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
