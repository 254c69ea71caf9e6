"""`archsearch dashboard`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from archsearch._utils.passwords import hide_url
from archsearch.cli.options import out_option, storage_option, study_folder
from archsearch.errors import InputError


@click.command()
@click.argument("study", required=False)
@storage_option(default="that of STUDY")
@click.option(
    "--artifacts",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of the files that the study's trials show.  [default: STUDY/artifacts]",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Port to listen on.")
@out_option
def dashboard(study: str | None, storage: str | None, artifacts: Path | None, host: str, port: int, out: Path) -> None:
    """Open STUDY (its folder, or its name in OUT) or a storage in the Optuna dashboard."""
    import optuna
    from optuna.artifacts import FileSystemArtifactStore
    from optuna_dashboard import wsgi

    from archsearch.report.dashboard import FOLDER
    from archsearch.study.retrying import Waiter
    from archsearch.study.storage import connect, experimental, sqlite_url

    source = click.get_current_context().get_parameter_source("storage")
    if study is not None and source is ParameterSource.ENVIRONMENT:
        storage = None  # a STUDY that is named goes before a storage that happens to be set
    if (study is None) == (storage is None):
        raise InputError("give either a STUDY or --storage URL")
    folder = study_folder(str(study), out) if study else None
    url = storage or sqlite_url(Path(folder or "") / "study.db")
    place = artifacts or (folder / FOLDER if folder else None)
    store = FileSystemArtifactStore(str(place)) if place and place.is_dir() else None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with experimental():
        app = Waiter(url, max_wait=0).attempt(lambda: wsgi(connect(url), artifact_store=store))
        _serve(app, host, port, hide_url(url))


def _serve(app: Any, host: str, port: int, what: str) -> None:
    from wsgiref.simple_server import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Requests are no news."""

    with make_server(host, port, app, handler_class=Quiet) as server:
        click.echo(f"{what}: http://{host}:{server.server_port}/ (Ctrl-C ends it)")
        server.serve_forever()
