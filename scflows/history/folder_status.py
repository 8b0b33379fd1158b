"""How the last run of each job of folder pairs ended for each file: an SQLite file in the state folder.

Whether a target is there is not stored: the folders say it. So a lost file costs only the messages of errors.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass

from scflows.locks import lock_name
from scflows.storage import connect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from typing import Any

    from scflows.connectors.folders import Plan
    from scflows.settings import Settings

SUCCESS, PRELIMINARY, ERROR = "success", "preliminary", "error"
#: From the best to the worst.
ORDER = (SUCCESS, PRELIMINARY, ERROR)
#: The name under which an error of a whole job is stored, such as a folder that cannot be read.
WHOLE_JOB = ""
MIGRATIONS = (
    """
    CREATE TABLE ends (
        job TEXT NOT NULL,
        file BLOB NOT NULL,
        failed INTEGER NOT NULL,
        ended REAL NOT NULL,
        message TEXT NOT NULL,
        run TEXT NOT NULL,
        log TEXT NOT NULL,
        PRIMARY KEY (job, file)
    ) WITHOUT ROWID;
    CREATE INDEX failed_ends ON ends (job) WHERE failed;
    CREATE TABLE arrivals (job TEXT PRIMARY KEY, latest REAL NOT NULL) WITHOUT ROWID
    """,
)
FAULTS = (sqlite3.Error, OSError)
#: SQLite's codes of a file that is damaged or is not a database.
DAMAGED = (11, 26)


@dataclass(frozen=True)
class End:
    """How the last run of a job ended for a file."""

    failed: bool
    ended: float  #: seconds since the epoch
    message: str = ""
    run: str = ""
    log: str = ""


@dataclass(frozen=True)
class FileStatus:
    """The status of a file in a job."""

    status: str  #: one of ORDER
    why: str = ""
    end: End | None = None  #: how the last run ended, if there was one


class FolderStatus:
    """The record of one flow file with folder pairs. It never raises: `problem` is the first error."""

    def __init__(self, settings: Settings, flow_file: str) -> None:
        self.path = os.path.join(settings.state_path, "folders", f"{lock_name(flow_file)}.sqlite")
        self.problem = ""
        self._connection: sqlite3.Connection | None = None

    def ends(self, job: str, failed_only: bool = False) -> dict[str, End]:
        """Return how the last runs of a job ended, by file."""
        where = " AND failed" if failed_only else ""
        rows = self._ask(f"SELECT file, failed, ended, message, run, log FROM ends WHERE job = ?{where}", (job,))
        return {os.fsdecode(row[0]): End(bool(row[1]), *row[2:]) for row in rows}

    def put(self, job: str, file: str, end: End) -> None:
        """Record how a run ended for a file."""
        message = end.message.encode("utf-8", "backslashreplace").decode()
        values = (job, os.fsencode(file), end.failed, end.ended, message, end.run, end.log)
        self._write("INSERT OR REPLACE INTO ends VALUES (?, ?, ?, ?, ?, ?, ?)", values)

    def forget(self, job: str, files: Collection[str]) -> None:
        """Forget how the last runs ended for these files."""
        for file in files:
            self._write("DELETE FROM ends WHERE job = ? AND file = ?", (job, os.fsencode(file)))

    def keep_jobs(self, jobs: Collection[str]) -> None:
        """Forget all other jobs."""
        # Each job that has run has a row there.
        known = {row[0] for row in self._ask("SELECT job FROM arrivals", ())}
        for job in known - set(jobs):
            self._write("DELETE FROM ends WHERE job = ?", (job,))
            self._write("DELETE FROM arrivals WHERE job = ?", (job,))

    def arrival(self, job: str) -> float | None:
        """Return when a job last had a new source, or was first seen; None if it was not seen yet."""
        rows = self._ask("SELECT latest FROM arrivals WHERE job = ?", (job,))
        return rows[0][0] if rows else None

    def note_arrival(self, job: str, moment: float) -> None:
        """Record that a job has a new source, or is seen for the first time."""
        self._write("INSERT OR REPLACE INTO arrivals VALUES (?, ?)", (job, moment))

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, query: str, values: tuple[Any, ...]) -> list[Any]:
        # Reading creates nothing.
        if self._connection is None and not os.path.exists(self.path):
            return []
        with self._faults():
            return self._opened().execute(query, values).fetchall()
        return []

    def _write(self, statement: str, values: tuple[Any, ...]) -> None:
        with self._faults():
            self._opened().execute(statement, values)

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            try:
                self._connection = connect(self.path, MIGRATIONS)
            except sqlite3.DatabaseError as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF not in DAMAGED:
                    raise
                self._set_aside()
                self._connection = connect(self.path, MIGRATIONS)
        return self._connection

    def _set_aside(self) -> None:
        for ending in ("", "-wal", "-shm"):
            if os.path.exists(self.path + ending):
                os.replace(self.path + ending, f"{self.path}.broken{ending}")
        self.problem = f"{self.path}: was damaged, and was set aside as {os.path.basename(self.path)}.broken"

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Note an error of the database; set a damaged one aside."""
        try:
            yield
        except FAULTS as error:
            self.close()
            self.problem = self.problem or f"the statuses of files cannot be stored: {self.path}: {error}"
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGED:
                try:
                    self._set_aside()
                except OSError:
                    pass


def file_statuses(plan: Plan, ends: dict[str, End], target_time: Any) -> dict[str, FileStatus]:
    """Return the status of each file of a job.

    `target_time` returns when a target was made, by its name. A file that is in none of the folders any more is
    forgotten.
    """
    found: dict[str, FileStatus] = {}
    ready = {item.name for item in plan.ready}
    for name in sorted({*plan.present, *ready, *plan.waiting, *plan.problems}):
        end = ends.get(name)
        if name in plan.present:
            # A target that was made after the last run failed was put there by other means.
            is_bad = end is not None and end.failed and target_time(name) < end.ended
            found[name] = FileStatus(ERROR if is_bad else SUCCESS, end.message if end and is_bad else "", end)
        elif end is not None and end.failed:
            found[name] = FileStatus(ERROR, end.message, end)
        elif end is not None:
            found[name] = FileStatus(ERROR, "its target is gone; the next run makes it again", end)
        else:
            why = plan.problems.get(name) or plan.waiting.get(name) or "has not run yet"
            found[name] = FileStatus(PRELIMINARY, why)
    if WHOLE_JOB in ends:
        found[WHOLE_JOB] = FileStatus(ERROR, ends[WHOLE_JOB].message, ends[WHOLE_JOB])
    return found


def obsolete(plan: Plan, failed: dict[str, End], target_time: Any) -> list[str]:
    """Return the files whose error is over: the target is there by now, or no folder has them any more."""
    known = {*plan.waiting, *plan.problems, *(item.name for item in plan.ready)}
    return [
        name
        for name, end in failed.items()
        if name == WHOLE_JOB or (name not in known and (name not in plan.present or target_time(name) >= end.ended))
    ]


def worst(statuses: Collection[str]) -> str:
    """Return the status of a job: the worst of its files, `preliminary` without any."""
    return max(statuses, key=ORDER.index, default=PRELIMINARY)
