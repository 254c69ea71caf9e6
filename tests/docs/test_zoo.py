"""docs/zoo.md and the list of certified networks: what `scripts/zoo.py` writes, from files that are there."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from types import ModuleType

import pytest
from paths import ROOT

from archsearch._utils.certified import Certified, local, networks


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("scripts_zoo", ROOT / "scripts" / "zoo.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_list_and_page_are_up_to_date(script: ModuleType) -> None:
    text = script.listed()
    assert text == script.LIST.read_text(encoding="utf-8"), "python scripts/zoo.py"
    assert script.page(json.loads(text)["networks"]) == script.PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("one", networks().values(), ids=lambda one: one.name)
def test_the_checkout_holds_the_files(one: Certified) -> None:
    assert local(one) == ROOT / one.file
    assert hashlib.sha256((ROOT / one.file).read_bytes()).hexdigest() == one.sha256
