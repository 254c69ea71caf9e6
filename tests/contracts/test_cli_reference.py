"""Every command and every option stands in the documents."""

from __future__ import annotations

import os
import subprocess
import sys

import click
import pytest
from paths import ROOT

from archsearch.cli import cli

CONTEXT = click.Context(cli)
PAGES = "\n".join(page.read_text() for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


def options(name: str) -> set[str]:
    command = cli.get_command(CONTEXT, name)
    assert command is not None
    shown = [option for option in command.params if isinstance(option, click.Option) and not option.hidden]
    return {word for option in shown for word in (*option.opts, *option.secondary_opts)}


@pytest.mark.parametrize("name", cli.list_commands(CONTEXT))
def test_a_command_and_its_options_are_documented(name: str) -> None:
    assert f"archsearch {name}" in PAGES
    assert {option for option in options(name) if option not in PAGES} == set()


def test_the_reference_is_up_to_date() -> None:
    script = [sys.executable, str(ROOT / "scripts" / "cli_reference.py")]
    printed = subprocess.run(
        script, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ).stdout
    assert printed == (ROOT / "docs" / "reference" / "cli.md").read_text()


@pytest.mark.parametrize("name", cli.list_commands(CONTEXT))
def test_the_reference_has_every_option_of_a_command(name: str) -> None:
    sections = (ROOT / "docs" / "reference" / "cli.md").read_text().split("\n## ")
    section = next(text for text in sections if text.startswith(f"{name}\n"))
    assert {option for option in options(name) if f"`{option}" not in section and f"/ {option}" not in section} == set()
