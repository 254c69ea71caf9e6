"""Searches under fire: everything is killed at random, the database too, and the results have to be whole.

    python benchmarks/faults.py storm --trials 200 --kills 20 --restarts 2
    python benchmarks/faults.py again --kills 50

`storm`: `run` and three `worker` commands, two processes each, in folders of their own, share a private PostgreSQL and
nothing else. Random processes get SIGKILL (a training, or a whole command, which is then started again), and the
database crashes and restarts. `again`: one run on SQLite is killed at a random moment, again and again, each time
followed by `--resume`; every file is parsed after every kill.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from archsearch import Arch, load

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))
from postgres import Postgres, query

LIMIT = 20_000
SPACE = """summary = "for benchmarks/faults.py"
[stem]
type = "conv"
width = { int = [4, 16], step = 2 }
[[stage]]
block = { choice = ["basic", "nin"] }
width = { int = [4, 40], step = 2 }
stride = 2
kernel = { choice = [1, 3] }
[head]
type = "linear"
"""
RUN = ["run", "--max-params", str(LIMIT), "--space", "space.toml", "--grace", "1", "--study", "s"]
ATTRIBUTE = "(SELECT value_json FROM trial_user_attributes a WHERE a.trial_id = t.trial_id AND a.key = '{}')"
DONE = f"""SELECT t.number, t.state::text, {ATTRIBUTE.format("arch")} AS arch,
    {ATTRIBUTE.format("params")}::int AS params,
    (SELECT value FROM trial_values v WHERE v.trial_id = t.trial_id AND objective = 0) AS accuracy
    FROM trials t WHERE t.state IN ('COMPLETE', 'PRUNED')"""
FRONT = f"""WITH done AS ({DONE}), whole AS (SELECT * FROM done WHERE state = 'COMPLETE')
    SELECT arch FROM whole a WHERE NOT EXISTS (SELECT 1 FROM whole b WHERE b.accuracy >= a.accuracy
    AND b.params <= a.params AND (b.accuracy > a.accuracy OR b.params < a.params OR b.number < a.number))
    ORDER BY params"""
RUNNING = f"SELECT {ATTRIBUTE.format('worker')} FROM trials t WHERE state = 'RUNNING'"


def command(folder: Path, *args: str, **environment: str) -> subprocess.Popen[str]:
    """`archsearch ARGS` in a folder, its output in the file `out` there."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "space.toml").write_text(SPACE)
    with (folder / "out").open("a") as out:
        return subprocess.Popen(
            [sys.executable, "-c", "from archsearch.cli import main; main()", *args],
            cwd=folder, stdout=out, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        )  # fmt: skip


class Storm:
    """Commands that share a database, and what hits them."""

    def __init__(self, folder: Path, server: Postgres, trials: int, joined: int, rng: random.Random) -> None:
        self.folder, self.server, self.trials, self.rng = folder, server, trials, rng
        self.url = server.database()
        self.log: list[str] = []
        self.commands: dict[str, subprocess.Popen[str]] = {}
        self.start("run")
        while not self.ask("SELECT 1 FROM study_user_attributes WHERE key = 'terms'"):
            time.sleep(0.5)
        for i in range(joined):
            self.start(f"worker{i}")

    def start(self, name: str) -> None:
        """Start a command, or start it again."""
        join = ["worker", "--study", "s", "--workers", "2"]
        search = [*RUN, "--epochs", "2", "--workers", "2", "--trials", str(self.trials), "--resume"]
        args = search if name == "run" else join
        self.commands[name] = command(self.folder / name, *args, ARCHSEARCH_STORAGE=self.url)

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query, none while the database is away or has no tables yet."""
        import psycopg

        with suppress(psycopg.Error):
            return query(self.url, sql)
        return []

    @property
    def done(self) -> int:
        """Candidates that are trained."""
        return len(self.ask(DONE))

    def kill(self) -> None:
        """SIGKILL to a process that trains, or one time in four to a whole command, which is started again."""
        if self.rng.random() > 0.25:
            for (worker,) in self.rng.sample(rows := self.ask(RUNNING), len(rows)):
                pid = int(json.loads(worker).rpartition(":")[2])
                with suppress(ProcessLookupError):  # a claim that an earlier kill has left
                    os.kill(pid, signal.SIGKILL)
                    self.log.append(f"{self.done} trained: SIGKILL to the training process {pid}")
                    return
        name = self.rng.choice([name for name, process in self.commands.items() if process.poll() is None])
        self.commands[name].kill()
        self.commands[name].wait()
        self.start(name)
        self.log.append(f"{self.done} trained: SIGKILL to the command {name}, started again")

    def restart(self, mode: str) -> None:
        """The database goes down for three seconds."""
        self.log.append(f"{self.done} trained: PostgreSQL stops ({mode}) for 3 s")
        self.server.stop(mode)
        time.sleep(3)
        self.server.start()

    def rage(self, kills: int, restarts: int) -> None:
        """Spread kills and restarts over the trainings, then wait for the end."""
        blows = [(self.trials * (i + 1) // (kills + 1), self.kill) for i in range(kills)]
        for i in range(restarts):
            mode = ("immediate", "fast")[i % 2]
            blows.append((self.trials * (i + 1) // (restarts + 1), lambda mode=mode: self.restart(mode)))
        for at, blow in sorted(blows, key=lambda pair: pair[0]):
            while self.done < at and self.commands["run"].poll() is None:
                time.sleep(0.2)
            blow()
        codes = {name: self.end(name) for name in list(self.commands)}
        assert set(codes.values()) == {0}, f"exit statuses {codes}: {self.outputs()}"

    def end(self, name: str) -> int:
        """A command's exit status. One that began while the database was away has said so, and is started again."""
        while (code := self.commands[name].wait()) == 2 and "connection failed" in tail(self.folder / name / "out")[-1]:
            self.log.append(f"{name} had begun while the database was away: started again")
            self.start(name)
        return code

    def outputs(self) -> str:
        """The last lines of every command."""
        return "\n".join(f"{p.parent.name}: {line}" for p in self.folder.glob("*/out") for line in tail(p))

    def check(self) -> list[str]:
        """Hold the database against what was promised, and the front on disk against SQL; what was found."""
        done = self.ask(DONE)
        archs = [json.loads(row[2]) for row in done]
        assert len(done) == len(set(archs)) == self.trials, (len(done), len(set(archs)))
        assert max(row[3] for row in done) < LIMIT
        assert self.ask("SELECT count(*) FROM trials WHERE state IN ('RUNNING', 'WAITING')") == [(0,)]
        folder = self.folder / "run" / "results" / "s"
        trials = pd.read_csv(folder / "trials.csv", dtype={"arch": str})
        assert sorted(trials[trials.state != "failed"].arch) == sorted(archs)
        front = [json.loads(arch) for (arch,) in self.ask(FRONT)]
        assert list(pd.read_csv(folder / "pareto.csv", dtype={"arch": str}).arch) == front
        for arch in archs:
            assert Arch.load(folder / "archs" / f"{arch}.toml").cost.params < LIMIT
        fate = ATTRIBUTE.format("fate")
        fates = self.ask(f"SELECT state::text, {fate}, count(*) FROM trials t GROUP BY 1, 2 ORDER BY 1, 2")
        shown = ", ".join(f"{n} {json.loads(fate) if fate else state.lower()}" for state, fate, n in fates)
        return [
            f"{len(done)} trained, {len(set(archs))} different, largest {max(row[3] for row in done):,} parameters",
            f"trials in the database: {shown}",
            f"front: {len(front)} networks, pareto.csv and SQL agree",
        ]


def tail(path: Path) -> list[str]:
    """The last lines of a file."""
    return path.read_text().splitlines()[-5:]


def storm(trials: int, kills: int, restarts: int, joined: int, seed: int) -> list[str]:
    """Let it rage, then check; what happened, a line each."""
    with tempfile.TemporaryDirectory() as folder, Postgres(Path(tempfile.gettempdir())) as server:
        clock, raging = time.monotonic(), Storm(Path(folder), server, trials, joined, random.Random(seed))
        try:
            raging.rage(kills, restarts)
            found = raging.check()
        finally:
            for process in raging.commands.values():
                process.kill()
        return [*raging.log, *found, f"{time.monotonic() - clock:.0f} s"]


def parse(folder: Path) -> int:
    """Read every file that a run leaves; the number of candidates in `trials.csv`."""
    whole = [path for path in folder.glob("*.csv") if not path.name.startswith(".")]  # a kill leaves .NAME files
    tables = {path.stem: pd.read_csv(path, dtype={"arch": str}) for path in whole}
    assert not {"pareto", "trials"} & set(tables) or {"pareto", "trials", "rejected"} <= set(tables)
    if (folder / "run.json").exists():
        json.loads((folder / "run.json").read_text())
    if (folder / "pareto.png").exists():
        Image.open(folder / "pareto.png").load()
    for path in (folder / "archs").glob("*"):
        assert Arch.load(path).id == path.stem or path.name.startswith(".")
    front = list(tables["pareto"].arch) if "pareto" in tables else []
    for arch in front:
        load(folder / "weights" / f"{arch}.safetensors")
    if (folder / "study.db").exists():
        with closing(sqlite3.connect(folder / "study.db")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return len(tables.get("trials", []))


def moments(kills: int, longest: float, rng: random.Random) -> Iterator[float]:
    """Seconds after which to kill: spread over the start, the first training and many trainings."""
    for _ in range(kills):
        yield rng.uniform(0.2, longest)


def again(trials: int, kills: int, longest: float, epochs: int, seed: int) -> list[str]:
    """Kill and resume a run on SQLite, then let it end; what was found."""
    log, args = [], [*RUN, "--epochs", str(epochs), "--trials", str(trials), "--resume"]
    with tempfile.TemporaryDirectory() as name:
        folder, clock = Path(name), time.monotonic()
        for i, moment in enumerate(moments(kills, longest, random.Random(seed))):
            process = command(folder, *args)
            with suppress(subprocess.TimeoutExpired):
                process.wait(moment)
            process.kill()
            process.wait()
            log.append(f"kill {i + 1} after {moment:.1f} s: {parse(folder / 'results' / 's')} candidates, files whole")
        assert command(folder, *args).wait() == 0, tail(folder / "out")
        assert parse(folder / "results" / "s") == trials
        table = pd.read_csv(folder / "results" / "s" / "trials.csv", dtype={"arch": str})
        assert table.arch.is_unique
        assert set(table.state) <= {"complete", "stopped"}
        return [*log, f"{trials} trained, {table.arch.nunique()} different, {time.monotonic() - clock:.0f} s"]


def main(words: list[str] | None = None) -> None:
    """Print what happened, a line each; an AssertionError if a promise was broken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=["storm", "again"])
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--kills", type=int, default=4)
    parser.add_argument("--restarts", type=int, default=2)
    parser.add_argument("--joined", type=int, default=3, help="`worker` commands beside `run`, two processes each")
    parser.add_argument("--longest", type=float, default=20.0, help="seconds, for `again`")
    parser.add_argument("--epochs", type=int, default=2, help="of a candidate, for `again`")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(words)
    if options.what == "storm":
        lines = storm(options.trials, options.kills, options.restarts, options.joined, options.seed)
    else:
        lines = again(options.trials, options.kills, options.longest, options.epochs, options.seed)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
