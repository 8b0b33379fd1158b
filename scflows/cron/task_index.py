"""The task index: a cache of the task files in one database, which makes many tasks as fast to read as a few.

The files are authoritative. The index is recreated whenever it is missing, damaged or of another version. For
`flows tick` it also stores when each task is due next, so that a minute without work costs almost nothing.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from contextlib import contextmanager
from itertools import islice

from scflows import __version__
from scflows.cron.task import Task, TaskStore
from scflows.errors import NotFound, ScflowsError, UsageError
from scflows.storage import connect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Self

    from scflows.settings import Settings


MIGRATIONS = (
    """
    CREATE TABLE task (
        name TEXT PRIMARY KEY, changed INTEGER, size INTEGER, inode INTEGER,
        body TEXT, problem TEXT, help TEXT, enabled INTEGER, due INTEGER
    ) WITHOUT ROWID;
    CREATE INDEX due ON task (due) WHERE due IS NOT NULL;
    CREATE INDEX undated ON task (name) WHERE enabled AND due IS NULL;
    CREATE TABLE known (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID
    """,
)
#: Up to this many task files, reading the files is faster than using the index.
MAX_UNINDEXED = 300
#: With more tasks, checking all schedules and runs takes too long for an interactive command.
VERY_MANY = 2000
#: A folder that changed less than this many seconds ago may change again with the same modification time.
TOO_NEW = 0.1


def read_tasks(settings: Settings, keep: bool = True) -> tuple[list[Task], list[ScflowsError]]:
    """Return all tasks by name, and an error for each file that cannot be read.

    `keep=False` forbids to create an index.
    """
    store = TaskStore(settings)
    if not _are_more_than(MAX_UNINDEXED, store.folder) or (not keep and not os.path.exists(index_path(settings))):
        return store.read_all()
    try:
        with TaskIndex(settings) as index, gc_paused():
            index.refresh()
            return index.read()
    except (sqlite3.Error, OSError, ScflowsError):
        return store.read_all()  # Slower, but with the same result.


def are_very_many(settings: Settings) -> bool:
    """Return whether there are too many tasks for an interactive command to check all of them."""
    return _are_more_than(VERY_MANY, TaskStore(settings).folder)


def _are_more_than(number: int, folder: str) -> bool:
    try:
        with os.scandir(folder) as found:
            return next(islice(found, number, None), None) is not None
    except OSError:
        return False


def index_path(settings: Settings) -> str:
    return os.path.join(settings.state_path, "tasks.index")


class TaskIndex:
    """The index, a context manager. Raises sqlite3.Error or OSError if it can be neither used nor created."""

    def __init__(self, settings: Settings) -> None:
        self._store = TaskStore(settings)
        self._path = index_path(settings)
        try:
            self._connection = self._open()
        except (sqlite3.DatabaseError, UsageError) as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            for ending in ("", "-wal", "-shm"):
                try:
                    os.unlink(self._path + ending)
                except FileNotFoundError:
                    pass
            self._connection = self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ended: object) -> None:
        self._connection.close()

    def refresh(self, quick: bool = False) -> bool:
        """Update the index from the files; return whether anything changed.

        With many tasks, `quick` only checks the modification time of the folder. That changes with every file that is
        created, removed or replaced, but not when a user edits a file in place.
        """
        folder = self._folder()
        are_many = self._connection.execute("SELECT COUNT(*) FROM task").fetchone()[0] > MAX_UNINDEXED
        if quick and are_many and folder is not None and folder == self._known("folder"):
            return False
        states = _states(self._store.folder)
        changed = self._differences(states)
        if not changed and (folder is None or folder == self._known("folder")):
            return False
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            # Read it again under the write lock: another process may have made the same update.
            folder = self._folder()
            states = _states(self._store.folder)
            changed = self._differences(states)
            self._update(changed, states)
            self._connection.execute("REPLACE INTO known VALUES ('folder', ?)", (folder,))
            self._connection.execute("COMMIT")
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        return bool(changed)

    def read(self) -> tuple[list[Task], list[ScflowsError]]:
        """Return all tasks and errors, as `read_tasks` does."""
        rows = self._connection.execute("SELECT body FROM task WHERE body IS NOT NULL ORDER BY name")
        tasks = [Task.from_checked(each) for each in json.loads(f"[{','.join(body for (body,) in rows)}]")]
        return tasks, self.problems()

    def problems(self) -> list[ScflowsError]:
        rows = self._connection.execute("SELECT problem, help FROM task WHERE problem IS NOT NULL ORDER BY name")
        return [UsageError(problem, help) for problem, help in rows]

    def undated(self) -> list[Task]:
        """Return the enabled tasks whose next due time is unknown."""
        rows = self._connection.execute("SELECT body FROM task WHERE enabled AND due IS NULL")
        return [Task.from_checked(json.loads(body)) for (body,) in rows]

    def due(self, until: int) -> list[tuple[Task, int]]:
        """Return the tasks that are due up to a time, and since when, in seconds since the epoch."""
        rows = self._connection.execute("SELECT body, due FROM task WHERE due <= ? AND enabled", (until,))
        return [(Task.from_checked(json.loads(body)), due) for body, due in rows]

    def date(self, dues: Mapping[str, int]) -> None:
        """Store when tasks are due next."""
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(
            "UPDATE task SET due = ? WHERE name = ?", [(due, name) for name, due in dues.items()]
        )
        self._connection.execute("COMMIT")

    def forget_dates(self) -> None:
        self._connection.execute("UPDATE task SET due = NULL")

    def keep_dates_of(self, clock: str) -> None:
        """Remove the next due times if they were computed in another zone."""
        if self._known("clock") != clock:
            self.forget_dates()
            self._connection.execute("REPLACE INTO known VALUES ('clock', ?)", (clock,))

    def _open(self) -> sqlite3.Connection:
        connection = connect(self._path, MIGRATIONS)
        try:
            version = connection.execute("SELECT value FROM known WHERE key = 'version'").fetchone()
            if version != (__version__,):
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("DELETE FROM task")
                connection.execute("DELETE FROM known")
                connection.execute("INSERT INTO known VALUES ('version', ?)", (__version__,))
                connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
        return connection

    def _known(self, key: str) -> str | None:
        row = self._connection.execute("SELECT value FROM known WHERE key = ?", (key,)).fetchone()
        return None if row is None else row[0]

    def _folder(self) -> str | None:
        """Return the state of the folder; None if a further change might not be visible in it."""
        try:
            state = os.stat(self._store.folder)
        except OSError:
            return None
        if time.time() - state.st_mtime < TOO_NEW:
            return None
        return f"{state.st_mtime_ns} {state.st_ino}"

    def _differences(self, states: Mapping[str, tuple[int, ...]]) -> list[str]:
        rows = self._connection.execute("SELECT name, changed, size, inode FROM task")
        before = {name: state for name, *state in rows}
        removed = [name for name in before if name not in states]
        return removed + [name for name, state in states.items() if before.get(name) != [*state]]

    def _update(self, names: Iterable[str], states: Mapping[str, tuple[int, ...]]) -> None:
        rows = []
        for name in names:
            try:
                if name not in states:
                    raise NotFound(name)
                task = self._store.read(name)
                body = json.dumps(task.to_dict(), ensure_ascii=False)
                rows.append((name, *states[name], body, None, None, task.enabled))
            except NotFound:
                self._connection.execute("DELETE FROM task WHERE name = ?", (name,))
            except ScflowsError as error:
                rows.append((name, *states[name], None, str(error), error.help, False))
        self._connection.executemany("REPLACE INTO task VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)", rows)


def _states(folder: str) -> dict[str, tuple[int, ...]]:
    """Return the state of each task file, which changes with the file. Raises OSError."""
    states: dict[str, tuple[int, ...]] = {}
    try:
        with os.scandir(folder) as found:
            for each in found:
                if each.name.endswith(".json") and each.name[0] != ".":
                    try:
                        state = each.stat()
                    except FileNotFoundError:
                        continue
                    # Not the modification time, which programs can set.
                    states[each.name[:-5]] = (state.st_ctime_ns, state.st_size, state.st_ino)
    except (FileNotFoundError, NotADirectoryError):
        pass
    return states


@contextmanager
def gc_paused() -> Iterator[None]:
    """Disable the garbage collector while many long-lived objects are created.

    With 50,000 tasks, it took more than a third of the time.
    """
    import gc

    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
