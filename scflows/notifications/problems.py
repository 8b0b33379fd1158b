"""What is wrong with tasks right now: found by looking at schedules and history, without anybody having watched."""

from __future__ import annotations

import os
from dataclasses import dataclass

from scflows.cron.task import TaskStore
from scflows.history.contract import Query
from scflows.history.run import QUEUED, RUNNING
from scflows.history.task_log import timestamp
from scflows.notifications.deadlines import MOST_WAITING, end_within, least_start, measured_runs, usual_waiting
from scflows.notifications.incidents import LATE, MISSED, MOST_SLOTS, TOO_LONG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from scflows.cron.task import Task
    from scflows.history.contract import RunStore
    from scflows.history.run import Run
    from scflows.history.task_groups import TaskGroup

#: How far back missed slots are looked for, in seconds.
LOOK_BACK = 86400.0
#: Reasons of runs that were skipped by which a slot has no run: nobody came, or it was given up while it waited.
UNANSWERED = (MISSED, "queue_timeout")


@dataclass(frozen=True)
class Problem:
    """What is wrong with one task. Times are seconds since the epoch."""

    task: Task
    kind: str  #: LATE, MISSED or TOO_LONG
    since: float
    until: float  #: the newest slot that it is about
    message: str
    slots: tuple[float, ...] = ()
    run: Run | None = None


def find_problems(group: TaskGroup, late_runs: Mapping[str, Sequence[Run]], now: float) -> Iterator[Problem]:
    """What is wrong now with tasks of a group; `late_runs` are the runs that the store calls so."""
    latest = group.store.latest(task.name for task in group.tasks)
    files = TaskStore(group.settings)
    for task in group.tasks:
        last = latest.get(task.name)
        # Slots from before it was scheduled or edited are not expected.
        changed = _changed(task, files, now)
        missed = [
            run
            for run in late_runs.get(task.name, ())
            if run.reason in UNANSWERED and run.slot is not None and run.slot > changed
        ]
        trouble = (
            too_long(task, last, group.store, now, group.settings.timeout_seconds)
            or late(task, last, group.store, now, files)
            or _missed(task, missed, last)
        )
        if trouble is not None:
            yield trouble


def by_task(runs: Iterable[Run]) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.task, []).append(run)
    return found


def late(task: Task, last: Run | None, store: RunStore, now: float, files: TaskStore) -> Problem | None:
    """Whether a slot of a task was due whose run has not begun in time; `last` is its newest run."""
    usual = least_start(task)
    due = task.schedule.latest_epoch(now - usual)
    if due is None or (last is not None and last.slot is not None and last.slot >= due and last.status != QUEUED):
        return None
    if due <= task.made or due <= _changed(task, files, now):
        return None  # It was paused, or had another schedule, when that slot was due.
    answers = store.find(Query(task=task.name, slot=float(due), limit=1))
    if answers and answers[0].status != QUEUED:
        return None
    if now < task.schedule.start_of(due) + usual:
        return None
    if task.start_within is None and now < due + usual + MOST_WAITING:
        usual += usual_waiting(measured_runs(task, store))
        if now < due + usual:
            return None
    told = f"due at {timestamp(due)}, and not started {_words(now - due)} later"
    if answers:
        told += ": it waits for its turn"
    return Problem(task, LATE, due, due, told, (float(due),), answers[0] if answers else None)


def too_long(task: Task, last: Run | None, store: RunStore, now: float, limit: float) -> Problem | None:
    """Whether the newest run of a task goes on for longer than it should."""
    if last is None or last.status != RUNNING or (last.dry_run and not task.dry):
        return None
    most = end_within(task, measured_runs(task, store), limit)
    if now - last.started <= most:
        return None
    told = f"running for {_words(now - last.started)}, expected to end within {_words(most)}"
    return Problem(task, TOO_LONG, last.started, last.slot or 0.0, told, run=last)


def behind(task: Task, runs: Sequence[Run], store: RunStore, after: float) -> Problem | None:
    """The slots later than `after` that were missed, or whose runs began too late; `runs` are `late_runs` ones."""
    found = [run for run in runs if (run.slot or 0.0) > after]
    if any(run.reason not in UNANSWERED for run in found):
        usual = least_start(task)
        if task.start_within is None:
            usual += usual_waiting(measured_runs(task, store))
        start = task.schedule.start_of
        found = [run for run in found if run.reason in UNANSWERED or run.started - start(int(run.slot or 0)) > usual]
    if found and not any(run.reason in UNANSWERED for run in found):
        slots = sorted({run.slot for run in found if run.slot is not None})
        most = max(run.started - (run.slot or 0.0) for run in found)
        what = "1 slot was" if len(slots) == 1 else f"{len(slots)} slots were"
        told = f"{what} answered late, up to {_words(most)} after being due"
        return Problem(task, LATE, slots[0], slots[-1], told, tuple(slots[-MOST_SLOTS:]))
    return _missed(task, found, None)


def to_make_up(task: Task, slots: Sequence[float], after: float) -> Problem | None:
    """Slots later than `after` that nobody answered for, and that are about to be made up."""
    found = sorted(slot for slot in slots if slot > after)
    if not found:
        return None
    what = "1 slot is" if len(found) == 1 else f"{len(found)} slots are"
    told = f"{what} without a run, the first of {timestamp(found[0])}, and to be made up"
    return Problem(task, LATE, found[0], found[-1], told, tuple(found[-MOST_SLOTS:]))


def _missed(task: Task, runs: Sequence[Run], last: Run | None) -> Problem | None:
    ran = -1.0 if last is None or last.slot is None else last.slot
    slots = sorted({run.slot for run in runs if run.slot is not None and run.slot > ran})
    if not slots:
        return None
    told = missed_words(slots)
    if any(run.reason != MISSED and run.slot in slots for run in runs):
        told += ": given up after waiting for longer than MAX_WAIT_SECONDS"
    return Problem(task, MISSED, slots[0], slots[-1], told, tuple(slots[-MOST_SLOTS:]))


def missed_words(slots: Sequence[float]) -> str:
    """How many slots were missed, and when."""
    if len(slots) == 1:
        return f"1 slot missed, {timestamp(slots[0])}"
    least = "at least " if len(slots) == MOST_SLOTS else ""
    return f"{least}{len(slots)} slots missed, from {timestamp(slots[0])} to {timestamp(slots[-1])}"


def _changed(task: Task, files: TaskStore, now: float) -> float:
    """When a task was scheduled, edited, or let run again."""
    try:
        changed = os.stat(files.path(task.name)).st_mtime
    except OSError:
        return 0.0
    created = task.made
    # Where the clock was set back since, the time of the file says nothing.
    return max(created, changed) if changed <= now or not created else created


def _words(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
