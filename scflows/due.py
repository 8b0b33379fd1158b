"""What a crontab line starts: a task, for the slot that is due now."""

from __future__ import annotations

import os
import time

from scflows.cron.task import TaskStore
from scflows.errors import NotFound, ScflowsError
from scflows.history import Query, open_store
from scflows.history.recorder import FAULTS, Recorder
from scflows.launch import Outcome, Request, launch
from scflows.lock import me
from scflows.logfile import TaskLog, log_path
from scflows.run import CRASHED, FAILED, SKIPPED, Run, new_run_id
from scflows.runs import housekeeping
from scflows.settings import Settings, read_settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.cron.task import Task


def run_due(name: str, state: str = "", slot: float | None = None) -> Outcome | None:
    """Run a task for its slot; None when no slot is due, as at the finer line of a gated schedule.

    `state` is the state folder, where it is not the default one; `slot` is given by a scheduler that knows it.
    Raises NotFound for a task that is not there, UsageError for settings that cannot be; both are on record then.
    """
    given = dict(os.environ)
    if state:
        given["XDG_STATE_HOME"] = os.path.dirname(state)
    trigger = "cron" if slot is None else "scheduler"
    run = Run(new_run_id(), "", name, trigger, time.time() // 60 * 60 if slot is None else slot, holder=me())
    settings = Settings("/", given)
    try:
        task = TaskStore(settings).read(name)
        run.flow = task.flow or " ".join(task.command)
        # Enough to leave a record, should `.env` or the workspace be unusable.
        settings = Settings(task.workspace, {**os.environ, **task.settings})
        if not task.enabled:
            return None  # A line that was left over; `flows check` tells of it.
        if slot is None:
            now = time.time()
            found = task.schedule.latest_epoch(now)
            slot = run.slot = float(now // 60 * 60 if found is None else found)
            settings = task_settings(task)
            if task.schedule.gated and not _is_due(task, slot, settings):
                return None
        settings = task_settings(task)
        outcome = launch(Request(task=task, trigger=trigger, slot=slot), settings)
    except NotFound as error:
        gone = NotFound(str(error), "the crontab names a task that is gone; see: flows check")
        _leave_trace(run, gone, settings)
        raise gone from error
    except Exception as error:
        _leave_trace(run, error, settings)
        raise
    housekeeping(settings)
    return outcome


def _leave_trace(run: Run, error: Exception, settings: Settings) -> None:
    """Log and record a start that failed before its run could begin. Raises nothing."""
    from scflows.cron.task import check_name

    is_ours = isinstance(error, ScflowsError)
    run.started = run.ended = time.time()
    run.status, run.reason = (FAILED, "refused") if is_ours else (CRASHED, "bug")
    run.message = str(error) if is_ours else f"a bug of scflows: {type(error).__name__}: {error}"
    try:
        check_name(run.task)
        log = TaskLog(log_path(settings.tasks_path, run.task))
        run.log = "" if log.problem else log.path
        recorder = Recorder(settings)
        if recorder.claim(run) is None:
            log.error(f"run {run.id} {run.status}: {run.message}")
            if not is_ours:
                from traceback import format_exception

                log.error("".join(format_exception(error)))
        recorder.close()
        log.close()
    except (*FAULTS, ValueError):
        pass  # Whoever started it is told on stderr.


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
