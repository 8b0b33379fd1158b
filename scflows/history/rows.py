"""Runs as rows of a table and back; the tables of SQLite."""

from __future__ import annotations

import json
import sqlite3

from scflows.history.run import SKIPPED, Run

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
)
RUN_COLUMNS = (
    "id, task, flow, trigger, slot, claimed, status, reason, message, started, ended, dry_run, params, holder, log,"
    " waited, waited_for"
)
#: One placeholder for each value of a row.
RUN_MARKS = ", ".join("?" * len(RUN_COLUMNS.split(",")))
NUMBER = (int, float)
NUMBER_OR_NONE = (int, float, type(None))


def row_of(run: Run, claims: bool) -> tuple[Any, ...]:
    """Return the values of `RUN_COLUMNS`; `claims` says whether the run owns its slot."""
    return (
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
        run.waited,
        run.waited_for,
    )


def run_of(row: tuple[Any, ...]) -> Run:
    """Return the run of a row. Raises sqlite3.DatabaseError if the row is damaged."""
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
        waited,
        waited_for,
    ) = row
    try:
        # Most runs have no parameters, and queries read many rows.
        parameters = {} if params == "{}" else json.loads(params)
    except (TypeError, ValueError):
        parameters = None
    is_sound = isinstance(started, NUMBER) and isinstance(ended, NUMBER_OR_NONE) and isinstance(slot, NUMBER_OR_NONE)
    if not isinstance(parameters, dict) or not is_sound:
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
        params=parameters,
        holder=holder,
        log=log,
        waited=waited,
        waited_for=waited_for,
        unclaimed=slot is not None and status != SKIPPED and not claimed,
    )
