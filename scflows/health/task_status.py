"""The tasks as they stand: state, last run, next slot."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from scflows.cron.crontab.line import TICK
from scflows.cron.crontab.tabfile import Tabfile
from scflows.cron.task import TaskStore, no_such_task
from scflows.cron.task_index import read_tasks
from scflows.errors import NotFound, UsageError
from scflows.history.contract import Query
from scflows.history.run import CANCELLED, CRASHED, FAILED, RUNNING, SKIPPED
from scflows.history.store import ask
from scflows.history.task_log import log_path, scheduler_log, timestamp
from scflows.notifications.incidents import TOO_LONG, incidents
from scflows.notifications.problems import late
from scflows.scheduler.reconcile import open_reconciled_history

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from scflows.cron.task import Task
    from scflows.history.contract import RunStore
    from scflows.history.run import Run
    from scflows.notifications.deadlines import Deadlines
    from scflows.settings import Settings

STATES = ("enabled", "paused", "running", "failing", "late", "broken")
ORDERS = ("name", "next", "last")
#: How many failed runs in a row are counted at most.
MOST_FAILURES = 100


@dataclass(frozen=True)
class TaskStatus:
    """A task, with what its runs and its schedule say of it now. Times are seconds since the epoch."""

    task: Task
    state: str  #: the most urgent of STATES
    last: Run | None  #: the newest run that was not skipped
    failures: int  #: failed runs in a row, up to now
    next: int | None  #: the next slot; None while paused


@dataclass
class TaskList:
    """Some of the tasks, and what could not be read."""

    views: list[TaskStatus] = field(default_factory=list)
    total: int = 0
    problems: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)  #: the tasks whose files cannot be read; cron starts them anyway


def list_task_status(
    settings: Settings,
    pattern: str | None = None,
    state: str | None = None,
    device: str | None = None,
    order: str = "name",
    now: float | None = None,
) -> TaskList:
    """The tasks whose names match a shell pattern, in a state, of a device. Raises UsageError."""
    from fnmatch import fnmatchcase

    if state is not None and state not in STATES:
        raise UsageError(f"--state {state!r} is none of {', '.join(STATES)}")
    if order not in ORDERS:
        raise UsageError(f"--sort {order!r} is none of {', '.join(ORDERS)}")
    tasks, broken = read_tasks(settings)
    found = TaskList(total=len(tasks) + len(broken), problems=[str(problem) for problem in broken])
    if broken and device is None and state in (None, "broken"):
        lost = _names(TaskStore(settings).folder) - {task.name for task in tasks}
        found.broken = sorted(name for name in lost if pattern is None or fnmatchcase(name, pattern))
    chosen = [
        task
        for task in tasks
        if (pattern is None or fnmatchcase(task.name, pattern))
        and (device is None or str(task.params.get("device")) == device)
    ]
    moment = time.time() if now is None else now
    files = TaskStore(settings)
    unanswered = _unanswered(settings)

    def views(store: RunStore | None) -> list[TaskStatus]:
        latest = {} if store is None else store.latest(task.name for task in chosen)
        return [view_of(task, latest.get(task.name), moment, store, files, unanswered) for task in chosen]

    known = ask(settings, views, None, open_reconciled_history, found.problems.append)
    if known is None:
        known = views(None)
    found.views = _sorted([view for view in known if state is None or _is_in(view, state)], order)
    return found


def _names(folder: str) -> set[str]:
    import os

    try:
        return {name[:-5] for name in os.listdir(folder) if name.endswith(".json") and name[0] != "."}
    except OSError:
        return set()


def _unanswered(settings: Settings) -> set[str]:
    """The tasks of which somebody noted that slots have no run, and that have not run since."""
    return {each.task for each in incidents(settings) if each.is_open and not each.recovery and each.kind != TOO_LONG}


def view_of(
    task: Task,
    last: Run | None,
    now: float,
    store: RunStore | None,
    files: TaskStore,
    unanswered: Collection[str] = (),
) -> TaskStatus:
    """One task's view. `store` is asked how many runs failed in a row, and whether it is late.

    `unanswered` are tasks of which somebody noted that slots have no run.
    """
    failures = 0
    if last is not None and last.status in (FAILED, CRASHED):
        failures = _failures(task, store) if store is not None else 1
    # Until its second has come, a slot is one to come.
    upcoming = task.schedule.next_epoch(now - task.schedule.second) if task.enabled else None
    if last is not None and last.status == RUNNING:
        state = "running"
    elif not task.enabled:
        state = "paused"
    elif failures:
        state = "failing"
    else:
        is_behind = store is not None and late(task, last, store, now, files) is not None
        state = "late" if is_behind or task.name in unanswered else "enabled"
    return TaskStatus(task, state, last, failures, upcoming)


def _failures(task: Task, store: RunStore) -> int:
    count = 0
    for run in store.find(Query(task=task.name, limit=MOST_FAILURES)):
        if run.trigger == "manual" and (run.dry_run or run.reason == "refused"):
            continue
        if run.status in (FAILED, CRASHED):
            count += 1
        elif run.status not in (SKIPPED, CANCELLED):
            break
    return count


def _is_in(view: TaskStatus, state: str) -> bool:
    if state == "enabled":
        return view.task.enabled
    if state == "paused":
        return not view.task.enabled
    return view.state == state


def _sorted(views: Iterable[TaskStatus], order: str) -> list[TaskStatus]:
    if order == "next":
        return sorted(views, key=lambda view: (view.next is None, view.next or 0, view.task.name))
    if order == "last":
        return sorted(views, key=lambda view: (-(view.last.started if view.last else 0), view.task.name))
    # Numbers by their value: 999 stands before 13486.
    return sorted(views, key=lambda view: (not view.task.name.isdigit(), _number(view.task.name), view.task.name))


def _number(name: str) -> int:
    return int(name) if name.isdigit() else 0


def one_task(settings: Settings, name: str) -> tuple[TaskStatus, list[Run], str | None, str]:
    """A task's view, its last 20 runs, its line in the tabfile, the path of its log. Raises NotFound."""
    task = find_task(settings, name)

    def shown(store: RunStore | None) -> tuple[TaskStatus, list[Run]]:
        runs = [] if store is None else store.find(Query(task=name, limit=20))
        last = None if store is None else store.latest([name]).get(name)
        return view_of(task, last, time.time(), store, TaskStore(settings), _unanswered(settings)), runs

    # If the history cannot be used, the task itself can be shown; `flows check` says why.
    view, runs = ask(settings, shown, None, open_reconciled_history) or shown(None)
    tabfile = Tabfile.read(settings.tabfile)
    line = tabfile.line(name) or (tabfile.line(TICK) if task.enabled else None)
    path = scheduler_log(settings.tasks_path) if task.command else log_path(settings.tasks_path, name)
    return view, runs, line, path


def expected(settings: Settings, task: Task) -> Deadlines:
    """What is expected of a task, after its history as far as that can be read."""
    from scflows.notifications.deadlines import deadlines_of, measured_runs

    runs = ask(settings, lambda store: measured_runs(task, store), [], open_reconciled_history)
    return deadlines_of(task, runs, settings.timeout_seconds)


def find_task(settings: Settings, name: str) -> Task:
    """A task by its name. Raises NotFound with the nearest name there is."""
    store = TaskStore(settings)
    try:
        return store.read(name)
    except NotFound:
        raise no_such_task(name, (task.name for task in read_tasks(settings)[0])) from None


def check_slot(settings: Settings, task: Task, slot: float) -> None:
    """Raises UsageError for a time that a run of a task cannot answer for: it is yet to come, or no slot of it.

    A slot that the history knows may be one of another schedule that the task had.
    """
    newest = task.schedule.latest_epoch(time.time())
    told = "" if newest is None else f"the newest slot is {timestamp(newest)}; for any time: --force"
    if slot > time.time():
        raise UsageError(f"--slot {timestamp(slot)} is yet to come", told)
    before, after = task.schedule.latest_epoch(slot), task.schedule.next_epoch(slot)
    if before == slot or _is_known(settings, task, slot):
        return
    if before is not None and after is not None:
        told = f"those next to it are {timestamp(before)} and {timestamp(after)}; for any time: --force"
    raise UsageError(f"--slot {timestamp(slot)} is no slot of the task {task.name!r} ({task.schedule.words()})", told)


def _is_known(settings: Settings, task: Task, slot: float) -> bool:
    wanted = Query(task=task.name, slot=slot, limit=1)
    return bool(ask(settings, lambda store: store.find(wanted), [], open_reconciled_history))


def coming(tasks_read: Iterable[Task], after: float, until: float) -> Iterator[tuple[int, Task]]:
    """The slots of the enabled ones of tasks in a span, by their starts. Times are seconds since the epoch."""
    from heapq import heapify, heappop, heappush

    tasks = {task.name: task for task in tasks_read if task.enabled}
    heap = []
    for task in tasks.values():
        slot = task.schedule.next_epoch(after - task.schedule.second)
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
