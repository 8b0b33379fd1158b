"""The current status of tasks: state, last run, next slot."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field

from scflows.cron.crontab.line import BOOT, TICK
from scflows.cron.crontab.tabfile import Tabfile
from scflows.cron.task import Task, TaskStore, no_such_task
from scflows.cron.task_index import read_tasks
from scflows.errors import NotFound, UsageError
from scflows.health.broken import broken_tasks
from scflows.history.contract import Query
from scflows.history.run import CANCELLED, CRASHED, FAILED, RUNNING, SKIPPED, Run, latest_start
from scflows.history.store import ask
from scflows.history.task_log import log_path, scheduler_log, timestamp
from scflows.notifications.incidents import TOO_LONG, incidents
from scflows.notifications.problems import late
from scflows.scheduler.reconcile import open_reconciled_history
from scflows.storage import json_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from scflows.history.contract import RunStore
    from scflows.notifications.deadlines import Deadlines
    from scflows.settings import Settings

STATES = ("enabled", "paused", "running", "failing", "late", "broken")
ORDERS = ("name", "next", "last")
#: How many failed runs in a row are counted at most.
MAX_FAILURES = 100


@dataclass(frozen=True)
class TaskStatus:
    """A task and its status, from its runs and its schedule. Times are seconds since the epoch."""

    task: Task
    state: str  #: the most urgent of STATES
    last: Run | None  #: the newest run that was not skipped
    failures: int  #: failed runs in a row, up to the last one
    next: int | None  #: the next slot; None while paused without an end
    is_paused: bool = False
    running: int = 0  #: how many of its runs are active
    problem: str = ""  #: why it is broken


@dataclass
class TaskList:
    """A selection of tasks, and problems of reading them."""

    views: list[TaskStatus] = field(default_factory=list)
    total: int = 0  #: of the workspaces in question
    others: int = 0  #: tasks of other workspaces
    problems: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)  #: tasks whose files cannot be read; cron starts them nevertheless


def list_task_status(
    settings: Settings,
    pattern: str | None = None,
    state: str | None = None,
    device: str | None = None,
    order: str = "name",
    now: float | None = None,
    workspace: str = "",
) -> TaskList:
    """Return the status of tasks by name (a shell pattern), state, device and workspace. Raise UsageError."""
    from fnmatch import fnmatchcase

    if state is not None and state not in STATES:
        raise UsageError(f"--state must be one of {', '.join(STATES)}, not {state!r}")
    if order not in ORDERS:
        raise UsageError(f"--sort must be one of {', '.join(ORDERS)}, not {order!r}")
    tasks, broken = read_tasks(settings)
    unreadable = sorted(set(json_names(TaskStore(settings).folder)) - {task.name for task in tasks}) if broken else []
    read = len(tasks)
    tasks = [task for task in tasks if workspace in ("", task.workspace)]
    found = TaskList(total=len(tasks) + len(unreadable), problems=[str(problem) for problem in broken])
    found.others = read - len(tasks)
    if broken and device is None and state in (None, "broken"):
        found.broken = [name for name in unreadable if pattern is None or fnmatchcase(name, pattern)]
    selected = [
        task
        for task in tasks
        if (pattern is None or fnmatchcase(task.name, pattern))
        and (device is None or str(task.params.get("device")) == device)
    ]
    moment = time.time() if now is None else now
    files = TaskStore(settings)
    open_incidents = _tasks_with_open_incidents(settings, moment)
    gone = broken_tasks(settings, selected)

    def views(store: RunStore | None) -> list[TaskStatus]:
        latest = {} if store is None else store.latest((task.name for task in selected), latest_start(moment))
        active = _active_runs(selected, store)
        return [
            view_of(task, latest.get(task.name), moment, store, files, open_incidents, active, gone.get(task.name, ""))
            for task in selected
        ]

    known = ask(settings, views, None, open_reconciled_history, found.problems.append)
    if known is None:
        known = views(None)
    found.views = _sorted([view for view in known if state is None or _is_in(view, state)], order)
    return found


def _tasks_with_open_incidents(settings: Settings, now: float) -> set[str]:
    """Return the tasks with an open incident about slots without a run."""
    return {
        each.task for each in incidents(settings, now) if each.is_open and not each.recovery and each.kind != TOO_LONG
    }


def view_of(
    task: Task,
    last: Run | None,
    now: float,
    store: RunStore | None,
    files: TaskStore,
    open_incidents: Collection[str] = (),
    active: Mapping[str, int] | None = None,
    problem: str = "",
) -> TaskStatus:
    """Return the status of one task. `store` provides the failures in a row and whether the task is late.

    `open_incidents` are the tasks with an open incident about slots without a run; `active` says how many runs of a
    task are active, if there may be several; `problem` says what of it is gone.
    """
    is_last_active = last is not None and last.status == RUNNING
    running = (active or {}).get(task.name, int(is_last_active))
    failures = 0
    if last is not None and last.status in (FAILED, CRASHED):
        failures = _failures(task, store, now) if store is not None else 1
    # A slot is upcoming until the task's second of the minute.
    upcoming = task.next_slot(now - task.schedule.second)
    if running:
        state = "running"
    elif task.is_paused(now):
        state = "paused"
    elif problem:
        state = "broken"
    elif failures:
        state = "failing"
    else:
        is_behind = store is not None and late(task, last, store, now, files) is not None
        state = "late" if is_behind or task.name in open_incidents else "enabled"
    return TaskStatus(task, state, last, failures, upcoming, task.is_paused(now), running, problem)


def _active_runs(tasks: Iterable[Task], store: RunStore | None) -> dict[str, int]:
    """Return how many runs are active of each task that may have several."""
    several = {task.name: 0 for task in tasks if task.max_active_runs > 1}
    for run in store.unfinished() if several and store is not None else ():
        if run.task in several and run.status == RUNNING:
            several[run.task] += 1
    return several


def _failures(task: Task, store: RunStore, now: float) -> int:
    count = 0
    for run in store.find(Query(task=task.name, until=latest_start(now), limit=MAX_FAILURES)):
        if run.trigger == "manual" and (run.dry_run or run.reason == "refused"):
            continue
        if run.status in (FAILED, CRASHED):
            count += 1
        elif run.status not in (SKIPPED, CANCELLED):
            break
    return count


def _is_in(view: TaskStatus, state: str) -> bool:
    if state == "enabled":
        return not view.is_paused
    if state == "paused":
        return view.is_paused
    return view.state == state


def _sorted(views: Iterable[TaskStatus], order: str) -> list[TaskStatus]:
    if order == "next":
        return sorted(views, key=lambda view: (view.next is None, view.next or 0, view.task.name))
    if order == "last":
        return sorted(views, key=lambda view: (-(view.last.started if view.last else 0), view.task.name))
    # Numbers are sorted by value: 999 comes before 13486.
    return sorted(views, key=lambda view: (not view.task.name.isdigit(), _number(view.task.name), view.task.name))


def _number(name: str) -> int:
    return int(name) if name.isdigit() else 0


def one_task(settings: Settings, name: str) -> tuple[TaskStatus, list[Run], str | None, str]:
    """Return a task's status, last 20 runs, line in the tabfile, and the path of its log. Raise NotFound."""
    task = find_task(settings, name)

    def shown(store: RunStore | None) -> tuple[TaskStatus, list[Run]]:
        now = time.time()
        until = latest_start(now)
        runs = [] if store is None else store.find(Query(task=name, until=until, limit=20))
        last = None if store is None else store.latest([name], until).get(name)
        reported, active = _tasks_with_open_incidents(settings, now), _active_runs([task], store)
        problem = broken_tasks(settings, [task]).get(name, "")
        return view_of(task, last, now, store, TaskStore(settings), reported, active, problem), runs

    # If the history cannot be used, the task itself can be shown; `flows check` says why.
    view, runs = ask(settings, shown, None, open_reconciled_history) or shown(None)
    tabfile = Tabfile.read(settings.tabfile)
    shared = BOOT if task.schedule.is_boot else TICK
    line = tabfile.line(name) or (tabfile.line(shared) if task.enabled else None)
    path = scheduler_log(settings.tasks_path) if task.command else log_path(settings.tasks_path, name)
    if task.max_active_runs > 1:
        path = os.path.dirname(path)  # Each run has its own log there.
    return view, runs, line, path


def expected(settings: Settings, task: Task) -> Deadlines:
    """Return the deadlines of a task, from its history if that can be read."""
    from scflows.notifications.deadlines import deadlines_of, measured_runs, time_limit

    runs = ask(settings, lambda store: measured_runs(task, store), [], open_reconciled_history)
    return deadlines_of(task, runs, time_limit(task, settings.timeout_seconds))


def find_task(settings: Settings, name: str) -> Task:
    """Return a task by name. Raise NotFound with the nearest name."""
    store = TaskStore(settings)
    try:
        return store.read(name)
    except NotFound:
        raise no_such_task(name, (task.name for task in read_tasks(settings)[0])) from None


def check_slot(settings: Settings, task: Task, slot: float) -> None:
    """Raise UsageError for a time that is in the future or not a slot of a task.

    A slot in the history is accepted: it may belong to an earlier schedule of the task.
    """
    zone = settings.timezone
    newest = task.schedule.latest_epoch(time.time())
    help = "" if newest is None else f"the newest slot is {timestamp(newest, zone)}; --force accepts any time"
    if slot > time.time():
        raise UsageError(f"--slot {timestamp(slot, zone)} is in the future", help)
    before, after = task.schedule.latest_epoch(slot), task.schedule.next_epoch(slot)
    if before == slot or _is_known(settings, task, slot):
        return
    if before is not None and after is not None:
        help = f"the nearest slots are {timestamp(before, zone)} and {timestamp(after, zone)}; --force accepts any time"
    schedule = task.schedule.words()
    raise UsageError(f"--slot {timestamp(slot, zone)} is not a slot of task {task.name!r} ({schedule})", help)


def _is_known(settings: Settings, task: Task, slot: float) -> bool:
    query = Query(task=task.name, slot=slot, limit=1)
    return bool(ask(settings, lambda store: store.find(query), [], open_reconciled_history))


def coming(tasks_read: Iterable[Task], after: float, until: float) -> Iterator[tuple[int, Task]]:
    """Return the slots of enabled tasks in a time span, ordered by start. Times are seconds since the epoch."""
    from heapq import heapify, heappop, heappush

    tasks = {task.name: task for task in tasks_read if task.enabled}
    heap = []
    for task in tasks.values():
        slot = task.next_slot(after - task.schedule.second)
        if slot is not None:
            heap.append((slot + task.schedule.second, task.name))
    heapify(heap)
    while heap and heap[0][0] <= until:
        start, name = heappop(heap)
        schedule = tasks[name].schedule
        slot = start - schedule.second
        yield slot, tasks[name]
        following = schedule.next_epoch(slot)
        if following is not None:
            heappush(heap, (following + schedule.second, name))
