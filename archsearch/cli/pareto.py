"""`archsearch pareto`."""

from __future__ import annotations

from pathlib import Path

import click

from archsearch.budget import Budget
from archsearch.cli.options import out_option, study_folder


@click.command()
@click.argument("study")
@out_option
def pareto(study: str, out: Path) -> None:
    """Write the tables, plots and page of STUDY (its folder, or its name in OUT) again, and print the front.

    The Optuna dashboard gets the front's table and files too.
    """
    from archsearch.artifacts import show_front
    from archsearch.cli.live import Lines
    from archsearch.page import write_page
    from archsearch.report import write_tables
    from archsearch.storage import open_existing, records, stored_references, stored_retrained
    from archsearch.tables import front

    folder = study_folder(study, out)
    opened, config = open_existing(folder)
    history = records(opened)
    budget, retrained = Budget(**config["budget"]), stored_retrained(opened)
    write_tables(folder, [*stored_references(opened), *history], budget, retrained)
    write_page(folder, opened, config)
    show_front(folder, opened)
    Lines(0, 0).table(front(history))
