"""A run as JSON values, and the end of its log: for hooks, the `runs` step, the API."""

from __future__ import annotations

import os

from scflows.history.run import BAD, FAILED, Run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


#: How much of the log goes along.
TAIL_LINES = 50
TAIL_BYTES = 8_000
#: How far back in a log its run is looked for, in bytes.
LOOK_BACK = 1 << 18


def run_values(run: Run, zone: str) -> dict[str, Any]:
    """A run as JSON values, times as ISO 8601 text in a zone."""
    moment = _moments(zone)
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
    """The name of the step that failed, or was at work when the run's process died."""
    for step in run.steps:
        if step.status == FAILED or (step.ended is None and run.status in BAD):
            return step.name
    return None


def log_tail(path: str, run: str, lines: int = TAIL_LINES) -> list[str]:
    """The last lines that a run left in its log, as far as they can be found."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - LOOK_BACK))
            content = file.read(LOOK_BACK)
    except OSError:
        return []
    found = content.decode("utf-8", "replace").splitlines()
    if size > LOOK_BACK:
        del found[0]
    own = f" run {run} "
    starts = [number for number, line in enumerate(found) if " run " in line and " started: " in line]
    begin = next((number for number in starts if own in found[number]), 0)
    end = next((number for number in starts if number > begin), len(found))
    kept: list[str] = []
    left = TAIL_BYTES
    for line in reversed(found[begin:end][-lines:]):
        left -= len(line.encode()) + 1
        if left < 0:
            break
        kept.append(line)
    return kept[::-1]


def _moments(zone: str) -> Any:
    from datetime import UTC, datetime
    from zoneinfo import ZoneInfo

    try:
        found: Any = ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        found = UTC  # The run itself has said that there is no such zone.

    def moment(epoch: float | None) -> str | None:
        return None if epoch is None else datetime.fromtimestamp(epoch, found).isoformat(timespec="seconds")

    return moment
