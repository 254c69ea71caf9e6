"""`archsearch.load`: one convention for every format, and pictures cut as the dataset cut them."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import small_npz
from exports import ARCH, CLASSES, INFO, images_of, info_of, settled
from PIL import Image

import archsearch
from archsearch.data import load_dataset
from archsearch.errors import InputError
from archsearch.export import Images, Source, export
from archsearch.inference import Classifier, open_runner
from archsearch.network.arch import Arch
from archsearch.network.stage import Part, Stage
from archsearch.nn import weights

KINDS = ["safetensors", "onnx", "pt2"]
FLAT = (Part("flatten"), (Stage("dense", 4),), Part("linear"))


@pytest.fixture(scope="module")
def shipped(source: Source, images: Images, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shipped")
    for kind in KINDS:
        export(source, folder / f"model.{kind}", images, kind)
    return folder


def flat(path: Path, shape: tuple[int, int, int]) -> Classifier:
    """A loaded network for images of that shape."""
    arch = Arch(shape, 4, *FLAT)
    return archsearch.load(weights.save(path, settled(arch), arch, info_of(arch)))


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_takes_pixels_from_0_to_1(shipped: Path, source: Source, images: Images, kind: str) -> None:
    network = archsearch.load(shipped / f"model.{kind}")
    pixels, labels = images.validation[0][:].float() / 255, images.validation[1]
    assert torch.equal(network(pixels).argmax(1), labels)
    assert torch.allclose(network(pixels), source.network()(pixels), atol=1e-5)
    assert torch.allclose(network(pixels.double()), source.network()(pixels), atol=1e-5)
    assert (network.classes, network.input_shape, network.arch.id) == (tuple(CLASSES), ARCH.input_shape, ARCH.id)
    assert isinstance(network, torch.nn.Module)
    assert not network.eval().training
    assert torch.allclose(open_runner(shipped / f"model.{kind}")(pixels), network(pixels), atol=1e-5)


def test_the_bare_network_has_a_name(shipped: Path, source: Source) -> None:
    x = torch.rand(2, *ARCH.input_shape)
    with torch.no_grad():
        assert torch.equal(archsearch.load(shipped / "model.safetensors").network(x), source.module(x))
    with pytest.raises(InputError, match="load the safetensors file"):
        _ = archsearch.load(shipped / "model.onnx").network


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda pixels: pixels * 255, "must be from 0 to 1, bytes divided by 255"),
        (lambda pixels: (pixels - 0.5) / 0.2, "the network normalises them itself"),
        (lambda pixels: (pixels * 255).to(torch.uint8), "pixels of torch.uint8: must be float32"),
        (lambda pixels: pixels[0], "images of 3 x 8 x 8: this network takes N x 3 x 8 x 8"),
        (lambda pixels: pixels.repeat(1, 1, 2, 2), "images of 2 x 3 x 16 x 16: this network takes"),
    ],
)
def test_other_pixels_are_refused(
    shipped: Path, kind: str, change: Callable[[torch.Tensor], torch.Tensor], words: str
) -> None:
    pixels = torch.rand(2, *ARCH.input_shape).clamp(0.001, 1)
    pixels[0, 0, 0, 0], pixels[0, 0, 0, 1] = 0, 1
    with pytest.raises(InputError, match=words):
        archsearch.load(shipped / f"model.{kind}")(change(pixels))


def test_a_picture_is_cut_as_the_dataset_cut_it(tmp_path: Path) -> None:
    """Files of both orientations, one of them turned by its mark, against the pixels that a search would see."""
    generator = np.random.default_rng(0)
    for number in range(8):
        height, width = ((40, 90), (70, 30))[number % 2]
        coarse = Image.fromarray(generator.integers(0, 255, (5, 6, 3), dtype=np.uint8))
        exif = Image.Exif()
        exif[274] = 6 if number > 5 else 1
        for part in ("train", "test"):
            folder = tmp_path / "photos" / part / "ab"[number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            coarse.resize((width, height)).save(folder / f"{number}.jpg", quality=95, exif=exif)
    dataset = load_dataset(f"folder:{tmp_path / 'photos'}", image_size=16, data_dir=tmp_path)
    network = flat(tmp_path / "w", (3, 16, 16))
    files = sorted((tmp_path / "photos" / "train").rglob("*.jpg"))
    found = torch.cat([network.preprocess(file) for file in files])
    seen = dataset.images[:].float() / 255
    assert torch.equal(found, seen)
    assert torch.equal(network.preprocess(Image.open(files[0])), seen[:1])
    assert torch.equal(network.preprocess(str(files[0])), seen[:1])
    squashed = np.asarray(Image.open(files[0]).resize((16, 16)))
    assert not torch.equal(network.preprocess(squashed), seen[:1])


def test_sixteen_bits_are_scaled_as_those_of_the_training(tmp_path: Path) -> None:
    arch = Arch((1, 8, 8), 4, *FLAT)
    path = weights.save(tmp_path / "w", settled(arch), arch, {**info_of(arch), "range": [100, 1100]})
    deep = np.full((8, 8), 600, np.uint16)
    deep[0] = 100
    Image.fromarray(deep).save(tmp_path / "p.png")
    for image in (deep, tmp_path / "p.png", Image.open(tmp_path / "p.png")):
        found = archsearch.load(path).preprocess(image)
        assert (found[0, 0, 0] == 0).all()
        assert torch.allclose(found[0, 0, 1:], torch.tensor(0.5), atol=0.01)
    for odd in ([5], [9, 9], ["a", 1], 3):
        broken = weights.save(tmp_path / "w", settled(arch), arch, {**info_of(arch), "range": odd})
        assert archsearch.load(broken).preprocess(deep).max() < 0.01  # the high byte


def test_an_array_of_the_right_size_stays_as_it_is(tmp_path: Path) -> None:
    pixels = np.arange(8 * 12, dtype=np.uint8).reshape(8, 12)
    grey = flat(tmp_path / "g", (1, 8, 12))
    assert torch.equal(grey.preprocess(pixels)[0, 0], torch.from_numpy(pixels).float() / 255)
    assert torch.equal(grey.preprocess(pixels[..., None]), grey.preprocess(pixels))
    assert grey.preprocess(np.stack([pixels] * 3, 2)).shape == (1, 1, 8, 12)
    four = np.stack([pixels, pixels + 1, pixels + 2, pixels + 3], 2)
    assert torch.equal(flat(tmp_path / "f", (4, 8, 12)).preprocess(four)[0, 3], torch.from_numpy(pixels + 3) / 255)


def test_a_shape_that_is_no_square_is_filled_and_cut(tmp_path: Path) -> None:
    wide = np.zeros((20, 60), np.uint8)
    wide[:, 20:40] = 255
    found = flat(tmp_path / "w", (1, 8, 12)).preprocess(wide)
    assert found.shape == (1, 1, 8, 12)
    assert found[0, 0, :, 3:9].min() == 1


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("none.jpg", "none.jpg: there is no such picture"),
        (__file__, "is no readable picture"),
        (np.zeros((8, 8, 3)), "an array of float64 of 8 x 8 x 3: must be uint8"),
        (np.zeros((3, 8, 8), np.uint8), "an array of uint8 of 3 x 8 x 8: must be uint8, height x width"),
        (np.zeros(8, np.uint8), "an array of uint8 of 8: must be uint8"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), "an array of uint8 of 3 x 8 x 8"),
        (Image.new("F", (9, 9)), "this picture cannot be read: pixels are 32-bit floats"),
    ],
)
def test_what_is_no_picture(tmp_path: Path, image: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        flat(tmp_path / "w", (3, 8, 8)).preprocess(image)
    with pytest.raises(InputError, match=r"this network takes 4 channels|no such picture|an array of"):
        flat(tmp_path / "f", (4, 8, 8)).preprocess(image)


def test_a_file_without_names(tmp_path: Path) -> None:
    info = {key: value for key, value in INFO.items() if key != "classes"}
    assert archsearch.load(weights.save(tmp_path / "w", settled(ARCH), ARCH, info)).classes is None


@pytest.mark.parametrize("kind", KINDS)
def test_names_of_any_length_are_in_every_file(tmp_path: Path, kind: str) -> None:
    letters = random.Random(0)
    names = ["".join(letters.choices("abcdefgäöü", k=30)) for _ in range(1000)]
    arch = Arch((1, 8, 8), 1000, *FLAT)
    weights.save(tmp_path / "w.safetensors", settled(arch), arch, {**info_of(arch), "classes": names})
    source = Source.open(tmp_path / "w.safetensors")
    (tmp_path / "out").mkdir()
    path = tmp_path / "out" / f"model.{kind}"
    export(source, path, images_of(source), kind)
    assert archsearch.load(path).classes == tuple(names)
    beside = {"model.classes.json"} if kind == "safetensors" else set()
    assert {found.name for found in path.parent.iterdir()} == {path.name, *beside}
    if beside:
        (path.parent / "model.classes.json").unlink()
        with pytest.raises(InputError, match=r"its class names are in model\.classes\.json"):
            _ = archsearch.load(path).classes
        with pytest.raises(InputError, match=r"its class names are in model\.classes\.json"):
            Source.open(path)


def test_pixels_of_a_dataset_in_memory(tmp_path: Path) -> None:
    """Rows of an npz file, as arrays, are what the search saw."""
    small_npz(tmp_path / "d.npz")
    dataset = load_dataset(f"npz:{tmp_path / 'd.npz'}")
    network = flat(tmp_path / "w", dataset.input_shape)
    row = dataset.images[3].permute(1, 2, 0).numpy()
    assert torch.equal(network.preprocess(row), dataset.images[3:4].float() / 255)
