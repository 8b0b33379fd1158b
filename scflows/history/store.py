"""Opening the history that the settings name, and handling one that cannot be used."""

from __future__ import annotations

import sqlite3

from scflows.errors import ScflowsError
from scflows.storage import SQLITE, redacted_url, sqlite_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from scflows.history.contract import RunStore
    from scflows.settings import Settings

    Result = TypeVar("Result")
    Default = TypeVar("Default")

#: Errors of a history that is damaged, full, locked for too long, or not accessible.
FAULTS = (sqlite3.Error, OSError, ScflowsError)


def open_store(settings: Settings, read_only: bool = False) -> RunStore:
    """Open the store that `database_url` names, a context manager. It and each of its methods may raise `FAULTS`."""
    from scflows.history.sqlite import SqliteStore

    return SqliteStore(settings, read_only)


def open_read_only(settings: Settings) -> RunStore:
    """Open the store for reading; do not create or change it."""
    return open_store(settings, read_only=True)


def ask(
    settings: Settings,
    query: Callable[[RunStore], Result],
    default: Default,
    opener: Callable[[Settings], RunStore] = open_store,
    report: Callable[[str], object] = lambda problem: None,
) -> Result | Default:
    """Return the result of a query, or `default` if the history cannot be used.

    `report` is called with the problem. Most callers ignore it: each run and `flows check` report it anyway.
    """
    try:
        with opener(settings) as store:
            return query(store)
    except FAULTS as error:
        report(problem_of(settings, error))
        return default


def problem_of(settings: Settings, error: Exception) -> str:
    """Return the message about a history that cannot be used."""
    return f"history {redacted_url(settings.database_url)}: {error}"


def history_location(settings: Settings) -> str:
    """Return a key that identifies a history; a relative path is relative to the workspace."""
    url = settings.database_url
    return sqlite_path(url, settings.home) if url.startswith(SQLITE) else url
