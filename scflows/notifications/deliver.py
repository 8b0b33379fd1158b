"""Delivering alerts: call the hooks for an incident once when it is found and once when it is over.

An incident is stored before its alert and marked as delivered afterwards. If the process is killed in between, the
next process delivers the alert again.
"""

from __future__ import annotations

from dataclasses import replace

from scflows.cron.task import Task, TaskStore, task_settings
from scflows.errors import NotFound, ScflowsError
from scflows.history.run import BAD, GOOD, RUNNING, SKIPPED, SUCCESS, Run
from scflows.history.task_log import TaskLog, log_path, scheduler_log
from scflows.notifications.after_run import RunNotifier
from scflows.notifications.incidents import (
    LATE,
    MISSED,
    NO_SOURCE,
    Incident,
    change_incident,
    delivery_lock,
    incident_of,
    incidents,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.flows.loader import FlowPath
    from scflows.flows.model import Flow
    from scflows.notifications.undelivered import Start
    from scflows.settings import Settings


#: How often a delivery is attempted if each time the process is killed.
MAX_ATTEMPTS = 5


def resolve_incident(run: Run, settings: Settings, start: Start) -> bool:
    """Resolve the incident of a run's task if the run shows that it works again; return whether one was open."""
    if not run.is_reported or run.status not in (*GOOD, *BAD):
        return False
    found = incident_of(settings, run.task)
    if found is None or not found.is_open:
        return False

    def resolved(before: Incident | None) -> Incident | None:
        if before is None or before.recovery or not before.is_resolved_by(run):
            return before
        return before.resolve(run)

    try:
        change_incident(settings, run.task, resolved)
    except OSError:
        return True  # Nothing can be written, so it stays open until a process can resolve it.
    deliver_alerts(settings, start, run.task)
    return True


def has_undelivered_alerts(settings: Settings) -> bool:
    """Return whether there are alerts to deliver."""
    return any(_is_undelivered(each) for each in incidents(settings))


def deliver_alerts(settings: Settings, start: Start, task: str = "") -> None:
    """Call the hooks for all undelivered incidents, of one task or of all.

    Tasks whose alerts another process is delivering are skipped, so that a hook that hangs only delays its own task.
    """
    done: set[Incident] = set()
    while True:
        pending = [each for each in incidents(settings) if _is_undelivered(each) and task in ("", each.task)]
        pending = [each for each in pending if each not in done]
        if not pending:
            return
        for each in pending:
            done.add(each)
            try:
                with delivery_lock(settings, each.task):
                    # Read it again: another process may have delivered it before the lock was taken.
                    current = incident_of(settings, each.task)
                    if current is not None and _is_undelivered(current):
                        _deliver(current, settings, start)
                        done.add(current)
            except BlockingIOError:
                continue
            except OSError:
                return


def _is_undelivered(incident: Incident) -> bool:
    return incident.is_open and incident.attempts < MAX_ATTEMPTS and (not incident.delivered or bool(incident.recovery))


def _deliver(incident: Incident, settings: Settings, start: Start) -> None:
    try:
        task = TaskStore(settings).read(incident.task)
        own_settings = task_settings(task)
    except NotFound:
        change_incident(settings, incident.task, lambda before: None)
        return
    except (ScflowsError, OSError):
        return  # The hooks are unknown; `flows health` still shows the incident.
    where, flow = _flow_of(task, own_settings)
    # Written before the alert: if it cannot be written, the alert would be delivered every minute.
    change_incident(settings, task.name, lambda before: before and replace(before, attempts=before.attempts + 1))
    if not incident.delivered:
        run = _run_of(incident, task, own_settings)
        if where is not None:
            run.flow = where.written
        notifier = RunNotifier(run, own_settings, start)
        notifier.notify_problem(where, flow, incident)
        _log(task, own_settings, f"{incident.kind}: {incident.message}", notifier.problems)
        change_incident(settings, task.name, lambda before: before and replace(before, delivered=True, attempts=0))
    if incident.recovery:
        run = _stored(incident.recovery, own_settings) or Run(incident.recovery, task.flow, task.name, status=SUCCESS)
        notifier = RunNotifier(run, own_settings, start)
        notifier.notify_recovery(where, flow, incident)
        _log(task, own_settings, f"works again: run {run.id} {run.status}", notifier.problems)
        change_incident(settings, task.name, lambda before: before and replace(before, is_open=False))


def _run_of(incident: Incident, task: Task, settings: Settings) -> Run:
    """Return the run that the incident concerns; if there is none, a run that represents it."""
    run = _stored(incident.run, settings) if incident.run else None
    if run is None:
        statuses = {LATE: "late", NO_SOURCE: "late", MISSED: SKIPPED}
        run = Run(
            id=incident.run,
            flow=task.flow or " ".join(task.command),
            task=task.name,
            trigger="scheduler",
            slot=incident.slots[-1] if incident.slots else None,
            status=statuses.get(incident.kind, RUNNING),
            started=incident.since,
        )
    run.reason, run.message = incident.kind, incident.message
    return run


def _stored(id: str, settings: Settings) -> Run | None:
    from scflows.history.store import ask

    return ask(settings, lambda store: store.run(id), None)


def _flow_of(task: Task, settings: Settings) -> tuple[FlowPath | None, Flow | None]:
    """Return the flow of a task, for its own hooks; None if it is invalid or the task is a command."""
    if not task.flow:
        return None, None
    from scflows.flows.loader import find_flow, load_flow

    try:
        where = find_flow(task.flow, settings)
        return where, load_flow(where, settings)
    except (ScflowsError, OSError):
        return None, None


def _log(task: Task, settings: Settings, text: str, problems: list[str]) -> None:
    path = scheduler_log(settings.tasks_path) if task.command else log_path(settings.tasks_path, task.name)
    log = TaskLog(path, settings.log_level, zone=settings.timezone)
    log.warning(text)
    for problem in problems:
        log.warning(problem)
    log.close()
