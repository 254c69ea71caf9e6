"""Pushing by huggingface_hub to a stand-in: what arrives is what lies here, and every refusal is one line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import huggingface_hub
import pandas as pd
import pytest
from commands import STUDY, Answer
from model_hub import REPOSITORY, TOKEN, Hub, running

from archsearch.errors import InputError, PushFailed
from archsearch.export import Images, Source, export
from archsearch.export.card import write_card
from archsearch.export.hub import push

CONSTANTS = "huggingface_hub.constants"
Command = Callable[..., Answer]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A stand-in to which huggingface_hub speaks. Large files go by LFS: it has no other storage."""
    with running() as server:
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr(f"{CONSTANTS}.ENDPOINT", server.url)
        monkeypatch.setattr(f"{CONSTANTS}.HF_HUB_DISABLE_XET", True)
        yield server


@pytest.fixture
def card(source: Source, images: Images, tmp_path: Path) -> Path:
    """That of two files, beside which lie others."""
    for dtype in ("fp32", "fp16"):
        path = write_card(
            export(source, tmp_path / f"{dtype}.safetensors", images, "safetensors", dtype), dtype, source
        )
    (tmp_path / "secret.txt").write_text("mine")
    (tmp_path / "other.safetensors").write_bytes(b"not certified")
    return path


def test_what_arrives_is_the_card_and_its_files(hub: Hub, card: Path) -> None:
    assert push(card, REPOSITORY) == f"{hub.url}/{REPOSITORY}/commit/{'0' * 40}"
    wanted = ("README.md", "fp32.safetensors", "fp16.safetensors")
    assert hub.files == {name: (card.parent / name).read_bytes() for name in wanted}
    assert hub.summaries == ["archsearch export: fp32.safetensors, fp16.safetensors"]
    assert hub.private is False
    assert len(hub.blobs) == 2


def test_a_file_that_has_changed_stays_here(hub: Hub, card: Path) -> None:
    (card.parent / "fp32.safetensors").write_bytes(b"other")
    push(card, REPOSITORY)
    assert {*hub.files} == {"README.md", "fp16.safetensors"}


def test_a_private_repository(hub: Hub, card: Path) -> None:
    push(card, REPOSITORY, private=True)
    assert hub.private is True
    push(card, REPOSITORY, private=True)
    assert len(hub.summaries) == 2
    hub.private = False
    with pytest.raises(PushFailed, match="it is there and public: leave out --hub-private"):
        push(card, REPOSITORY, private=True)
    assert len(hub.summaries) == 2


@pytest.mark.parametrize(
    ("status", "words"),
    [(403, r"the server answered 403: the token may not write there \(You are not allowed.\)$"), (418, "answered 418")],
)
def test_a_refusal_is_one_line(hub: Hub, card: Path, status: int, words: str) -> None:
    hub.status = status
    with pytest.raises(PushFailed, match=words) as caught:
        push(card, REPOSITORY)
    assert "\n" not in str(caught.value)
    assert hub.files == {}


def test_a_token_that_is_not_valid(hub: Hub, card: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(PushFailed, match="answered 401: the token is not valid"):
        push(card, REPOSITORY)


def test_no_token(hub: Hub, card: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(PushFailed, match="there is no token: set HF_TOKEN, or run `hf auth login`"):
        push(card, REPOSITORY)
    assert hub.asked == []


def test_no_network(hub: Hub, card: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{CONSTANTS}.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(PushFailed, match=f"^nothing was pushed to {REPOSITORY}: ConnectError"):
        push(card, REPOSITORY)


@pytest.mark.parametrize("name", ["small", "me/small/one", "me/-small", "me/sm all", "me/"])
def test_a_name_that_is_none(card: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"^--push-to-hub {name}: "):
        push(card, name)


def test_without_the_package(card: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"pip install 'archsearch\[hub\]'"):
        push(card, REPOSITORY)


def test_the_command_pushes_what_it_exports(hub: Hub, command: Command, study: Path) -> None:
    best = str(pd.read_csv(study / "pareto.csv", dtype={"arch": str}).iloc[-1].arch)
    folder = study / "export" / best
    answer = command("export", STUDY, best, "--format", "safetensors", "--push-to-hub", REPOSITORY, "--hub-private")
    assert (answer.status, answer.err) == (0, "")
    assert answer.out.splitlines()[-1] == f"pushed to            {hub.url}/{REPOSITORY}/commit/{'0' * 40}"
    assert hub.files == {path.name: path.read_bytes() for path in folder.iterdir()}
    assert hub.private is True

    options = ("--dtype", "fp16", "--push-to-hub", REPOSITORY, "--json")
    answer = command("export", STUDY, best, "--format", "safetensors", *options)
    assert [*json.loads(answer.out)] == ["path", "bytes", "max_abs_diff", "accuracy", "pushed"]
    assert hub.files == {path.name: path.read_bytes() for path in folder.iterdir()}

    hub.status = 403
    answer = command("export", STUDY, best, "--format", "pt2", "--push-to-hub", REPOSITORY)
    assert answer.status == 1
    assert answer.error.startswith(
        f"archsearch: results/{STUDY}/export/{best}/model.pt2 is written; nothing was pushed"
    )
    assert (folder / "model.pt2").is_file()

    pushed = len(hub.asked)
    answer = command("export", STUDY, best, "--format", "pt2", "--max-size", "1kB", "--push-to-hub", REPOSITORY)
    assert (answer.status, len(hub.asked)) == (1, pushed)
    for args, words in (
        (("--hub-private",), "--hub-private: goes with --push-to-hub USER/NAME"),
        (("--push-to-hub", "small"), "--push-to-hub small: must be USER/NAME"),
        (("--format", "web", "--push-to-hub", REPOSITORY), "--push-to-hub: goes with files"),
    ):
        answer = command("export", STUDY, best, "--format", "pt2", *args)
        assert answer.status == 2
        assert words in answer.error
