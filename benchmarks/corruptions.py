"""How the committed networks for CIFAR-10 do on corrupted test images: the tables of docs/reference/robustness.md.

    python benchmarks/corruptions.py npz:cifar10.npz [FILE ...] --images 2000

Without FILE the winners under 78,042 parameters, 6 MB and 5M parameters. The same images for every file, drawn by seed
0. One line a file, then a table of each: accuracy by corruption and strength. What follows ± is 1.96 standard errors of
the mean over images, each with its share of right answers over all corruptions and strengths.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from archsearch.data import load_dataset
from archsearch.data.pixels import Pixels
from archsearch.inference import open_runner
from archsearch.inference.corruptions import CORRUPTIONS, STRENGTHS, corrupted
from archsearch.inference.evaluate import correct

RESULTS = Path(__file__).resolve().parents[1] / "results"
WINNERS = (
    RESULTS / "cifar10-78k/export/208a62b17a5b/model.int8.onnx",
    RESULTS / "cifar10-6MB-deep32/export/c2ca4b300722/model.int8.onnx.xz",
    RESULTS / "cifar10-5M/long/export/6af4f2832323/model.int8.onnx.xz",
)


@dataclass(frozen=True)
class Answers:
    """Of one file. clean: bool (N,), whether it is right; by: bool (5, N) for every corruption."""

    name: str
    clean: Tensor
    by: dict[str, Tensor]

    @property
    def shares(self) -> Tensor:
        """float (N,): of all corruptions and strengths those at which an image is recognised."""
        return torch.stack([*self.by.values()]).float().mean((0, 1))


def answers_of(path: Path, images: Pixels, labels: Tensor) -> Answers:
    """Run a file on the images as they are and on every corrupted copy."""
    runner = open_runner(path)

    def right(name: str, strength: int) -> Tensor:
        return correct(torch.cat([runner(batch) for batch in corrupted(images, name, strength)]), labels)

    by = {name: torch.stack([right(name, strength) for strength in STRENGTHS]) for name in CORRUPTIONS}
    return Answers(named(path), correct(runner(images), labels), by)


def named(path: Path) -> str:
    """A file's place in `results/`, or its name."""
    whole = path.resolve()
    return str(whole.relative_to(RESULTS)) if whole.is_relative_to(RESULTS) else path.name


def interval(shares: Tensor) -> str:
    """The mean of (N,) and 1.96 standard errors, in percent."""
    values = shares.float()
    return f"{100 * values.mean():.2f} ± {196 * values.std() / len(values) ** 0.5:.2f}"


def summary(found: Answers) -> str:
    """A row: file, accuracy on clean images, mean and worst over the corrupted ones."""
    cells = {(name, at): row.float().mean().item() for name, rows in found.by.items() for at, row in
             zip(STRENGTHS, rows, strict=True)}  # fmt: skip
    (name, at), worst = min(cells.items(), key=lambda cell: cell[1])
    return f"| {found.name} | {interval(found.clean)} | {interval(found.shares)} | {100 * worst:.1f} ({name} at {at}) |"


def table(found: Answers) -> list[str]:
    """Accuracy in percent, a row a corruption, a column a strength, and the mean."""
    lines = [f"| {found.name} | {' | '.join(map(str, STRENGTHS))} | mean |", "|---" * 7 + "|"]
    for name, rows in found.by.items():
        shares = [*rows.float().mean(1).tolist(), rows.float().mean().item()]
        lines.append(f"| {name} | {' | '.join(f'{100 * share:.1f}' for share in shares)} |")
    return lines


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="npz:FILE, or cifar10")
    parser.add_argument("files", nargs="*", type=Path, default=WINNERS)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=1, help="of torch and of ONNX Runtime")
    return parser.parse_args()


def main() -> None:
    """A table a file as it is done, then a row for each."""
    options = parse()
    torch.set_num_threads(options.threads)
    pixels, labels = load_dataset(options.dataset).test()
    chosen = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))[: options.images].sort().values
    rows = []
    for path in options.files:
        clock = time.perf_counter()
        found = answers_of(path, pixels.subset(chosen), labels[chosen])
        print("\n".join(table(found)))
        print(f"\n{len(chosen):,} images, {time.perf_counter() - clock:.0f} s\n", flush=True)
        rows.append(summary(found))
    print("\n".join(["| file | clean | corrupted, mean | worst |", "|---|---|---|---|", *rows]))


if __name__ == "__main__":
    main()
