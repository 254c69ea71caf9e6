"""How much of a lead is luck: search and random on a landscape learnt from a study's own trainings, many times over.

    python benchmarks/landscape.py results/cifar10-5M-wrn32 --more results/cifar10-6MB-wrn32

Trees learn the accuracies at the rungs and at the end from all that the studies and their random twins have trained, in
one space. Their predictions are taken for the truth, and by how much they miss unseen networks for the noise of a
training. Then `archsearch.search` goes through the first study's space within its limits, with either sampler, for as
many epochs as that study has spent. Prints the true accuracy, in percent, of what each would ship (the best by
measurement), and in what share of all pairs random is ahead, by measurement and in truth.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.feature_extraction import DictVectorizer
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline

from archsearch import Arch, Budget, search
from archsearch.evaluation import Report
from archsearch.sampler.asha import CURVE, Rungs
from archsearch.space.reader import parse_space
from archsearch.study.storage import open_existing, status

REDUCTION = 2.0
"""Of `archsearch run` by default."""
MOST = 10_000
SAMPLERS = ("pareto", "random")


@dataclass(frozen=True)
class Question:
    """What a study was asked: `about` from its run.json, its rungs, and the epochs that it has spent."""

    about: dict[str, Any]
    rungs: Rungs
    spent: int

    @classmethod
    def of(cls, folder: Path) -> Question:
        """From a study's folder."""
        about = json.loads((folder / "run.json").read_text())
        trials = pd.read_csv(folder / "trials.csv")
        rungs = Rungs(about["recipe"]["epochs"], about["rungs"][0], REDUCTION)
        return cls(about, rungs, int(trials.epochs[trials.state != "reference"].sum()))


def traits(arch: Arch) -> dict[str, Any]:
    """What the trees see of a network."""
    seen: dict[str, Any] = {"params": arch.cost.params, "macs": arch.cost.macs, "head": arch.head.type}
    seen |= {f"stem.{name}": value for name, value in arch.stem.dims}
    for i, stage in enumerate(arch.stages, 1):
        own = {"block": stage.block, "width": stage.width, "depth": stage.depth, **dict(stage.dims)}
        seen |= {f"stage{i}.{name}": value for name, value in own.items()}
    return seen


Training = tuple[dict[str, Any], dict[int, float]]
"""Traits of a network, and its accuracy in percent by epoch."""


def trained(folders: Sequence[Path]) -> list[Training]:
    """All that studies and their random twins have trained."""
    found = []
    for folder in (one for parent in folders for one in (parent, parent / "random")):
        study, config = open_existing(folder)
        space, shape, classes = config.space, config.input_shape, config.classes
        for trial in study.get_trials(deepcopy=False):
            if status(trial) in ("complete", "stopped"):
                arch = space.draw(lambda name, dim, of=trial.params: of[name], shape, classes)
                found.append((traits(arch), {int(at): 100 * accuracy for at, accuracy in trial.user_attrs[CURVE]}))
    return found


@dataclass(frozen=True)
class Truth:
    """Accuracy in percent of any network of the space after some epoch, and the noise of measuring it."""

    model: Pipeline
    noise: float

    @classmethod
    def learnt(cls, epoch: int, trainings: Sequence[Training]) -> Truth:
        """From those that came so far; prints how well networks are predicted that the trees have not seen."""
        known = [(seen, curve[epoch]) for seen, curve in trainings if epoch in curve]
        inputs, accuracy = [seen for seen, _ in known], np.array([value for _, value in known])
        trees = ExtraTreesRegressor(500, min_samples_leaf=2, random_state=0)
        model = make_pipeline(DictVectorizer(sparse=False), trees)
        folds = KFold(10, shuffle=True, random_state=0)
        noise = float((accuracy - cross_val_predict(model, inputs, accuracy, cv=folds)).std())
        spread = f"deviation {accuracy.std():.2f}, from the prediction of unseen ones {noise:.2f}"
        print(f"epoch {epoch}: {len(known)} trainings, {spread}", flush=True)
        return cls(model.fit(inputs, accuracy), noise)

    def of(self, arch: Arch) -> float:
        """Without noise."""
        return float(self.model.predict([traits(arch)])[0])


@dataclass(frozen=True)
class Shipped:
    """The best network by measurement: what was measured and what is true, in percent."""

    measured: float
    truth: float


def run(question: Question, truths: dict[int, Truth], sampler: str, seed: int) -> Shipped:
    """One search."""
    about, last = question.about, question.rungs.epochs
    rng, spent, found = np.random.default_rng(seed), 0, [Shipped(0.0, 0.0)]

    def train(arch: Arch, report: Report) -> float:
        nonlocal spent
        for epoch in range(1, last + 1):
            spent += 1
            if epoch in question.rungs.at:
                truth = truths[epoch]
                report(epoch, (truth.of(arch) + truth.noise * rng.standard_normal()) / 100)
        final = truths[last].of(arch)
        found.append(Shipped(final + truths[last].noise * rng.standard_normal(), final))
        return found[-1].measured / 100

    search(
        parse_space(about["space"]["toml"], about["space"]["name"]),
        evaluate=train,
        input_shape=tuple(about["input"]),
        classes=about["classes"],
        budget=Budget(**about["budget"]),
        trials=lambda: MOST if spent < question.spent else 0,
        seed=seed,
        sampler=sampler,
        rungs=question.rungs,
    )
    return max(found, key=lambda one: one.measured)


def main() -> None:
    """Print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--more", type=Path, nargs="*", default=[], help="other studies of the same space")
    parser.add_argument("--seeds", type=int, default=20, help="searches of each sampler")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    question = Question.of(options.study)
    epochs = (*question.rungs.at, question.rungs.epochs)
    trainings = trained([options.study, *options.more])
    truths = {epoch: Truth.learnt(epoch, trainings) for epoch in epochs}
    shipped = {name: [run(question, truths, name, seed) for seed in range(options.seeds)] for name in SAMPLERS}
    for of in ("measured", "truth"):
        values = {name: np.array([getattr(one, of) for one in runs]) for name, runs in shipped.items()}
        for name, found in values.items():
            print(f"{name} ships, {of}: {found.mean():.2f} ± {found.std(ddof=1):.2f}")
        ahead = (values["random"][:, None] > values["pareto"][None]).mean()
        print(f"random ahead, {of}: {100 * ahead:.0f}% of pairs")


if __name__ == "__main__":
    main()
