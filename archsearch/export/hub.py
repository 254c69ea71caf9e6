"""Certified files and their card in a repository of Hugging Face, or of another server that HF_ENDPOINT names."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from archsearch.errors import InputError, PushFailed, one_line, printable
from archsearch.export.card import listed


def check_repository(repository: str) -> None:
    """Raises InputError where huggingface_hub is missing, or `repository` is no USER/NAME."""
    hub = _library()
    try:
        hub.utils.validate_repo_id(repository)
    except hub.errors.HFValidationError as error:
        raise InputError(f"--push-to-hub {printable(repository)}: {one_line(error).partition(': ')[2]}") from None
    if "/" not in repository:
        raise InputError(f"--push-to-hub {repository}: must be USER/NAME")


def push(card: Path, repository: str, private: bool = False) -> str:
    """Push a card, and the files that it lists and that are as they were certified; the address of the commit.

    The repository is made where there is none. The token is huggingface_hub's own, HF_TOKEN or that of `hf auth login`.

    Args:
        repository: USER/NAME.
        private: a repository that is made is private, and one that is public is refused.

    Raises:
        InputError: see `check_repository`.
        PushFailed: no token, no network, the server refuses, or a repository is public that should not be.
    """
    check_repository(repository)
    hub = _library()
    if not hub.get_token():
        raise PushFailed(_failed(repository, "there is no token: set HF_TOKEN, or run `hf auth login`"))
    with _quiet(hub):
        try:
            return _pushed(hub, [card, *listed(card)], repository, private)
        except PushFailed:
            raise
        except Exception as error:  # what is below the library raises its own: httpx until 1.x, httpx2 in 2.4, hf_xet
            raise PushFailed(_failed(repository, _reason(hub, error))) from error


def _pushed(hub: Any, files: list[Path], repository: str, private: bool) -> str:
    server = hub.HfApi()
    server.create_repo(repository, private=private or None, exist_ok=True)
    if private and not server.model_info(repository).private:
        raise PushFailed(_failed(repository, "it is there and public: leave out --hub-private, or take another name"))
    names = ", ".join(path.name for path in files[1:])
    operations = [hub.CommitOperationAdd(path_in_repo=path.name, path_or_fileobj=path) for path in files]
    return str(server.create_commit(repository, operations, commit_message=f"archsearch export: {names}").commit_url)


def _library() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.errors
        import huggingface_hub.utils
    except ModuleNotFoundError as error:
        if error.name != "huggingface_hub":
            raise
        raise InputError("--push-to-hub needs huggingface_hub: pip install 'archsearch[hub]'") from None
    return huggingface_hub


@contextmanager
def _quiet(hub: Any) -> Iterator[None]:
    """Without bars and warnings of the library, which has one answer only."""
    level, shown = hub.utils.logging.get_verbosity(), not hub.utils.are_progress_bars_disabled()
    hub.utils.logging.set_verbosity_error()
    hub.utils.disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        hub.utils.logging.set_verbosity(level)
        if shown:
            hub.utils.enable_progress_bars()


def _failed(repository: str, reason: str) -> str:
    return f"nothing was pushed to {repository}: {reason}"


def _reason(hub: Any, error: Exception) -> str:
    """What a server answered, or why it did not."""
    cause = error.__cause__ if isinstance(error.__cause__, hub.errors.HfHubHTTPError) else error
    if not isinstance(cause, hub.errors.HfHubHTTPError):
        return one_line(error)
    status = cause.response.status_code
    hint = {401: ": the token is not valid", 403: ": the token may not write there"}.get(status, "")
    words = printable((cause.server_message or "").strip().split("\n")[0][:200])
    return f"the server answered {status}{hint}{f' ({words})' if words else ''}"
