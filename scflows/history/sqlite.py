"""Runs in an SQLite file: write-ahead log, short transactions."""

from __future__ import annotations

import json
import sqlite3

from scflows.database import connect, connect_to_read, sqlite_path
from scflows.run import FINAL, QUEUED, RUNNING, SKIPPED, Run, StepRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from scflows.history import Query
    from scflows.settings import Settings

MIGRATIONS = (
    """
    CREATE TABLE runs (
        id TEXT PRIMARY KEY,
        task TEXT NOT NULL,
        flow TEXT NOT NULL,
        trigger TEXT NOT NULL,
        slot REAL,
        claimed INTEGER NOT NULL,
        status TEXT NOT NULL,
        reason TEXT NOT NULL,
        message TEXT NOT NULL,
        started REAL NOT NULL,
        ended REAL,
        dry_run INTEGER NOT NULL,
        params TEXT NOT NULL,
        holder TEXT NOT NULL,
        log TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX runs_by_task ON runs (task, id);
    CREATE INDEX runs_unfinished ON runs (status) WHERE status IN ('queued', 'running');
    CREATE UNIQUE INDEX runs_by_slot ON runs (task, slot) WHERE claimed;
    CREATE TABLE steps (
        run TEXT NOT NULL,
        position INTEGER NOT NULL,
        name TEXT NOT NULL,
        type TEXT NOT NULL,
        status TEXT NOT NULL,
        started REAL NOT NULL,
        ended REAL,
        message TEXT NOT NULL,
        PRIMARY KEY (run, position)
    ) WITHOUT ROWID
    """,
)
RUN_COLUMNS = (
    "id, task, flow, trigger, slot, claimed, status, reason, message, started, ended, dry_run, params, holder, log"
)
STEP_COLUMNS = "position, name, type, status, started, ended, message"


class SqliteStore:
    """See `RunStore`."""

    def __init__(self, settings: Settings, read_only: bool = False) -> None:
        self.path = sqlite_path(settings.database_url, settings.home)
        self._connection = connect_to_read(self.path) if read_only else connect(self.path, MIGRATIONS)

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
        return _run(row) if row else self.claim(run)

    def finish(self, run: Run) -> bool:
        # A run that started while the history could not be written has no row yet.
        with self._transaction() as connection:
            changed = connection.execute(
                "UPDATE runs SET status = ?, reason = ?, message = ?, ended = ?, params = ?, log = ?"
                " WHERE id = ? AND status IN (?, ?)",
                (
                    run.status,
                    run.reason,
                    run.message,
                    run.ended,
                    json.dumps(run.params),
                    run.log,
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
        run = _run((exact or rows)[0])
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
        return [_run(row) for row in rows]

    def latest(self, tasks: Iterable[str]) -> dict[str, Run]:
        found = {}
        for task in tasks:
            row = self._connection.execute(
                f"SELECT {RUN_COLUMNS} FROM runs WHERE task = ? AND status != ?"
                # A typing error and a rehearsal say nothing of how the task does.
                " AND NOT (trigger = 'manual' AND (dry_run OR reason = 'refused')) ORDER BY id DESC LIMIT 1",
                (task, SKIPPED),
            ).fetchone()
            if row:
                found[task] = _run(row)
        return found

    def unfinished(self) -> Iterator[Run]:
        rows = self._connection.execute(
            f"SELECT {RUN_COLUMNS} FROM runs WHERE status IN ('queued', 'running')"
        ).fetchall()
        return (_run(row) for row in rows)

    def prune(self, before: float) -> int:
        with self._transaction() as connection:
            chosen = f"started < ? AND status IN ({', '.join('?' * len(FINAL))})"
            connection.execute(f"DELETE FROM steps WHERE run IN (SELECT id FROM runs WHERE {chosen})", (before, *FINAL))
            return connection.execute(f"DELETE FROM runs WHERE {chosen}", (before, *FINAL)).rowcount

    def close(self) -> None:
        self._connection.close()

    def _insert(self, run: Run, claims: bool) -> None:
        self._connection.execute(
            f"INSERT INTO runs ({RUN_COLUMNS}) VALUES ({', '.join('?' * 15)})",
            (
                run.id,
                run.task,
                run.flow,
                run.trigger,
                run.slot,
                claims,
                run.status,
                run.reason,
                run.message,
                run.started,
                run.ended,
                run.dry_run,
                json.dumps(run.params),
                run.holder,
                run.log,
            ),
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


def _run(row: tuple[Any, ...]) -> Run:
    (
        id,
        task,
        flow,
        trigger,
        slot,
        claimed,
        status,
        reason,
        message,
        started,
        ended,
        dry,
        params,
        holder,
        log,
    ) = row
    try:
        given = json.loads(params)
    except (TypeError, ValueError):
        given = None
    numbers = [started, *(each for each in (ended, slot) if each is not None)]
    if not isinstance(given, dict) or not all(isinstance(each, int | float) for each in numbers):
        raise sqlite3.DatabaseError(f"malformed: the record of run {id} is damaged")
    return Run(
        id=id,
        flow=flow,
        task=task,
        trigger=trigger,
        slot=slot,
        status=status,
        reason=reason,
        message=message,
        started=started,
        ended=ended,
        dry_run=bool(dry),
        params=given,
        holder=holder,
        log=log,
        unclaimed=slot is not None and status != SKIPPED and not claimed,
    )
