"""Answers for images without labels: those of `evaluate` to the last bit, in order, in any format, without memory."""

from __future__ import annotations

import lzma
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exports import ARCH, CLASSES, INFO, images_of, pixels
from formats import encoded
from hypothesis import given, settings
from hypothesis import strategies as st
from toolchains import HERE, name_of, precisions
from torch import Tensor

import archsearch
from archsearch.data import load_dataset
from archsearch.data.picture import Broken
from archsearch.data.pixels import Pixels
from archsearch.data.unlabelled import Form, PixelArrays, open_split, open_unlabelled
from archsearch.errors import InputError
from archsearch.export import Images, Source, export
from archsearch.inference import Runner, open_runner
from archsearch.inference.predict import Answers, Labels, form_of, predict
from archsearch.inference.runner import BATCH

FORM = Form(ARCH.input_shape)


@dataclass
class Made:
    """Images from a list, some of which are broken (None)."""

    images: Sequence[np.ndarray | None]
    numbered: bool = True
    begun: int = field(default=0)

    def __len__(self) -> int:
        return len(self.images)

    def id_of(self, number: int) -> str:
        return str(number)

    def read(self, form: Form) -> Iterator[np.ndarray | Broken]:
        for image in self.images:
            self.begun += 1
            yield Broken("as made") if image is None else image


def of_tensor(images: Tensor) -> PixelArrays:
    rows = images.permute(0, 2, 3, 1).contiguous().numpy()
    return PixelArrays("made", rows.shape, lambda: iter([rows]))


def logits_of(answers: Iterator[Answers]) -> Tensor:
    return torch.cat([some.logits for some in answers])


@pytest.fixture(scope="module")
def shipped(source: Source, images: Images, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shipped")
    for kind in HERE:
        export(source, folder / f"model.{kind}", images, kind)
    (folder / "model.onnx.xz").write_bytes(lzma.compress((folder / "model.onnx").read_bytes()))
    return folder


@pytest.mark.parametrize("name", ["model.safetensors", "model.onnx", "model.onnx.xz", "model.pt2"])
def test_every_format_says_what_the_module_says(shipped: Path, source: Source, name: str) -> None:
    clear = images_of(source, 300)
    many, labels = clear.validation
    runner = open_runner(shipped / name)
    found = logits_of(predict(runner, of_tensor(many[:]), form_of(runner)))
    assert torch.equal(found.argmax(1), labels)
    assert torch.equal(found, runner(many))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "dtype"), precisions())
def test_labels_of_ten_thousand_images(source: Source, images: Images, tmp_path: Path, kind: str, dtype: str) -> None:
    """Those of the module, but where it is less sure than the export's difference."""
    many = pixels(source.arch, 10_000, seed=5)
    wanted = Images(images.train, (Pixels.of(many), torch.zeros(len(many), dtype=torch.int64)))
    done = export(source, tmp_path / name_of(kind), wanted, kind, dtype, check_images=len(many), max_drop=1)
    with torch.no_grad():
        module = torch.cat([source.network()(some.float() / 255) for some in many.split(500)])
    runner = open_runner(done.path)
    found = logits_of(predict(runner, of_tensor(many), form_of(runner)))
    assert (found - module).abs().max() <= done.parity.max_abs_diff + 1e-5
    first, second = module.topk(2).values.unbind(1)
    sure = first - second > 2 * done.parity.max_abs_diff + 2e-5
    assert torch.equal(found.argmax(1)[sure], module.argmax(1)[sure])
    assert sure.float().mean() > (0.1 if dtype == "int8" else 0.9)


def test_logits_are_those_of_evaluate_to_the_last_bit(shipped: Path, tmp_path: Path) -> None:
    for part, count in (("train", 3), ("test", 150)):
        for seed, label in enumerate("ab"):
            (tmp_path / "d" / part / label).mkdir(parents=True)
            for number in range(count):
                data = encoded(2 * number + seed, (9 + number % 7, 12))
                (tmp_path / "d" / part / label / f"{number:03}.png").write_bytes(data)
    spec = f"folder:{tmp_path / 'd'}"
    images, _ = load_dataset(spec, image_size=8, data_dir=tmp_path).test()
    runner = open_runner(shipped / "model.safetensors")
    wanted = runner(images)
    assert len(wanted) == 300 > BATCH
    assert torch.equal(logits_of(predict(runner, open_unlabelled([str(tmp_path / "d" / "test")]), FORM)), wanted)
    assert torch.equal(logits_of(predict(runner, open_split(spec, "test"), FORM)), wanted)
    network = archsearch.load(shipped / "model.safetensors")
    path = tmp_path / "d" / "test" / "b" / "007.png"
    alone = open_unlabelled([str(path)])
    (pixels,) = alone.read(FORM)
    assert np.array_equal(np.float32(pixels) / np.float32(255), network.preprocess(path)[0].permute(1, 2, 0).numpy())
    (one,) = predict(runner, alone, FORM)
    # A single image may count as either order in memory, and each has kernels that round in their own way.
    assert torch.equal(one.logits, runner(network.preprocess(path).clone(memory_format=torch.channels_last)))


def test_broken_pictures_change_no_others_logits(shipped: Path) -> None:
    runner = open_runner(shipped / "model.safetensors")
    many = pixels(ARCH, 520)
    rows = [*many.permute(0, 2, 3, 1).contiguous().numpy()]
    mixed: list[np.ndarray | None] = []
    for number, row in enumerate(rows):
        mixed += [None, row] if number % 50 == 3 else [row]
    found = [*predict(runner, Made(mixed), FORM)]
    assert [number for some in found for number in some.numbers] == [*range(len(mixed))]
    broken = {number for some in found for number in some.broken}
    assert broken == {number for number, one in enumerate(mixed) if one is None}
    logits = torch.cat([some.logits for some in found])
    assert torch.equal(logits[[number not in broken for number in range(len(mixed))]], runner(Pixels.of(many)))
    assert logits[sorted(broken)].isnan().all()


def first_pixel(images: Tensor) -> Tensor:
    """A network that can be checked by eye: its outputs are the first two pixels."""
    return images[:, 0, 0, :2].float()


@given(st.lists(st.none() | st.tuples(st.integers(0, 255), st.integers(0, 255)), max_size=900), st.data())
@settings(max_examples=60)
def test_order_and_count_are_kept(values: list[tuple[int, int] | None], data: st.DataObject) -> None:
    values = values * data.draw(st.integers(1, 3))
    made = Made([None if one is None else np.array([[[one[0]], [one[1]]]], np.uint8) for one in values])
    seen = 0
    for some in predict(first_pixel, made, Form((1, 1, 2))):
        assert some.first == seen
        assert len(some) - len(some.broken) <= BATCH
        for number, logits in zip(some.numbers, some.logits.tolist(), strict=True):
            one = values[number]
            assert (number in some.broken) == (one is None)
            assert one is None or tuple(logits) == one
        seen += len(some)
    assert seen == len(values)


def test_nothing_is_read_far_ahead_of_its_answer() -> None:
    made = Made([np.zeros((1, 2, 1), np.uint8)] * 5000)
    answers = predict(first_pixel, made, Form((1, 1, 2)))
    assert made.begun == 0
    next(answers)
    assert made.begun == BATCH


def test_memory_does_not_grow_with_the_images() -> None:
    count = 30_000

    def blocks() -> Iterator[np.ndarray]:
        for first in range(0, count, 100):
            yield np.full((100, 32, 32, 3), first % 256, np.uint8)

    images = PixelArrays("made", (count, 32, 32, 3), blocks)
    tracemalloc.start()
    for _ in predict(first_pixel, images, Form((3, 32, 32))):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * BATCH * 3072 < count * 3072 / 10


def test_pictures_that_are_all_broken() -> None:
    found = [*predict(first_pixel, Made([None] * 2500), Form((1, 1, 2)))]
    assert sum(map(len, found)) == 2500
    assert {len(some) - len(some.broken) for some in found} == {0}


def test_outputs_that_are_no_numbers() -> None:
    with pytest.raises(InputError, match="outputs are not finite for 1 of 3 images"):
        [*predict(lambda images: torch.tensor([[0.0, 1], [1, torch.nan], [1, 2]]), of_tensor(pixels(ARCH, 3)), FORM)]


# labels and probabilities


def labels_of(**info: Any) -> Labels:
    def never(images: Tensor) -> Tensor:
        raise AssertionError

    return Labels.of(Runner(ARCH, {**INFO, **info}, never), Path("w"))


def test_names_and_probabilities() -> None:
    logits = torch.tensor([[1.0, 2, 0, -1]])
    plain = labels_of()
    assert plain == Labels(tuple(CLASSES))
    assert torch.allclose(plain.probabilities(logits), logits.double().softmax(1))
    assert torch.allclose(labels_of(temperature=2.0).probabilities(logits), (logits.double() / 2).softmax(1))
    assert labels_of(classes=None).names == ("0", "1", "2", "3")
    for odd in (0, -1.0, "2", None, True, float("nan"), float("inf")):
        with pytest.raises(InputError, match="is no number above 0"):
            labels_of(temperature=odd)
    with pytest.raises(InputError, match="its class names are in"):
        labels_of(classes_in="classes.json")


def test_several_labels_by_their_thresholds() -> None:
    logits = torch.tensor([[1.0, 2, 0, -1]])
    found = labels_of(labels="several", thresholds=[0.5, 0.9, 0.4, 0.2], temperature=2)
    assert torch.allclose(found.probabilities(logits), (logits.double() / 2).sigmoid())
    assert found.chosen(logits).tolist() == [[True, False, True, True]]
    assert labels_of(labels="several", thresholds=[0.5]).chosen(logits).tolist() == [[True, True, False, False]]
