"""How a network is trained, as data. The defaults are for any network of the shipped spaces."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from archsearch.errors import SpecError
from archsearch.network.blocks.registry import Value, a_type, is_a, unknown

AUTO = -1
CHOSEN = "auto"
OPTIMISERS = (CHOSEN, "sgd", "muon", "adam", "adamw")
POLICIES = ("none", "trivial")
PRECISIONS = ("fp32", "int8")
"""By which a training is scored."""
OFF, BALANCED = "none", "balanced"
"""Class weights that are no list."""
PRESETS: Mapping[str, Mapping[str, Value]] = {"robust": {"policy": "trivial", "noise": 0.1}}
"""Values of a recipe by the name of what they are for; `robust`: corrupted images, see docs/reference/robustness.md."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """One training.

    `lr`: peak learning rate for a batch of 256, scaled linearly with the batch (Goyal et al. 2017); one cycle:
        linearly up over `warmup` of the steps, then linearly to zero.
    `batch_size`, `lr`, `crop` (pixels), `flip` and `initial_scale` are chosen from the dataset where they are -1, as is
        `optimiser` where it is auto.
    `crop` to `noise`: augmentation, see `data.Augmentation`.
    `initial_scale`: of the sides of images in the first epochs, see `training.resizing`; 1: whole images all along.
    `ema`: epochs over which weights and statistics are averaged for evaluation and for what is kept; 0: not.
    `lookahead`: steps after which weights go half of the way back to where they were so many steps ago; 0: not
        (Zhang et al. 2019, arXiv 1907.08610).
    `mix_growth`: share of the epochs over which the alphas of mixup and cutmix grow to their values; 0: not.
    `smoothing_until`: share of the epochs after which labels are not smoothed any more.
    `qat`: share of the epochs, the last ones, that train the network as its int8 file will compute, see
        `training.rounding`; 0: none.
    `score_precision`: fp32 or int8: validation scores are those of the network as it is, or rounded as its int8 file.
    `patience`: epochs without a better validation accuracy after which a training ends; 0: never early.
    `class_weights`: of the loss: none, balanced, or numbers with commas, one per class in their order.
    `balanced_batches`: 1: classes come equally often in an epoch; 0: images do.
    `logit_adjustment`: tau, by which the logarithms of the classes' shares are added to the logits in training; 0: not
        (Menon et al. 2021, arXiv 2007.07314, equation 10).
    """

    epochs: int = 20
    batch_size: int = AUTO
    optimiser: str = CHOSEN
    lr: float = float(AUTO)
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: float = 0.2
    label_smoothing: float = 0.1
    crop: int = AUTO
    flip: int = AUTO
    cutout: int = 0
    rotate: int = 0
    mixup: float = 0.0
    cutmix: float = 0.0
    policy: str = "none"
    resized_crop: float = 1.0
    noise: float = 0.0
    initial_scale: float = float(AUTO)
    ema: float = 0.0
    patience: int = 0
    class_weights: str = OFF
    balanced_batches: int = 0
    logit_adjustment: float = 0.0
    lookahead: int = 0
    mix_growth: float = 0.0
    smoothing_until: float = 1.0
    qat: float = 0.0
    score_precision: str = "fp32"

    def __post_init__(self) -> None:
        rules = [
            ("epochs", self.epochs >= 1, "at least 1"),
            ("batch_size", self.batch_size == AUTO or self.batch_size >= 2, "at least 2, or -1 to choose it"),
            ("optimiser", self.optimiser in OPTIMISERS, f"one of {', '.join(OPTIMISERS)}"),
            ("lr", self.lr == AUTO or 0 < self.lr < float("inf"), "above zero, or -1 to choose it"),
            ("momentum", 0 <= self.momentum < 1, "in [0, 1)"),
            ("weight_decay", 0 <= self.weight_decay < float("inf"), "at least zero"),
            ("warmup", 0 <= self.warmup < 1, "in [0, 1)"),
            ("label_smoothing", 0 <= self.label_smoothing < 1, "in [0, 1)"),
            ("crop", self.crop >= AUTO, "at least 0, or -1 to choose it"),
            ("flip", self.flip in (AUTO, 0, 1, 2), "0, 1, 2 (alternating), or -1 to choose it"),
            ("cutout", self.cutout >= 0, "at least 0"),
            ("rotate", 0 <= self.rotate <= 180, "from 0 to 180 degrees"),
            ("mixup", 0 <= self.mixup <= 100, "from 0 to 100"),
            ("cutmix", 0 <= self.cutmix <= 100, "from 0 to 100"),
            ("policy", self.policy in POLICIES, f"one of {', '.join(POLICIES)}"),
            ("resized_crop", 0.05 <= self.resized_crop <= 1, "from 0.05 to 1"),
            ("noise", 0 <= self.noise <= 1, "from 0 to 1"),
            (
                "initial_scale",
                self.initial_scale == AUTO or 0 < self.initial_scale <= 1,
                "in (0, 1], or -1 to choose it",
            ),
            ("ema", 0 <= self.ema < float("inf"), "at least 0"),
            ("patience", self.patience >= 0, "at least 0"),
            ("class_weights", _are_weights(self.class_weights), f"none, balanced, or {_WEIGHTS}"),
            ("balanced_batches", self.balanced_batches in (0, 1), "0 or 1"),
            ("logit_adjustment", 0 <= self.logit_adjustment <= 10, "from 0 to 10"),
            ("lookahead", self.lookahead >= 0, "at least 0"),
            ("mix_growth", 0 <= self.mix_growth <= 1, "from 0 to 1"),
            ("qat", 0 <= self.qat <= 1, "from 0 to 1"),
            ("score_precision", self.score_precision in PRECISIONS, f"one of {', '.join(PRECISIONS)}"),
            ("smoothing_until", 0 <= self.smoothing_until <= 1, "from 0 to 1"),
        ]
        problems = [f"{name} = {getattr(self, name)!r}: must be {rule}" for name, fine, rule in rules if not fine]
        if problems:
            raise SpecError(problems)

    def with_values(self, values: Mapping[str, Value]) -> Recipe:
        """This recipe with some values replaced.

        Raises:
            SpecError: unknown names, wrong types, or values out of range.
        """
        problems = check_values(values)
        if problems:
            raise SpecError(problems)
        return replace(self, **values)  # type: ignore[arg-type]  # types were checked a line above

    def to_dict(self) -> dict[str, Any]:
        """Plain values; those of `LATER` are left out where they are off: an older archsearch reads the rest."""
        return {name: value for name, value in asdict(self).items() if LATER.get(name) != value}


LATER: Mapping[str, Value] = {
    "class_weights": OFF, "balanced_batches": 0, "logit_adjustment": 0.0, "noise": 0.0, "lookahead": 0,
    "mix_growth": 0.0, "smoothing_until": 1.0, "qat": 0.0, "score_precision": "fp32",
}  # fmt: skip
"""What a recipe as a dict that says nothing of them means."""
_WEIGHTS = "numbers from 0 on with commas, one per class and not all 0"


def weights_listed(text: str) -> tuple[float, ...]:
    """The numbers of `class_weights`, in the classes' order; () for none and balanced. Raises ValueError."""
    return () if text in (OFF, BALANCED) else tuple(map(float, text.split(",")))


def _are_weights(text: str) -> bool:
    try:
        weights = weights_listed(text)
    except ValueError:
        return False
    return len(weights) != 1 and all(0 <= one < math.inf for one in weights) and (not weights or max(weights) > 0)


_TYPES = {"int": int, "float": float, "str": str}
FIELDS: dict[str, type] = {field.name: _TYPES[str(field.type)] for field in fields(Recipe)}


def check_values(values: Mapping[str, object]) -> list[str]:
    """What is wrong with the names and types of recipe values, one line each."""
    problems = [f"no recipe key {unknown(name, FIELDS)}" for name in values if name not in FIELDS]
    return problems + [
        f"{name} = {value!r}: must be {a_type(FIELDS[name])}"
        for name, value in values.items()
        if name in FIELDS and not is_a(value, FIELDS[name])
    ]
