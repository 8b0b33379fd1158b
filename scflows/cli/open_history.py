"""Open the history for a command; find runs and tasks by name."""

from __future__ import annotations

from contextlib import contextmanager

from scflows.errors import NotFound, Refused, Unreachable
from scflows.validation import did_you_mean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from scflows.history.contract import RunStore
    from scflows.history.run import Run
    from scflows.settings import Settings


#: How many of the newest runs are searched for a name.
NEWEST = 500


class Ambiguous(NotFound):
    """A prefix of more than one id."""


@contextmanager
def opened_history(settings: Settings) -> Iterator[RunStore]:
    """Open the reconciled history. Raise Unreachable if it cannot be read, Refused if access is denied."""
    import sqlite3

    from scflows.history.sqlite import advice
    from scflows.scheduler.reconcile import open_reconciled_history

    try:
        with open_reconciled_history(settings) as store:
            yield store
    except PermissionError as error:
        raise Refused(f"history {_path(settings)}: {error.strerror}", "show the owner with: ls -l") from error
    except (sqlite3.Error, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        path = _path(settings)
        raise Unreachable(f"history {path}: {reason}", advice(path, error)) from error


def find_run(store: RunStore, id: str) -> Run:
    """Return a run by its id or a prefix of it. Raise NotFound with the nearest id."""
    run = store.run(id) if id.isalnum() else None
    if run is None:
        from scflows.history.contract import Query

        known = [each.id for each in store.find(Query(limit=NEWEST))]
        matches = [each for each in known if each.startswith(id.upper())]
        if len(matches) > 1 and id:
            raise Ambiguous(f"more than one run starts with {id!r}", f"for example {', '.join(matches[:3])}")
        near = nearest(id.upper(), known)
        raise NotFound(f"run {id!r} not found", near or "list runs with: flows history")
    return run


def known_tasks(settings: Settings, store: RunStore | None = None) -> list[str]:
    """Return the names of tasks that are scheduled, have a log, or are among the newest runs."""
    from scflows.cron.task_index import read_tasks
    from scflows.history.task_log import logged_tasks

    names = {task.name for task in read_tasks(settings)[0]}
    names.update(logged_tasks(settings.tasks_path))
    if store is not None:
        from scflows.history.contract import Query

        names.update(run.task for run in store.find(Query(limit=NEWEST)))
    return sorted(names)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `did you mean …?`, or an empty text."""
    return did_you_mean(name, known, 0.5)


def _path(settings: Settings) -> str:
    from scflows.storage import sqlite_path

    return sqlite_path(settings.database_url, settings.home)
