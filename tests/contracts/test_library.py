"""The public surface: names, parameters and defaults that programs of others are written against."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from typing import Any

import pytest
from paths import ROOT

import archsearch
import archsearch.network
import archsearch.testing
from archsearch import Arch, Budget, Evaluation, SearchSpace, build, count, load, search
from archsearch._utils.toolchain import DATA
from archsearch.network import layers
from archsearch.sampler import ParetoSampler
from archsearch.sampler.optuna_sampler import SamplerOptions
from archsearch.space.reader import load_space
from archsearch.testing import check_block, check_expr, check_head, check_stem
from archsearch.workers.local import Result, SearchOptions

TRIED = "((1, 8, 8), (3, 9, 7), (8, 14, 14)"
SIGNATURES = [
    (Arch, "input_shape, classes, stem, stages, head, recipe=<factory>"),
    (Arch.load, "path"),
    (Arch.dump, "self, path"),
    (Arch.from_toml, "text, where=''"),
    (Arch.to_toml, "self"),
    (Budget, "*, size_dtype='fp32', size_format='safetensors', timing=None, **limits"),
    (Budget.check, "self, cost, measured={}"),
    (Evaluation, "score, usage=<factory>, metrics=<factory>, before=0.0"),
    (SearchSpace.random, "self, rng, input_shape, classes"),
    (load_space, "name"),
    (build, "arch"),
    (count, "network, input_shape=None"),
    (load, f"path, data_dir={DATA!r}"),
    (search, "space, *, evaluate, input_shape=None, classes, budget=None, trials=24, **options"),
    (ParetoSampler, "distributions, cost, max_cost=inf, seed=0, key=None, **options"),
    (check_block, f"name, *, shapes={TRIED}, (64,), (7,)), widths=(8, 12), strides=(1, 2), **dims"),
    (check_stem, f"name, *, shapes={TRIED}), **dims"),
    (check_head, f"name, *, shapes={TRIED}, (64,), (7,)), classes=5, **dims"),
    (check_expr, "expr, shape, where=''"),
]  # fmt: skip


def parameters(function: Any) -> str:
    """Names, kinds and defaults, without types."""
    found = inspect.signature(function)
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in found.parameters.values()]
    return str(found.replace(parameters=bare, return_annotation=inspect.Signature.empty))[1:-1]


def test_names_of_the_package() -> None:
    assert archsearch.__all__ == [
        "Arch", "ArchsearchError", "Budget", "Evaluation", "Infeasible", "InputError", "SearchSpace", "SpaceExhausted",
        "StopTraining", "build", "count", "load", "search",
    ]  # fmt: skip
    assert all(hasattr(archsearch, name) for name in archsearch.__all__)


@pytest.mark.parametrize(("function", "wanted"), SIGNATURES, ids=lambda value: getattr(value, "__qualname__", ""))
def test_parameters(function: Any, wanted: str) -> None:
    assert parameters(function) == wanted


def test_options_of_search_and_sampler() -> None:
    assert sorted(SearchOptions.__annotations__) == [
        "counts", "memory", "observers", "progress", "rejected", "rungs", "sampler", "seat", "seed", "stopwatch",
        "storage", "study", "timeout", "training_cost",
    ]  # fmt: skip
    assert sorted(SamplerOptions.__annotations__) == [
        "active", "candidates", "features", "start", "training_cost", "use_stopped",
    ]  # fmt: skip
    assert {"front", "trials"} <= {*dir(Result)}


def test_names_for_tests_of_blocks() -> None:
    assert archsearch.testing.__all__ == [
        "FEATURES", "IMAGES", "check_block", "check_expr", "check_head", "check_stem", "count_macs",
    ]  # fmt: skip


def test_names_for_authors_of_blocks() -> None:
    assert archsearch.network.__all__ == [
        "ACTIVATIONS", "POOLS", "Act", "AdaptivePool", "Add", "Again", "Aux", "Concat", "Conv", "Custom", "Dropout",
        "Expr", "Flatten", "Leaf", "LeafCost", "Linear", "Mul", "Norm", "Pool", "Seq", "Shape", "Shared", "Shuffle",
        "SpecError", "Subsample", "Take", "Tensor", "add", "block", "concat", "conv", "depthwise", "head", "mul",
        "scaled", "seq", "shared", "shortcut", "squeeze_excite", "stem",
    ]  # fmt: skip


def test_every_layer_and_combinator_is_among_them() -> None:
    kinds = [value for value in vars(layers).values() if inspect.isclass(value) and issubclass(value, layers.Expr)]
    missing = {kind.__name__ for kind in kinds} - {*archsearch.network.__all__}
    assert missing == {"Combinator"}


def test_a_network_needs_neither_torch_nor_optuna() -> None:
    code = "import archsearch.network, sys; print({'torch', 'optuna', 'pandas', 'click'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_search_and_its_workers_start_without_what_comes_later() -> None:
    """The surrogate, importances and the prediction of milliseconds: a third of the seconds of a start."""
    imports = "import archsearch.workers.run, archsearch.workers.worker, sys"
    code = f"{imports}; print({{'sklearn', 'scipy.stats'}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("page", ["README.md", "docs/how-to/own-blocks.md"])
def test_what_the_documents_import_is_there(page: str) -> None:
    code = "\n".join(re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL))
    imports = re.findall(r"^(?:from|import) archsearch\b.*$", code, flags=re.MULTILINE)
    assert imports
    for line in imports:
        exec(line, {})
