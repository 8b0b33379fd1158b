"""What the task files say, kept in one place beside them: many tasks are known as fast as few.

The files are the truth, this is a cache of them: it is made anew whenever it is lost, broken or of another version.
For `flows tick` it keeps besides when each task is due next, so that a minute without work costs next to nothing.
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
#: So many task files are sooner read than looked up.
FEW = 300
#: To look at the schedules and runs of so many takes longer than a person waits.
VERY_MANY = 2000
#: A folder that was changed less than so many seconds ago may change again without a new time.
TOO_NEW = 0.1


def read_tasks(settings: Settings, keep: bool = True) -> tuple[list[Task], list[ScflowsError]]:
    """All tasks by name, and what is wrong with the files that cannot be read.

    `keep` is False for who may not make files.
    """
    store = TaskStore(settings)
    if not _are_more_than(FEW, store.folder) or (not keep and not os.path.exists(index_path(settings))):
        return store.read_all()
    try:
        with TaskIndex(settings) as index, gc_paused():
            index.refresh()
            return index.read()
    except (sqlite3.Error, OSError, ScflowsError):
        return store.read_all()  # Slower, and as right.


def are_very_many(settings: Settings) -> bool:
    """Whether there are so many tasks that a person would have to wait for a look at all of them."""
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
    """The cache. A context manager; raises sqlite3.Error or OSError where it can be neither used nor made."""

    def __init__(self, settings: Settings) -> None:
        self._store = TaskStore(settings)
        self._path = index_path(settings)
        try:
            self._connection = self._opened()
        except (sqlite3.DatabaseError, UsageError) as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            for ending in ("", "-wal", "-shm"):
                try:
                    os.unlink(self._path + ending)
                except FileNotFoundError:
                    pass
            self._connection = self._opened()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ended: object) -> None:
        self._connection.close()

    def refresh(self, quick: bool = False) -> bool:
        """Take in what was changed; whether anything was.

        `quick` goes, where there are many, by the time of the folder, which changes with every file that comes, goes
        or is replaced, but not when somebody writes into a file that is there.
        """
        folder = self._folder()
        many = self._connection.execute("SELECT COUNT(*) FROM task").fetchone()[0] > FEW
        if quick and many and folder is not None and folder == self._known("folder"):
            return False
        states = _states(self._store.folder)
        changed = self._differences(states)
        if not changed and (folder is None or folder == self._known("folder")):
            return False
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            # As it is now that nobody else can write: two may have seen the same change.
            folder = self._folder()
            states = _states(self._store.folder)
            changed = self._differences(states)
            self._take_in(changed, states)
            self._connection.execute("REPLACE INTO known VALUES ('folder', ?)", (folder,))
            self._connection.execute("COMMIT")
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        return bool(changed)

    def read(self) -> tuple[list[Task], list[ScflowsError]]:
        """See `read_tasks`."""
        rows = self._connection.execute("SELECT body FROM task WHERE body IS NOT NULL ORDER BY name")
        tasks = [Task.from_checked(each) for each in json.loads(f"[{','.join(body for (body,) in rows)}]")]
        return tasks, self.problems()

    def problems(self) -> list[ScflowsError]:
        rows = self._connection.execute("SELECT problem, help FROM task WHERE problem IS NOT NULL ORDER BY name")
        return [UsageError(problem, help) for problem, help in rows]

    def find(self, names: Iterable[str]) -> dict[str, Task]:
        """The enabled tasks of these names."""
        query = "SELECT body FROM task WHERE name = ? AND enabled"
        found = (self._connection.execute(query, (name,)).fetchone() for name in names)
        tasks = (Task.from_checked(json.loads(row[0])) for row in found if row is not None)
        return {task.name: task for task in tasks}

    def undated(self) -> list[Task]:
        """The enabled tasks for which it is not known when they are due next."""
        rows = self._connection.execute("SELECT body FROM task WHERE enabled AND due IS NULL")
        return [Task.from_checked(json.loads(body)) for (body,) in rows]

    def due(self, until: int) -> list[tuple[Task, int]]:
        """The tasks that are due up to a time, and since when; seconds since the epoch."""
        rows = self._connection.execute("SELECT body, due FROM task WHERE due <= ? AND enabled", (until,))
        return [(Task.from_checked(json.loads(body)), due) for body, due in rows]

    def date(self, dues: Mapping[str, int]) -> None:
        """Keep when tasks are due next."""
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(
            "UPDATE task SET due = ? WHERE name = ?", [(due, name) for name, due in dues.items()]
        )
        self._connection.execute("COMMIT")

    def forget_dates(self) -> None:
        self._connection.execute("UPDATE task SET due = NULL")

    def keep_dates_of(self, clock: str) -> None:
        """Forget when tasks are due next if that was found out under another zone."""
        if self._known("clock") != clock:
            self.forget_dates()
            self._connection.execute("REPLACE INTO known VALUES ('clock', ?)", (clock,))

    def _opened(self) -> sqlite3.Connection:
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
        """The state of the folder; None when it cannot be told from what it may be in a moment."""
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
        gone = [name for name in before if name not in states]
        return gone + [name for name, state in states.items() if before.get(name) != [*state]]

    def _take_in(self, names: Iterable[str], states: Mapping[str, tuple[int, ...]]) -> None:
        kept = []
        for name in names:
            try:
                if name not in states:
                    raise NotFound(name)
                task = self._store.read(name)
                body = json.dumps(task.to_dict(), ensure_ascii=False)
                kept.append((name, *states[name], body, None, None, task.enabled))
            except NotFound:
                self._connection.execute("DELETE FROM task WHERE name = ?", (name,))
            except ScflowsError as error:
                kept.append((name, *states[name], None, str(error), error.help, False))
        self._connection.executemany("REPLACE INTO task VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)", kept)


def _states(folder: str) -> dict[str, tuple[int, ...]]:
    """Of each task file what changes when it does. Raises OSError."""
    states: dict[str, tuple[int, ...]] = {}
    try:
        with os.scandir(folder) as found:
            for each in found:
                if each.name.endswith(".json") and each.name[0] != ".":
                    try:
                        state = each.stat()
                    except FileNotFoundError:
                        continue
                    # Not the time of its content, which anybody can set.
                    states[each.name[:-5]] = (state.st_ctime_ns, state.st_size, state.st_ino)
    except (FileNotFoundError, NotADirectoryError):
        pass
    return states


@contextmanager
def gc_paused() -> Iterator[None]:
    """For work that keeps what it makes: with 50,000 tasks more than a third of the time went into looking."""
    import gc

    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
