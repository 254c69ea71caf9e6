"""Mutated space and architecture files: a valid object or a clean error, within a second and 200 MB."""

from __future__ import annotations

import contextlib
import copy
import random
import re
import resource
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archsearch.errors import SpecError
from archsearch.network import zoo
from archsearch.network.arch import Arch
from archsearch.network.blocks import expand, lookup, names
from archsearch.space.reader import parse_space, shipped
from archsearch.space.space import SearchSpace

SECONDS, MEGABYTES = 1.0, 200
WHERE = "the/file.toml"
SPACES = [path.read_text() for path in shipped().values()]
ARCHS = [zoo.load(name).arch.to_toml() for name in zoo.names()]
PLACE = re.compile(r"[^:]+: .|no key .|.+ is missing", re.DOTALL)
"""A problem begins with its key, its part or its line."""

NASTY: list[Any] = [
    0, -1, 1, 2, 3, 7, 10**9, 10**18, 2**53, -(2**63), 10**30, 0.0, 0.5, -0.5, 1e308, 1e-308, float("inf"),
    float("nan"), True, False, "", "x", "basic", "nin", "conv", "linear", "max", "\u0000", "ü" * 50, "a" * 5000,
    [], {}, [[]], [{}], [0], [1, 8, 8], [10**9, 10**9, 10**9], {"int": [1, 10**9]}, {"int": [3, 1]},
    {"int": [0, 2**60]},
    {"int": "x"}, {"float": [0.0, 1.0]}, {"float": [0.0, 1.0], "log": True}, {"choice": []}, {"choice": [1, 1]},
    {"choice": [[1]]},
    {"choice": list(range(3000))}, {"int": [1, 4], "step": 0}, {"int": [1, 9], "step": 3}, {"chioce": [1]},
    {"int": [1, 2], "choice": [1]}, {"a": {"a": {"a": {"a": {}}}}}, list(range(5000)),
    [{"block": "basic", "width": 8}] * 2000,
]  # fmt: skip
TYPOS = [
    "widht",
    "dpeth",
    "kernel",
    "block",
    "type",
    "x.y",
    "",
    "nin",
    "resnin",
    "int",
    "input",
    "depth",
    "stride",
    "down",
]
LINES = [
    "depth = 1000000000", "width = " + "9" * 5000, "[[stage]]", "[stage.nin]",
    "a" + ".a" * 60 + " = 1", "x = " + "[" * 400,
    "x = 1979-05-27", "= 1", "[", '"""', "\x00", "width = 1", "stage = 3", "[train]\nlr = 'a'", "x = { int = [1, 2] }",
]  # fmt: skip


def nasty(rng: random.Random) -> Any:
    """A copy, since later mutations change it in place."""
    return copy.deepcopy(rng.choice(NASTY))


def containers(value: Any) -> list[Any]:
    """Every table and array inside, the root first."""
    found = [value]
    parts = value.values() if isinstance(value, dict) else value
    for part in parts:
        if isinstance(part, dict | list):
            found += containers(part)
    return found


def mutate_tree(rng: random.Random, text: str) -> str:
    data = tomllib.loads(text)
    for _ in range(rng.choice([1, 1, 2, 4])):
        place = rng.choice(containers(data))
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        action = rng.choice(["replace", "replace", "replace", "delete", "add", "rename", "repeat"])
        if isinstance(place, list):
            if action == "repeat" and len(place) < 200:
                place *= rng.choice([2, 20, 400])
            elif action == "delete" and keys:
                del place[rng.choice(keys)]
            elif keys:
                place[rng.choice(keys)] = nasty(rng)
        elif action == "add":
            place[rng.choice(TYPOS)] = nasty(rng)
        elif keys:
            key = rng.choice(keys)
            if action == "replace":
                place[key] = nasty(rng)
            elif action == "rename":
                place[rng.choice(TYPOS)] = place.pop(key)
            else:
                del place[key]
    return tomli_w.dumps(data)


def mutate_text(rng: random.Random, text: str) -> str:
    for _ in range(rng.choice([1, 2, 5])):
        at = rng.randrange(len(text) + 1)
        end = min(len(text), at + rng.choice([1, 1, 5, 40, 400]))
        action = rng.randrange(5)
        if action == 0:
            text = text[:at] + text[end:]
        elif action == 1:
            text = text[:at] + text[at:end] * rng.choice([2, 2, 100]) + text[end:]
        elif action == 2:
            text = text[:at] + rng.choice('[]{}"=.,#\n\t\x00é-9') + text[at:]
        elif action == 3:
            lines = text.split("\n")
            lines.insert(rng.randrange(len(lines) + 1), rng.choice(LINES))
            text = "\n".join(lines)
        else:
            text = text[:end]
    return text


def mutated(seed: int) -> tuple[str, str]:
    """(kind, text); hypothesis picks the seed, so that a failure is one number."""
    rng = random.Random(seed)
    kind = rng.choice(["space", "arch"])
    text = rng.choice(SPACES if kind == "space" else ARCHS)
    try:
        return kind, (mutate_tree if rng.random() < 0.6 else mutate_text)(rng, text)
    except (TypeError, ValueError, RecursionError):  # tomli_w cannot write what the mutation made
        return kind, mutate_text(rng, text)


def read(kind: str, text: str) -> Arch | SearchSpace:
    return Arch.from_toml(text, WHERE) if kind == "arch" else parse_space(text, "fuzzed", WHERE)


def use(found: Arch | SearchSpace) -> None:
    """What is valid can be used."""
    if isinstance(found, Arch):
        assert found.cost.params >= 0
        assert Arch.from_toml(found.to_toml()).id == found.id
        return
    rng = random.Random(0)
    for _ in range(3):
        with contextlib.suppress(SpecError):
            assert found.random(rng, (3, 16, 16), 10).cost.params >= 0


def hold(kind: str, text: str) -> None:
    """One file's verdict, and its price."""
    start = time.process_time()
    found, refused = None, None
    try:
        found = read(kind, text)
    except SpecError as error:
        refused = error
    spent = time.process_time() - start
    assert spent < SECONDS, f"{spent:.2f} s"
    if found is not None:
        use(found)
    elif refused is not None:
        assert str(refused).startswith(f"{WHERE}: ")
        assert all(PLACE.match(problem) for problem in refused.problems), str(refused)
        assert len(str(refused)) < 10_000


def fuzz(examples: int) -> None:
    @settings(max_examples=examples, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, 2**32))
    def run(seed: int) -> None:
        kind, text = mutated(seed)
        before = highest()
        hold(kind, text)
        assert highest() - before < MEGABYTES

    run()


def highest() -> float:
    """The most memory that this process has had so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def test_mutated_files_are_valid_or_refused_in_words() -> None:
    fuzz(200)


@pytest.mark.slow
def test_two_thousand_mutated_files() -> None:
    fuzz(2000)


STAGE = '[[stage]]\nblock = "{}"\nwidth = {}\n'
ENDS = 'input = [3, 32, 32]\nclasses = 10\nstem = {{ type = "none" }}\nhead = {{ type = "linear" }}\n{}'
BOMBS = {
    "10^9 layers": ENDS.format(STAGE.format("basic", 8) + "depth = 1000000000"),
    "10^9 inner layers": ENDS.format(STAGE.format("nin", 8) + "points = 1000000000"),
    "width 10^30": ENDS.format(STAGE.format("basic", 10**30)),
    "width of 5000 digits": ENDS.format(STAGE.format("basic", "9" * 5000)),
    "width 2^52": ENDS.format(STAGE.format("basic", 2**52)),
    "ratio 1e308": ENDS.format(STAGE.format("bottleneck", 64) + "ratio = 1e308"),
    "ratio nan": ENDS.format(STAGE.format("bottleneck", 64) + "ratio = nan"),
    "a map of 10^15 pixels": ENDS.format("").replace("[3, 32, 32]", "[3, 1000000000000000, 1000000000000000]"),
    "15,000 stages": ENDS.format("[[stage]]\n" * 15_000),
    "1,001 entries": ENDS.format(STAGE.format("basic", 8) * 1001),
    "deep arrays": ENDS.format("x = " + "[" * 50_000),
    "deep tables": ENDS.format("x = " + "{a=" * 5000),
    "a dotted key of 50,000 parts": ENDS.format("a" + ".a" * 50_000 + " = 1"),
    "many dotted keys": "\n".join(f"k{i}" + ".a" * 45 + " = 1" for i in range(900)),
    "dotted headers": "\n".join(f"[k{i}" + ".a" * 45 + "]" for i in range(900)),
    "30,000 unknown keys": "\n".join(f"k{i} = 1" for i in range(25_000)),
    "unknown keys in every stage": ENDS.format(
        "".join(STAGE.format("basic", 8) + "".join(f"k{i}{j}=1\n" for j in range(15)) for i in range(900))
    ),
    "a choice of 40,000": 'stem = { type = "none" }\nhead = { type = "linear" }\n'
    + STAGE.format("basic", "{ choice = [" + ",".join(map(str, range(30_000))) + "] }"),
    "a key of 100,000 letters": ENDS.format("k" * 100_000 + " = 1"),
    "a type of 100,000 letters": ENDS.format("").replace('"linear"', '"' + "l" * 100_000 + '"'),
}
VALID = {"a thousand stages": ENDS.format("".join(STAGE.format("basic", 8 + i % 90) for i in range(990)))}


@pytest.mark.parametrize("kind", ["arch", "space"])
def test_bombs_are_defused(kind: str) -> None:
    """Each in a process of its own accord: an alarm after a second of work, an address space of 200 MB more."""
    child = subprocess.run([sys.executable, __file__, kind], capture_output=True, text=True, timeout=300)
    assert child.returncode == 0, child.stdout[-2000:] + child.stderr[-2000:]


@pytest.mark.parametrize("kind", ["stem", "block", "head"])
def test_no_dim_of_any_registered_part_can_ask_for_a_billion_layers(kind: str) -> None:
    args = {"stem": (8,), "block": (8, 16, 1), "head": ((8, 16, 16), 10)}[kind]
    for name in names(kind):
        for dim, (wanted, _) in lookup(kind, name).dims.items():
            if wanted is int:
                start = time.process_time()
                with contextlib.suppress(SpecError):
                    expand(kind, name, args, ((dim, 10**6),))
                assert time.process_time() - start < 0.5, f"{kind} {name}: {dim} = 10^6"


def test_files_that_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "large.toml").write_text("# " + "x" * 300_000)
    for path in (
        tmp_path,
        tmp_path / "missing.toml",
        tmp_path / "binary.toml",
        tmp_path / "large.toml",
        Path("/dev/zero"),
    ):
        with pytest.raises(SpecError, match=path.name):
            Arch.load(path)


def _defuse(kind: str) -> None:
    def too_long(*_: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGPROF, too_long)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MEGABYTES * 2**20,) * 2)
    for name, text in {**BOMBS, **VALID}.items():
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        start = time.process_time()
        try:
            hold(kind, text)
        except BaseException as error:
            raise SystemExit(f"{name}: {error!r}") from error
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.write(f"{name}: {time.process_time() - start:.3f} s\n")


if __name__ == "__main__":
    _defuse(sys.argv[1])
