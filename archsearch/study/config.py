"""What a study carries of itself, typed: everything that rebuilds its search from the storage alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from archsearch._utils.scores import ACCURACY, Score
from archsearch.errors import StudyError
from archsearch.network.blocks.registry import Value
from archsearch.network.budget import Budget
from archsearch.network.file_size import SAFETENSORS
from archsearch.network.layers import Shape
from archsearch.network.recipe import Recipe
from archsearch.space.domain import Domain
from archsearch.space.reader import parse_space
from archsearch.space.space import SearchSpace

FORMAT, _TIMING, _SIZING, _SCORING, _KNOWING, _PLAIN = 8, 7, 6, 5, 4, 3
"""Of what a study carries: 1 had no terms, 2 no share of validation images, 3 nothing that trainings begin with, and
one input shape for all candidates, 4 no metric but accuracy, and one label per image, 5 bytes of safetensors alone,
6 no limit on what is measured, 7 no candidates that begin with others' weights."""
EPOCHS, DIGITS_EPOCHS = 20, 5
"""Of a candidate by default, and of one on the embedded digits."""
_FORMAT = "format"
_NOTHING: Mapping[str, Value] = {}
_WHOLE_IMAGES = {"initial_scale": 1.0}
"""Of recipes that were written before trainings began with smaller images."""


@dataclass(frozen=True)
class StudyData:
    """The images of a study.

    `name`: as `--dataset` was told; `fingerprint`: of images and classes; `image_size`: pixels of a side, the largest
    of several, None for the dataset's own; `sizes`: what the run says of the sides of candidates in place of its
    space, () for nothing; `validation`: share of the train images that judges, None where the dataset brings others and
    in studies of format 2, which took a tenth; `skip_broken`, `nested`: how a folder is read; `several`: labels
    per image.
    """

    name: str
    fingerprint: str
    image_size: int | None = None
    validation: float | None = None
    skip_broken: bool = False
    nested: bool = False
    sizes: tuple[int, ...] = ()
    several: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is off or empty is left out."""
        plain = {**asdict(self), "sizes": list(self.sizes)}
        return {key: value for key, value in plain.items() if value is not False and value != []}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> StudyData:
        """What `to_json` wrote. Raises TypeError."""
        return cls(**{**values, "sizes": tuple(values.get("sizes", ()))})


@dataclass(frozen=True)
class Known:
    """What the trainings of a study learn from and begin with, beside labels and chance.

    `teachers`, `init_from`: places as `run` was told; `taught`, `started`: names and the first digits of their
    SHA-256; all empty for none.
    """

    teachers: tuple[str, ...] = ()
    init_from: str = ""
    taught: str = ""
    started: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is empty is left out, so that an older archsearch reads the rest."""
        values = {
            "teacher": self.taught,
            "teacher_places": list(self.teachers),
            "init_from": self.started,
            "init_from_place": self.init_from,
        }
        return {key: value for key, value in values.items() if value}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Known:
        """What `to_json` wrote among others."""
        return cls(
            tuple(values.get("teacher_places", ())),
            values.get("init_from_place", ""),
            values.get("teacher", ""),
            values.get("init_from", ""),
        )


@dataclass(frozen=True)
class StudyConfig:
    """What all workers of a study have in common and a resumed run may not change.

    `input_shape`: (channels, height, width), the largest where they are searched; `seed`: of proposals, validation
    split and trainings; `metric`: what is maximised, by its name of `--metric`; `inherit`: whether candidates begin
    with what others have learnt.
    """

    space_name: str
    space_toml: str
    budget: Budget
    data: StudyData
    input_shape: Shape
    classes: int
    recipe: Recipe
    seed: int = 0
    deterministic: bool = False
    known: Known = Known()
    metric: str = ACCURACY
    inherit: bool = False

    @property
    def score(self) -> Score:
        """What is maximised, in words."""
        return Score(self.metric)

    @cached_property
    def space(self) -> SearchSpace:
        """The search space, read once. Raises SpecError, for example where a user's own block is not installed."""
        return parse_space(self.space_toml, self.space_name, "the study's space").with_sizes(self.data.sizes)

    @property
    def domain(self) -> Domain:
        """The space for the study's images."""
        return Domain(self.space, self.input_shape, self.classes)

    def to_json(self) -> dict[str, Any]:
        """Plain values in the oldest format that has them, which `from_json` reads."""
        return {
            _FORMAT: self._format,
            "space": {"name": self.space_name, "toml": self.space_toml},
            "budget": self.budget.to_dict(),
            "dataset": self.data.to_json(),
            "input": list(self.input_shape),
            "classes": self.classes,
            "recipe": self.recipe.to_dict(),
            "seed": self.seed,
            "deterministic": self.deterministic,
            **self.known.to_json(),
            **({} if self.metric == ACCURACY else {"metric": self.metric}),
            **({"inherit": True} if self.inherit else {}),
        }

    @property
    def _format(self) -> int:
        """The oldest format that has everything."""
        if self.inherit:
            return FORMAT
        if self.budget.timing:
            return _TIMING
        if self.budget.size_format != SAFETENSORS:
            return _SIZING
        if self.metric != ACCURACY or self.data.several:
            return _SCORING
        return _PLAIN if self.known == Known() and not self.space.input else _KNOWING

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> StudyConfig:
        """Read any format up to `FORMAT`.

        Raises:
            StudyError: a newer format, or values that no archsearch wrote; one line.
        """
        version = values.get(_FORMAT, 1)
        if version > FORMAT:
            raise StudyError(f"has format {version}, of a newer archsearch; this one reads up to {FORMAT}: upgrade it")
        try:
            return cls(
                space_name=values["space"]["name"],
                space_toml=values["space"]["toml"],
                budget=Budget(**values["budget"]),
                data=StudyData.from_json(values["dataset"]),
                input_shape=tuple(values["input"]),
                classes=values["classes"],
                recipe=Recipe(**{**_WHOLE_IMAGES, **values["recipe"]}),
                seed=values["seed"],
                deterministic=values.get("deterministic", False),
                known=Known.from_json(values),
                metric=values.get("metric", ACCURACY),
                inherit=values.get("inherit", False),
            )
        except KeyError as error:
            raise StudyError(f"carries no {error.args[0]!r}, which archsearch writes") from None
        except TypeError as error:
            raise StudyError(f"carries what no archsearch wrote: {error}") from None


def default_recipe(
    space: SearchSpace, dataset: str, epochs: int | None = None, suggested: Mapping[str, Value] = _NOTHING
) -> Recipe:
    """The space's recipe, with 20 epochs where it says nothing, on the embedded digits with 5; or with `epochs`.

    suggested: what else holds where the space says nothing, see `study.suggestion`.
    """
    recipe = space.recipe(Recipe(epochs=EPOCHS).with_values(suggested))
    if epochs or dataset == "digits":
        recipe = recipe.with_values({"epochs": epochs or DIGITS_EPOCHS})
    return recipe
