"""A store of runs in an SQLite file: write-ahead log, short transactions."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import contextmanager

from scflows.cron.schedule.schedule import OVERDUE
from scflows.history.rows import MIGRATIONS, RUN_COLUMNS, RUN_MARKS, row_of, run_of, step_of
from scflows.history.run import BY_HAND, GOOD, QUEUED, RUNNING, SKIPPED, Run, first_id
from scflows.storage import connect, connect_read_only, sqlite_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from scflows.history.contract import Query, RunStore
    from scflows.settings import Settings


STEP_FIELDS = ("position", "name", "type", "status", "started", "ended", "message", "output")
STEP_COLUMNS = ", ".join(STEP_FIELDS)
STEP_MARKS = ", ".join(f":{name}" for name in STEP_FIELDS)
#: As in the condition of the index.
UNFINISHED = f"status IN ('{QUEUED}', '{RUNNING}')"
#: Greater than every id.
LAST_ID = "~"
#: Runs that are removed in one transaction.
REMOVAL_BATCH = 500
#: Free pages (4 KiB each) from which the file is made smaller.
MIN_FREE_PAGES = 1000
#: The `auto_vacuum` mode of a file that can shrink a few pages at a time.
INCREMENTAL = 2
#: Seconds for which the slots of runs without work are known; missed slots are searched long before.
SLOTS_KEPT = 2 * 86400.0


class SqliteStore:
    """The implementation of `RunStore` in SQLite."""

    def __init__(self, settings: Settings, read_only: bool = False) -> None:
        self.path = sqlite_path(settings.database_url, settings.home)
        self._connection = connect_read_only(self.path) if read_only else connect(self.path, MIGRATIONS)

    def claim(self, run: Run, again: bool = False) -> Run | None:
        claims = run.slot is not None and run.status != SKIPPED and not again
        if claims and (without_work := self._run_without_work(run)) is not None:
            return without_work
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
        # One transaction for all: otherwise each run would write every page that it touches.
        with self._transaction() as connection:
            for run in runs:
                query = "SELECT 1 FROM runs WHERE task = ? AND slot = ? LIMIT 1"
                known = connection.execute(query, (run.task, run.slot)).fetchone()
                if known is None and not self._had_no_work(run):
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
                "UPDATE runs SET status = :status, reason = :reason, message = :message, ended = :ended,"
                " params = :params, log = coalesce(nullif(:log, ''), log), waited = :waited, waited_for = :waited_for,"
                # If a queued run is skipped, its slot is free for another run.
                f" claimed = claimed AND :claimed WHERE id = :id AND {UNFINISHED}",
                row_of(run, claims=run.status != SKIPPED),
            ).rowcount
            if not changed:
                known = connection.execute("SELECT 1 FROM runs WHERE id = ?", (run.id,)).fetchone()
                if known:
                    return False
                self._insert_late(run)
            self._put_steps(run)
            if run.count:
                self._replace_earlier(run)
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
        run.steps = [step_of(step, run.id) for step in steps]
        return run

    def find(self, wanted: Query) -> list[Run]:
        conditions, values = [], []
        for condition, value in (
            ("task = ?", wanted.task),
            ("started >= ?", wanted.since),
            ("started < ?", wanted.until),
            ("slot = ?", wanted.slot),
            ("workspace IN (?, '')", wanted.workspace),
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
            "SELECT slot FROM runs WHERE task = ? AND slot > ? AND slot <= ?"
            " UNION SELECT slot FROM slots_without_work WHERE task = ? AND slot > ? AND slot <= ?",
            (task, after, until) * 2,
        )
        return {row[0] for row in rows}

    def latest(self, tasks: Iterable[str], until: float | None = None) -> dict[str, Run]:
        # One query for all tasks: with many tasks, one query each took twice as long.
        rows = self._connection.execute(
            f"SELECT {RUN_COLUMNS} FROM runs WHERE id IN"
            " (SELECT (SELECT id FROM runs WHERE task = wanted.value AND status != ? AND id < ?"
            # A refused manual run or a dry run does not change the state of the task.
            " AND NOT (trigger = 'manual' AND (dry_run OR reason = 'refused')) ORDER BY id DESC LIMIT 1)"
            " FROM json_each(?) AS wanted)",
            (SKIPPED, LAST_ID if until is None else first_id(until), json.dumps(list(tasks))),
        )
        return {run.task: run for run in map(run_of, rows)}

    def unfinished(self) -> Iterator[Run]:
        rows = self._connection.execute(f"SELECT {RUN_COLUMNS} FROM runs WHERE {UNFINISHED}").fetchall()
        return map(run_of, rows)

    def late_runs(self, since: float, until: float) -> list[Run]:
        rows = self._connection.execute(
            f"SELECT {RUN_COLUMNS} FROM runs WHERE id >= ? AND id < ? AND slot IS NOT NULL"
            f" AND trigger NOT IN ({', '.join('?' * len(BY_HAND))})"
            " AND (reason IN ('missed', 'queue_timeout') OR (status != ? AND started - slot > ?)) ORDER BY id",
            (first_id(since), first_id(until), *BY_HAND, SKIPPED, OVERDUE),
        )
        return [run_of(row) for row in rows]

    def tasks(self) -> list[str]:
        return [row[0] for row in self._connection.execute("SELECT DISTINCT task FROM runs ORDER BY task")]

    def durations(self, keep: int, until: float | None = None) -> dict[str, list[float]]:
        rows = self._connection.execute(
            "SELECT task, ended - started FROM"
            " (SELECT task, started, ended, row_number() OVER (PARTITION BY task ORDER BY id DESC) AS rank"
            f" FROM runs WHERE status IN ({', '.join('?' * len(GOOD))}) AND NOT dry_run AND ended IS NOT NULL"
            " AND id < ?) AS good"
            " WHERE rank <= ? ORDER BY task, rank",
            (*GOOD, LAST_ID if until is None else first_id(until), keep),
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

    def excess(
        self, task: str, before: float | None = None, keep: int | None = None, until: float | None = None
    ) -> list[str]:
        # Ids sort by time: of those below `ahead`, the newest are kept, then of the others.
        ahead = LAST_ID if until is None else first_id(until)
        last, following = "", LAST_ID
        if keep is not None:
            select = "SELECT id FROM runs WHERE task = ? AND id < ? ORDER BY id DESC"
            row = self._connection.execute(f"{select} LIMIT 1 OFFSET ?", (task, ahead, keep)).fetchone()
            last = row[0] if row else ""
            query = f"SELECT count(*) FROM ({select} LIMIT ?)"
            rest = keep - int(self._connection.execute(query, (task, ahead, keep)).fetchone()[0])
            row = self._connection.execute(f"{select} LIMIT 1 OFFSET ?", (task, LAST_ID, rest)).fetchone()
            following = row[0] if row else ""
        rows = self._connection.execute(
            f"SELECT id FROM runs WHERE task = ? AND (started < ? OR id <= ? OR (id >= ? AND id <= ?))"
            f" AND NOT {UNFINISHED} ORDER BY id",
            (task, before or 0.0, last, ahead, following),
        )
        return [row[0] for row in rows]

    def remove(self, ids: Sequence[str]) -> int:
        removed = 0
        for start in range(0, len(ids), REMOVAL_BATCH):
            batch = ids[start : start + REMOVAL_BATCH]
            marks = ", ".join("?" * len(batch))
            with self._transaction() as connection:
                connection.execute(f"DELETE FROM steps WHERE run IN ({marks})", batch)
                removed += connection.execute(f"DELETE FROM runs WHERE id IN ({marks})", batch).rowcount
        return removed

    def known(self, ids: Iterable[str]) -> set[str]:
        select = "SELECT id FROM runs WHERE id = ?"
        return {id for id in ids if self._connection.execute(select, (id,)).fetchone()}

    def wait_at_most(self, seconds: float) -> None:
        self._connection.execute(f"PRAGMA busy_timeout = {max(0, int(seconds * 1000))}")

    def compact(self) -> None:
        free, pages = self._number("freelist_count"), self._number("page_count")
        if free < MIN_FREE_PAGES or free < pages / 10:
            return
        if self._number("auto_vacuum") == INCREMENTAL:
            # A few pages at a time, so that a run that starts meanwhile waits for one of these steps at most.
            while self._number("freelist_count"):
                self._connection.execute(f"PRAGMA incremental_vacuum({MIN_FREE_PAGES})").fetchall()
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
        self._connection.execute(f"INSERT INTO runs ({RUN_COLUMNS}) VALUES ({RUN_MARKS})", row_of(run, claims))

    def _insert_late(self, run: Run) -> None:
        """Record a run that could not be recorded when it started; it claims its slot unless another run has it."""
        try:
            self._insert(run, claims=run.slot is not None and run.status != SKIPPED)
        except sqlite3.IntegrityError:
            self._insert(run, claims=False)

    def _replace_earlier(self, run: Run) -> None:
        """Let the record of a run without work stand for the earlier ones of its task, whose slots stay known."""
        rows = self._connection.execute(
            "SELECT id, count, slot FROM runs WHERE task = ? AND count > 0 AND id != ?", (run.task, run.id)
        ).fetchall()
        total = run.count + sum(row[1] for row in rows)
        for id, _, slot in rows:
            self._connection.execute("DELETE FROM runs WHERE id = ?", (id,))
            if slot is not None:
                self._connection.execute("INSERT OR IGNORE INTO slots_without_work VALUES (?, ?)", (run.task, slot))
        times = f" ({total} runs like this)" if total > 1 else ""
        self._connection.execute(
            "UPDATE runs SET count = ?, message = ? WHERE id = ?", (total, f"{run.message}{times}", run.id)
        )
        self._connection.execute(
            "DELETE FROM slots_without_work WHERE task = ? AND slot < ?", (run.task, run.started - SLOTS_KEPT)
        )

    def _had_no_work(self, run: Run) -> bool:
        query = "SELECT 1 FROM slots_without_work WHERE task = ? AND slot = ?"
        return self._connection.execute(query, (run.task, run.slot)).fetchone() is not None

    def _run_without_work(self, run: Run) -> Run | None:
        """Return the record that stands for a run without work that had this slot."""
        if not self._had_no_work(run):
            return None
        row = self._connection.execute(
            f"SELECT {RUN_COLUMNS} FROM runs WHERE task = ? AND count > 0", (run.task,)
        ).fetchone()
        return run_of(row) if row else None

    def _put_steps(self, run: Run) -> None:
        self._connection.executemany(
            f"INSERT OR REPLACE INTO steps (run, {STEP_COLUMNS}) VALUES (:run, {STEP_MARKS})",
            [{**step.__dict__, "run": run.id} for step in run.steps],
        )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Begin a transaction with the write lock, so that the lock never has to be upgraded."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")


#: https://www.sqlite.org/rescode.html
BUSY = (5, 6)
NOT_OURS = (3, 8, 14)
NO_ROOM = (10, 13)
DAMAGED = (11, 26)


def advice(path: str, error: Exception) -> str:
    """Return what to do about an error of SQLite or the system for the file at `path`."""
    from shlex import quote

    folder = os.path.dirname(path)
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in DAMAGED or str(error).startswith("malformed"):
        # All files of the database, because SQLite would apply a remaining write-ahead log to the new file.
        target = quote(os.path.join(folder, "broken-history"))
        return f"move it away, a new one will be created: mkdir -p {target}; mv {quote(path)}* {target}"
    if code in NO_ROOM or getattr(error, "errno", 0) == 28:
        return f"free disk space, or check the disk: df -h {quote(folder)}"
    if code in BUSY:
        return f"another program is using it: fuser {quote(path)}"
    if code in NOT_OURS or isinstance(error, PermissionError):
        return f"check the owner of the file and its folder: ls -ld {quote(folder)} {quote(path)}"
    return "run: flows check"
