"""Tell of incidents: that something is wrong with a task, once, and that it is over, once.

An incident is noted before it is told, and marked as told afterwards. Who is killed in between has it told again
by whoever comes next.
"""

from __future__ import annotations

from dataclasses import replace

from scflows.cron.task import TaskStore, task_settings
from scflows.errors import NotFound, ScflowsError
from scflows.history.run import BAD, GOOD, RUNNING, SKIPPED, SUCCESS, Run
from scflows.history.task_log import TaskLog, log_path, scheduler_log
from scflows.notifications.after_run import RunNotifier
from scflows.notifications.incidents import LATE, MISSED, Incident, change_incident, incident_of, incidents, only_teller

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.cron.task import Task
    from scflows.flows.loader import FlowPath
    from scflows.flows.model import Flow
    from scflows.notifications.after_run import Start
    from scflows.settings import Settings


#: How often telling is begun anew when whoever did it was killed meanwhile.
MOST_TRIES = 5


def run_ended(run: Run, settings: Settings, start: Start) -> bool:
    """End the incident of a run's task, if the run shows that all is well again; whether there was an open one."""
    if not run.is_reported or run.status not in (*GOOD, *BAD):
        return False
    found = incident_of(settings, run.task)
    if found is None or not found.is_open:
        return False

    def ended(before: Incident | None) -> Incident | None:
        return before.over(run) if before is not None and not before.recovery and before.ended_by(run) else before

    try:
        change_incident(settings, run.task, ended)
    except OSError:
        return True  # It stays open, since nothing can be written; whoever can, ends it.
    deliver_alerts(settings, start, run.task)
    return True


def has_undelivered(settings: Settings) -> bool:
    """Whether there is something to tell."""
    return any(_is_untold(each) for each in incidents(settings))


def deliver_alerts(settings: Settings, start: Start, task: str = "") -> None:
    """Call the hooks for what is untold, of one task or of all.

    What another tells just now is left to that one, so that a hook which hangs keeps back its own task's alone.
    """
    done: set[Incident] = set()
    while True:
        wanted = [each for each in incidents(settings) if _is_untold(each) and task in ("", each.task)]
        wanted = [each for each in wanted if each not in done]
        if not wanted:
            return
        for each in wanted:
            done.add(each)
            try:
                with only_teller(settings, each.task):
                    # What was read before the lock was taken, another may have told.
                    current = incident_of(settings, each.task)
                    if current is not None and _is_untold(current):
                        _tell(current, settings, start)
                        done.add(current)
            except BlockingIOError:
                continue
            except OSError:
                return


def _is_untold(incident: Incident) -> bool:
    return incident.is_open and incident.tries < MOST_TRIES and (not incident.told or bool(incident.recovery))


def _tell(incident: Incident, settings: Settings, start: Start) -> None:
    try:
        task = TaskStore(settings).read(incident.task)
        used = task_settings(task)
    except NotFound:
        change_incident(settings, incident.task, lambda before: None)
        return
    except (ScflowsError, OSError):
        return  # Nobody knows whom to tell; `flows health` shows it all the same.
    where, flow = _flow_of(task, used)
    # What cannot be marked as told is not told, or it would be each minute.
    change_incident(settings, task.name, lambda before: before and replace(before, tries=before.tries + 1))
    if not incident.told:
        run = _stand_in(incident, task, used)
        if where is not None:
            run.flow = where.written
        follow_up = RunNotifier(run, used, start)
        follow_up.alerted(where, flow, incident)
        _log(task, used, f"{incident.kind}: {incident.message}", follow_up.problems)
        change_incident(settings, task.name, lambda before: before and replace(before, told=True, tries=0))
    if incident.recovery:
        run = _stored(incident.recovery, used) or Run(incident.recovery, task.flow, task.name, status=SUCCESS)
        follow_up = RunNotifier(run, used, start)
        follow_up.recovered(where, flow, incident)
        _log(task, used, f"works again: run {run.id} {run.status}", follow_up.problems)
        change_incident(settings, task.name, lambda before: before and replace(before, is_open=False))


def _stand_in(incident: Incident, task: Task, settings: Settings) -> Run:
    """The run that it is about; else what such a run would be."""
    run = _stored(incident.run, settings) if incident.run else None
    if run is None:
        statuses = {LATE: "late", MISSED: SKIPPED}
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
    """The flow of a task, for its own hooks; none where it has mistakes, or is no flow."""
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
    log = TaskLog(path, settings.log_level)
    log.warning(text)
    for problem in problems:
        log.warning(problem)
    log.close()
