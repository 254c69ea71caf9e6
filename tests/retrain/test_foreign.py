"""Networks of torchvision and timm as teachers: real models, made-up weights in files."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import models
from toys import CPU, toy
from whole import normalised

from archsearch.errors import InputError
from archsearch.retrain.distillation import Teachers
from archsearch.retrain.foreign import Source, View, foreign, read_state
from archsearch.training.data import TrainingData

NAME = "torchvision:mobilenet_v3_small"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`m.pth` and `r.safetensors` tell 2 classes apart, `five.pth` 5."""
    here = tmp_path_factory.mktemp("foreign")
    torch.manual_seed(0)
    state = models.mobilenet_v3_small(num_classes=2).state_dict()
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}, "epoch": 3}, here / "m.pth")
    torch.save(models.mobilenet_v3_small(num_classes=5).state_dict(), here / "five.pth")
    save_file(timm.create_model("test_resnet", num_classes=2).state_dict(), here / "r.safetensors")
    return here


def plain(module: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return module.eval()(images).softmax(1)


def test_torchvisions_own_transform_is_what_the_network_sees(folder: Path) -> None:
    dataset = toy(6, 32, 3)
    module = models.mobilenet_v3_small(num_classes=2)
    module.load_state_dict(read_state(str(folder / "m.pth")))
    transform = models.get_model_weights("mobilenet_v3_small").DEFAULT.transforms()
    wanted = plain(module, transform(dataset.images[:].float() / 255))
    teachers = Teachers([f"{NAME}={folder}/m.pth"], dataset)
    found = teachers(normalised(TrainingData.whole(dataset, CPU).train))
    assert torch.allclose(found, wanted, atol=1e-4)
    assert not found.requires_grad
    assert teachers.files == [folder / "m.pth"]
    assert teachers.source.startswith(f"{NAME}=m.pth ")
    assert str(folder) not in teachers.source
    assert "images at 224x224, the centre of 256x256, bilinear, mean 0.485, 0.456, 0.406" in teachers.notes[0]
    assert teachers.notes[0].endswith("of 6 train images")


def test_timms_own_configuration_is_what_the_network_sees(folder: Path) -> None:
    dataset = toy(6, 40, 3)
    module = timm.create_model("test_resnet", num_classes=2)
    module.load_state_dict(read_state(str(folder / "r.safetensors")))
    images = torch.nn.functional.interpolate(
        dataset.images[:].float() / 255, size=(168, 168), mode="bilinear", antialias=True
    )
    wanted = plain(module, (images[:, :, 4:164, 4:164] - 0.5) / 0.5)
    found = Teachers([f"timm:test_resnet={folder}/r.safetensors"], dataset)
    assert torch.allclose(found(normalised(TrainingData.whole(dataset, CPU).train)), wanted, atol=1e-4)


def test_grey_images_are_shown_in_three_channels(folder: Path) -> None:
    grey, source = toy(4, 32), f"{NAME}@32={folder}/m.pth"
    found = Teachers([source], grey)(normalised(TrainingData.whole(grey, CPU).train))
    network, _ = foreign(Source.of(source), 2)
    assert torch.allclose(found, network(grey.images[:].expand(-1, 3, -1, -1).float() / 255).softmax(1), atol=1e-4)
    assert "images at 32x32, bilinear" in Teachers([source], grey).notes[0]


def test_a_model_in_timms_layout_brings_its_classes_and_weights(tmp_path: Path) -> None:
    """As `timm.models.save_for_hf` writes it, and Hugging Face's cache holds it."""
    module = timm.create_model("test_resnet", num_classes=2)
    timm.models.save_for_hf(module, tmp_path / "hub", model_config={"num_classes": 2})
    network, digest = foreign(Source.of(f"timm:local-dir:{tmp_path}/hub"), 2)
    images = torch.rand(2, 3, 160, 160)
    assert torch.equal(network.network(images), module.eval()(images))
    assert len(digest) == 8
    with pytest.raises(InputError, match="tells 2 classes apart, the dataset has 3: fine-tune it"):
        foreign(Source.of(f"timm:local-dir:{tmp_path}/hub"), 3)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (f"{NAME}=five.pth", "tells 5 classes apart, the dataset has 2: fine-tune it on these classes and give"),
        (NAME, r"tells 1,000 classes apart, the dataset has 2: .* give torchvision:NAME=FILE, or a logits file"),
        ("timm:test_resnet", "tells 1,000 classes apart, the dataset has 2"),
        (f"{NAME}=r.safetensors", r"r.safetensors holds no mobilenet_v3_small: features.0.0.weight is missing there"),
        (f"{NAME}=none.pth", "none.pth: no readable weights file: No such file"),
        (f"{NAME}=whole.pth", "whole.pth: holds more than tensors, which is not run: save"),
        (f"{NAME}=text.pth", "text.pth: (no readable weights file|holds more than tensors)"),
        (f"{NAME}=text.safetensors", "text.safetensors: no readable weights file"),
        (f"{NAME}=list.pth", "list.pth: no state dict of tensors"),
        ("torchvision:resnet19=m.pth", "torchvision has no classifier 'resnet19'"),
        ("torchvision:inception_v3=m.pth", "no file says how its inputs are normalised: give a logits file"),
        ("timm:resnet19=m.pth", "timm has no model 'resnet19'"),
        ("timm:=m.pth", "write timm:NAME, timm:NAME=FILE"),
        (f"{NAME}=", "write torchvision:NAME"),
        (f"{NAME}@0=m.pth", "write torchvision:NAME"),
    ],
)
def test_what_cannot_teach_is_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, source: str, message: str
) -> None:
    monkeypatch.chdir(folder)
    torch.save(nn.Linear(2, 2), "whole.pth")
    torch.save([1, 2], "list.pth")
    for name in ("text.pth", "text.safetensors"):
        Path(name).write_text("no weights")
    with pytest.raises(InputError, match=message) as caught:
        foreign(Source.of(source), 2)
    assert "\n" not in str(caught.value)


def test_weights_that_are_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """1,000 classes fit; neither torch's nor Hugging Face's cache has the weights, and there is no network."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", _refuse)
    with pytest.raises(InputError, match=f"its weights are not in {tmp_path} and cannot be downloaded: .*unplugged"):
        foreign(Source.of(NAME), 1000)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", _refuse)
    with pytest.raises(InputError, match=r"timm:test_resnet: cannot be made or fetched: .*unplugged; or give the file"):
        foreign(Source.of("timm:test_resnet"), 1000)


def _refuse(*_: object, **__: object) -> None:
    raise OSError("unplugged")


def test_a_size_that_a_model_does_not_take(tmp_path: Path) -> None:
    torch.save(timm.create_model("vit_tiny_patch16_224", num_classes=2).state_dict(), tmp_path / "v.pth")
    with pytest.raises(InputError, match=r"timm:vit_tiny_patch16_224@64=.*: cannot see images at 64x64"):
        Teachers([f"timm:vit_tiny_patch16_224@64={tmp_path}/v.pth"], toy(4, 32, 3))


sides = st.integers(1, 70)


@settings(max_examples=60)
@given(height=sides, width=sides, size=sides, margin=st.integers(0, 20), squash=st.booleans())
def test_a_view_has_its_size_whatever_the_image(height: int, width: int, size: int, margin: int, squash: bool) -> None:
    scaled = (size + margin, size + margin)
    view = View((size, size), scaled, (0.5,), (0.5,), squash=squash)
    found = view.of(torch.full((1, 1, height, width), 0.25))
    assert found.shape == (1, 1, size, size)
    assert torch.allclose(found, torch.tensor(0.25), atol=1e-5)


def test_a_place_below_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A shell leaves the tilde behind an equals sign as it is."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Source.of(f"{NAME}=~/m.pth").file == str(tmp_path / "m.pth")
    assert Source.of(f"{NAME}@64=~/m.pth").named("abc") == f"{NAME}@64=m.pth abc"


@given(st.sampled_from(["timm:hf-hub:me/model@main", "timm:resnet18.a1_in1k", "torchvision:resnet18"]))
def test_names_are_kept_whole(text: str) -> None:
    source = Source.of(text)
    assert (f"{source.kind}:{source.name}", source.size, source.file) == (text, None, "")
    assert Source.of(f"{text}@96=a=b.pth") == Source(f"{text}@96=a=b.pth", source.kind, source.name, 96, "a=b.pth")
