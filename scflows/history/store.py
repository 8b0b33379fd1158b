"""Open the history that the settings name, or do without it."""

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

    Answer = TypeVar("Answer")
    Default = TypeVar("Default")

#: What opening or asking a history raises that is damaged, full, locked for too long, or not ours to use.
FAULTS = (sqlite3.Error, OSError, ScflowsError)


def open_store(settings: Settings, read_only: bool = False) -> RunStore:
    """Open the store that `database_url` names; a context manager. Raises one of `FAULTS`, as does each call of it."""
    from scflows.history.sqlite import SqliteStore

    return SqliteStore(settings, read_only)


def open_read_only(settings: Settings) -> RunStore:
    """Open the store without making one where there is none, and without changing it."""
    return open_store(settings, read_only=True)


def ask(
    settings: Settings,
    question: Callable[[RunStore], Answer],
    default: Default,
    opener: Callable[[Settings], RunStore] = open_store,
    report: Callable[[str], object] = lambda problem: None,
) -> Answer | Default:
    """Return the history's answer to a question, or `default` if the history cannot be used.

    `report` is called with the problem. Most callers ignore it: each run and `flows check` report it anyway.
    """
    try:
        with opener(settings) as store:
            return question(store)
    except FAULTS as error:
        report(problem_of(settings, error))
        return default


def problem_of(settings: Settings, error: Exception) -> str:
    """Return what to say about a history that cannot be used."""
    return f"history {redacted_url(settings.database_url)}: {error}"


def history_place(settings: Settings) -> str:
    """Return what tells two histories apart: a relative path is one in the workspace."""
    url = settings.database_url
    return sqlite_path(url, settings.home) if url.startswith(SQLITE) else url
