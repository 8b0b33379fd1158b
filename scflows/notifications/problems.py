"""Finding the current problems of tasks from their schedules and their history."""

from __future__ import annotations

import os
from dataclasses import dataclass

from scflows.cron.task import Task, TaskStore
from scflows.history.contract import Query
from scflows.history.run import QUEUED, RUNNING, Run, latest_start
from scflows.history.task_log import timestamp
from scflows.notifications.deadlines import (
    MAX_USUAL_WAIT,
    base_start_within,
    end_within,
    measured_runs,
    time_limit,
    usual_wait,
)
from scflows.notifications.incidents import LATE, MAX_SLOTS, MISSED, TOO_LONG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from scflows.history.contract import RunStore
    from scflows.history.task_groups import TaskGroup

#: How far back missed slots are searched, in seconds.
LOOK_BACK = 86400.0
#: Reasons of skipped runs whose slot has no run: it was missed, or it was given up after waiting in the queue.
NO_RUN_REASONS = (MISSED, "queue_timeout")


@dataclass(frozen=True)
class Problem:
    """A problem of one task. Times are seconds since the epoch."""

    task: Task
    kind: str  #: LATE, MISSED or TOO_LONG
    since: float
    until: float  #: the newest slot that it concerns
    message: str
    slots: tuple[float, ...] = ()
    run: Run | None = None


def find_problems(group: TaskGroup, late_runs: Mapping[str, Sequence[Run]], now: float) -> Iterator[Problem]:
    """Yield the current problems of the tasks of a group; `late_runs` are those of the store, by task."""
    latest = group.store.latest((task.name for task in group.tasks), latest_start(now))
    files, zone = TaskStore(group.settings), group.settings.timezone
    for task in group.tasks:
        last = latest.get(task.name)
        # Slots before the task was scheduled or edited do not count.
        changed = _changed(task, files, now)
        missed = [
            run
            for run in late_runs.get(task.name, ())
            if run.reason in NO_RUN_REASONS and run.slot is not None and run.slot > changed
        ]
        problem = (
            too_long(task, last, group.store, now, group.settings.timeout_seconds)
            or late(task, last, group.store, now, files, zone)
            or _missed(task, missed, last, zone)
        )
        if problem is not None:
            yield problem


def by_task(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Return runs grouped by their task."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.task, []).append(run)
    return groups


def late(
    task: Task, last: Run | None, store: RunStore, now: float, files: TaskStore, zone: str = "UTC"
) -> Problem | None:
    """Return a problem if a due slot of a task has no run that started in time.

    `last` is its newest run; `zone` is the time zone of the message.
    """
    usual = base_start_within(task)
    due = task.schedule.latest_epoch(now - usual)
    if due is None or (last is not None and last.slot is not None and last.slot >= due and last.status != QUEUED):
        return None
    if due <= task.made or due <= _changed(task, files, now):
        return None  # The task was paused or had another schedule when that slot was due.
    runs = store.find(Query(task=task.name, slot=float(due), limit=1))
    if runs and runs[0].status != QUEUED:
        return None
    if now < task.schedule.start_of(due) + usual:
        return None
    if task.start_within is None and now < due + usual + MAX_USUAL_WAIT:
        usual += usual_wait(measured_runs(task, store))
        if now < due + usual:
            return None
    message = f"due at {timestamp(due, zone)}, not started {_duration(now - due)} later"
    if runs:
        message += ": still queued"
    return Problem(task, LATE, due, due, message, (float(due),), runs[0] if runs else None)


def too_long(task: Task, last: Run | None, store: RunStore, now: float, limit: float) -> Problem | None:
    """Return a problem if the newest run of a task takes longer than expected; `limit` is the general time limit."""
    if last is None or last.status != RUNNING or (last.dry_run and not task.dry):
        return None
    runs = measured_runs(task, store)
    longest = end_within(task, runs, limit)
    if now - last.started <= longest:
        return None
    # Now that it matters: the flow's own limit may be longer.
    longest = end_within(task, runs, time_limit(task, limit))
    if now - last.started <= longest:
        return None
    message = f"running for {_duration(now - last.started)}, expected to end within {_duration(longest)}"
    return Problem(task, TOO_LONG, last.started, last.slot or 0.0, message, run=last)


def late_or_missed(task: Task, runs: Sequence[Run], store: RunStore, after: float, zone: str) -> Problem | None:
    """Return a problem with the slots after `after` that were missed or run late; `runs` are `late_runs` of a store."""
    found = [run for run in runs if (run.slot or 0.0) > after]
    if any(run.reason not in NO_RUN_REASONS for run in found):
        usual = base_start_within(task)
        if task.start_within is None:
            usual += usual_wait(measured_runs(task, store))
        start = task.schedule.start_of
        found = [
            run for run in found if run.reason in NO_RUN_REASONS or run.started - start(int(run.slot or 0)) > usual
        ]
    if found and not any(run.reason in NO_RUN_REASONS for run in found):
        slots = sorted({run.slot for run in found if run.slot is not None})
        longest = max(run.started - (run.slot or 0.0) for run in found)
        subject = "1 slot was" if len(slots) == 1 else f"{len(slots)} slots were"
        message = f"{subject} run late, up to {_duration(longest)} after being due"
        return Problem(task, LATE, slots[0], slots[-1], message, tuple(slots[-MAX_SLOTS:]))
    return _missed(task, found, None, zone)


def awaiting_catch_up(task: Task, slots: Sequence[float], after: float, zone: str) -> Problem | None:
    """Return a problem with the missed slots after `after` that are waiting for catch-up."""
    pending = sorted(slot for slot in slots if slot > after)
    if not pending:
        return None
    subject = "1 missed slot is" if len(pending) == 1 else f"{len(pending)} missed slots are"
    message = f"{subject} waiting for catch-up, the first of {timestamp(pending[0], zone)}"
    return Problem(task, LATE, pending[0], pending[-1], message, tuple(pending[-MAX_SLOTS:]))


def _missed(task: Task, runs: Sequence[Run], last: Run | None, zone: str) -> Problem | None:
    ran = -1.0 if last is None or last.slot is None else last.slot
    slots = sorted({run.slot for run in runs if run.slot is not None and run.slot > ran})
    if not slots:
        return None
    message = missed_message(slots, zone)
    if any(run.reason != MISSED and run.slot in slots for run in runs):
        message += ": given up after waiting longer than MAX_WAIT_SECONDS"
    return Problem(task, MISSED, slots[0], slots[-1], message, tuple(slots[-MAX_SLOTS:]))


def missed_message(slots: Sequence[float], zone: str) -> str:
    """Say how many slots were missed, and when."""
    if len(slots) == 1:
        return f"1 slot missed, {timestamp(slots[0], zone)}"
    least = "at least " if len(slots) == MAX_SLOTS else ""
    return f"{least}{len(slots)} slots missed, from {timestamp(slots[0], zone)} to {timestamp(slots[-1], zone)}"


def _changed(task: Task, files: TaskStore, now: float) -> float:
    """Return when a task was scheduled, edited or resumed."""
    try:
        changed = os.stat(files.path(task.name)).st_mtime
    except OSError:
        return task.paused_until
    created = max(task.made, task.paused_until)
    # If the clock was set back since, the time of the file is meaningless.
    return max(created, changed) if changed <= now or not created else created


def _duration(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
