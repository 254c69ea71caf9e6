"""The model card: true, in order, and with lines that load what lies beside it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from exports import ARCH, CLASSES, INFO, images_of, info_of, settled
from PIL import Image
from shipped import Shelf
from toolchains import HOSTED, kinds, precisions

from archsearch._utils.units import format_bytes
from archsearch.data.picture import square
from archsearch.export import Exported, Images, Source, export
from archsearch.export.card import listed, write_card
from archsearch.inference import open_runner
from archsearch.network.arch import Arch
from archsearch.network.ram import ram_bytes
from archsearch.network.stage import Part, Stage
from archsearch.nn import weights
from archsearch.report import tables


def exported(source: Source, images: Images, path: Path, dtype: str = "fp32") -> Exported:
    return export(source, path, images, path.suffix.removeprefix("."), dtype)


def blocks(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, re.S)


def rows(text: str) -> list[str]:
    return re.findall(r"^\| `(.*?)` \|", text, re.M)


@pytest.fixture
def picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A photo, wider than high, in the working directory."""
    monkeypatch.chdir(tmp_path)
    columns = np.linspace(0, 255, 90, dtype=np.uint8)
    Image.fromarray(np.stack([np.tile(columns, (40, 1)), *np.full((2, 40, 90), 90, np.uint8)], 2)).save("picture.jpg")
    return tmp_path / "picture.jpg"


def said_by(code: str, capsys: pytest.CaptureFixture[str]) -> tuple[str, torch.Tensor]:
    """What the lines of a card print, and their logits."""
    names: dict[str, Any] = {}
    exec(code, names)
    return capsys.readouterr().out.strip(), torch.tensor(names["logits"].tolist())


@pytest.mark.filterwarnings("ignore:The given buffer is not writable")  # torch 2.11
@pytest.mark.parametrize("kind", ["onnx", "pt2", "safetensors"])
def test_the_lines_of_a_card_open_a_picture_and_print_its_class(
    source: Source, images: Images, picture: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    card = write_card(exported(source, images, picture.with_name(f"model.{kind}")), "fp32", source)
    (code,) = blocks(card.read_text())
    said, logits = said_by(code, capsys)
    pixels = torch.tensor(square(Image.open(picture), 8, grey=False)).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        wanted = source.network()(pixels)
    assert torch.allclose(logits, wanted, atol=5e-3)  # the dataset decodes large JPEG files at a fraction of their size
    assert said == CLASSES[wanted.argmax()]


@pytest.mark.filterwarnings("ignore:The given buffer is not writable")  # torch 2.11
@pytest.mark.parametrize("kind", ["onnx", "pt2", "safetensors"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_lines_of_a_card_without_names_print_a_number(
    tmp_path: Path, picture: Path, capsys: pytest.CaptureFixture[str], kind: str, channels: int
) -> None:
    arch = Arch((channels, 8, 8), 4, Part("flatten"), (Stage("dense", 8),), Part("linear"))
    info = {key: value for key, value in info_of(arch).items() if key != "classes"}
    source = Source.open(weights.save(tmp_path / "w", settled(arch), arch, info))
    np.save("picture.npy", np.zeros((8, 8, 4), np.uint8))
    card = write_card(exported(source, images_of(source), tmp_path / f"model.{kind}"), "fp32", source)
    (code,) = blocks(card.read_text())
    said, logits = said_by(code, capsys)
    assert said == str(logits.argmax()) or said == str(logits.argmax().item())


def run(code: str, folder: Path) -> tuple[str, list[float]]:
    """What the lines of a card print, and their logits, by a Python of its own."""
    (folder / "lines.py").write_text(f"{code}\nprint(logits.ravel().tolist())\n")
    done = subprocess.run([sys.executable, "-P", "lines.py"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said, logits = done.stdout.strip().split("\n")[-2:]
    return said, json.loads(logits)


def of_picture(source: Source, picture: Path) -> torch.Tensor:
    """The network's logits."""
    pixels = torch.tensor(square(Image.open(picture), 8, grey=False)).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        return source.network()(pixels)[0]


@pytest.mark.parametrize(("kind", "dtype"), precisions(*HOSTED))
def test_the_lines_for_other_runtimes_open_a_picture(
    shelf: Shelf, source: Source, picture: Path, kind: str, dtype: str
) -> None:
    path = shelf.copy(picture.parent, kind, dtype)
    card = write_card(replace(shelf(kind, dtype), path=path), dtype, source)
    (code,) = blocks(card.read_text())
    said, logits = run(code, picture.parent)
    wanted = of_picture(source, picture)
    found = open_runner(path)(torch.tensor(square(Image.open(picture), 8, grey=False)).permute(2, 0, 1)[None])[0]
    assert said == CLASSES[found.argmax()]
    if dtype == "fp32":
        assert torch.allclose(torch.tensor(logits), wanted, atol=5e-3)
    about = shelf(kind, dtype).about
    assert ("N is 1" in card.read_text()) is (about["batch"] == 1)
    assert ("zero point" in card.read_text()) is (about["input"]["dtype"] != "float32")


@pytest.mark.parametrize("kind", kinds(*HOSTED))
def test_the_lines_for_other_runtimes_without_names(shelf: Shelf, source: Source, picture: Path, kind: str) -> None:
    path = shelf.copy(picture.parent, kind)
    info = {key: value for key, value in source.info.items() if key != "classes"}
    card = write_card(replace(shelf(kind), path=path), "fp32", replace(source, info=info))
    (code,) = blocks(card.read_text())
    said, logits = run(code, picture.parent)
    assert said in (f"{np.argmax(logits)}", f"tensor({np.argmax(logits)})")
    assert not re.search("json|zipfile|classes", code)


def test_what_a_card_says(source: Source, images: Images, tmp_path: Path) -> None:
    done = exported(source, images, tmp_path / "model.fp16.safetensors", "fp16")
    text = write_card(done, "fp16", source, tables.Tested(0.91234, 0.0123, 3)).read_text()
    cost = ARCH.cost
    for words in (
        f"| `model.fp16.safetensors` | fp16 | {done.bytes:,} | {100 * done.parity.accuracy:.2f}% of 60 |",
        "npz:some.npz", ARCH.id, f"int8 `.tflite` file, at most | {format_bytes(ram_bytes(cost))} |",
        f"parameters | {cost.params:,} |", f"one image | {cost.macs:,} |",
        *(f"bytes at {dtype}, at most | {cost.size_bytes(dtype):,} |" for dtype in ("fp32", "fp16", "bf16", "int8")),
        "validation split, before export: 100.00% of 60 images",
        "test split: 91.23%, mean of 3 trainings, standard deviation 1.23 points",
        "epochs 3, optimiser sgd", "N x 3 x 8 x 8", "N x 4 logits", *CLASSES,
    ):  # fmt: skip
        assert words in text
    assert "trained on that split" not in text


def test_what_is_not_known_is_said_to_be_unknown(source: Source, images: Images, tmp_path: Path) -> None:
    done = exported(source, images, tmp_path / "m.safetensors")
    assert "test split: not measured here" in write_card(done, "fp32", source).read_text()
    retrained = Source(source.path, source.module, source.arch, {**INFO, "trained": "retrain", "test_accuracy": 0.5})
    text = write_card(done, "fp32", retrained).read_text()
    assert "trained on that split too" in text
    assert "test split: 50.00%, one training" in text


def test_a_card_says_by_what_its_network_was_chosen(source: Source, images: Images, tmp_path: Path) -> None:
    done = exported(source, images, tmp_path / "m.safetensors")
    by = {**INFO, "metric": "macro-f1", "val_score": 0.75, "trained": "search"}
    text = write_card(done, "fp32", Source(source.path, source.module, source.arch, by)).read_text()
    assert "- macro F1, by which it was chosen, on the validation split: 0.7500" in text
    again = {**INFO, "metric": "macro-f1", "test_score": 0.5, "test_accuracy": 0.6, "trained": "retrain"}
    opened = Source(source.path, source.module, source.arch, again)
    assert "- macro F1 on the test split: 0.5000\n" in write_card(done, "fp32", opened).read_text()
    tested = tables.Tested(0.9, 0.01, 3, 0.8123, 0.0045)
    assert "- macro F1 on the test split: 0.8123 ± 0.0045" in write_card(done, "fp32", opened, tested).read_text()


def test_a_card_lists_the_files_that_lie_there(source: Source, images: Images, tmp_path: Path) -> None:
    for dtype in ("fp32", "fp16", "bf16"):
        write_card(exported(source, images, tmp_path / f"{dtype}.safetensors", dtype), dtype, source)
    (tmp_path / "fp16.safetensors").unlink()
    card = write_card(exported(source, images, tmp_path / "fp32.safetensors"), "fp32", source)
    assert rows(card.read_text()) == ["bf16.safetensors", "fp32.safetensors"]


def test_files_of_other_weights_are_not_listed(source: Source, images: Images, tmp_path: Path) -> None:
    write_card(exported(source, images, tmp_path / "old.safetensors"), "fp32", source)
    other = Source.open(weights.save(tmp_path / "again.safetensors", settled(ARCH, 5), ARCH, INFO))
    card = write_card(exported(other, images_of(other), tmp_path / "new.safetensors"), "fp32", other)
    assert rows(card.read_text()) == ["new.safetensors"]


@pytest.mark.parametrize(
    "first",
    [
        "# My project",
        "---\nlicense: mit\n---\n# Mine",
        "<!-- archsearch [] -->",
        '<!-- archsearch {"files": 3} -->',
        "",
    ],
)
def test_a_readme_of_someone_else_is_left_alone(source: Source, images: Images, tmp_path: Path, first: str) -> None:
    (tmp_path / "README.md").write_text(f"{first}\n")
    card = write_card(exported(source, images, tmp_path / "m.safetensors"), "fp32", source)
    if first.startswith("<!--"):
        assert card.name == "README.md"
    else:
        assert card.name == "m.safetensors.md"
        assert (tmp_path / "README.md").read_text() == f"{first}\n"
    assert rows(card.read_text()) == ["m.safetensors"]


def test_names_from_a_file_are_text_in_a_card(source: Source, images: Images, tmp_path: Path) -> None:
    info = {**INFO, "classes": ["<script>", "a|b", "`c`", "d\nx"], "dataset": "--><b>"}
    hostile = Source(source.path, source.module, source.arch, info)
    text = write_card(exported(source, images, tmp_path / "m.safetensors"), "fp32", hostile).read_text()
    assert "<script>" not in text
    assert "<b>" not in text
    assert text.count("-->") == 1
    assert "?script?, a?b, ?c?, d?x" in text


def test_an_edited_note_is_not_believed(source: Source, images: Images, tmp_path: Path) -> None:
    for name in ("a", "b"):
        card = write_card(exported(source, images, tmp_path / f"{name}.safetensors"), "fp32", source)
    card.write_text(card.read_text().replace('"dtype": "fp32", "bytes"', '"dtype": "<b>", "bytes"'))
    write_card(exported(source, images, tmp_path / "c.safetensors"), "fp32", source)
    assert rows(card.read_text()) == ["c.safetensors"]


def head(card: Path) -> dict[str, Any]:
    """What Hugging Face's own reader takes from a card's head, which it has checked."""
    return dict(huggingface_hub.ModelCard.load(card).data.to_dict())


def of_dataset(source: Source, **info: object) -> Source:
    return replace(source, info={**source.info, **info})


def test_hugging_face_reads_the_head_of_a_card(source: Source, images: Images, tmp_path: Path) -> None:
    trained = of_dataset(source, dataset="cifar10", metric="macro-f1")
    done = exported(trained, images, tmp_path / "m.safetensors")
    found = head(write_card(done, "fp32", trained, tables.Tested(0.91, 0.01, 3, 0.75, 0.02)))
    [model] = found.pop("model-index")
    assert found == {
        "library_name": "archsearch",
        "pipeline_tag": "image-classification",
        "tags": ["neural-architecture-search", "safetensors"],
        "datasets": ["uoft-cs/cifar10"],
    }
    assert model["name"] == f"archsearch-{ARCH.id}"
    by_type = {(result["metrics"][0]["type"], result["metrics"][0]["value"]) for result in model["results"]}
    every = {(metric["type"], metric["value"]) for result in model["results"] for metric in result["metrics"]}
    assert by_type <= every == {("accuracy", 0.91), ("f1", 0.75)}
    assert {result["dataset"]["type"] for result in model["results"]} == {"uoft-cs/cifar10"}
    assert {result["dataset"]["split"] for result in model["results"]} == {"test"}


@pytest.mark.parametrize("dataset", ["folder:/home/me/my photos", "npz:--> <b>.npz", "digits", "folder:---"])
def test_a_head_of_own_data_names_no_dataset(source: Source, images: Images, tmp_path: Path, dataset: str) -> None:
    trained = of_dataset(source, dataset=dataset, test_accuracy=0.5)
    found = head(write_card(exported(trained, images, tmp_path / "m.safetensors"), "fp32", trained))
    assert "datasets" not in found
    assert "/home/me" not in str(found)
    [result] = found["model-index"][0]["results"]
    assert re.fullmatch(r"[\w.-]+", result["dataset"]["type"])
    assert result["metrics"] == [{"type": "accuracy", "value": 0.5, "name": "test accuracy"}]


def test_a_head_without_a_test_has_no_figure(source: Source, images: Images, tmp_path: Path) -> None:
    found = head(write_card(exported(source, images, tmp_path / "m.safetensors"), "fp32", source))
    assert not {"model-index", "license", "datasets"} & {*found}


def test_a_file_that_has_changed_is_not_listed(source: Source, images: Images, tmp_path: Path) -> None:
    for name in ("a", "b"):
        card = write_card(exported(source, images, tmp_path / f"{name}.safetensors"), "fp32", source)
    assert {path.name for path in listed(card)} == {"a.safetensors", "b.safetensors"}
    (tmp_path / "a.safetensors").write_bytes(b"other")
    assert listed(card) == [tmp_path / "b.safetensors"]
    write_card(exported(source, images, tmp_path / "b.safetensors"), "fp32", source)
    assert rows(card.read_text()) == ["b.safetensors"]


def test_a_note_names_no_file_of_another_folder(source: Source, images: Images, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    card = write_card(exported(source, images, tmp_path / "here" / "m.safetensors"), "fp32", source)
    (tmp_path / "m.safetensors").write_bytes((tmp_path / "here" / "m.safetensors").read_bytes())
    card.write_text(card.read_text().replace('{"m.safetensors": {', '{"../m.safetensors": {'))
    assert listed(card) == []
