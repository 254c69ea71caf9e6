"""The folder of `export --format web`: its files, where its runtime comes from, and what is refused."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import snapshot
from exports import CLASSES
from mirror import mirrored
from paths import ROOT

from archsearch._utils.certified import find
from archsearch.errors import InputError
from archsearch.export import web
from archsearch.export.web import describe, page, runtime, write_web
from archsearch.inference import open_runner
from archsearch.metrics.thresholds import LABELS, SEVERAL, THRESHOLDS

FILES = {"ort.wasm.bundle.min.mjs": b"script", "ort-wasm-simd-threaded.wasm": b"code"}


def archive(files: dict[str, bytes]) -> bytes:
    """A tarball as npm has them."""
    found = io.BytesIO()
    with tarfile.open(fileobj=found, mode="w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return found.getvalue()


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The tarball of a small runtime, which is the one that is known."""
    content = archive(FILES)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}
    monkeypatch.setattr(web, "RUNTIME", digests)
    monkeypatch.setattr(web, "_ARCHIVE", (len(content), hashlib.sha256(content).hexdigest()))
    monkeypatch.setenv(web.REGISTRY, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return content


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data folder that has the runtime."""
    home = tmp_path / "data" / "web" / f"onnxruntime-web-{web.VERSION}"
    home.mkdir(parents=True)
    for name, data in FILES.items():
        (home / name).write_bytes(data)
    return tmp_path / "data"


def about(folder: Path) -> Any:
    """What the page knows of its network."""
    found = re.search(r'<script id="about" type="application/json">(.*?)</script>', (folder / "index.html").read_text())
    assert found
    return json.loads(found[1])


def test_the_folder(shelf: Any, tmp_path: Path, data_dir: Path) -> None:
    model = shelf("onnx", "int8").path
    folder = write_web(tmp_path / "site", model, data_dir)
    found = snapshot(folder)
    assert found.keys() == {"index.html", "picture.mjs", "model.onnx", *FILES}
    assert found["model.onnx"] == model.read_bytes()
    assert {name: found[name] for name in FILES} == FILES
    known = about(folder)
    assert known["classes"] == CLASSES
    assert (known["channels"], known["height"], known["width"], known["temperature"]) == (3, 8, 8, 1.0)
    assert (known["precision"], known["thresholds"]) == ("int8", None)
    write_web(folder, model, data_dir)
    assert snapshot(folder) == found


def test_a_compressed_network_is_written_plain(tmp_path: Path, data_dir: Path) -> None:
    one = find("cifar100-cnn")
    folder = write_web(tmp_path / "site", ROOT / one.file, data_dir)
    assert (folder / "model.onnx").stat().st_size == one.model_bytes
    assert open_runner(folder / "model.onnx").arch.id == one.arch
    assert about(folder)["classes"][99] == "99"


def test_a_network_of_the_zoo_has_its_names(tmp_path: Path, data_dir: Path) -> None:
    """Its file knows numbers alone."""
    folder = write_web(tmp_path / "site", "zoo:cifar10-78k", data_dir)
    assert about(folder)["classes"][3] == "cat"
    assert about(write_web(tmp_path / "file", ROOT / find("cifar10-78k").file, data_dir))["classes"][3] == "3"


def test_names_are_no_markup() -> None:
    text = page({"classes": ["</script><b>"]})
    assert "</script><b>" not in text
    assert r"\u003c/script>\u003cb>" in text


def test_a_folder_with_other_files_is_left_alone(shelf: Any, tmp_path: Path, data_dir: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"site: holds other files, such as thesis.txt: give a new folder"):
        write_web(tmp_path / "site", shelf("onnx", "int8").path, data_dir)
    assert [path.name for path in (tmp_path / "site").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("shape", "info", "words"),
    [
        ((4, 8, 8), {}, "m takes 4 channels: a browser has pictures of 1 or 3"),
        ((1, 8, 8), {"range": [0, 4000]}, "m was trained on 16-bit pictures, which browsers cut to 8 bits"),
    ],
)
def test_networks_for_other_pictures(shelf: Any, shape: tuple[int, ...], info: dict[str, Any], words: str) -> None:
    runner = open_runner(shelf("onnx", "int8").path)
    other = replace(runner, arch=runner.arch.adapted(shape, 4), info=info)
    with pytest.raises(InputError, match=words):
        describe(other, Path("m"))


def test_several_labels() -> None:
    runner = open_runner(ROOT / find("mnist-44k").file)
    several = replace(runner, info={**runner.info, LABELS: SEVERAL, THRESHOLDS: [0.25] * 10, "temperature": 2.0})
    known = describe(several, Path("m"))
    assert (list(known["thresholds"]), known["temperature"]) == ([0.25] * 10, 2.0)


def test_the_runtime_is_downloaded_once(known: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with mirrored(known) as mirror:
        monkeypatch.setenv(web.REGISTRY, f"{mirror.url}/npm/")
        assert runtime(tmp_path) == FILES
        assert runtime(tmp_path) == FILES
    assert mirror.asked == [f"/npm/onnxruntime-web/-/onnxruntime-web-{web.VERSION}.tgz"]


def test_a_runtime_that_was_changed_is_downloaded_again(
    known: bytes, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in data_dir.rglob("*.wasm"):
        path.write_bytes(b"evil")
    with mirrored(known) as mirror:
        monkeypatch.setenv(web.REGISTRY, mirror.url)
        assert runtime(data_dir) == FILES


@pytest.mark.parametrize("content", [b"short", archive(dict.fromkeys(FILES, b"evil"))])
def test_another_archive_is_refused(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with mirrored(content) as mirror:
        monkeypatch.setenv(web.REGISTRY, mirror.url)
        with pytest.raises(InputError, match=rf"--format web needs onnxruntime-web {web.VERSION}: http"):
            runtime(tmp_path)
    assert [*tmp_path.iterdir()] == []


def test_without_network(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Connection refused: see NPM_CONFIG_REGISTRY, or put .* into .*web"):
        runtime(tmp_path)
