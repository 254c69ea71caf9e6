"""Image size and colour searched with the network, from a run to the shipped file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from commands import TINY, Answer
from PIL import Image

import archsearch
from archsearch import Arch
from archsearch.cli.sources import dataset_of
from archsearch.nn import weights
from archsearch.study.storage import load_study, open_storage, sqlite_url
from archsearch.workers.worker import study_dataset

Command = Callable[..., Answer]
TABLE = '[input]\nsize = { choice = [6, 8, 10] }\ncolour = { choice = ["grey", "rgb"] }\n'
RUN = ("run", "--max-params", "20k", "--space", "sized.toml", "--dataset", "folder:pets", "--epochs", "1",
       "--image-size", "8,12", "--sampler", "random", "--study", "s")  # fmt: skip
GIVEN = {"dataset": None, "image_size": None, "data_dir": Path("data"), "skip_broken": False, "nested": False}


@pytest.fixture
def pets(work: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pictures of two classes, larger than any size, and a space with sizes and colours."""
    monkeypatch.chdir(work)
    chance = np.random.default_rng(0)
    for label, level in (("cat", 90), ("dog", 160)):
        (work / "pets" / label).mkdir(parents=True)
        for n in range(16):
            pixels = chance.normal(level, 50, (30, 24, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(work / "pets" / label / f"{n}.png")
    (work / "sized.toml").write_text(TABLE + TINY.replace('summary = "tiny"\n', ""))
    return work


def test_from_a_run_to_the_shipped_file(command: Command, pets: Path) -> None:
    answer = command(*RUN, "--trials", "6", "--no-rungs", "--references")
    assert answer.status == 0, answer.err
    assert "--image-size 8,12 goes before the sizes of space 'sized'" in answer.out
    assert "images of 1x8x8, 1x12x12, 3x8x8 or 3x12x12" in answer.out
    folder = pets / "results" / "s"
    table = pd.read_csv(folder / "trials.csv", dtype={"arch": str})
    searched = table[table.state != "reference"]
    archs = {row.arch: Arch.load(folder / "archs" / f"{row.arch}.toml") for row in searched.itertuples()}
    shapes = {arch.input_shape for arch in archs.values()}
    assert len({side for _, side, _ in shapes}) == len({channels for channels, *_ in shapes}) == 2
    for row in searched.itertuples():
        channels, side, _ = archs[row.arch].input_shape
        assert archs[row.arch].id == row.arch
        assert row.macs == archs[row.arch].cost.macs
        assert row.summary.startswith(f"{side}px {'grey' if channels == 1 else 'rgb'} | conv")
    assert json.loads((folder / "run.json").read_text())["inputs"] == [[1, 8, 8], [1, 12, 12], [3, 8, 8], [3, 12, 12]]
    assert "1x8x8, 1x12x12, 3x8x8 or 3x12x12" in (folder / "report.html").read_text()

    small = next(arch for arch in archs.values() if arch.input_shape != (3, 12, 12))
    trained = command("retrain", "s", "--arch", small.id, "--seeds", "1", "--epochs", "1")
    assert trained.status == 0, trained.err
    assert "leave the option out" in command("retrain", "s", "--arch", small.id, "--image-size", "7").error
    path = folder / "weights" / f"{small.id}-seed0.safetensors"
    _, config = load_study(open_storage(sqlite_url(folder / "study.db")), "s")
    # What retrain and evaluate read are the pixels of the search, to the last bit.
    read = weights.read(path)
    assert read.arch == small
    found, seen = (
        dataset_of(path, read.arch, read.info, GIVEN),
        study_dataset("folder:pets", Path(), config, small.input_shape),
    )
    assert torch.equal(found.images[:], seen.images[:])
    assert torch.equal(found.test()[0][:], seen.test()[0][:])
    assert found.parts(0)[1][1].equal(study_dataset("folder:pets", Path(), config).parts(0)[1][1])

    evaluated = command("evaluate", path, "--json")
    assert json.loads(evaluated.out)["n"] == len(found.test()[1])
    exported = command("export", "s", small.id, "--format", "pt2", "--json")
    assert exported.status == 0, exported.err
    network = archsearch.load(json.loads(exported.out)["path"])
    assert network.input_shape == small.input_shape
    pixels = network.preprocess(pets / "pets" / "cat" / "0.png")
    whole = torch.cat([found.images[:], found.test()[0][:]])
    assert ((pixels * 255).round().to(torch.uint8) == whole).flatten(1).all(1).any()

    resumed = command(*RUN, "--trials", "7", "--no-rungs", "--resume")
    assert resumed.status == 0, resumed.err
    other = command(*RUN, "--image-size", "10,12", "--trials", "8", "--resume")
    assert other.status == 2
    assert "sizes was [8, 12], is [10, 12]" in other.error
    changed = pets / "pets" / "dog" / "0.png"
    Image.fromarray(np.zeros((30, 24, 3), np.uint8)).save(changed)
    assert "is not the dataset of this study" in command("retrain", "s", "--arch", small.id, "--seeds", "2").error


def test_a_front_of_several_shapes_is_retrained_by_two_workers_results(command: Command, pets: Path) -> None:
    answer = command(*RUN, "--trials", "4", "--workers", "2", "--no-rungs")
    assert answer.status == 0, answer.err
    trained = command("retrain", "s", "--front", "--seeds", "1", "--epochs", "1")
    assert trained.status == 0, trained.err
    front = pd.read_csv(pets / "results" / "s" / "pareto.csv", dtype={"arch": str})
    assert front.test_seeds.eq(1).all()


def test_one_size_is_as_before_and_bad_ones_are_refused(command: Command, pets: Path) -> None:
    for value, message in (("8,8", "write every size once"), ("0", "write pixels of a side"), ("8,x", "64,96,128")):
        assert message in command(*RUN, "--image-size", value).error
    answer = command(*RUN, "--image-size", "9", "--trials", "1")
    assert answer.status == 0, answer.err
    assert "images of 1x9x9 or 3x9x9" in answer.out
    assert "[6" not in answer.out


def test_spaces_describes_the_input(command: Command, pets: Path) -> None:
    facts = json.loads(command("spaces", "sized.toml", "--json", "--max-params", "20k").out)
    assert facts["input"] == [3, 10, 10]
    assert facts["inputs"] == [[c, side, side] for c in (1, 3) for side in (6, 8, 10)]
    assert facts["dims"][0] == {"name": "input.size", "choice": [6, 8, 10], "active": ""}
    assert facts["smallest"]["summary"].startswith("6px grey | ")
    fixed = json.loads(command("spaces", "sized.toml", "--json", "--input-shape", "3,32,32").out)
    assert fixed["input"] == [3, 32, 32]
    assert "inputs" not in fixed
    assert facts["descriptions"] == 6 * fixed["descriptions"]
    assert "for 1x6x6 to 3x10x10 images" in command("spaces", "sized.toml").out
