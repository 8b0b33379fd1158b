"""Runs as rows of a table and back; the tables of SQLite."""

from __future__ import annotations

import json
import sqlite3

from scflows.history.run import SKIPPED, Run, StepRecord
from scflows.storage import MAX_SECONDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

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
    """
    ALTER TABLE runs ADD COLUMN waited REAL NOT NULL DEFAULT 0;
    ALTER TABLE runs ADD COLUMN waited_for TEXT NOT NULL DEFAULT ''
    """,
    "CREATE INDEX runs_of_slot ON runs (task, slot)",
    "ALTER TABLE steps ADD COLUMN output TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE runs ADD COLUMN workspace TEXT NOT NULL DEFAULT ''",
    """
    ALTER TABLE runs ADD COLUMN count INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX runs_without_work ON runs (task) WHERE count > 0;
    CREATE TABLE slots_without_work (
        task TEXT NOT NULL,
        slot REAL NOT NULL,
        PRIMARY KEY (task, slot)
    ) WITHOUT ROWID
    """,
    "ALTER TABLE runs ADD COLUMN asked_by TEXT NOT NULL DEFAULT ''",
)
#: The columns, in the order of the fields of `Run`.
RUN_FIELDS = (
    *("id", "flow", "task", "trigger", "slot", "status", "reason", "message", "started", "ended"),
    *("dry_run", "params", "holder", "log", "waited", "waited_for", "workspace", "count", "asked_by", "claimed"),
)
RUN_COLUMNS = ", ".join(RUN_FIELDS)
#: One placeholder for each of `RUN_FIELDS`.
RUN_MARKS = ", ".join(f":{name}" for name in RUN_FIELDS)
PARAMS = RUN_FIELDS.index("params")


def row_of(run: Run, claims: bool) -> dict[str, Any]:
    """Return the values of `RUN_FIELDS`, and others; `claims` says whether the run owns its slot."""
    return {**run.__dict__, "claimed": claims, "params": json.dumps(run.params)}


def step_of(row: tuple[Any, ...], run: str) -> StepRecord:
    """Return the step of a row. Raises sqlite3.DatabaseError if the row is damaged."""
    step = StepRecord(*row)
    if not (_is_time(step.started) and (step.ended is None or _is_time(step.ended))):
        raise sqlite3.DatabaseError(f"malformed: the record of run {run} is damaged")
    return step


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value < MAX_SECONDS


def run_of(row: tuple[Any, ...]) -> Run:
    """Return the run of a row. Raises sqlite3.DatabaseError if the row is damaged."""
    *values, claimed = row
    run = Run(*values)
    try:
        # Most runs have no parameters, and queries read many rows.
        params: Any = {} if row[PARAMS] == "{}" else json.loads(row[PARAMS])
    except (TypeError, ValueError):
        params = None
    are_times = _is_time(run.started) and (run.ended is None or _is_time(run.ended))
    if not (are_times and (run.slot is None or _is_time(run.slot)) and isinstance(params, dict)):
        raise sqlite3.DatabaseError(f"malformed: the record of run {run.id} is damaged")
    run.dry_run, run.params = bool(run.dry_run), params
    run.unclaimed = run.slot is not None and run.status != SKIPPED and not claimed
    return run
