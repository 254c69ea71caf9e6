"""A study's storage that waits while its database is away, and says what is wrong in one line.

Every access of a study goes through here, so that a restart of the database is a pause and no error. What is asked
again may have happened the first time: attributes are written over, and `leases` settles the rest.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage

from archsearch._utils.passwords import hide_password, hide_url, without_secrets
from archsearch.errors import StudyError

MAX_WAIT = 600.0
_FIRST, _LONGEST = 0.1, 5.0
_LOCKED = ("database is locked", "database table is locked")
_GRPC_AWAY = ("UNAVAILABLE", "UNKNOWN", "DEADLINE_EXCEEDED")
Answer = TypeVar("Answer")


class Waiter:
    """Calls again, with growing pauses, while the database is away.

    Args:
        url: of the storage, for messages, which never have its password.
        max_wait: seconds from the first failure to the last attempt.
        connected: whether the database has answered before; it is not waited for until it has.

    Attributes:
        told: called with one line when waiting begins.
        disturbed: when a call last failed, on the monotonic clock; before that nobody could show that he lives.
    """

    def __init__(self, url: str, max_wait: float = MAX_WAIT, *, connected: bool = True) -> None:
        self.url, self.max_wait, self.connected = hide_url(url), max_wait, connected
        self._secret = url
        self.told: Callable[[str], None] = lambda line: None
        self.disturbed = float("-inf")
        self._random = random.Random()

    def attempt(self, call: Callable[[], Answer]) -> Answer:
        """What the call returns.

        Raises:
            StudyError: the database refuses, or was away for longer than `max_wait` seconds; one line.
        """
        pause, start = _FIRST, None
        while True:
            try:
                return call()
            except Exception as error:
                if not is_fault(error):
                    raise
                reason = f"study storage {self.url}: {without_secrets(said(error), self._secret)}"
                now = self.disturbed = time.monotonic()
                self.connected = self.connected or is_lost_connection(error)
                if not self.connected or not is_passing(error) or now - (start or now) >= self.max_wait:
                    raise StudyError(reason) from None
            if start is None:
                start = now
                self.told(f"{reason}; waiting for it, {self.max_wait / 60:g} minutes at most")
            time.sleep(pause * self._random.uniform(0.5, 1))
            pause = min(2 * pause, _LONGEST)


def is_fault(error: BaseException) -> bool:
    """Whether an error is the database's own, rather than an answer or a bug."""
    return isinstance(error, (sqlalchemy.exc.SQLAlchemyError, StorageInternalError)) or _code(error) is not None


def is_passing(error: BaseException) -> bool:
    """Whether the same call may succeed later: the database is restarting, out of reach or busy."""
    cause = _cause(error)
    if isinstance(cause, sqlalchemy.exc.DBAPIError) and type(cause.orig).__module__ == "sqlite3":
        return str(cause.orig).startswith(_LOCKED)
    if isinstance(cause, sqlalchemy.exc.DBAPIError):
        lost = (sqlalchemy.exc.OperationalError, sqlalchemy.exc.InterfaceError)
        return isinstance(cause, lost) or cause.connection_invalidated
    # Optuna answers a query that lost its connection with another in the same transaction: that is the second kind.
    again = (sqlalchemy.exc.TimeoutError, sqlalchemy.exc.PendingRollbackError)
    return isinstance(cause, again) or _code(error) in _GRPC_AWAY


def is_lost_connection(error: BaseException) -> bool:
    """Whether the database was connected when it went away, rather than never there."""
    cause = _cause(error)
    broken = isinstance(cause, sqlalchemy.exc.DBAPIError) and cause.connection_invalidated
    return broken or isinstance(cause, sqlalchemy.exc.PendingRollbackError)


def _cause(error: BaseException) -> BaseException | None:
    """The database's error inside of Optuna's."""
    return error.__cause__ if isinstance(error, StorageInternalError) else error


def said(error: BaseException) -> str:
    """The database's own words, first line, without passwords."""
    cause = error.__cause__ or error
    text = str(getattr(cause, "orig", None) or cause)
    if (code := _code(error)) is not None:
        text = f"{code}: {error.details()}"  # type: ignore[attr-defined]  # of gRPC
    return hide_password((text.splitlines() or [type(cause).__name__])[0])


def _code(error: BaseException) -> str | None:
    """The status of an error of gRPC, whose package need not be installed."""
    code = getattr(error, "code", None)
    return str(code().name) if callable(code) and type(error).__module__.startswith("grpc") else None


def _forward(name: str) -> Callable[..., Any]:
    def call(self: Any, *args: Any, **options: Any) -> Any:
        return self.waiter.attempt(lambda: getattr(self.inner, name)(*args, **options))

    return call


_NAMES = BaseStorage.__abstractmethods__ | {"get_trial_number_from_id"}  # of a database, that is one statement
_Forwarding: Any = type("_Forwarding", (BaseStorage,), {name: _forward(name) for name in _NAMES})


class RetryingStorage(_Forwarding):  # type: ignore[misc]  # made a line above
    """An Optuna storage whose every method is called by a `Waiter`.

    Args:
        inner: the storage itself.
        waiter: as it was opened with.
    """

    def __init__(self, inner: BaseStorage, waiter: Waiter) -> None:
        self.inner, self.waiter = inner, waiter


def waiter_of(storage: BaseStorage) -> Waiter:
    """The storage's waiter; one that nobody asks for storages in memory."""
    return storage.waiter if isinstance(storage, RetryingStorage) else Waiter("")
