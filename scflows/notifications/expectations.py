"""The expectation that a job of a working folder gets new sources: reported once, and its recovery too."""

from __future__ import annotations

import os
import time
from dataclasses import replace

from scflows.cron.schedule.spec import parse_every
from scflows.history.task_log import timestamp
from scflows.notifications.incidents import NO_SOURCE, Incident, change_incident

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.flows.model import Flow
    from scflows.history.folder_status import FolderStatus
    from scflows.settings import Settings


def check_expectations(
    flow: Flow, status: FolderStatus, settings: Settings, task: str, run: str, now: float | None = None
) -> None:
    """Open an incident of the task if a job had no new source for longer than it expects; resolve it afterwards.

    `run` is the run that looks. Only scheduled tasks have incidents.
    """
    moment = time.time() if now is None else now
    overdue: list[tuple[float, str]] = []
    for step in flow.steps:
        expect = step.options.get("expect")
        if not expect:
            continue
        latest = status.arrival(step.name)
        if latest is None:
            status.note_arrival(step.name, moment)
        elif moment - latest > parse_every(expect):
            since = timestamp(latest, settings.timezone)
            overdue.append((latest, f"{step.name}: no new source since {since}, expected within {expect}"))
    if not os.path.exists(os.path.join(settings.state_path, "tasks", f"{task}.json")):
        return
    try:
        change_incident(settings, task, lambda before: _changed(before, overdue, task, run, moment))
    except OSError:
        pass  # The next run tries again.


def _changed(
    before: Incident | None, overdue: list[tuple[float, str]], task: str, run: str, now: float
) -> Incident | None:
    is_open = before is not None and before.is_open
    if overdue and not is_open:
        since = min(latest for latest, _ in overdue)
        return Incident(task, NO_SOURCE, since, since, now, "; ".join(message for _, message in overdue))
    if before is not None and is_open and not overdue and before.kind == NO_SOURCE and not before.recovery:
        return replace(before, recovery=run)
    return before
