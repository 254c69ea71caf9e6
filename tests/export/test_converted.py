"""Networks that another interpreter converts: what it is told, what it may answer, and what becomes of unusual ones."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from exports import ARCH, images_of, pixels, source_of
from shipped import Shelf
from toolchains import HOSTED, kinds, name_of, precisions

import archsearch
from archsearch._utils.formats import FORMATS, bytes_of, files_of
from archsearch._utils.toolchain import HERE, Interpreter
from archsearch.errors import ExportFailed, InputError
from archsearch.export import Images, Source, convert, export
from archsearch.export.converted import FROM_ONNX, Job, Resident
from archsearch.inference import open_runner
from archsearch.network import zoo
from archsearch.network.arch import Arch
from archsearch.network.blocks import imports, registry
from archsearch.network.stage import Part, Stage
from archsearch.nn.inspect import measure_target

# the other side, played by a script


def converter(script: str) -> Interpreter:
    """An interpreter that runs this instead; `job` is what it was told."""
    return Interpreter((sys.executable, "-c", f"import json, os, sys; job = json.load(open(sys.argv[2])); {script}"))


def do(source: Source, path: Path, python: Interpreter, kind: str = "litert", dtype: str = "fp32") -> None:
    calibration = pixels(ARCH, 5) if dtype == "int8" else None
    Job(kind, dtype, True, path).do(source.path, source.network(), ARCH, calibration, python)


@pytest.mark.parametrize("kind", HOSTED)
@pytest.mark.parametrize("dtype", ["fp32", "int8"])
def test_what_a_converter_is_told(source: Source, tmp_path: Path, kind: str, dtype: str) -> None:
    script = (
        f"import shutil; shutil.copytree(os.path.dirname(sys.argv[2]), {str(tmp_path / 'seen')!r});"
        " open(job['out'], 'w').close()"
    )
    do(source, tmp_path / "m", converter(script), kind, dtype)
    seen = tmp_path / "seen"
    job = json.loads((seen / "job.json").read_text())
    assert (job["format"], job["dtype"], job["shape"], job["out"]) == (kind, dtype, [3, 8, 8], str(tmp_path / "m"))
    assert (Path(job["package"]) / "__init__.py").samefile(archsearch.__file__)
    assert Path(job["weights"]) == source.path.absolute()
    assert (job["imports"], job["installed"], job["here"]) == ([], {}, str(Path.cwd()))
    assert (seen / "network.onnx").exists() is (kind in FROM_ONNX)
    if kind in FROM_ONNX:
        onnx.checker.check_model(onnx.load(seen / "network.onnx"))
    if dtype == "int8":
        assert np.array_equal(np.load(seen / "calibration.npy"), pixels(ARCH, 5).numpy())
    else:
        assert "calibration" not in job


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("sys.exit('NotImplementedError: hard\\x1bswish')", "NotImplementedError: hard?swish"),
        ("sys.exit(3)", "status 3"),
        ("print('a warning', file=sys.stderr)", "it wrote no file"),
        ("os.abort()", "status -6"),
    ],
)
def test_a_converter_that_fails_is_a_no(source: Source, tmp_path: Path, script: str, words: str) -> None:
    with pytest.raises(ExportFailed) as caught:
        do(source, tmp_path / "m", converter(script))
    assert str(caught.value) == f"this network cannot be converted to litert: {words}"
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_stays_does_one_job_after_the_other(source: Source, tmp_path: Path) -> None:
    """And makes way for another after some, or when it dies; each job has its own folder."""
    script = (
        "for line in sys.stdin:\n"
        " job = json.load(open(line.strip()))\n"
        " name = os.path.basename(job['out'])\n"
        " if name == 'dies': sys.exit('Out of memory')\n"
        " if name != 'fails': open(job['out'], 'w').write(str(os.getpid()))\n"
        " print(json.dumps('a reason' if name == 'fails' else ''), flush=True)\n"
    )
    python = Interpreter((sys.executable, "-c", f"import json, os, sys\n{script}"))
    resident = Resident()

    def wrote(name: str) -> int:
        Job("litert", "fp32", True, tmp_path / name, resident).do(source.path, source.network(), ARCH, None, python)
        return int((tmp_path / name).read_text())

    first = wrote("first")
    with pytest.raises(ExportFailed, match="this network cannot be converted to litert: a reason"):
        wrote("fails")
    assert wrote("second") == first
    with pytest.raises(ExportFailed, match="this network cannot be converted to litert: Out of memory"):
        wrote("dies")
    after = wrote("third")
    assert after != first
    assert {wrote(str(number)) for number in range(49)} == {after}
    last = wrote("last")
    assert last != after
    assert resident._process
    resident._process.kill()  # as a system without memory does
    resident._process.wait()
    last = wrote("after")
    resident.close()
    with pytest.raises(ProcessLookupError):
        os.kill(last, 0)


def test_jobs_by_standard_input_and_what_converters_print(tmp_path: Path) -> None:
    resident = Resident()
    for name in ("one", "two"):
        (tmp_path / f"{name}.json").write_text(json.dumps({"format": "ncnn", "dtype": "fp32", "shape": [], "out": ""}))
        said = resident(HERE, tmp_path / f"{name}.json")
        assert said.startswith(("AssertionError", "KeyError"))  # without pnnx, and with it
    resident.close()


def test_an_error_in_convert_is_its_last_line(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text(json.dumps({"format": "openvino", "onnx": "none", "dtype": "fp32"}))
    done = subprocess.run(
        [sys.executable, "-P", convert.__file__, tmp_path / "job.json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "Error" in last or "Exception" in last


def test_archsearch_is_found_by_an_interpreter_that_has_none(tmp_path: Path) -> None:
    """Its code is, and nothing else that lies beside it."""
    package = tmp_path / "site" / "archsearch"
    shutil.copytree(Path(archsearch.__file__).parent / "_utils", package / "_utils")
    shutil.copy(archsearch.__file__, package)
    for name in ("errors.py", "evaluation.py"):
        shutil.copy(Path(archsearch.__file__).with_name(name), package)
    (tmp_path / "site" / "numpy.py").write_text("raise AssertionError")
    script = (
        "import importlib.util, sys, types; sys.modules['numpy'] = types.ModuleType('numpy')\n"
        f"spec = importlib.util.spec_from_file_location('convert', {convert.__file__!r})\n"
        "convert = importlib.util.module_from_spec(spec); spec.loader.exec_module(convert)\n"
        f"convert._find('archsearch', {str(package / '__init__.py')!r})\n"
        "import archsearch._utils.formats as found\n"
        "print(found.__file__, any('site' in one for one in sys.path))\n"
    )
    said = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=True)
    assert said.stdout.split() == [str(package / "_utils" / "formats.py"), "False"]


# for real


@pytest.mark.parametrize(("kind", "dtype"), precisions(*HOSTED))
def test_what_is_known_of_a_file(shelf: Shelf, source: Source, images: Images, kind: str, dtype: str) -> None:
    done = shelf(kind, dtype)
    assert done.about["batch"] == (None if kind == "openvino" else 1)
    integers = kind == "litert" and dtype == "int8"
    assert (done.about["input"]["dtype"] == "int8") is integers
    measured = measure_target(str(done.path))
    cost = source.arch.cost
    assert measured.values == {
        **measured.values, "params": cost.params, "macs": cost.macs, "size_bytes": bytes_of(done.path),
        "peak_activation_bytes": cost.peak_activation_bytes(),
    }  # fmt: skip
    runner = open_runner(done.path)
    many = images.validation[0][:]
    assert torch.equal(runner(many), torch.cat([runner(many[:7]), runner(many[7:])]))
    assert torch.equal(archsearch.load(done.path)(many[:3].float() / 255), runner(many[:3]))


@pytest.mark.parametrize("kind", kinds(*HOSTED))
def test_files_that_are_broken_are_one_line(shelf: Shelf, tmp_path: Path, kind: str) -> None:
    path = shelf.copy(tmp_path, kind)
    whole = {file: file.read_bytes() for file in files_of(path)}
    last = files_of(path)[-1]
    for content in (b"", whole[last][:-50], whole[last][: len(whole[last]) // 2], b"x" * 1000):
        last.write_bytes(content)
        assert "no metadata of archsearch at its end" in error_of(path)
    last.write_bytes(bytes(99) + whole[last][-600:])
    error_of(path)
    for file in files_of(path):
        path.write_bytes(whole[path])
        last.write_bytes(whole[last])
        file.unlink()
        assert f"{file}: there is no such file" in error_of(path, file)


def error_of(path: Path, start: Path | None = None) -> str:
    with pytest.raises(InputError) as caught:
        open_runner(path)
    assert str(caught.value).startswith(f"{start or path}: ") or str(caught.value).startswith(f"{files_of(path)[-1]}: ")
    assert str(caught.value).isprintable()
    return str(caught.value)


OWN = """
from beside import KERNEL
from archsearch.network import Expr, block, conv, seq

@block("converted_own")
def own(c_in: int, width: int, stride: int) -> Expr:
    return seq(conv(width, KERNEL, stride))
"""


@pytest.fixture
def own_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A block that `--import` has brought, forgotten again afterwards."""
    before = list(sys.path)
    (tmp_path / "mine.py").write_text(OWN)
    (tmp_path / "beside.py").write_text("KERNEL = 3\n")
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    monkeypatch.setattr(imports, "_loaded", {})
    imports.load(str(tmp_path / "mine.py"))
    yield
    sys.path[:] = before
    sys.modules.pop("beside", None)


BUILDS = (
    f"import importlib.util; spec = importlib.util.spec_from_file_location('convert', {convert.__file__!r});"
    " convert = importlib.util.module_from_spec(spec); spec.loader.exec_module(convert);"
    " network, example = convert._network(job); open(job['out'], 'w').write(str(list(network(example).shape)))"
)


@pytest.mark.usefixtures("own_block")
def test_a_converter_finds_blocks_of_a_users_own(tmp_path: Path) -> None:
    """What another process does first is to build the network."""
    arch = Arch((3, 8, 8), 4, Part("conv", (("width", 8),)), (Stage("converted_own", 12, 1, 2),), Part("linear"))
    source = source_of(tmp_path / "w.safetensors", arch)
    Job("litert", "fp32", True, tmp_path / "m").do(source.path, source.network(), arch, None, converter(BUILDS))
    assert (tmp_path / "m").read_text() == "[1, 4]"


@pytest.mark.parametrize("form", ["package", "module"])
def test_a_converter_finds_blocks_of_an_installed_package(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The converter's environment has neither the package nor what lies beside it."""
    name, site = f"blocks_of_a_{form}", tmp_path / "site"
    file = site / (f"{name}/__init__.py" if form == "package" else f"{name}.py")
    file.parent.mkdir(parents=True)
    own = OWN.replace("from beside import KERNEL", "KERNEL = 3").replace("converted_own", name)
    file.write_text(own if form == "module" else f"import {name}.inner")
    if form == "package":
        file.with_name("inner.py").write_text(own)
    about = site / f"{name}-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (about / "entry_points.txt").write_text(f"[archsearch.blocks]\nown = {name}\n")
    (site / "safetensors.py").write_text("raise AssertionError")
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    monkeypatch.setattr(registry, "_installed", {})
    monkeypatch.setattr(sys, "path", [*sys.path, str(site)])
    registry._load_entry_points.cache_clear()
    arch = Arch((3, 8, 8), 4, Part("conv", (("width", 8),)), (Stage(name, 12, 1, 2),), Part("linear"))
    source = source_of(tmp_path / "w.safetensors", arch)
    assert registry.installed() == {name: str(file)}
    Job("litert", "fp32", True, tmp_path / "m").do(source.path, source.network(), arch, None, converter(BUILDS))
    assert (tmp_path / "m").read_text() == "[1, 4]"


@pytest.mark.usefixtures("own_block")
@pytest.mark.parametrize("kind", kinds("litert", "executorch", slow=True))
def test_a_users_own_block_ships(tmp_path: Path, kind: str) -> None:
    arch = Arch((3, 8, 8), 4, Part("conv", (("width", 8),)), (Stage("converted_own", 12, 1, 2),), Part("linear"))
    source = source_of(tmp_path / "w.safetensors", arch)
    for dtype in ("fp32", "int8"):
        done = export(source, tmp_path / dtype / name_of(kind), images_of(source), kind, dtype)
        assert done.parity.max_abs_diff < 1e-4 or dtype == "int8"
        assert measure_target(str(done.path)).values["params"] == arch.cost.params


UNUSUAL = {
    "auxiliary": Arch((3, 8, 8), 4, Part("conv"), (Stage("plain", 8, aux="linear"), Stage("plain", 8)), Part("linear")),
    "one channel": Arch((1, 9, 7), 3, Part("conv", (("width", 4),)), (Stage("resnin", 8, 1, 2),), Part("linear")),
    "no norm": Arch((3, 8, 8), 4, Part("none"), (Stage("plain", 8, 1, 1, dims=(("norm", False),)),), Part("linear")),
    "no convolution": zoo.load("mlp").arch,
}


@pytest.mark.parametrize("kind", kinds(*HOSTED, slow=True))
@pytest.mark.parametrize("name", UNUSUAL)
def test_unusual_networks_are_right_or_refused(name: str, kind: str, tmp_path: Path) -> None:
    source = source_of(tmp_path / "w.safetensors", UNUSUAL[name])
    images = images_of(source)
    target = tmp_path / "out" / name_of(kind)
    for dtype in FORMATS[kind].dtypes:
        refused = exported_or_refused(source, target, images, kind, dtype)
        left = list(target.parent.iterdir())
        assert (sorted(left) == sorted(files_of(target))) if refused is None else (refused.isprintable() and not left)
        for file in left:
            file.unlink()


WRITTEN = {
    # ExecuTorch folds the norm of each place into the one kernel, and answers wrongly, unless each has its own
    "shared kernels": (Part("conv"), Stage("inverted", 8, 2, shared=True, dims=(("expand", 2.0),))),
    # ncnn multiplies an image by the constants of its normalisation wrongly, unless a convolution does it
    "pixels into a matrix": (Part("flatten"), Stage("dense", 16)),
}


@pytest.mark.parametrize("kind", kinds(*HOSTED, slow=True))
@pytest.mark.parametrize("name", WRITTEN)
def test_what_converters_get_wrong_is_written_right(name: str, kind: str, tmp_path: Path) -> None:
    stem, stage = WRITTEN[name]
    source = source_of(tmp_path / "w.safetensors", Arch((3, 8, 8), 4, stem, (stage,), Part("linear")))
    assert exported_or_refused(source, tmp_path / "out" / name_of(kind), images_of(source), kind, "fp32") is None


def exported_or_refused(source: Source, target: Path, images: Images, kind: str, dtype: str) -> str | None:
    """Why it is refused; a file that is written is the network."""
    try:
        done = export(source, target, images, kind, dtype)
    except ExportFailed as error:
        return str(error)
    assert done.parity.max_abs_diff < 1e-4 or dtype != "fp32"
    return None
