"""benchmarks/validation_noise.py: finds the noise that was put in, and goes on where it stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from by_path import benchmark_module
from commands import Answer

ARCHS, SEEDS, IMAGES = 12, 6, 4_000
noise = benchmark_module("validation_noise")


def right(means: np.ndarray, seeds: float, rng: np.random.Generator) -> np.ndarray:
    """Right and wrong answers where a training's accuracy deviates by `seeds` from its architecture's."""
    true = means[:, None] + seeds * rng.standard_normal((ARCHS, SEEDS))
    return (rng.random((ARCHS, SEEDS, IMAGES)) < true[..., None]).astype(float)


@pytest.mark.parametrize("seeds", [0.0, 0.02, 0.05])
def test_it_finds_the_noise_of_seeds_and_images(seeds: float) -> None:
    rng = np.random.default_rng(0)
    made = right(np.full(ARCHS, 0.7), seeds, rng)
    assert noise.seed_noise(made, rng) == pytest.approx(seeds, rel=0.2, abs=0.005)
    assert noise.image_noise(made) == pytest.approx((2 * 0.7 * 0.3) ** 0.5, rel=0.1)


def test_more_images_put_more_pairs_in_order() -> None:
    rng = np.random.default_rng(0)
    made = right(np.linspace(0.68, 0.72, ARCHS), 0.0, rng)
    few, many = (noise.ordered(made, size, rng) for size in (50, 2_000))
    assert 0.5 < few < many < 1
    assert noise.ordered(right(np.linspace(0.2, 0.9, ARCHS), 0.0, rng), 1_000, rng) > 0.95


@pytest.mark.slow
def test_real_trainings_are_kept(
    work: Path, command: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    options = ("--max-params", "8k", "--trials", "2", "--epochs", "1", "--no-rungs", "--study", "s")
    assert command("run", *options).status == 0
    words = ["results/s", "--candidates", "2", "--seeds", "2", "--pool", "1100", "--keep", "kept"]
    for more, files in ((["--only", "1"], 2), ([], 4)):
        monkeypatch.setattr("sys.argv", ["validation_noise.py", *words, *more])
        noise.main()
        assert len([*(work / "kept").iterdir()]) == files
    lines = capfd.readouterr().out.splitlines()
    assert sum(" seed " in line and line.endswith("%") for line in lines) == 4
    assert lines[-1].startswith("1,000 images: two networks differ by ± ")
