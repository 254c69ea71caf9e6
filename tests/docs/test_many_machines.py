"""docs/how-to/many-machines.md: its SQL and shell run against a local PostgreSQL, its YAML is right."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml
from paths import ROOT
from postgres import Postgres, query
from shells import program

PAGE = (ROOT / "docs" / "how-to" / "many-machines.md").read_text()


def snippets(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture
def environment(tmp_path: Path, postgres: Postgres, _preloaded: None) -> Iterator[dict[str, str]]:
    """The database that the page's SQL makes, and `archsearch` on the path."""
    query(postgres.url("postgres"), "DROP DATABASE IF EXISTS archsearch")
    query(postgres.url("postgres"), "DROP USER IF EXISTS archsearch")
    for statement in snippets("sql")[0].split(";")[:-1]:
        query(postgres.url("postgres"), statement)
    (tmp_path / "bin").mkdir()
    url = f"postgresql+psycopg://archsearch:secret@127.0.0.1:{postgres.port}/archsearch"
    with program(tmp_path / "bin" / "archsearch"):
        yield {**os.environ, "ARCHSEARCH_STORAGE": url, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
               "OMP_NUM_THREADS": "1"}  # fmt: skip


def shell(script: str, folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-eu", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.mark.slow
def test_the_shell_snippets(tmp_path: Path, environment: dict[str, str]) -> None:
    one, second, gpus, slurm = snippets("bash")
    shell(one, tmp_path, environment)
    assert len(pd.read_csv(tmp_path / "results" / "demo" / "trials.csv")) == 4
    assert "0 trained here; the study has 4 of 4" in shell(second, tmp_path, environment)
    said = shell(gpus, tmp_path, environment)
    assert said.count("trained here; the study has 6 of 6") == 2
    assert len(pd.read_csv(tmp_path / "results" / "gpus" / "trials.csv")) == 6
    array = {**environment, "SLURM_JOB_ID": "1", "SLURM_ARRAY_TASK_ID": "3"}
    assert "0 trained here; the study has 6 of 6" in shell(slurm, tmp_path, array)


def test_the_kubernetes_snippet() -> None:
    secret, job = yaml.safe_load_all(snippets("yaml")[0])
    assert (secret["kind"], job["kind"], job["apiVersion"]) == ("Secret", "Job", "batch/v1")
    container = job["spec"]["template"]["spec"]["containers"][0]
    from archsearch.cli import cli

    command = cli.get_command(None, container["args"][1])
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in container["args"] if word.startswith("--")} <= known
    variable = container["env"][0]
    assert variable["name"] == "ARCHSEARCH_STORAGE"
    assert variable["valueFrom"]["secretKeyRef"] == {"name": secret["metadata"]["name"], "key": "url"}
    assert [*secret["stringData"]] == ["url"]


def test_the_page_names_only_options_that_exist() -> None:
    from archsearch.cli import cli

    every = {option for name in cli.list_commands(None) for parameter in cli.get_command(None, name).params
             for option in parameter.opts}  # fmt: skip
    theirs = {"--job-name", "--array", "--gres", "--cpus-per-task", "--time", "--requeue", "--export"}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE)) <= every | theirs
