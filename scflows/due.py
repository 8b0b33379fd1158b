"""What a crontab line starts: a task, for the slot that is due now."""

from __future__ import annotations

import os
import time

from scflows.cron.task import TaskStore
from scflows.errors import NotFound
from scflows.history import Query, open_store
from scflows.history.recorder import FAULTS
from scflows.launch import Outcome, Request, launch
from scflows.run import SKIPPED
from scflows.runs import housekeeping
from scflows.settings import Settings, read_settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.cron.task import Task


def run_due(name: str, state: str = "", slot: float | None = None) -> Outcome | None:
    """Run a task for its slot; None when no slot is due, as at the finer line of a gated schedule.

    `state` is the state folder, where it is not the default one; `slot` is given by a scheduler that knows it.
    Raises NotFound for a task that is not there, UsageError for settings that cannot be.
    """
    given = dict(os.environ)
    if state:
        given["XDG_STATE_HOME"] = os.path.dirname(state)
    try:
        task = TaskStore(Settings("/", given)).read(name)
    except NotFound as error:
        raise NotFound(str(error), "the crontab names a task that is gone; see: flows check") from error
    settings = task_settings(task)
    if not task.enabled:
        return None  # A line that was left over; `flows check` tells of it.
    trigger = "cron" if slot is None else "scheduler"
    if slot is None:
        now = time.time()
        found = task.schedule.latest_epoch(now)
        slot = float(now // 60 * 60 if found is None else found)
        if task.schedule.gated and not _is_due(task, slot, settings):
            return None
    outcome = launch(Request(task=task, trigger=trigger, slot=slot), settings)
    housekeeping(settings)
    return outcome


def task_settings(task: Task) -> Settings:
    """The settings that a task runs under: those in force when it was scheduled, over the environment."""
    return read_settings(task.workspace, {**os.environ, **task.settings})


def _is_due(task: Task, slot: float, settings: Settings) -> bool:
    """Whether the slot of a schedule that is looked at more often than it is due still has no run."""
    from datetime import datetime

    # A new task waits for its next slot, and does not make up one from before its time.
    if task.created and slot < datetime.fromisoformat(task.created).timestamp():
        return False
    try:
        history = open_store(settings)
        try:
            runs = history.find(Query(task=task.name, slot=slot))
        finally:
            history.close()
    except FAULTS:
        return True  # The claim file decides, or nothing does.
    return all(run.status == SKIPPED for run in runs)
