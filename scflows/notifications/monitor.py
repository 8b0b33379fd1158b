"""Look over all tasks, and note what is wrong and what is well again."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from scflows.cron.task import TaskStore
from scflows.cron.task_index import gc_paused, read_tasks
from scflows.errors import NotFound, ScflowsError
from scflows.history.contract import Query
from scflows.history.run import GOOD
from scflows.history.task_groups import task_groups
from scflows.notifications.incidents import KEPT, MISSED, MOST_SLOTS, Incident, change_incident, incident_of, incidents
from scflows.notifications.problems import (
    LOOK_BACK,
    Problem,
    behind,
    by_task,
    find_problems,
    missed_words,
    to_make_up,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from scflows.cron.task import Task
    from scflows.history.contract import RunStore
    from scflows.history.run import Run
    from scflows.settings import Settings


def update_incidents(
    settings: Settings,
    store: RunStore,
    now: float,
    owed: Iterable[tuple[str, float]] = (),
    tasks: Iterable[Task] | None = None,
) -> None:
    """Note what is wrong with tasks as incidents, and which of these are over. Raises what the store raises.

    `owed` are (task, slot) that are about to be made up; `tasks` are all there are, for who has read them.
    """
    with gc_paused():
        _look_out(settings, store, now, owed, tasks)


def _look_out(
    settings: Settings, store: RunStore, now: float, owed: Iterable[tuple[str, float]], all_tasks: Iterable[Task] | None
) -> None:
    unanswered: dict[str, list[float]] = {}
    for name, slot in owed:
        unanswered.setdefault(name, []).append(slot)
    for group in task_groups(settings, store, read_tasks(settings)[0] if all_tasks is None else all_tasks):
        tasks = {task.name: task for task in group.tasks}
        late_runs = by_task(group.store.late_runs(now - LOOK_BACK))
        # First what was missed and is caught up or past: nobody may have noticed while it was so.
        for name in sorted(tasks.keys() & (late_runs.keys() | unanswered.keys())):
            before = incident_of(settings, name)
            known = before.until if before is not None else 0.0
            for found in (
                behind(tasks[name], late_runs.get(name, ()), group.store, known),
                to_make_up(tasks[name], unanswered.get(name, ()), known),
            ):
                if found is not None:
                    _note(settings, found, now)
        for trouble in find_problems(group, late_runs, now):
            _note(settings, trouble, now)
        for incident in incidents(settings):
            if incident.task in tasks and incident.is_open and not incident.recovery:
                _end(settings, incident, group.store)
    _forget(settings, now)


def _note(settings: Settings, trouble: Problem, now: float) -> None:
    task = trouble.task
    if task.dry:
        return  # As of its runs, nobody is told.
    change_incident(settings, task.name, lambda before: noted(before, trouble, now))


def noted(before: Incident | None, trouble: Problem, now: float) -> Incident | None:
    """What is known of a task once a trouble was found, after what was known before."""
    run = "" if trouble.run is None else trouble.run.id
    if before is not None:
        is_same_run = trouble.kind == before.kind and run == before.run
        if is_same_run and trouble.until <= before.until:
            return before
        if trouble.slots and trouble.until <= before.until:
            # Late has become missed: it was told.
            is_worse = before.is_open and trouble.kind == MISSED != before.kind and before.slots
            return replace(before, kind=MISSED, message=missed_words(before.slots)) if is_worse else before
        if before.recovery and before.is_open:
            return before  # First the end of the one before is told.
    new = Incident(trouble.task.name, trouble.kind, trouble.since, trouble.until, now, trouble.message, trouble.slots)
    new = replace(new, run=run if not trouble.slots else "")
    if before is None or not before.is_open:
        return new
    # One goes over into another, and is told once.
    new = replace(new, since=min(before.since, new.since), until=max(before.until, new.until), found=before.found)
    slots = tuple(sorted({*before.slots, *trouble.slots}))[-MOST_SLOTS:]
    kind = MISSED if before.kind == MISSED and trouble.slots else trouble.kind
    message = missed_words(slots) if kind == MISSED else trouble.message
    return replace(new, kind=kind, message=message, slots=slots, told=before.told, tries=before.tries)


def _end(settings: Settings, incident: Incident, store: RunStore) -> None:
    """End an incident, if a run did so before it was noted."""
    for run in store.find(Query(task=incident.task, statuses=GOOD, limit=10)):
        if run.is_reported and incident.ended_by(run):

            def over(before: Incident | None, run: Run = run) -> Incident | None:
                return before.over(run) if before == incident else before

            change_incident(settings, incident.task, over)
            return


def _forget(settings: Settings, now: float) -> None:
    """Forget what is over for long, and what is wrong with tasks that are gone or paused."""
    files = TaskStore(settings)
    for incident in incidents(settings):
        if not incident.is_open and now - incident.until < KEPT:
            continue
        if incident.is_open and _is_watched(files, incident.task):
            continue
        change_incident(settings, incident.task, partial(_unless_changed, incident))


def _unless_changed(known: Incident, before: Incident | None) -> Incident | None:
    return None if before == known else before


def _is_watched(files: TaskStore, name: str) -> bool:
    try:
        return files.read(name).enabled
    except NotFound:
        return False
    except ScflowsError:
        return True
