"""Runs as JSON values, and the end of their logs, for hooks, the `runs` step and the API."""

from __future__ import annotations

import os

from scflows.history.run import BAD, FAILED, Run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


#: How much of the log is included.
TAIL_LINES = 50
TAIL_BYTES = 8_000
#: How many bytes from the end of a log are searched for the run.
SEARCHED_BYTES = 1 << 18


def run_values(run: Run, zone: str) -> dict[str, Any]:
    """Return a run as JSON values, with times as ISO 8601 text in a zone."""
    moment = time_formatter(zone)
    return {
        "id": run.id,
        "task": run.task,
        "flow": run.flow,
        "trigger": run.trigger,
        "slot": moment(run.slot),
        "status": run.status,
        "reason": run.reason,
        "message": run.message,
        "started": moment(run.started),
        "ended": moment(run.ended),
        "took": None if run.took is None else round(run.took, 3),
        "failed_step": failed_step(run),
        "log": run.log,
    }


def failed_step(run: Run) -> str | None:
    """Return the name of the step that failed, or was running when the run's process died."""
    for step in run.steps:
        if step.status == FAILED or (step.ended is None and run.status in BAD):
            return step.name
    return None


def log_tail(path: str, run: str, lines: int = TAIL_LINES) -> list[str]:
    """Return the last lines of a run in its log, or as many of them as can be found."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - SEARCHED_BYTES))
            content = file.read(SEARCHED_BYTES)
    except OSError:
        return []
    searched = content.decode("utf-8", "replace").splitlines()
    if size > SEARCHED_BYTES:
        del searched[0]
    starts = [number for number, line in enumerate(searched) if " run " in line and " started: " in line]
    begin = next((number for number in starts if f" run {run} " in searched[number]), 0)
    end = next((number for number in starts if number > begin), len(searched))
    tail: list[str] = []
    remaining = TAIL_BYTES
    for line in reversed(searched[begin:end][-lines:]):
        remaining -= len(line.encode()) + 1
        if remaining < 0:
            break
        tail.append(line)
    return tail[::-1]


def time_formatter(zone: str) -> Any:
    """Return a function that formats seconds since the epoch as ISO 8601 text in a zone (UTC if it is unknown)."""
    from datetime import UTC, datetime
    from zoneinfo import ZoneInfo

    try:
        found: Any = ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        found = UTC  # The run itself has reported the unknown zone.

    def moment(epoch: float | None) -> str | None:
        return None if epoch is None else datetime.fromtimestamp(epoch, found).isoformat(timespec="seconds")

    return moment
