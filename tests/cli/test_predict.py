"""`archsearch predict`: from a file and images to a table, or to a contest's submission."""

from __future__ import annotations

import csv
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import Answer, small_npz
from data_samples import Lines, noise
from exports import ARCH, CLASSES, INFO, info_of, settled
from formats import cifar10, encoded, old_pickle

from archsearch.cli.predict import Tally
from archsearch.data import load_dataset
from archsearch.data.picture import Broken
from archsearch.data.unlabelled import open_unlabelled
from archsearch.inference import open_runner
from archsearch.inference.predict import Answers
from archsearch.network.arch import Arch
from archsearch.network.stage import Part, Stage
from archsearch.nn import weights

Command = Callable[..., Answer]
FLAT = (Part("flatten"), (Stage("dense", 4),), Part("linear"))


@pytest.fixture
def network(work: Path) -> Path:
    """A file of a network for 3 x 8 x 8 pixels and four classes."""
    return weights.save(work / "w.safetensors", settled(ARCH), ARCH, INFO)


def table(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [*csv.reader(file)]


def test_a_folder_with_a_broken_picture(command: Command, network: Path, work: Path) -> None:
    for number in range(12):
        path = work / "photos" / "ab"[number % 2] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(number, (9, 11)))
    (work / "photos" / "b" / "05.png").write_bytes(b"no picture")
    (work / "photos" / "b" / "note.txt").write_text("no picture")
    answer = command("predict", network, "photos")
    assert (answer.status, answer.err) == (0, "")
    said = answer.out.splitlines()
    assert said[0] == "predictions.csv: 12 images"
    assert said[1].startswith("could not be read: 1 of 12, the first is photos/b/05.png (cannot identify image file")
    assert said[2:] == ["left out, no pictures that Pillow reads: 1 .txt"]
    found = table(work / "predictions.csv")
    assert found[0] == ["id", "label", "probability", "error"]
    names = sorted(str(path.relative_to(work)) for path in (work / "photos").rglob("*.png"))
    assert [row[0] for row in found[1:]] == names
    assert [row[1:3] for row in found[1:] if row[3]] == [["", ""]]
    assert {row[1] for row in found[1:]} <= {*CLASSES, ""}
    answer = command("predict", network, "photos/a", "photos/b/01.png", "--top", 9, "--index", "--logits",
                     "--output", "deep/p.csv", "--device", "cpu")  # fmt: skip
    assert (answer.status, answer.out) == (0, "deep/p.csv: 7 images\n")
    wide = table(work / "deep" / "p.csv")
    assert len(wide[0]) == 1 + 2 * 4 + 4 + 1
    assert [row[0] for row in wide[1:]] == [*names[:6], "photos/b/01.png"]
    assert wide[1][1] == str(CLASSES.index(found[1][1]))
    (work / "none").mkdir()
    (work / "none" / "x.png").write_bytes(b"")
    answer = command("predict", network, "none", "--output", "none.csv")
    assert answer.status == 2
    assert "none of 1 image can be read, the first is none/x.png (" in answer.error
    assert not (work / "none.csv").exists()


def test_answers_of_a_few_pictures_are_said(command: Command, network: Path, work: Path) -> None:
    (work / "broken.png").write_bytes(b"")
    pictures = []
    for number in range(5):
        pictures.append(work / f"{number}.png")
        pictures[-1].write_bytes(encoded(number))
    said = command("predict", network, pictures[0].name, "broken.png").out.splitlines()
    (name, label, share, _), (broken, *_, reason) = table(work / "predictions.csv")[1:]
    assert said[:3] == [f"{name}  {label}  {share}", f"{broken}  {reason}", "predictions.csv: 2 images"]
    assert len(command("predict", network, *pictures).out.splitlines()) == 6
    assert len(command("predict", network, *pictures, "broken.png").out.splitlines()) == 2  # the count, and the broken


def test_how_far_it_is_and_what_was_broken(work: Path) -> None:
    (work / "some").mkdir()
    for number in range(3):
        (work / "some" / f"{number}.png").write_bytes(encoded(number) if number else b"")
    watch, tally = Lines(), Tally(open_unlabelled([str(work / "some")]))
    said = [Answers(0, torch.zeros(2, 4), {0: Broken("empty")}), Answers(2, torch.zeros(1, 4))]
    assert [*tally.watched(iter(said), watch)] == said
    assert watch.steps == [("images", 2, 3), ("images", 3, 3)]
    told = f"could not be read: 1 of 3, the first is {work / 'some' / '0.png'} (empty)"
    assert tally.summary(Path("p.csv")) == ["p.csv: 3 images", told]


def test_a_split_has_the_logits_of_evaluate(command: Command, work: Path) -> None:
    arch = Arch((1, 8, 8), 10, *FLAT)
    file = weights.save(work / "w.safetensors", settled(arch), arch, {**info_of(arch), "dataset": "digits"})
    answer = command(
        "predict", file, "digits", "--split", "test", "--logits", "--columns", "n,label,p", "--output", "t"
    )
    assert (answer.status, answer.out, answer.err) == (0, "t: 300 images\n", "")
    command("predict", file, "digits", "--split", "test", "--logits")
    found = [row[3:-1] for row in table(work / "predictions.csv")[1:]]
    wanted = open_runner(file)(load_dataset("digits").test()[0])
    assert torch.equal(torch.tensor([[float(cell) for cell in row] for row in found]), wanted)
    assert [row[0] for row in table(work / "t")] == ["n", *map(str, range(300))]
    for part in ("train", "validation"):
        answer = command("predict", file, "digits", "--split", part, "--seed", 2, "--output", f"{part}.csv")
        count = len(load_dataset("digits").parts(2)[part == "validation"][1])
        assert answer.out == f"{part}.csv: {count:,} images\n"


def test_a_contest(command: Command, network: Path, work: Path) -> None:
    """An unlabelled batch as CIFAR's, and the same with the contest's template."""
    images, ids = noise(20, 8, 8, 3), [int(one) for one in np.random.default_rng(0).permutation(20)]
    batch = {b"data": images.transpose(0, 3, 1, 2).reshape(20, -1), b"ids": ids}
    (work / "nolabel.pkl").write_bytes(pickle.dumps(batch))
    answer = command("predict", network, "nolabel.pkl", "--columns", "ID,Labels", "--index", "--output", "s.csv")
    assert (answer.status, answer.out) == (0, "s.csv: 20 images\n")
    runner = open_runner(network)
    wanted = runner(torch.from_numpy(images).permute(0, 3, 1, 2)).argmax(1).tolist()
    assert table(work / "s.csv") == [
        ["ID", "Labels"],
        *([str(n), str(one)] for n, one in zip(ids, wanted, strict=True)),
    ]
    (work / "sample.csv").write_text("ID,Labels\n" + "".join(f"{n},0\n" for n in range(20)))
    answer = command("predict", network, "nolabel.pkl", "--template", "sample.csv", "--output", "u.csv")
    assert (answer.status, answer.err) == (0, "")
    assert table(work / "u.csv") == [["ID", "Labels"], *([str(n), str(wanted[ids.index(n)])] for n in range(20))]
    np.savez(work / "x.npz", images)
    command("predict", network, "x.npz", "--template", "sample.csv", "--id-column", "ID", "--output", "v.csv")
    assert [row[1] for row in table(work / "v.csv")[1:]] == [str(one) for one in wanted]
    (work / "sample.csv").write_text("ID,Labels\n0,0\n99,0\n")
    answer = command("predict", network, "nolabel.pkl", "--template", "sample.csv", "--output", "w.csv")
    assert (answer.status, answer.out) == (2, "")
    assert "--template sample.csv: 1 of 2 ids have no image: 99; there are 20 images" in answer.error
    assert not (work / "w.csv").exists()


def test_from_a_search_to_a_submission_in_two_commands(command: Command, work: Path) -> None:
    """CIFAR's batches as their authors give them; those without labels are pickled as Python 2 does."""
    cifar10(work / "batches")
    images = noise(15, 3072, seed=9)
    (work / "nolabel.pkl").write_bytes(old_pickle({"data": images, "ids": [*range(100, 115)]}))
    done = command("run", "--dataset", "cifar:batches", "--space", "tiny.toml", "--max-params", "20k", "--trials", 1,
                   "--epochs", 1, "--study", "s")  # fmt: skip
    assert (done.status, done.err) == (0, "")
    (found,) = (work / "results/s/weights").glob("*.safetensors")
    words = ("--columns", "ID,Labels", "--index", "--output", "submission.csv")
    assert command("predict", found, "nolabel.pkl", *words).status == 0
    wanted = open_runner(found)(torch.from_numpy(images).reshape(-1, 3, 32, 32)).argmax(1).tolist()
    rows = [[str(100 + n), str(label)] for n, label in enumerate(wanted)]
    assert table(work / "submission.csv") == [["ID", "Labels"], *rows]


def test_images_of_another_size(command: Command, work: Path) -> None:
    arch = Arch((3, 12, 12), 2, *FLAT)
    info = {**info_of(arch), "colour": "rgb", "dataset": "npz:some.npz"}
    file = weights.save(work / "w.safetensors", settled(arch), arch, info)
    small_npz(work / "grey.npz")
    word = "npz:grey.npz?images=test_images"
    answer = command("predict", file, word)
    assert answer.status == 2
    assert "images of 3x8x8, the network takes 3x12x12: see --image-size" in answer.error
    assert command("predict", file, word, "--image-size", 12, "--logits").status == 0
    wanted = open_runner(file)(load_dataset("npz:grey.npz", image_size=12, colour="rgb").test()[0])
    found = [[float(cell) for cell in row[3:-1]] for row in table(work / "predictions.csv")[1:]]
    assert torch.equal(torch.tensor(found), wanted)


def test_temperature_and_several_labels_of_the_file(command: Command, work: Path) -> None:
    (work / "x.png").write_bytes(encoded(1, (8, 8)))
    for name, more in (("cold", {}), ("hot", {"temperature": 4.0}), ("several", {"labels": "several"})):
        file = weights.save(work / f"{name}.safetensors", settled(ARCH), ARCH, {**INFO, **more})
        assert command("predict", file, "x.png", "--output", f"{name}.csv").status == 0
    cold, hot, several = (table(work / f"{name}.csv") for name in ("cold", "hot", "several"))
    assert cold[1][1] == hot[1][1]
    assert 0.25 < float(hot[1][2]) < float(cold[1][2])
    assert several[0] == ["id", *CLASSES, *(f"probability_{name}" for name in CLASSES), "error"]
    assert [cell == "1" for cell in several[1][1:5]] == [float(cell) > 0.5 for cell in several[1][5:9]]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["none.onnx", "x.png"], "none.onnx: there is no such file"),
        (["W", "nothing"], "nothing: there is no such file or folder: give a folder"),
        (["W", "cifar10"], "cifar10 is a dataset with splits: say which is to be answered: --split test"),
        (["W", "cifar11", "--split", "test"], "dataset 'cifar11': must be one of"),
        (["W", "x.png", "y.png", "--split", "test"], "--split test: takes one dataset, not 2 words"),
        (["W", "x.png", "--image-size", "9"], "--image-size 9: w.safetensors takes images of 8 x 8 pixels"),
        (["W", "x.png", "--columns", "a,b,c,d"], "--columns a,b,c,d: names 4 columns of 3"),
        (["W", "x.png", "--template", "t.csv", "--top", "2"], "--template and --top exclude each other"),
        (["W", "x.png", "--template", "t.csv", "--columns", "a"], "--template and --columns exclude each other"),
        (["W", "x.png", "--template", "none.csv"], "--template none.csv: cannot be read: No such file"),
        (["W", "x.png", "--id-column", "k"], "--id-column k: goes with csv:FILE and parquet:PATH"),
        (["W", "digits", "--split", "test", "--id-column", "k"], "--id-column k: not with --split"),
        (["W", "csv:t.csv", "--output", "t.csv"], "--output t.csv: is one of the files that are read"),
        (["W", "x.png", "--output", "./w.safetensors"], "--output w.safetensors: is one of the files that are read"),
        (["W", "x.png", "--output", "x.png/p.csv"], "x.png"),
        (["W", "x.png", "--device", "cuda:99"], "device 'cuda:99' is not available here"),
        (["W"], "Missing argument 'IMAGES...'"),
    ],
)
def test_bad_input_is_one_line(command: Command, network: Path, work: Path, args: list[str], words: str) -> None:
    (work / "x.png").write_bytes(encoded(1))
    (work / "y.png").write_bytes(encoded(2))
    (work / "t.csv").write_text("id,label\nx,cat\n")
    before = {path: path.read_bytes() for path in work.iterdir()}
    answer = command("predict", *("w.safetensors" if arg == "W" else arg for arg in args))
    assert (answer.status, answer.out) == (2, "")
    assert words in answer.error
    assert {path: path.read_bytes() for path in work.iterdir()} == before
