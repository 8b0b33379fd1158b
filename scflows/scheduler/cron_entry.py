"""What a crontab line starts: a task, for the slot that is due now."""

from __future__ import annotations

import os
import time

from scflows.cron.task import TaskStore, task_settings
from scflows.errors import NotFound, ScflowsError
from scflows.execution.admission import ENQUEUE
from scflows.execution.launch import RunOutcome, RunRequest, launch
from scflows.history.recorder import Recorder, claim_path
from scflows.history.run import CATCH_UP, CHECK, CRASHED, FAILED, Run, new_run_id
from scflows.history.store import FAULTS, ask
from scflows.history.task_log import TaskLog, log_path
from scflows.locks import current_process
from scflows.queue.permits import inherited_permit
from scflows.scheduler.housekeeping import run_housekeeping
from scflows.settings import Settings, bare_settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scflows.cron.task import Task


def run_task_from_cron(
    name: str,
    state: str = "",
    slot: float | None = None,
    trigger: str = "",
    now: Callable[[], float] = time.time,
    wait: Callable[[float], None] = time.sleep,
) -> RunOutcome | None:
    """Run a task for its slot; None when no slot is due, as at the finer line of a gated schedule.

    `state` is the state folder, where it is not the default one; `slot` is given by a scheduler that knows it, for
    slots that are no full minutes as the minute that they are in. Of several slots the first outcome that is bad is
    returned, else the last. `now` (seconds since the epoch) and `wait` (for some seconds) are the clock.
    Raises NotFound for a task that is not there, UsageError for settings that cannot be; both are on record then.
    """
    settings = bare_settings(state)
    place = inherited_permit(settings.state_path, os.environ)
    trigger = trigger or ("cron" if slot is None else "scheduler")
    minute = now() // 60 * 60 if slot is None else slot
    run = Run(new_run_id(), "", name, trigger, None if trigger == CHECK else minute, holder=current_process())
    try:
        task = TaskStore(settings).read(name)
        run.flow = task.flow or " ".join(task.command)
        # Enough to leave a record, should `.env` or the workspace be unusable.
        settings = Settings(task.workspace, {**os.environ, **task.settings})
        if not task.enabled:
            return None  # A line that was left over; `flows check` tells of it.
        outcome: RunOutcome | None
        if trigger == CHECK:
            settings = task_settings(task)
            outcome = launch(RunRequest(task=task, trigger=trigger, place=place), settings)
        elif task.schedule.is_fine and trigger != CATCH_UP:
            from scflows.scheduler.subminute import run_subminute_slots

            settings = task_settings(task)
            outcome = run_subminute_slots(task, minute, trigger, settings, now, wait)
        else:
            if slot is None:
                found = task.schedule.latest_epoch(now())
                slot = run.slot = float(minute if found is None else found)
                settings = task_settings(task)
                if task.schedule.gated and not _is_due(task, slot, settings, now()):
                    return None
            settings = task_settings(task)
            begins = slot + task.schedule.second
            request = RunRequest(task=task, trigger=trigger, slot=slot, begins=begins, waits=ENQUEUE, place=place)
            outcome = launch(request, settings)
    except NotFound as error:
        gone = NotFound(str(error), "the crontab names a task that is gone; see: flows check")
        _leave_trace(run, gone, settings)
        raise gone from error
    except Exception as error:
        _leave_trace(run, error, settings)
        raise
    run_housekeeping(settings)
    return outcome


def state_path(state: str) -> str:
    """The state folder, where `state` is empty the usual one."""
    return bare_settings(state).state_path


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


def _is_due(task: Task, slot: float, settings: Settings, now: float) -> bool:
    """Whether the slot of a schedule that is looked at more often than it is due has no answer yet."""
    # A new task waits for its next slot, and does not make up one from before its time; but a clock that was set
    # back behind that does not stop it.
    if slot < task.begins <= now:
        return False
    if os.path.exists(claim_path(settings, task.name, slot)):
        return False
    # Without a history the claim file decides, or nothing does.
    return ask(settings, lambda history: slot not in history.slots(task.name, slot - 1, slot), True)
