"""Bad input: one line on stderr that names the value, the rule and the way out; exit 2; nothing written."""

from __future__ import annotations

import ctypes
import os
import pickle
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import STUDY, TINY, Answer, small_npz, snapshot
from optuna.artifacts import FileSystemArtifactStore
from PIL import Image

from archsearch.network.arch import Arch
from archsearch.network.stage import Part, Stage
from archsearch.nn import weights
from archsearch.nn.build import build
from archsearch.report.dashboard import show_front
from archsearch.study.storage import open_existing

Command = Callable[..., Answer]


def paths(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder, empty folders included."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


@pytest.fixture
def refused(command: Command, work: Path) -> Callable[..., str]:
    """`refused(*args)` is the line with which a command refuses, after a check that it changed nothing."""

    def run(*args: object) -> str:
        before = paths(work)
        answer = command(*args)
        assert answer.status == 2
        assert answer.out == ""
        assert paths(work) == before
        return answer.error

    return run


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--max-params", "abc", ["'abc' is no count", "5e6"]),
        ("--max-params", "-5", ["'-5' is no count", "positive", "5e6"]),
        ("--max-params", "nan", ["'nan' is no count", "5e6"]),
        ("--max-params", "inf", ["'inf' is no count", "5e6"]),
        ("--max-params", "0", ["'0' is no count", "above zero"]),
        ("--max-params", "5MB", ["'5MB' is no count"]),
        ("--max-params", "", ["'' is no count"]),
        ("--max-size", "6XB", ["'6XB' is no size", "6MB (10^6 bytes)", "6MiB (2^20)"]),
        ("--max-size", "-1MB", ["'-1MB' is no size"]),
        ("--max-macs", "many", ["'many' is no count"]),
        ("--max-activation", "1 acre", ["'1 acre' is no size"]),
        ("--timeout", "soon", ["'soon' is no duration", "20m"]),
        ("--size-dtype", "fp64", ["'fp64'", "fp32", "fp16", "bf16", "int8"]),
        ("--size-format", "pt2", ["'pt2'", "safetensors", "onnx", "litert", "ncnn"]),
        ("--sampler", "magic", ["'magic'", "pareto", "tpe", "nsga2", "random"]),
        ("--trials", "0", ["0", "x>=1"]),
        ("--epochs", "none", ["'none'", "integer"]),
        ("--seed", "-1", ["-1", "x>=0"]),
        ("--image-size", "0", ["'0'", "from 1", "64,96,128"]),
        ("--workers", "0", ["'0'", "whole number from 1", "auto"]),
        ("--workers", "many", ["'many'", "auto"]),
    ],
)
def test_a_value_that_is_none(refused: Callable[..., str], option: str, value: str, words: list[str]) -> None:
    line = refused("run", option, value)
    assert f"'{option}'" in line
    for word in words:
        assert word in line


@pytest.mark.parametrize(("grace", "epochs"), [("4", "5"), ("1", "1"), ("30", "20")])
def test_a_rung_that_can_save_nothing(refused: Callable[..., str], grace: str, epochs: str, work: Path) -> None:
    line = refused("run", "--grace", grace, "--epochs", epochs)
    assert f"--grace {grace}" in line
    assert f"a third of the {epochs} epochs" in line
    assert "--no-rungs" in line
    assert not (work / "results").exists()


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("lr", ["--recipe 'lr'", "KEY=VALUE", "lr=0.2"]),
        ("lr=", ["--recipe 'lr='", "KEY=VALUE"]),
        ("lr=fast", ["lr = 'fast'", "finite number"]),
        ("lr=nan", ["lr = nan", "finite number"]),
        ("lr=-2", ["lr = -2", "above zero"]),
        ("epochs=2.5", ["epochs = 2.5", "whole number"]),
        ("optimiser=lion", ["optimiser = 'lion'", "sgd"]),
        ("learning_rate=1", ["'learning_rate'"]),
        ("batch_siz=64", ["'batch_siz' (did you mean 'batch_size'?)"]),
    ],
)
def test_a_recipe_value_that_is_none(refused: Callable[..., str], word: str, words: list[str]) -> None:
    line = refused("run", "--max-params", "20k", "--recipe", word)
    for part in ["--recipe", *words]:
        assert part in line


def test_a_recipe_value_that_the_space_searches(refused: Callable[..., str], work: Path) -> None:
    (work / "free.toml").write_text(TINY + "[train]\nlr = { choice = [0.1, 0.2] }\n")
    line = refused("run", "--space", "free.toml", "--max-params", "20k", "--recipe", "lr=0.3")
    assert "--recipe lr: space 'free' sets it for every candidate" in line


def test_an_unknown_option_is_named_with_the_nearest(refused: Callable[..., str]) -> None:
    line = refused("run", "--max-parms", "5e6")
    assert "--max-parms" in line
    assert "--max-params" in line


def test_an_unknown_command(refused: Callable[..., str]) -> None:
    assert "'serach'" in refused("serach")


def test_an_unknown_space_lists_what_there_is(refused: Callable[..., str]) -> None:
    line = refused("run", "--space", "resnet50")
    assert "'resnet50' (did you mean 'resnet'?)" in line
    assert ".toml" in line
    line = refused("run", "--space", "vit")
    assert all(name in line for name in ("nin", "resnet", "resnin"))


def test_a_missing_space_file(refused: Callable[..., str]) -> None:
    assert "missing.toml: cannot be read: No such file" in refused("run", "--space", "missing.toml")


def test_an_unknown_dataset_lists_what_there_is(refused: Callable[..., str]) -> None:
    line = refused("run", "--dataset", "cifar")
    assert "'cifar'" in line
    assert all(name in line for name in ("digits", "mnist", "cifar10", "cifar100", "folder:DIR", "npz:FILE"))
    assert "did you mean cifar10" in line


def test_an_unknown_device(refused: Callable[..., str]) -> None:
    line = refused("run", "--device", "gpu")
    assert "'gpu'" in line
    assert "cuda:1" in line


def test_a_device_that_is_not_here(refused: Callable[..., str]) -> None:
    assert "'cuda:77' is not available here: use auto or cpu" in refused("run", "--device", "cuda:77")


def test_a_typo_in_a_space_file(refused: Callable[..., str], work: Path) -> None:
    (work / "typo.toml").write_text(TINY.replace("kernel", "kernle"))
    line = refused("run", "--space", "typo.toml")
    assert "typo.toml" in line
    assert "'kernle' (did you mean 'kernel'?)" in line


def test_every_error_of_a_space_file_at_once(refused: Callable[..., str], work: Path) -> None:
    broken = TINY.replace("summary", "sumary").replace('"basic"', '"basik"').replace("[8, 12, 16, 256]", "[0, 8]")
    (work / "broken.toml").write_text(broken + "[train]\nlr = -2.0\nepochz = 3\n")
    line = refused("run", "--space", "broken.toml")
    assert "broken.toml" in line
    for words in ("'sumary' (did you mean 'summary'?)", "'basik' (did you mean 'basic'?)", "stage1.width = 0",
                  "lr = -2.0", "'epochz' (did you mean 'epochs'?)"):  # fmt: skip
        assert words in line


def test_a_space_file_that_is_no_toml(refused: Callable[..., str], work: Path) -> None:
    (work / "bad.toml").write_text("[stem\n")
    line = refused("run", "--space", "bad.toml")
    assert "bad.toml: no valid TOML" in line
    assert "line 1" in line


def test_a_missing_folder(refused: Callable[..., str], work: Path) -> None:
    line = refused("run", "--dataset", f"folder:{work / 'pictures'}")
    assert f"there is no folder {work / 'pictures'}" in line


def test_a_missing_npz(refused: Callable[..., str]) -> None:
    assert "there is no file x.npz" in refused("run", "--dataset", "npz:x.npz")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train_labels": None, "test_images": None}, ["missing train_labels, test_images", "numpy.savez"]),
        ({"train_images": np.zeros((60, 8, 8), np.float32)}, ["train_images is float32", "uint8"]),
        ({"train_images": np.zeros((60, 64), np.uint8)}, ["train_images has shape (60, 64)", "(N, H, W)"]),
        ({"train_labels": np.zeros(59, np.int64)}, ["60 images", "59 labels"]),
        ({"train_labels": np.zeros((60, 10), np.int64)}, ["train_labels (60, 10)", "write them alike"]),
        ({"test_images": np.zeros((10, 9, 9), np.uint8)}, ["test_images has shape (10, 9, 9)", "one image size"]),
        ({"train_labels": np.zeros(60, np.int64)}, ["all train_labels are 0", "2 classes"]),
        (
            {"train_images": np.zeros((60, 64), np.uint8), "test_labels": np.zeros(10)},
            ["train_images has shape (60, 64)", "test_labels is float64"],
        ),
    ],
)
def test_arrays_that_break_the_layout(
    refused: Callable[..., str], work: Path, changes: dict[str, object], words: list[str]
) -> None:
    small_npz(work / "bad.npz", **changes)
    line = refused("run", "--dataset", "npz:bad.npz")
    assert "npz:bad.npz" in line
    for word in words:
        assert word in line


class Bomb:
    """Unpickled, it leaves a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (self.path,)


def test_pickled_objects_are_refused_and_not_unpickled(refused: Callable[..., str], work: Path) -> None:
    bomb = Bomb(str(work / "exploded"))
    small_npz(work / "bad.npz", train_images=np.array([bomb] * 60, dtype=object))
    line = refused("run", "--dataset", "npz:bad.npz")
    assert "train_images holds pickled Python objects, which are refused" in line
    assert not (work / "exploded").exists()
    with pytest.raises(FileExistsError):  # the file is a real bomb
        pickle.loads(pickle.dumps(Bomb(str(work))))


def test_a_file_that_is_no_npz(refused: Callable[..., str], work: Path) -> None:
    (work / "bad.npz").write_text("hello")
    assert "bad.npz is no .npz file" in refused("run", "--dataset", "npz:bad.npz")


def test_one_broken_picture_is_named(command: Command, refused: Callable[..., str], work: Path) -> None:
    for label in ("cat", "dog"):
        (work / "pets" / label).mkdir(parents=True)
        for number in range(4):
            Image.new("L", (16, 16), 40 * number).save(work / "pets" / label / f"{number}.png")
    broken = work / "pets" / "dog" / "2.png"
    broken.write_bytes(broken.read_bytes()[:40])
    args = "run", "--dataset", "folder:pets", "--image-size", "16"
    command(*args)  # what could be decoded is kept
    line = refused(*args)
    assert "pets/dog/2.png is no readable picture" in line
    assert "replace or remove it" in line


def test_missing_data_without_network(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The address is one that nothing answers; the message has three ways out."""
    import socket

    def unreachable(*args: object, **kwargs: object) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr(socket.socket, "connect", unreachable)
    line = refused("run", "--dataset", "cifar10", "--data-dir", "data")
    assert "cifar10: no whole copy in data" in line
    assert "cifar-10-python.tar.gz" in line
    assert "--dataset digits" in line


def test_results_below_a_regular_file(refused: Callable[..., str], work: Path) -> None:
    (work / "taken").write_text("")
    line = refused("run", "--out", "taken", "--trials", "1", "--epochs", "1", "--space", "tiny.toml")
    assert line == "archsearch: Invalid value for '--out': Directory 'taken' is a file."


class _Capabilities(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("effective", "permitted", "inheritable")]


@pytest.fixture
def obeys_modes() -> Iterator[None]:
    """Root without its right to write where modes forbid it; anyone else has none anyway."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (_Capabilities * 2)()
    assert libc.capget(header, data) == 0
    before = data[0].effective
    data[0].effective = before & ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert libc.capset(header, data) == 0
    yield
    data[0].effective = before
    assert libc.capset(header, data) == 0


@pytest.fixture
def locked(work: Path) -> Iterator[Path]:
    folder = work / "locked"
    folder.mkdir()
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o755)


@pytest.mark.usefixtures("obeys_modes")
def test_no_permission_to_make_the_folder(refused: Callable[..., str], locked: Path) -> None:
    line = refused("run", "--out", locked, "--space", "tiny.toml", "--max-params", "20k")
    assert str(locked / STUDY) in line
    assert "Permission denied" in line


@pytest.mark.usefixtures("obeys_modes")
def test_no_permission_to_write_into_the_folder(refused: Callable[..., str], work: Path, locked: Path) -> None:
    line = refused("run", "--out", work, "--study", "locked", "--space", "tiny.toml")
    assert "locked/study.db: unable to open database file" in line


@pytest.mark.parametrize("args", [("run", "--study", "s"), ("run", "--study", "s", "--resume"), ("pareto", "s"),
                                  ("show", "s", "0"), ("dashboard", "s", "--port", "0")])  # fmt: skip
def test_a_study_database_that_is_none(refused: Callable[..., str], work: Path, args: tuple[str, ...]) -> None:
    (work / "results" / "s").mkdir(parents=True)
    (work / "results" / "s" / "study.db").write_text("this is no database, " * 100)
    line = refused(*args)
    assert "results/s/study.db: file is not a database" in line


@pytest.mark.parametrize("url", ["nonsense", "oracle://me:secret@host/db", "sqlite:////nowhere/at/all.db"])
def test_a_storage_that_is_none(refused: Callable[..., str], url: str, work: Path) -> None:
    (work / "results" / "s").mkdir(parents=True)
    line = refused("run", "--study", "s", "--storage", url)
    assert url.replace("secret", "***") in line
    assert "secret" not in line


def test_an_existing_study_without_resume_changes_nothing(refused: Callable[..., str], study: Path) -> None:
    before = snapshot(study)
    line = refused("run", "--max-params", "20k", "--space", "tiny.toml")
    assert f"study {STUDY!r} exists: add --resume to go on with it, or choose another --study" in line
    assert snapshot(study) == before


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (("--max-params", "30k"), "budget"),
        (("--max-params", "20k", "--size-dtype", "int8"), "budget"),
        (("--max-params", "20k", "--seed", "4"), "seed"),
        (("--max-params", "20k", "--epochs", "3"), "recipe"),
        (("--max-params", "20k", "--space", "resnin"), "space"),
        (("--max-params", "20k", "--dataset", "npz:other.npz"), "dataset"),
    ],
)
def test_resume_with_other_settings(
    refused: Callable[..., str], work: Path, study: Path, args: tuple[str, ...], word: str
) -> None:
    small_npz(work / "other.npz")
    before = snapshot(study)
    defaults = ("--space", "tiny.toml", "--epochs", "2", "--seed", "3")
    line = refused("run", *defaults, *args, "--study", STUDY, "--resume")
    assert f"study {STUDY!r} was made with another" in line
    assert word in line.split("another", 1)[1]
    assert "choose another --study" in line
    assert snapshot(study) == before


def test_a_limit_that_nothing_can_meet_is_a_no(command: Command, work: Path) -> None:
    """Twice: the first answer must not leave a study in the way of the second."""
    before = paths(work)
    for _ in range(2):
        answer = command("run", "--max-params", "10")
        assert answer.status == 1
        assert re.search(r"its smallest candidate has \d+ parameters, the limit is under 10 parameters", answer.error)
    assert paths(work) == before


@pytest.mark.parametrize("limit", ["--max-size", "--max-macs", "--max-activation"])
def test_every_limit_can_be_one_that_nothing_meets(command: Command, limit: str) -> None:
    answer = command("run", limit, "10")
    assert answer.status == 1
    assert "its smallest candidate has" in answer.error


def test_a_study_that_is_not_there(refused: Callable[..., str]) -> None:
    for args in (("pareto", "nothing"), ("show", "nothing", "0"), ("dashboard", "nothing")):
        line = refused(*args)
        assert "there is no study 'nothing'" in line
        assert "results/nothing/study.db" in line


def test_a_share_of_images_that_bring_their_own(refused: Callable[..., str], work: Path) -> None:
    small_npz(work / "own.npz", val_images=np.zeros((2, 8, 8), np.uint8), val_labels=np.array([0, 1]))
    line = refused("run", "--dataset", "npz:own.npz", "--validation", "0.3")
    assert "--validation 0.3: npz:own.npz brings 2 validation images" in line
    for share in ("0", "1", "nan"):
        assert "must lie between 0 and 1, such as 0.2" in refused("run", "--validation", share)


def test_the_dashboard_takes_one_source(refused: Callable[..., str]) -> None:
    assert "either a STUDY or --storage" in refused("dashboard")
    assert "either a STUDY or --storage" in refused("dashboard", "s", "--storage", "sqlite:///x.db")


@pytest.fixture
def tiny_disk(work: Path) -> Iterator[Callable[[int], Path]]:
    """`tiny_disk(bytes)` is a folder on a disk of that size."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a disk")
    folder = work / "disk"
    folder.mkdir()
    mounted = []

    def mount(size: int) -> Path:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], check=True)
        mounted.append(folder)
        return folder

    yield mount
    for path in mounted:
        subprocess.run(["umount", "-l", path], check=True)


@pytest.mark.parametrize("kilobytes", [4, 100, 240, 320])
def test_a_full_disk(command: Command, work: Path, tiny_disk: Callable[[int], Path], kilobytes: int) -> None:
    """Each size fills up at another file; what is there is valid, and nothing half-written lies around."""
    disk = tiny_disk(kilobytes * 1024)
    small_npz(work / "small.npz")
    answer = command("run", "--dataset", "npz:small.npz", "--space", "tiny.toml", "--epochs", "1", "--trials", "60",
                     "--out", disk, "--study", "s", "--sampler", "random")  # fmt: skip
    assert answer.status == 2
    line = answer.error
    assert str(disk / "s") in line
    assert "No space left on device" in line or "full" in line or "disk I/O error" in line
    assert [path.name for path in disk.rglob(".*")] == []
    for table in disk.rglob("*.csv"):
        assert len(pd.read_csv(table).columns) >= 5


def test_a_full_disk_under_weights(work: Path, tiny_disk: Callable[[int], Path]) -> None:
    """The writer of weights files has errors of its own, which must not reach a person."""
    disk = tiny_disk(16 * 1024)
    stage = Stage("nin", 64)
    arch = Arch((1, 8, 8), 10, Part("none"), (stage,), Part("linear"))
    with pytest.raises(OSError, match="No space left on device") as caught:
        weights.save(disk / "a.safetensors", build(arch), arch, {})
    assert caught.value.filename == str(disk / "a.safetensors")
    assert list(disk.iterdir()) == []


def test_a_full_disk_under_artifacts_names_the_file(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(self: object, name: str, file: object) -> None:
        (study / "artifacts" / name).write_text("half")
        raise OSError(28, "No space left on device")

    shutil.rmtree(study / "artifacts")
    monkeypatch.setattr(FileSystemArtifactStore, "write", write)
    opened, _ = open_existing(study)
    with pytest.raises(OSError, match="No space left on device") as caught:
        show_front(study, opened)
    assert Path(caught.value.filename).parent == study / "artifacts"
    assert list((study / "artifacts").iterdir()) == []


def test_an_error_of_the_system_without_a_name(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("archsearch.cli.imports.load_space", full)
    answer = command("spaces", "resnin")
    assert answer.status == 2
    assert answer.error.startswith("archsearch: standard output, or a temporary file in ")


@pytest.mark.parametrize("url", ["postgresql+psycopg://me:x@127.0.0.1:1/db", "sqlite://", "sqlite:////nowhere/x.db"])
def test_a_storage_that_fails_leaves_nothing(command: Command, work: Path, url: str) -> None:
    before = {*work.rglob("*")}
    answer = command("run", "--max-params", "20k", "--trials", "1", "--out", "new/out", "--storage", url)
    assert answer.status == 2
    assert answer.error.startswith("archsearch: study storage ")
    assert {*work.rglob("*")} == before
