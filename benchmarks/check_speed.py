"""How fast a verdict is, as ratios measured in one run on one thread.

    python benchmarks/check_speed.py [--json]

1. Counting the large course ResNet (4,903,242 parameters) from its description: by formula, by building it on the
   meta device and adding up, by torchinfo on a module that exists, and by building a module for torchinfo.
   The formula is timed warm (blocks seen before, as in a search; every count begins with a new `Arch`) and cold
   (every cache emptied before each count, as for the very first candidate).
2. Draw, count and verdict over the default space, fresh candidates only: the first 5,000 after every cache was
   emptied, and the next 20,000.

Times are CPU seconds of this one thread, so that other programs on the machine hardly count; a ratio is
the median over rounds in which every way is timed once.
Exit status 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable

os.environ["OMP_NUM_THREADS"] = "1"

import torch
import torchinfo

from archsearch.network.arch import Arch
from archsearch.network.blocks import registry
from archsearch.network.budget import Budget
from archsearch.network.cost import Cost, measure
from archsearch.network.stage import Part, Stage
from archsearch.nn.build import build
from archsearch.space.reader import SMALL_SPACE, load_space

LARGE = Arch(
    (3, 32, 32),
    10,
    Part("conv", (("width", 64),)),
    tuple(Stage("basic", width, 1, stride) for width, stride in ((64, 1), (128, 2), (256, 2), (512, 2))),
    Part("linear"),
)
PARAMS = 4_903_242
ROUNDS = 12
TARGETS = {"torchinfo": 1000, "meta device": 50, "candidates a second": 5000}


def forget() -> None:
    """Empty every cache that counting uses."""
    measure.cache_clear()
    registry.forget()


def again() -> Arch:
    """A new object, in which nothing is remembered."""
    return Arch(LARGE.input_shape, LARGE.classes, LARGE.stem, LARGE.stages, LARGE.head)


def formula() -> Cost:
    return again().cost


def cold() -> Cost:
    forget()
    return formula()


def on_meta() -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build(again()).parameters())


def seconds(work: Callable[[], object], calls: int) -> float:
    """The time of one call."""
    start = time.process_time()
    for _ in range(calls):
        work()
    return (time.process_time() - start) / calls


def counting() -> dict[str, list[float]]:
    """The time of one count by every way, round by round: whatever slows one round slows all ways in it."""
    module = build(LARGE).eval()
    assert formula().params == on_meta() == PARAMS

    def info(network: torch.nn.Module) -> int:
        return int(torchinfo.summary(network, input_size=(1, 3, 32, 32), verbose=0).total_params)

    assert info(module) == PARAMS
    ways: dict[str, tuple[Callable[[], object], int]] = {
        "formula, warm": (formula, 1000),
        "formula, cold": (cold, 40),
        "meta device": (on_meta, 4),
        "torchinfo, module exists": (lambda: info(module), 2),
        "torchinfo, with building": (lambda: info(build(again())), 1),
    }
    rounds = [{name: seconds(*way) for name, way in ways.items()} for _ in range(ROUNDS)]
    return {name: [times[name] for times in rounds[1:]] for name in ways}


def candidates() -> dict[str, float]:
    """Candidates a second. `random` never repeats itself here on purpose: one generator for all draws."""
    space, budget, rng = load_space(SMALL_SPACE), Budget(max_params=5e6, max_size=6e6), random.Random(0)

    def rate(draws: int) -> float:
        start = time.process_time()
        for _ in range(draws):
            budget.check(space.random(rng, (3, 32, 32), 10).cost)
        return draws / (time.process_time() - start)

    forget()
    first = rate(5000)
    return {"first 5,000 after a cold start": first, "afterwards": statistics.median(rate(4000) for _ in range(5))}


def over(slow: list[float], fast: list[float]) -> float:
    """The median ratio of two ways, round by round."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    as_json = parser.parse_args().json
    torch.set_num_threads(1)
    rates, times = candidates(), counting()
    formulas = (times["formula, warm"], times["formula, cold"])
    ratios = {name: [over(spent, by) for by in formulas] for name, spent in times.items() if "formula" not in name}
    met = {
        "torchinfo": ratios["torchinfo, module exists"][0] >= TARGETS["torchinfo"],
        "meta device": ratios["meta device"][0] >= TARGETS["meta device"],
        "candidates a second": rates["afterwards"] >= TARGETS["candidates a second"],
    }
    if as_json:
        print(json.dumps({"seconds": times, "ratios": ratios, "candidates_per_second": rates, "met": met}))
        return 0 if all(met.values()) else 1
    print(f"counting the large course ResNet ({PARAMS:,} parameters), one thread")
    print(f"{'':28}{'a count':>12}{'x warm':>10}{'x cold':>10}")
    for name, spent in times.items():
        by = "".join(f"{ratio:10,.0f}" for ratio in ratios.get(name, ()))
        print(f"{name:28}{statistics.median(spent) * 1e6:9,.0f} us{by}")
    print(f"\ndraw + count + verdict, space {SMALL_SPACE}, fresh candidates")
    for name, rate in rates.items():
        print(f"{name:32}{rate:8,.0f} a second")
    print()
    for name, fine in met.items():
        print(f"{name:24} at least {TARGETS[name]:>6,}: {'met' if fine else 'MISSED'}")
    return 0 if all(met.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
