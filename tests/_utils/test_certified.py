"""Networks by name: where their files are found, and what is said where they are not or come broken."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from mirror import Mirror, mirrored

from archsearch._utils import certified, download
from archsearch._utils.certified import Certified, find, local, named, networks
from archsearch.errors import InputError

CONTENT = bytes(range(256)) * 300
NETWORK = Certified(
    "small", "digits", (), "results/s/model.int8.onnx", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT),
    len(CONTENT), "int8", "0123456789ab", "conv8 | linear", 100, 1000, 0.9, {"0": 0.9},
)  # fmt: skip


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """A mirror that ARCHSEARCH_ZOO names."""
    with mirrored(CONTENT) as found:
        monkeypatch.setenv(certified.PLACE, f"{found.url}/main/")
        yield found


@pytest.fixture(autouse=True)
def away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """archsearch runs from no checkout, and no proxy stands between."""
    monkeypatch.setattr(certified, "_CHECKOUT", tmp_path / "site-packages")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv(certified.PLACE, raising=False)


def put(folder: Path, content: bytes = CONTENT) -> Path:
    path = folder / NETWORK.file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def failure(data_dir: Path) -> str:
    """The one line that is said; nothing is left behind."""
    with pytest.raises(InputError) as caught:
        local(NETWORK, data_dir)
    assert [path for path in data_dir.rglob("*") if path.is_file()] == []
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_download_is_kept(mirror: Mirror, tmp_path: Path) -> None:
    path = local(NETWORK, tmp_path / "data")
    assert path == tmp_path / "data" / "zoo" / "small.int8.onnx"
    assert path.read_bytes() == CONTENT
    assert local(NETWORK, tmp_path / "data") == path
    assert mirror.asked == ["/main/results/s/model.int8.onnx"]


def test_a_copy_of_another_version_is_fetched_again(mirror: Mirror, tmp_path: Path) -> None:
    kept = tmp_path / "zoo" / "small.int8.onnx"
    kept.parent.mkdir()
    kept.write_bytes(CONTENT[::-1])
    assert local(NETWORK, tmp_path).read_bytes() == CONTENT
    assert kept.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"status": 404}, "answers 404 Not Found"),
        ({"content": CONTENT[::-1]}, "is another file than the one that is known here (its SHA-256 differs)"),
        ({"content": CONTENT[:1000], "length": len(CONTENT)}, "gives 1,000 of 76,800 bytes"),
        ({"content": CONTENT[:1000]}, "gives 1,000 of 76,800 bytes"),
        ({"content": CONTENT + b"more"}, "is another file"),
        ({"content": b""}, "gives 0 of 76,800 bytes"),
    ],
)
def test_what_comes_broken_is_not_kept(mirror: Mirror, tmp_path: Path, change: dict[str, object], words: str) -> None:
    for name, value in change.items():
        setattr(mirror, name, value)
    said = failure(tmp_path)
    assert said.startswith("zoo:small could not be downloaded: http://127.0.0.1:")
    assert words in said
    assert said.endswith(": see ARCHSEARCH_ZOO, or try again")


def test_a_server_that_falls_silent(mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "SILENCE", 0.3)
    mirror.silent = threading.Event()
    assert "timed out" in failure(tmp_path)


def test_a_server_that_is_slow_without_end(mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "LONGEST", 0.0)
    assert "not here after 0 s" in failure(tmp_path)


@pytest.mark.parametrize("place", ["http://127.0.0.1:9", "http://127.0.0.1:x", "https://no host"])
def test_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.setenv(certified.PLACE, place)
    assert failure(tmp_path).startswith(f"zoo:small could not be downloaded: {place}/results/s/model.int8.onnx: ")


def test_no_place_is_known(tmp_path: Path) -> None:
    assert failure(tmp_path / "data") == (
        "zoo:small is not on this machine: run this in a clone of archsearch, set ARCHSEARCH_ZOO to a URL or a folder"
        " that holds its results/s/model.int8.onnx,"
        f" or put that file at {tmp_path / 'data' / 'zoo' / 'small.int8.onnx'}"
    )


def test_a_clone_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`pip install .` puts archsearch elsewhere."""
    put(tmp_path / "clone")
    monkeypatch.chdir(tmp_path / "clone")
    assert local(NETWORK, tmp_path / "data") == Path(NETWORK.file)


def test_folders_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout = put(tmp_path / "site-packages")
    assert local(NETWORK, tmp_path) == checkout
    monkeypatch.setenv(certified.PLACE, str(tmp_path / "usb"))
    assert local(NETWORK, tmp_path) == checkout
    put(tmp_path / "usb", CONTENT[::-1])
    assert local(NETWORK, tmp_path) == checkout
    stick = put(tmp_path / "usb")
    assert local(NETWORK, tmp_path) == stick


def test_a_file_put_there_by_hand(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        local(NETWORK, tmp_path)
    by_hand = tmp_path / "zoo" / "small.int8.onnx"
    by_hand.parent.mkdir()
    by_hand.write_bytes(CONTENT)
    assert local(NETWORK, tmp_path) == by_hand


def test_names() -> None:
    known = find("cifar10-78k")
    assert named("zoo:cifar10-78k") is named(Path("zoo:cifar10-78k")) is find("zoo:cifar10-78k") is known
    assert named("model.onnx") is None
    with pytest.raises(InputError, match=r"no certified network 'cifar10-78' \(did you mean 'cifar10-78k'\?\)"):
        named("zoo:cifar10-78")
    with pytest.raises(InputError, match=r"no certified network '' \(there are mnist-44k, "):
        find("zoo:")


def test_what_is_known_of_a_network() -> None:
    assert [*networks()] == [one.name for one in networks().values()]
    assert find("cifar10-78k").info["classes"][3] == "cat"
    assert find("cifar100-5m").info == {"dataset": "cifar100"}
    assert (find("cifar10-6mb").format, find("mnist-lenet5").format) == ("onnx", "safetensors")
    assert replace(NETWORK, classes=("a", "b")).plain()["trainings"] == {"0": 0.9}
