"""Run a task for the slot that is due now: what its crontab line starts."""

from __future__ import annotations

import os
import time

from scflows.cron.schedule.schedule import OVERDUE, STARTABLE
from scflows.cron.task import Task, TaskStore, task_settings
from scflows.errors import NotFound, ScflowsError
from scflows.execution.admission import ENQUEUE
from scflows.execution.launch import launch
from scflows.execution.request import RunOutcome, RunRequest
from scflows.history.recorder import Recorder, claim_path
from scflows.history.run import BOOT, CATCH_UP, CHECK, CRASHED, FAILED, Run, new_run_id
from scflows.history.store import FAULTS, ask
from scflows.history.task_log import TaskLog, log_path
from scflows.locks import current_process
from scflows.scheduler.housekeeping import run_housekeeping
from scflows.settings import Settings, bare_settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


#: Seconds that a line with a `sleep` may start before its second, as where the clock is adjusted meanwhile.
EARLY = 2.0


def run_task_from_cron(
    name: str,
    state: str = "",
    slot: float | None = None,
    trigger: str = "",
    now: Callable[[], float] = time.time,
    wait: Callable[[float], None] = time.sleep,
) -> RunOutcome | None:
    """Run a task for its slot, or enqueue it; return None when no slot is due, or all were enqueued.

    - state: the state folder, where it is not the default one
    - slot: of a caller that knows it; for slots that are not full minutes, the minute that they are in
    - now, wait: the clock, in seconds since the epoch, and how it is waited for some seconds

    Raises NotFound for a task that is not there, UsageError for settings that cannot be; both are on record then.
    """
    settings = bare_settings(state)
    trigger = trigger or ("cron" if slot is None else "scheduler")
    minute = now() // 60 * 60 if slot is None else slot
    run = Run(new_run_id(), "", name, trigger, None if trigger in (CHECK, BOOT) else minute, holder=current_process())
    try:
        task = TaskStore(settings).read(name)
        run.flow, run.workspace = task.flow or " ".join(task.command), task.workspace
        # Enough to leave a record if `.env` or the workspace cannot be used.
        settings = Settings(task.workspace, {**os.environ, **task.settings})
        if not task.enabled:
            return None  # An old line; `flows check` reports it.
        outcome: RunOutcome | None
        settings = task_settings(task)
        if trigger == CHECK:
            outcome = launch(RunRequest(task=task, trigger=trigger), settings)
        elif task.is_paused(minute + 59):
            return None  # With a time at which it resumes, a paused task keeps its line.
        elif trigger == BOOT:
            outcome = launch(RunRequest(task=task, trigger=trigger, waits=ENQUEUE), settings)
        elif task.schedule.is_boot:
            return None  # A line from before it became a boot task.
        elif task.schedule.is_fine and trigger != CATCH_UP:
            outcome = _run_minute(task, minute, trigger, settings, now, wait)
        else:
            if slot is None:
                slot = run.slot = due_slot(task, now())
                if task.schedule.gated and not _is_due(task, slot, settings, now()):
                    return None
            if task.is_paused(slot):
                return None
            begins = slot + task.schedule.second
            outcome = launch(RunRequest(task=task, trigger=trigger, slot=slot, begins=begins, waits=ENQUEUE), settings)
    except NotFound as error:
        gone = NotFound(str(error), "the crontab names a task that is gone; see: flows check")
        _leave_trace(run, gone, settings)
        raise gone from error
    except Exception as error:
        _leave_trace(run, error, settings)
        raise
    run_housekeeping(settings)
    return outcome


def due_slot(task: Task, now: float) -> float:
    """Return the slot for which a crontab line was started that slept until the second of its minute.

    Cron may have started it late, and the sleep may have ended a little early.
    """
    schedule, second = task.schedule, task.schedule.second
    if second:
        slot = schedule.latest_epoch(now - max(0.0, second - EARLY))
        if slot is not None and now - slot <= second + OVERDUE:
            return float(slot)
        # A line without its sleep, such as one that a person typed.
    slot = schedule.latest_epoch(now)
    return float(now // 60 * 60 if slot is None else slot)


def _run_minute(
    task: Task, minute: float, trigger: str, settings: Settings, now: Callable[[], float], wait: Callable[[float], None]
) -> RunOutcome | None:
    """Enqueue the slots of a minute; run those that cannot be, as on a full disk, at their seconds."""
    from scflows.scheduler.slot_queue import SlotQueue

    with SlotQueue(settings) as queue:
        try:
            queue.add_minute(task, minute, trigger, now())
            return None
        except OSError:
            pass
    outcome: RunOutcome | None = None
    for slot in task.schedule.within(minute):
        if slot < task.begins <= now() or now() - slot > STARTABLE or task.is_paused(slot):
            continue
        # Even if the clock is set back meanwhile, a minute does not last longer.
        wait(min(60.0, max(0.0, slot - now())))
        request = RunRequest(task=task, trigger=trigger, slot=float(slot), begins=float(slot), waits=ENQUEUE)
        outcome = launch(request, settings)
    return outcome


def state_path(state: str) -> str:
    """Return the state folder; if `state` is empty, the usual one."""
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
        log = TaskLog(log_path(settings.tasks_path, run.task), zone=settings.timezone)
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
        pass  # It is reported on stderr.


def _is_due(task: Task, slot: float, settings: Settings, now: float) -> bool:
    """Return whether a slot of a schedule whose line starts more often than it is due has no run yet."""
    # A new task waits for its next slot and ignores older ones, but a clock that was set back does not stop it.
    if slot < task.begins <= now:
        return False
    if os.path.lexists(claim_path(settings, task.name, slot)):
        return False
    # Without a history the claim file decides, or nothing does.
    return ask(settings, lambda history: slot not in history.slots(task.name, slot - 1, slot), True)
