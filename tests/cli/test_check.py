"""`archsearch check`: exit status, table, JSON, messages; and that every command and option says what it does."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import click
import pytest
import torch
from paths import ROOT
from safetensors.torch import save_file

from archsearch.cli import _run, cli
from archsearch.network.zoo import load
from archsearch.nn import weights
from archsearch.nn.build import build

LARGE = "ref:resnet-course-large"


def test_the_worked_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["check", "torchvision:resnet18", "--max-params", "5e6"]) == 1
    said = capsys.readouterr().out
    assert "11,689,512" in said
    assert "5,000,000" in said
    assert "-6,689,512" in said
    assert said.count("Conv2d") == 5  # the heaviest layers


def test_the_large_course_resnet(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["check", LARGE, "--max-params", "5e6"]) == 0
    assert "within budget" in capsys.readouterr().out
    assert _run(["check", LARGE, "--max-params", "5e6", "--max-size", "6MB"]) == 1
    assert _run(["check", LARGE, "--max-params", "5e6", "--max-size", "6MB", "--size-dtype", "int8"]) == 0


def test_limits_are_strict() -> None:
    assert _run(["check", LARGE, "--max-params", "4903242"]) == 1
    assert _run(["check", LARGE, "--max-params", "4903243"]) == 0


def test_without_a_limit_it_reports(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["check", LARGE]) == 0
    assert "no limit given" in capsys.readouterr().out


def test_json_is_the_contract(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["check", LARGE, "--max-params", "5e6", "--max-macs", "100M", "--max-activation", "1MB", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert list(found) == [
        "target",
        "params",
        "size_bytes",
        "macs",
        "peak_activation_bytes",
        "ram_bytes",
        "limits",
        "ok",
        "size_dtype",
        "note",
    ]
    assert found["limits"] == [
        {"name": "params", "limit": 5_000_000, "value": 4_903_242, "ok": True},
        {"name": "macs", "limit": 100_000_000, "value": found["macs"], "ok": False},
        {"name": "peak_activation_bytes", "limit": 1_000_000, "value": found["peak_activation_bytes"], "ok": True},
    ]
    assert found["ok"] is False


def test_bytes_of_the_file_that_ships(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["--max-size", "100kB", "--size-format", "litert", "--size-dtype", "int8"]
    assert _run(["check", "ref:resnet-course-small", *words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["size_format"], found["size_dtype"]) == ("litert", "int8")
    assert 84_296 < found["size_bytes"] < 84_972 + 4096  # the real file without and with its metadata
    assert _run(["check", "ref:resnet-course-small", *words]) == 0
    assert "bytes at LiteRT, int8" in capsys.readouterr().out
    arch = load("ref:resnet-course-small").arch
    path = weights.save(tmp_path / "w.safetensors", build(arch), arch, {})
    assert _run(["check", str(path), *words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["size_bytes"] == found["size_bytes"]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("torchvision:resnet18", "the bytes of ONNX files are counted of architectures, not of modules"),
        ("bare.safetensors", "counted of architectures, and its metadata have none: leave --size-format out"),
    ],
)
def test_what_has_no_architecture_has_no_file_in_another_format(
    target: str, words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_file({"weight": torch.zeros(2, 2)}, "bare.safetensors")
    assert _run(["check", target, "--size-format", "onnx"]) == 2
    assert words in " ".join(capsys.readouterr().err.split())


MODULE = """
import torch
print("hello from the import")

def make():
    print("hello from the factory")
    return torch.nn.Conv2d(3, 8, 3, bias=False)

def fails():
    raise SystemExit("never\\nmind")

ready = torch.nn.Linear(3, 4)

class Captions(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.embed = torch.nn.Conv2d(3, 8, 3), torch.nn.Embedding(100, 8)

    def forward(self, x, tokens):
        return {"scores": self.embed(tokens) @ self.conv(x).flatten(2)}

def lstm():
    return torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(torch.nn.LSTM(4, 5)), {torch.nn.LSTM})
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_module_of_mine.py").write_text(textwrap.dedent(MODULE))
    return tmp_path


def test_a_module_of_the_current_folder(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["check", "a_module_of_mine:make", "--input-shape", "3,8,8", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["macs"] == 8 * 36 * 27
    assert "hello from the factory" in err
    assert _run(["check", "a_module_of_mine:ready", "--max-params", "17"]) == 0
    assert "--input-shape" in capsys.readouterr().out


def test_several_inputs_and_products_of_activations(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["check", "a_module_of_mine:Captions", "--input-shape", "3,8,8", "--input-shape", "16:int64"]
    assert _run([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["macs"], found["attention_macs"]) == (8 * 36 * 27, 16 * 8 * 36)
    assert _run(words) == 0
    out = capsys.readouterr().out
    assert "module, 3x8x8 and 16:int64" in out
    assert "not in macs: 4,608 of products of two activations, such as attention scores" in out
    assert _run(["check", "a_module_of_mine:make", "--input-shape", "3,8,8"]) == 0
    assert "activations, such" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["a_module_of_mine:make", "--max-macs", "1M"], "give --input-shape 3,224,224"),
        (["a_module_of_mine:make", "--max-macs", "1M", "--input-shape", "4,8,8"], "its forward pass at 4x8x8 fails"),
        (["a_module_of_mine:fails"], "raised SystemExit: never"),
        (["a_module_of_mine:maek"], "did you mean 'make'"),
        (["a_module_of_mine:make", "--input-shape", "3,x"], "is no shape"),
        (["a_module_of_mine:make", "--input-shape", "3,0,2"], "is no shape"),
        (["a_module_of_mine:make", "--input-shape", "3,8,8:int65"], "has no known dtype: write one of float32"),
        (["a_module_of_mine:make", "--input-shape", ""], "is no shape"),
        (["a_module_of_mine:lstm", "--max-macs", "1M", "--input-shape", "3,4"], "aten.quantized_lstm are not known"),
        ([LARGE, "--input-shape", "3,32,32", "--input-shape", "16:int64"], "takes one image, not 3x32x32 and 16:int64"),
        ([LARGE, "--max-params", "abc"], "is no count"),
        ([LARGE, "--max-size", "6XB"], "is no size"),
        (["torchvision:resnet81"], "did you mean"),
        (["missing.toml"], "there is no such file"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    here: Path, capsys: pytest.CaptureFixture[str], args: list[str], says: str
) -> None:
    assert _run(["check", *args]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
    assert "Traceback" not in err
    assert len([line for line in err.splitlines() if line.startswith("archsearch: ")]) == 1


COMMANDS = cli.list_commands(click.Context(cli))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_says_what_it_does(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.help
    silent = [p.name for p in command.params if isinstance(p, click.Option) and not p.help]
    assert not silent
    assert all(p.human_readable_name.split("|")[0].strip("[]. ") in (command.help or "") or p.name == "space"
               for p in command.params if isinstance(p, click.Argument))  # fmt: skip
    with pytest.raises(SystemExit) as stop:
        command.main(["--help"], prog_name=name)
    assert stop.value.code == 0


def test_check_is_documented() -> None:
    page = (ROOT / "docs" / "reference" / "check.md").read_text()
    command = cli.get_command(click.Context(cli), "check")
    assert command is not None
    for option in (option for parameter in command.params for option in parameter.opts if option.startswith("--")):
        assert option in page
    hooks = (ROOT / ".pre-commit-hooks.yaml").read_text()
    assert "id: archsearch-check" in hooks
    assert "entry: archsearch check" in hooks


def test_the_documented_example_is_what_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs" / "reference" / "check.md").read_text()
    code = page.split("```python\n")[1].split("```")[0]
    command, _, printed = page.split("$ archsearch ")[1].split("```")[0].partition("\n")
    (tmp_path / "documented_models.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    assert _run(command.replace("models:", "documented_models:").split()) == 1
    assert capsys.readouterr().out.replace("documented_models:", "models:") == printed
