"""Is the lead real? The best network of a study and that of its random twin, trained again with other seeds.

    python benchmarks/again.py results/cifar10-5M --seeds 1,2
    OMP_NUM_THREADS=1 python benchmarks/again.py results/cifar10-5M --seeds 1,2 --at-once 2      # two cores

What was best of many was lucky too; a training that nothing was chosen by is not. A seed fixes the validation split, so
the two are compared on the same images. Every training is one `archsearch run` on the candidate's file, with the
study's recipe; validation images judge (`--validation` as of `run`), the test split is not read. STUDY/again.csv keeps
what is measured, and the same line goes on where it stopped. Prints mean ± deviation of each, and of the
differences by seed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from archsearch._utils.files import write_text

COLUMNS = ["arch", "seed", "val_accuracy", "epochs", "params", "macs", "train_seconds", "summary", "validation"]


def best(folder: Path) -> Path:
    """The file of a study's most accurate candidate."""
    front = pd.read_csv(folder / "pareto.csv", dtype={"arch": str})
    return folder / "archs" / f"{front.arch.iloc[-1]}.toml"


def train(arch: Path, seed: int, about: dict[str, Any], dataset: str, share: float | None) -> pd.DataFrame:
    """One training: a row of its trials.csv, and the share of validation images."""
    recipe = [word for name, value in about["recipe"].items() for word in ("--recipe", f"{name}={value}")]
    judged = [] if share is None else ["--validation", share]
    size = about["dataset"].get("image_size")
    sized = [] if size is None else ["--image-size", size]
    with tempfile.TemporaryDirectory() as out:
        words = [
            "run", "--space", arch, "--dataset", dataset, *recipe, *judged, *sized, "--no-rungs", "--trials", 1,
            "--seed", seed, "--study", "again", "--out", out,
        ]  # fmt: skip
        command = [sys.executable, "-c", "from archsearch.cli import main; main()", *map(str, words)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        row = pd.read_csv(Path(out) / "again" / "trials.csv", dtype={"arch": str})
        settings = json.loads((Path(out) / "again" / "run.json").read_text())
    return row[row.state == "complete"].assign(validation=settings["dataset"]["validation"])[COLUMNS]


def main() -> None:
    """Train what is missing, then print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--seeds", default="1,2")
    parser.add_argument("--dataset", help="by default the study's")
    parser.add_argument("--validation", type=float, help="share of the train images, as of `archsearch run`")
    parser.add_argument("--at-once", type=int, default=1, help="trainings")
    options = parser.parse_args()
    about = json.loads((options.study / "run.json").read_text())
    path, archs = options.study / "again.csv", [best(options.study), best(options.study / "random")]
    if archs[0].stem == archs[1].stem:
        raise SystemExit(f"again: both have found {archs[0].stem}: nothing to tell apart")
    kept = pd.read_csv(path, dtype={"arch": str}) if path.exists() else pd.DataFrame(columns=COLUMNS)
    share = options.validation if kept.empty else kept.validation.replace(np.nan, None).iloc[0]
    if options.validation not in (None, share):
        parser.error(f"--validation {options.validation}: {path} was judged by {share}, and goes on so")
    done = set(zip(kept.arch, kept.seed, strict=True))
    seeds = [int(seed) for seed in options.seeds.split(",")]
    missing = [(arch, seed) for seed in seeds for arch in archs if (arch.stem, seed) not in done]
    errors = []
    with ThreadPoolExecutor(options.at_once) as pool:
        dataset = options.dataset or about["dataset"]["name"]
        for future in as_completed([pool.submit(train, *one, about, dataset, share) for one in missing]):
            if error := future.exception():
                errors.append(error)
                continue
            row = future.result()
            kept = row if kept.empty else pd.concat([kept, row])
            write_text(path, kept.to_csv(index=False))
    if errors:
        raise errors[0]
    table = 100 * kept.pivot(index="seed", columns="arch", values="val_accuracy")
    names = ["search", "random"]
    for name, arch in zip(names, archs, strict=True):
        print(f"{name}, {arch.stem}: {table[arch.stem].mean():.2f} ± {table[arch.stem].std():.2f}")
    apart = (table[archs[0].stem] - table[archs[1].stem]).dropna()
    print(f"search - random, by seed: {apart.mean():+.2f} ± {apart.std():.2f} ({len(apart)} seeds)")


if __name__ == "__main__":
    main()
