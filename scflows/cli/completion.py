"""What the shell offers for TASK, FLOW, RUN and LOCK: the standard library only, silent when something fails."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from scflows.settings import Settings

#: How many of the newest runs are offered.
MOST_RUNS = 50


def tasks(incomplete: str) -> list[str]:
    """Names of tasks."""
    return _offered(_tasks, incomplete)


def flows(incomplete: str) -> list[str]:
    """Flow files below the flows folder."""
    return _offered(_flows, incomplete)


def runnable(incomplete: str) -> list[str]:
    """What `flows run` takes."""
    return [*flows(incomplete), *tasks(incomplete)]


def runs(incomplete: str) -> list[str]:
    """Ids of the newest runs."""
    return _offered(_runs, incomplete.upper())


def logged(incomplete: str) -> list[str]:
    """What has a log: tasks and flows that ran, then runs."""
    return [*_offered(_logs, incomplete), *runs(incomplete)]


def locks(incomplete: str) -> list[str]:
    """Locks that are held or were left behind."""
    return _offered(_locks, incomplete)


def step_types(incomplete: str) -> list[str]:
    """Step types, without those of other packages: to look for them takes longer than one waits for an offer."""
    return _offered(_step_types, incomplete)


def _offered(find: object, incomplete: str) -> list[str]:
    try:
        from scflows.settings import read_settings

        assert callable(find)
        return [name for name in find(read_settings()) if name.startswith(incomplete)]
    except Exception:
        # A message in the middle of the line that somebody types would be worse than no offer.
        return []


def _tasks(settings: Settings) -> Iterable[str]:
    import os

    names = sorted(os.listdir(os.path.join(settings.state_path, "tasks")))
    return [name.removesuffix(".json") for name in names if name.endswith(".json") and name[0] != "."]


def _logs(settings: Settings) -> Iterable[str]:
    import os

    from scflows.history.task_log import log_files

    return [os.path.basename(path).removesuffix(".log") for path in log_files(settings.tasks_path)]


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
        return [run.id for run in store.find(Query(limit=MOST_RUNS))]


def _locks(settings: Settings) -> Iterable[str]:
    from scflows.locks import holders

    return [holder.name for holder in holders(settings.lock_path)]
