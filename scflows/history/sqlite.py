"""Runs in an SQLite file: write-ahead log, short transactions."""

from __future__ import annotations

import json
import os
import sqlite3

from scflows.cron.schedule.schedule import OVERDUE
from scflows.history.rows import MIGRATIONS, RUN_COLUMNS, RUN_MARKS, row_of, run_of
from scflows.history.run import FINAL, GOOD, QUEUED, RUNNING, SKIPPED, Run, StepRecord, first_id
from scflows.storage import connect, connect_read_only, sqlite_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from scflows.history.contract import Query, RunStore
    from scflows.settings import Settings


STEP_COLUMNS = "position, name, type, status, started, ended, message"

FINAL_MARKS = ", ".join("?" * len(FINAL))
#: Runs that are removed in one transaction.
AT_ONCE = 500
#: So many free pages (4 KiB each) are worth giving back.
WORTH_PAGES = 1000
#: The word of SQLite for a file that can be made smaller a few pages at a time.
INCREMENTAL = 2


class SqliteStore:
    """See `RunStore`."""

    def __init__(self, settings: Settings, read_only: bool = False) -> None:
        self.path = sqlite_path(settings.database_url, settings.home)
        self._connection = connect_read_only(self.path) if read_only else connect(self.path, MIGRATIONS)

    def claim(self, run: Run, again: bool = False) -> Run | None:
        claims = run.slot is not None and run.status != SKIPPED and not again
        try:
            self._insert(run, claims)
        except sqlite3.IntegrityError:
            if not claims:
                raise
        else:
            return None
        row = self._connection.execute(
            f"SELECT {RUN_COLUMNS} FROM runs WHERE task = ? AND slot = ? AND claimed", (run.task, run.slot)
        ).fetchone()
        return run_of(row) if row else self.claim(run)

    def skip(self, runs: Sequence[Run]) -> list[Run]:
        recorded = []
        # Each in a transaction of its own would write all the pages that it touches.
        with self._transaction() as connection:
            for run in runs:
                asked = "SELECT 1 FROM runs WHERE task = ? AND slot = ? LIMIT 1"
                if connection.execute(asked, (run.task, run.slot)).fetchone() is None:
                    self._insert(run, claims=False)
                    recorded.append(run)
        return recorded

    def begin(self, run: Run) -> bool | None:
        with self._transaction() as connection:
            changed = connection.execute(
                "UPDATE runs SET status = ?, message = '', started = ?, holder = ?, log = ?, waited = ?, waited_for = ?"
                " WHERE id = ? AND status = ?",
                (RUNNING, run.started, run.holder, run.log, run.waited, run.waited_for, run.id, QUEUED),
            ).rowcount
            if changed:
                return True
            known = connection.execute("SELECT 1 FROM runs WHERE id = ?", (run.id,)).fetchone()
        return False if known else None

    def finish(self, run: Run) -> bool:
        # A run that started while the history could not be written has no row yet.
        with self._transaction() as connection:
            changed = connection.execute(
                "UPDATE runs SET status = ?, reason = ?, message = ?, ended = ?, params = ?,"
                " log = coalesce(nullif(?, ''), log),"
                # A slot whose run was skipped while it waited is free for another.
                " waited = ?, waited_for = ?, claimed = claimed AND ?"
                " WHERE id = ? AND status IN (?, ?)",
                (
                    run.status,
                    run.reason,
                    run.message,
                    run.ended,
                    json.dumps(run.params),
                    run.log,
                    run.waited,
                    run.waited_for,
                    run.status != SKIPPED,
                    run.id,
                    QUEUED,
                    RUNNING,
                ),
            ).rowcount
            if not changed:
                known = connection.execute("SELECT 1 FROM runs WHERE id = ?", (run.id,)).fetchone()
                if known:
                    return False
                self._insert_late(run)
            self._put_steps(run)
        return True

    def progress(self, run: Run) -> None:
        with self._transaction():
            self._put_steps(run)

    def run(self, id: str) -> Run | None:
        rows = self._connection.execute(
            f"SELECT {RUN_COLUMNS} FROM runs WHERE id >= ? AND id < ? ORDER BY id LIMIT 2",
            (id.upper(), id.upper() + "~"),
        ).fetchall()
        exact = [row for row in rows if row[0] == id.upper()]
        if len(rows) != 1 and not exact:
            return None
        run = run_of((exact or rows)[0])
        steps = self._connection.execute(f"SELECT {STEP_COLUMNS} FROM steps WHERE run = ? ORDER BY position", (run.id,))
        run.steps = [StepRecord(*step) for step in steps]
        return run

    def find(self, wanted: Query) -> list[Run]:
        conditions, values = [], []
        for condition, value in (
            ("task = ?", wanted.task),
            ("started >= ?", wanted.since),
            ("started < ?", wanted.until),
            ("slot = ?", wanted.slot),
        ):
            if value is not None:
                conditions.append(condition)
                values.append(value)
        if wanted.statuses:
            conditions.append(f"status IN ({', '.join('?' * len(wanted.statuses))})")
            values.extend(wanted.statuses)
        where = "WHERE " + " AND ".join(conditions) if conditions else ""
        rows = self._connection.execute(
            f"SELECT {RUN_COLUMNS} FROM runs {where} ORDER BY id DESC LIMIT ?", (*values, wanted.limit or -1)
        )
        return [run_of(row) for row in rows]

    def slots(self, task: str, after: float, until: float) -> set[float]:
        rows = self._connection.execute(
            "SELECT DISTINCT slot FROM runs WHERE task = ? AND slot > ? AND slot <= ?", (task, after, until)
        )
        return {row[0] for row in rows}

    def latest(self, tasks: Iterable[str]) -> dict[str, Run]:
        # One question for all: of many tasks, asking for each took twice as long.
        rows = self._connection.execute(
            f"SELECT {RUN_COLUMNS} FROM runs WHERE id IN"
            " (SELECT (SELECT id FROM runs WHERE task = wanted.value AND status != ?"
            # A typing error and a rehearsal say nothing of how the task does.
            " AND NOT (trigger = 'manual' AND (dry_run OR reason = 'refused')) ORDER BY id DESC LIMIT 1)"
            " FROM json_each(?) AS wanted)",
            (SKIPPED, json.dumps(list(tasks))),
        )
        return {run.task: run for run in map(run_of, rows)}

    def unfinished(self) -> Iterator[Run]:
        rows = self._connection.execute(
            f"SELECT {RUN_COLUMNS} FROM runs WHERE status IN ('queued', 'running')"
        ).fetchall()
        return (run_of(row) for row in rows)

    def belated(self, since: float) -> list[Run]:
        rows = self._connection.execute(
            f"SELECT {RUN_COLUMNS} FROM runs WHERE id >= ? AND slot IS NOT NULL AND trigger != 'manual'"
            " AND (reason IN ('missed', 'queue_timeout') OR (status != ? AND started - slot > ?)) ORDER BY id",
            (first_id(since), SKIPPED, OVERDUE),
        )
        return [run_of(row) for row in rows]

    def tasks(self) -> list[str]:
        return [row[0] for row in self._connection.execute("SELECT DISTINCT task FROM runs ORDER BY task")]

    def durations(self, keep: int) -> dict[str, list[float]]:
        rows = self._connection.execute(
            "SELECT task, ended - started FROM"
            " (SELECT task, started, ended, row_number() OVER (PARTITION BY task ORDER BY id DESC) AS place"
            f" FROM runs WHERE status IN ({', '.join('?' * len(GOOD))}) AND NOT dry_run AND ended IS NOT NULL) AS good"
            " WHERE place <= ? ORDER BY task, place",
            (*GOOD, keep),
        )
        found: dict[str, list[float]] = {}
        for task, took in rows:
            found.setdefault(task, []).append(max(0.0, took))
        return found

    def spans(self, since: float, until: float) -> list[tuple[float, float]]:
        return self._connection.execute(
            "SELECT started, coalesce(ended, ?) FROM runs WHERE started < ? AND (ended IS NULL OR ended > ?)"
            " AND status NOT IN (?, ?) ORDER BY started",
            (until, until, since, SKIPPED, QUEUED),
        ).fetchall()

    def excess(self, task: str, before: float | None = None, keep: int | None = None) -> list[str]:
        last = ""
        if keep is not None:
            # Ids sort by time.
            row = self._connection.execute(
                "SELECT id FROM runs WHERE task = ? ORDER BY id DESC LIMIT 1 OFFSET ?", (task, keep)
            ).fetchone()
            last = row[0] if row else ""
        rows = self._connection.execute(
            "SELECT id FROM runs WHERE task = ? AND (started < ? OR id <= ?)"
            f" AND status IN ({FINAL_MARKS}) ORDER BY id",
            (task, 0.0 if before is None else before, last, *FINAL),
        )
        return [row[0] for row in rows]

    def remove(self, ids: Sequence[str]) -> int:
        removed = 0
        for place in range(0, len(ids), AT_ONCE):
            some = ids[place : place + AT_ONCE]
            marks = ", ".join("?" * len(some))
            with self._transaction() as connection:
                connection.execute(f"DELETE FROM steps WHERE run IN ({marks})", some)
                removed += connection.execute(f"DELETE FROM runs WHERE id IN ({marks})", some).rowcount
        return removed

    def known(self, ids: Iterable[str]) -> set[str]:
        select = "SELECT id FROM runs WHERE id = ?"
        return {id for id in ids if self._connection.execute(select, (id,)).fetchone()}

    def compact(self) -> None:
        free, pages = self._number("freelist_count"), self._number("page_count")
        if free < WORTH_PAGES or free < pages / 10:
            return
        if self._number("auto_vacuum") == INCREMENTAL:
            # Some pages at a time: runs that start meanwhile wait for one of these steps at most.
            while self._number("freelist_count"):
                self._connection.execute(f"PRAGMA incremental_vacuum({WORTH_PAGES})").fetchall()
        else:
            self._connection.execute("VACUUM")
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _number(self, pragma: str) -> int:
        return int(self._connection.execute(f"PRAGMA {pragma}").fetchone()[0])

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> RunStore:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _insert(self, run: Run, claims: bool) -> None:
        self._connection.execute(
            f"INSERT INTO runs ({RUN_COLUMNS}) VALUES ({RUN_MARKS})",
            row_of(run, claims),
        )

    def _insert_late(self, run: Run) -> None:
        """Record a run that could not be recorded when it started; its slot is its own unless another has it."""
        try:
            self._insert(run, claims=run.slot is not None and run.status != SKIPPED)
        except sqlite3.IntegrityError:
            self._insert(run, claims=False)

    def _put_steps(self, run: Run) -> None:
        self._connection.executemany(
            f"INSERT OR REPLACE INTO steps (run, {STEP_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    run.id,
                    each.position,
                    each.name,
                    each.type,
                    each.status,
                    each.started,
                    each.ended,
                    each.message,
                )
                for each in run.steps
            ],
        )

    def _transaction(self) -> _Transaction:
        return _Transaction(self._connection)


class _Transaction:
    """Takes the write lock at its start, so that it never has to be upgraded while another waits for it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> sqlite3.Connection:
        self._connection.execute("BEGIN IMMEDIATE")
        return self._connection

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            self._connection.execute("COMMIT")
        elif self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


#: https://www.sqlite.org/rescode.html
BUSY = (5, 6)
NOT_OURS = (3, 8, 14)
NO_ROOM = (10, 13)
DAMAGED = (11, 26)


def advice(path: str, error: Exception) -> str:
    """What helps against an error of SQLite's, or of the system's, with the file at `path`."""
    from shlex import quote

    folder = os.path.dirname(path)
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    told = str(error)
    if code in DAMAGED or told.startswith("malformed"):
        # A log of SQLite's that stays behind would be played into the new file.
        aside = quote(os.path.join(folder, "broken-history"))
        return f"put it away, a new one is begun: mkdir -p {aside}; mv {quote(path)}* {aside}"
    if code in NO_ROOM or getattr(error, "errno", 0) == 28:
        return f"make room, or see whether the disk is sound: df -h {quote(folder)}"
    if code in BUSY:
        return f"another program holds it; see who: fuser {quote(path)}"
    if code in NOT_OURS or isinstance(error, PermissionError):
        return f"see who owns it and its folder: ls -ld {quote(folder)} {quote(path)}"
    return "see: flows check"
