"""Where converters are found, and what is said where they are not."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from paths import ROOT

from archsearch._utils import toolchain
from archsearch._utils.toolchain import DATA, TOOLCHAINS, Interpreter, interpreter, lock, set_up
from archsearch.errors import InputError

NAMES = list(TOOLCHAINS)


@pytest.fixture
def nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """No converter and no runtime is installed beside archsearch."""
    real = importlib.util.find_spec
    absent = {module for one in TOOLCHAINS.values() for module in (*one.convert, *one.run)}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name in absent else real(name, *rest))


def made(data_dir: Path, name: str, versions: str | None = None) -> Path:
    """An environment as `set_up` leaves it, without packages."""
    folder = data_dir / "toolchains" / name
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    (folder / "archsearch-lock.txt").write_text(lock(name) if versions is None else versions)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_packages_that_are_missing_are_one_line_with_both_commands(nothing: None, tmp_path: Path, name: str) -> None:
    for convert in (False, True):
        with pytest.raises(InputError) as caught:
            interpreter(name, DATA, convert=convert)
        assert str(caught.value).endswith(
            f"pip install 'archsearch[{name}]', or, for an environment of their own, archsearch export --setup {name}"
        )
    with pytest.raises(InputError, match=f"--setup {name} --data-dir {tmp_path}$"):
        interpreter(name, tmp_path)


def test_what_is_installed_here_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "ai_edge_litert")
    made(tmp_path, "litert")
    assert interpreter("litert", tmp_path).command == (sys.executable, "-P")
    assert interpreter("litert", tmp_path, convert=True).command[0] == f"{tmp_path}/toolchains/litert/bin/python"


def test_a_script_finds_no_module_that_lies_beside_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """archsearch/inference has an onnx.py, which runtimes that import onnx must not get."""
    (tmp_path / "onnx.py").write_text("raise AssertionError")
    (tmp_path / "script.py").write_text("import sys; print(sys.path)")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    made(tmp_path, "ncnn")
    for one in (interpreter("openvino", tmp_path), Interpreter((sys.executable, "-I"))):
        said = subprocess.run(
            [*one.command, tmp_path / "script.py"], env=one.environment, capture_output=True, text=True, check=True
        )
        assert str(tmp_path) not in said.stdout


def test_an_environment_of_its_own(nothing: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made(tmp_path, "openvino")
    monkeypatch.chdir(tmp_path)
    found = interpreter("openvino", Path())
    assert found.command == (str(folder / "bin" / "python"), "-I")
    assert set_up("openvino", Path()) == Path("toolchains/openvino")  # nothing to do


def test_an_environment_with_other_versions(nothing: None, tmp_path: Path) -> None:
    made(tmp_path, "ncnn", "ncnn==0.1\n")
    with pytest.raises(InputError, match=r"holds other versions than this archsearch needs: .*--setup ncnn --data-dir"):
        interpreter("ncnn", tmp_path)


@pytest.mark.parametrize("lost", ["archsearch-lock.txt", "bin/python"])
def test_an_environment_that_is_not_whole(nothing: None, tmp_path: Path, lost: str) -> None:
    (made(tmp_path, "ncnn") / lost).unlink()
    with pytest.raises(InputError, match="packages that are not here"):
        interpreter("ncnn", tmp_path)


# setting up, with a pip that is none


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Path]:
    """`pip(status, words)`: environments have a Python that writes its arguments, says so, and ends so.

    The disk has room for any of them: the one of this machine may not.
    """
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10**12))

    def install(status: int, words: str = "") -> Path:
        log = tmp_path / "log"
        script = f'#!/bin/sh\nprintf "%s\\n" "$@" > {log}\nprintf {words!r} >&2\nexit {status}\n'

        def create(folder: Path, **_: Any) -> None:
            (folder / "bin").mkdir(parents=True)
            (folder / "bin" / "python").write_text(script)
            (folder / "bin" / "python").chmod(0o755)

        monkeypatch.setattr("venv.create", create)
        return log

    return install


@pytest.mark.parametrize("name", NAMES)
def test_an_environment_is_made_once(nothing: None, pip: Callable[..., Path], tmp_path: Path, name: str) -> None:
    log = pip(0)
    folder = set_up(name, tmp_path)
    words = log.read_text().split("\n")
    assert words[words.index("-r") + 1] == str(Path(toolchain.__file__).with_name("locks") / f"{name}.txt")
    assert ("--no-deps" in words) is TOOLCHAINS[name].whole
    assert interpreter(name, tmp_path, convert=True).command == (str(folder / "bin" / "python"), "-I")
    log.unlink()
    assert set_up(name, tmp_path) == folder
    assert not log.exists()


def test_older_versions_are_replaced(nothing: None, pip: Callable[..., Path], tmp_path: Path) -> None:
    folder = made(tmp_path, "ncnn", "ncnn==0.1\n")
    (folder / "old").touch()
    pip(0)
    set_up("ncnn", tmp_path)
    assert not (folder / "old").exists()
    assert (folder / "archsearch-lock.txt").read_text() == lock("ncnn")


@pytest.mark.parametrize(
    "words",
    ["ERROR: Could not find a version that satisfies the requirement ncnn==1 (from versions: none)",
     "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"],
)  # fmt: skip
def test_pip_that_fails(nothing: None, pip: Callable[..., Path], tmp_path: Path, words: str) -> None:
    pip(1, f"WARNING: Retrying\nERROR: first\n{words}\nnotice\n")
    with pytest.raises(InputError) as caught:
        set_up("ncnn", tmp_path)
    assert str(caught.value) == f"pip cannot install ncnn: {words}"
    assert list((tmp_path / "toolchains").iterdir()) == []


def test_a_python_without_venv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def create(folder: Path, **_: Any) -> None:
        folder.mkdir(parents=True)
        raise subprocess.CalledProcessError(1, ["ensurepip"])

    monkeypatch.setattr("venv.create", create)
    with pytest.raises(InputError, match="this Python makes no environment with pip: CalledProcessError"):
        set_up("ncnn", tmp_path)
    assert list((tmp_path / "toolchains").iterdir()) == []


def test_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=20_000_000))
    with pytest.raises(InputError, match=r"toolchains: 20 MB are free, [\d,]+ are needed: give another --data-dir$"):
        set_up("litert", tmp_path)


# locks


@pytest.mark.parametrize("name", NAMES)
def test_a_lock_pins_everything(name: str) -> None:
    first, *lines = lock(name).splitlines()
    pinned = dict(line.split("==") for line in lines)
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*==[0-9][^ ;]*", line) for line in lines)
    assert lines == sorted(lines, key=lambda line: line.partition("==")[0])
    for wanted in first.removeprefix("# ").split():
        package, _, version = wanted.partition("==")
        assert pinned[package] == (version or pinned[package])
    assert "numpy" in pinned
    assert all(module.replace("_", "-") in pinned for module in TOOLCHAINS[name].convert)


@pytest.mark.parametrize("name", NAMES)
def test_the_extra_of_a_toolchain_holds_its_lock(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = dict(line.split("==") for line in lock(name).splitlines()[1:])
    for wanted in project["optional-dependencies"][name]:
        if wanted != "archsearch[export]":
            package, _, least = wanted.partition(",")[0].partition(">=")
            assert version(pinned[package]) >= version(least)


def version(words: str) -> list[int]:
    return [int(number) for number in words.split(".")]


# for real


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("CI"), reason="installs from the package index")
def test_the_smallest_environment_for_real(nothing: None, tmp_path: Path) -> None:
    set_up("ncnn", tmp_path)
    found = interpreter("ncnn", tmp_path, convert=True)
    script = "import importlib.util, ncnn; print(ncnn.__version__, importlib.util.find_spec('torch'))"
    said = subprocess.run([*found.command, "-c", script], capture_output=True, text=True, check=True)
    assert said.stdout == "1.0.20261020 None\n"
