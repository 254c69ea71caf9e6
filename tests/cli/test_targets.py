"""`--target` and `--max-ram` on the command line."""

from __future__ import annotations

import json

import pytest

from archsearch.cli import _run

NET = "ref:lenet5"


def test_a_target_sets_its_limits_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["check", NET, "--target", "cortex-m4-256k", "--json"]) == 0
    said = capsys.readouterr()
    found = {one["name"]: one["limit"] for one in json.loads(said.out)["limits"]}
    assert found == {"size_bytes": 768 * 1024, "macs": 64_000_000, "ram_bytes": 192 * 1024}
    assert json.loads(said.out)["size_format"] == "litert"
    assert said.err.startswith("target cortex-m4-256k: --max-ram 192KiB --max-size 768KiB")


def test_given_options_win_and_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["check", NET, "--target", "cortex-m4-256k", "--max-ram", "1kB", "--json"]) == 1
    said = capsys.readouterr()
    assert {key: value for key, value in json.loads(said.out)["limits"][-1].items() if key in ("name", "limit")} == {
        "name": "ram_bytes",
        "limit": 1000,
    }
    assert "given instead: --max-ram" in said.err


def test_an_unknown_target_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["spaces", "--target", "cortex-m9"]) == 2
    said = capsys.readouterr().err
    assert "there is no target 'cortex-m9': there are cortex-m4-128k, cortex-m4-256k," in said
    assert said.count("\n") == 1


def test_a_limit_on_ram_that_is_not_known_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["check", "torchvision:resnet18", "--max-ram", "1MB"]) == 2
    assert "ram_bytes cannot be measured here" in capsys.readouterr().err
