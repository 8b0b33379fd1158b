"""The health of tasks: those that are missed, late, overrunning, failing or waiting."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from scflows.cron.schedule.schedule import OVERDUE
from scflows.cron.scheduler_lock import last_heartbeat, scheduler
from scflows.cron.task import TaskStore
from scflows.health.ownership import foreign_files
from scflows.health.queue import find_hanging_worker
from scflows.history.contract import Query
from scflows.history.run import BAD, CANCELLED, CRASHED, QUEUED, RUNNING, SKIPPED, Run, latest_start
from scflows.history.task_groups import task_groups
from scflows.notifications.incidents import incidents
from scflows.notifications.problems import LOOK_BACK, by_task, find_problems
from scflows.notifications.undelivered import undelivered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.history.contract import RunStore
    from scflows.settings import Settings

FAILING = "failing"
BROKEN = "broken"
WAITING = "waiting"
HANGS = "hangs"
UNUSABLE = "unusable"
UNDELIVERED = "undelivered"
#: Seconds after which a queued run is a problem.
MAX_WAITING = 900.0
#: How many runs to search for the first of several failures in a row.
MAX_FAILURES = 100


@dataclass(frozen=True)
class Problem:
    """A problem of one task or of the scheduler."""

    task: str
    kind: str  #: `late`, `missed`, `too_long`, `crashed`, `failing`, `undelivered`, …
    since: float | None  #: seconds since the epoch
    message: str
    run: str = ""
    is_delivered: bool | None = None  #: whether hooks and pings were called; None if the run itself does that


@dataclass
class Condition:
    """The number of tasks by state, and all problems."""

    tasks: int = 0
    paused: int = 0
    running: int = 0
    waiting: int = 0
    problems: list[Problem] = field(default_factory=list)


def condition(settings: Settings, store: RunStore, now: float | None = None) -> Condition:
    """Return the health of all tasks at a moment. Raise what the store raises."""
    moment = time.time() if now is None else now
    tasks, broken = TaskStore(settings).read_all()
    found = Condition(tasks=len(tasks) + len(broken), paused=sum(task.is_paused(moment) for task in tasks))
    known = {each.task: each for each in incidents(settings, moment) if each.is_open}
    seen: set[str] = set()
    for group in task_groups(settings, store, tasks):
        names = [task.name for task in group.tasks]
        for problem in find_problems(
            group, by_task(group.store.late_runs(moment - LOOK_BACK, latest_start(moment))), moment
        ):
            name = problem.task.name
            incident = known.get(name)
            # A known incident may have started earlier and cover more slots.
            since = problem.since if incident is None else min(problem.since, incident.since)
            is_longer = incident is not None and len(incident.slots) > len(problem.slots)
            message = incident.message if incident is not None and is_longer else problem.message
            run = "" if problem.run is None else problem.run.id
            is_delivered = None if problem.task.dry else incident is not None and incident.delivered
            found.problems.append(Problem(name, problem.kind, since, message, run, is_delivered))
            seen.add(name)
        latest = group.store.latest(names, latest_start(moment))
        for last in latest.values():
            found.running += last.status == RUNNING
            if last.status in BAD:
                found.problems.append(_failing(last, group.store, moment))
        for name in sorted((set(names) & set(known)) - seen):
            incident = known[name]
            is_over = incident.recovery or (name in latest and incident.is_resolved_by(latest[name]))
            if not is_over:
                found.problems.append(
                    Problem(name, incident.kind, incident.since, incident.message, incident.run, incident.delivered)
                )
        queued = [each for each in group.store.unfinished() if each.status == QUEUED]
        found.waiting += len(queued)
        for each in queued:
            if moment - each.started > MAX_WAITING and each.task not in seen:
                found.problems.append(Problem(each.task, WAITING, each.started, "is waiting in the queue", each.id))
    found.problems += [Problem("", BROKEN, None, str(each)) for each in broken]
    found.problems += _undelivered(settings)
    found.problems += _hangs(settings, moment)
    found.problems += _unusable(settings)
    return found


def _failing(last: Run, store: RunStore, now: float) -> Problem:
    """Return the problem of a task whose latest runs failed."""
    first, count = last, 0
    for run in store.find(Query(task=last.task, until=latest_start(now), limit=MAX_FAILURES)):
        if run.trigger == "manual" and (run.dry_run or run.reason == "refused"):
            continue
        if run.status in BAD:
            first, count = run, count + 1
        elif run.status not in (SKIPPED, CANCELLED):
            break
    times = f"{count} times: " if count > 1 else ""
    kind = CRASHED if last.status == CRASHED else FAILING
    message = " ".join((last.message or last.reason).split())
    return Problem(last.task, kind, first.started, times + message, last.id)


def _undelivered(settings: Settings) -> list[Problem]:
    """Return the tasks that have notifications that could not be delivered, each with its oldest."""
    found: dict[str, Problem] = {}
    for each in undelivered(settings):
        end = "given up" if each.is_over else f"attempt {each.attempts}, is tried again"
        message = f"{' '.join(each.problem.split())}; {end}"
        found.setdefault(each.task, Problem(each.task, UNDELIVERED, each.first, message, "", False))
    return list(found.values())


def _hangs(settings: Settings, now: float) -> list[Problem]:
    found = []
    held, beat = scheduler(settings), last_heartbeat(settings)
    if held is not None and beat is not None and now - beat.tick > OVERDUE:
        message = "`flows cron run` is not responding; restart it"
        found.append(Problem("", HANGS, beat.tick, message))
    hanging = find_hanging_worker(settings.state_path, now, settings.timezone)
    if hanging is not None:
        found.append(Problem("", HANGS, hanging.since, f"{hanging.message}; {hanging.help}"))
    return found


def _unusable(settings: Settings) -> list[Problem]:
    """Return state files that this user cannot use, as one problem; `flows check` lists each."""
    found = [each for each in foreign_files(settings) if each.is_own]
    if not found:
        return []
    more = f"; and {len(found) - 1} more: flows check" if len(found) > 1 else ""
    return [Problem("", UNUSABLE, None, f"{found[0].message}; {found[0].help}{more}")]
