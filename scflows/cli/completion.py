"""Shell completion of TASK, FLOW, RUN and LOCK: standard library only, silent on errors."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from scflows.settings import Settings

#: How many of the newest runs are suggested.
MAX_RUNS = 50


def tasks(incomplete: str) -> list[str]:
    """Return task names."""
    return _matching(_tasks, incomplete)


def flows(incomplete: str) -> list[str]:
    """Return flow files below the flows folder."""
    return _matching(_flows, incomplete)


def runnable(incomplete: str) -> list[str]:
    """Return what `flows run` accepts: flows and tasks."""
    return [*flows(incomplete), *tasks(incomplete)]


def runs(incomplete: str) -> list[str]:
    """Return the ids of the newest runs."""
    return _matching(_runs, incomplete.upper())


def logged(incomplete: str) -> list[str]:
    """Return what has a log: tasks and flows that ran, then runs."""
    return [*_matching(_logs, incomplete), *runs(incomplete)]


def locks(incomplete: str) -> list[str]:
    """Return locks that are held or were left behind."""
    return _matching(_locks, incomplete)


def step_types(incomplete: str) -> list[str]:
    """Return step types, without those of other packages: finding them takes too long for completion."""
    return _matching(_step_types, incomplete)


def _matching(find: object, incomplete: str) -> list[str]:
    try:
        from scflows.settings import read_settings

        assert callable(find)
        return [name for name in find(read_settings()) if name.startswith(incomplete)]
    except Exception:
        # A message in the middle of a half-typed line would be worse than no suggestion.
        return []


def _tasks(settings: Settings) -> Iterable[str]:
    import os

    from scflows.storage import json_names

    return json_names(os.path.join(settings.state_path, "tasks"))


def _logs(settings: Settings) -> Iterable[str]:
    from scflows.history.task_log import logged_tasks

    return logged_tasks(settings.tasks_path)


def _flows(settings: Settings) -> Iterable[str]:
    from scflows.flows.loader import flow_files

    return [each.written for each in flow_files(settings)]


def _step_types(settings: Settings) -> Iterable[str]:
    from scflows.steps.registry import step_types

    return list(step_types())


def _runs(settings: Settings) -> Iterable[str]:
    import os

    from scflows.history.contract import Query
    from scflows.history.store import open_store
    from scflows.storage import sqlite_path

    if not os.path.exists(sqlite_path(settings.database_url, settings.home)):
        return []
    with open_store(settings) as store:
        return [run.id for run in store.find(Query(limit=MAX_RUNS))]


def _locks(settings: Settings) -> Iterable[str]:
    from scflows.locks import holders

    return [holder.name for holder in holders(settings.lock_path)]
