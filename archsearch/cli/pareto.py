"""`archsearch pareto`."""

from __future__ import annotations

from pathlib import Path

import click

from archsearch.cli.options import opened_study, out_option, storage_option


@click.command()
@click.argument("study")
@storage_option()
@out_option
def pareto(study: str, storage: str | None, out: Path) -> None:
    """Write the tables, plots and page of STUDY (its folder, or its name in OUT) again, and print the front.

    The Optuna dashboard gets the front's table and files too. With --storage STUDY is the study's name there; the files
    of OUT/STUDY are written from what the storage has.
    """
    from archsearch.cli.live import Lines
    from archsearch.report.dashboard import show_front
    from archsearch.report.files import ArchFiles, write_tables
    from archsearch.report.html import write_page
    from archsearch.study.records import front
    from archsearch.study.storage import records, stored_references, stored_retrained

    folder, opened, config = opened_study(study, out, storage)
    history = records(opened)
    ArchFiles(folder, opened, config).write(history)
    budget, retrained = config.budget, stored_retrained(opened)
    write_tables(folder, [*stored_references(opened), *history], budget, retrained, config.score)
    write_page(folder, opened, config)
    show_front(folder, opened)
    Lines(0, 0, score=config.score).table(front(history))
