"""Monitoring: find problems of all tasks, record them as incidents, and resolve incidents that are over."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from scflows.cron.task import Task, TaskStore
from scflows.cron.task_index import gc_paused, read_tasks
from scflows.errors import NotFound, ScflowsError
from scflows.history.contract import Query
from scflows.history.run import GOOD, Run, latest_start
from scflows.history.task_groups import task_groups
from scflows.notifications.incidents import (
    MAX_SLOTS,
    MISSED,
    RETENTION_SECONDS,
    Incident,
    change_incident,
    incident_of,
    incidents,
)
from scflows.notifications.problems import (
    LOOK_BACK,
    Problem,
    awaiting_catch_up,
    by_task,
    find_problems,
    late_or_missed,
    missed_message,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from scflows.history.contract import RunStore
    from scflows.settings import Settings


@gc_paused()
def update_incidents(
    settings: Settings,
    store: RunStore,
    now: float,
    catch_up: Iterable[tuple[str, float]] = (),
    all_tasks: Iterable[Task] | None = None,
) -> None:
    """Record problems of tasks as incidents, and resolve incidents that are over. Raises errors of the store.

    `catch_up`: the (task, slot) pairs that will be caught up. `all_tasks`: if the caller has read them.
    """
    pending: dict[str, list[float]] = {}
    for name, slot in catch_up:
        pending.setdefault(name, []).append(slot)
    for group in task_groups(settings, store, read_tasks(settings)[0] if all_tasks is None else all_tasks):
        tasks, zone = {task.name: task for task in group.tasks}, group.settings.timezone
        late_runs = by_task(group.store.late_runs(now - LOOK_BACK, latest_start(now)))
        # Slots that were late or missed may have passed unnoticed, so they come first.
        for name in sorted(tasks.keys() & (late_runs.keys() | pending.keys())):
            before = incident_of(settings, name, now)
            # Slots from before the task was scheduled are not its own, although its name was used then.
            known = max(before.until if before is not None else 0.0, tasks[name].begins)
            for problem in (
                late_or_missed(tasks[name], late_runs.get(name, ()), group.store, known, zone),
                awaiting_catch_up(tasks[name], pending.get(name, ()), known, zone),
            ):
                if problem is not None:
                    _record(settings, problem, now, zone)
        for problem in find_problems(group, late_runs, now):
            _record(settings, problem, now, zone)
        for incident in incidents(settings, now):
            if incident.task in tasks and incident.is_open and not incident.recovery:
                _resolve(settings, incident, group.store, now)
    _remove_obsolete(settings, now)


def _record(settings: Settings, problem: Problem, now: float, zone: str) -> None:
    task = problem.task
    if task.dry:
        return  # Dry tasks are never reported.
    change_incident(settings, task.name, lambda before: _updated(before, problem, now, zone), now)


def _updated(before: Incident | None, problem: Problem, now: float, zone: str) -> Incident | None:
    """Return the incident of a task after a problem was found, given the incident before."""
    run = "" if problem.run is None else problem.run.id
    if before is not None:
        is_same_run = problem.kind == before.kind and run == before.run
        if is_same_run and problem.until <= before.until:
            return before
        if problem.slots and problem.until <= before.until:
            # A late slot has become a missed one, which was already reported.
            is_worse = before.is_open and problem.kind == MISSED != before.kind and before.slots
            return replace(before, kind=MISSED, message=missed_message(before.slots, zone)) if is_worse else before
        if before.recovery and before.is_open:
            return before  # The recovery of the previous incident must be reported first.
    new = Incident(problem.task.name, problem.kind, problem.since, problem.until, now, problem.message, problem.slots)
    new = replace(new, run=run if not problem.slots else "")
    if before is None or not before.is_open:
        return new
    # The incident changes into another one and is reported only once.
    new = replace(new, since=min(before.since, new.since), until=max(before.until, new.until), found=before.found)
    slots = tuple(sorted({*before.slots, *problem.slots}))[-MAX_SLOTS:]
    kind = MISSED if before.kind == MISSED and problem.slots else problem.kind
    message = missed_message(slots, zone) if kind == MISSED else problem.message
    return replace(new, kind=kind, message=message, slots=slots, delivered=before.delivered, attempts=before.attempts)


def _resolve(settings: Settings, incident: Incident, store: RunStore, now: float) -> None:
    """Resolve an incident if a run did so before the incident was recorded."""
    for run in store.find(Query(task=incident.task, statuses=GOOD, until=latest_start(now), limit=10)):
        if run.is_reported and incident.is_resolved_by(run):

            def resolved(before: Incident | None, run: Run = run) -> Incident | None:
                return before.resolve(run) if before == incident else before

            change_incident(settings, incident.task, resolved, now)
            return


def _remove_obsolete(settings: Settings, now: float) -> None:
    """Remove old closed incidents, and those of removed or paused tasks."""
    files = TaskStore(settings)
    for incident in incidents(settings, now):
        if not incident.is_open and now - incident.until < RETENTION_SECONDS:
            continue
        if incident.is_open and _is_watched(files, incident.task, now):
            continue
        change_incident(settings, incident.task, partial(_unless_changed, incident), now)


def _unless_changed(known: Incident, before: Incident | None) -> Incident | None:
    return None if before == known else before


def _is_watched(files: TaskStore, name: str, now: float) -> bool:
    try:
        return not files.read(name).is_paused(now)
    except NotFound:
        return False
    except ScflowsError:
        return True
