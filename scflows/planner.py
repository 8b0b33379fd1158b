"""Put tasks on the crontab: what is wanted, which slot, what changes, and the writing of it.

A plan is made whole before anything is written, and written once: task files, tabfile, crontab. If the crontab
refuses, the other two are put back as they were.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from scflows.cron.balance import placed
from scflows.cron.line import Entry
from scflows.cron.load import Load, load_of
from scflows.cron.schedule import Schedule
from scflows.cron.tabfile import Tabfile, file_lock
from scflows.cron.task import Task, TaskStore, check_name, no_such_task
from scflows.custody import Custody
from scflows.errors import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from scflows.cron.asked import Asked
    from scflows.settings import Settings
    from scflows.source import Wish

ADD, REPLACE, REMOVE, KEEP = "add", "replace", "remove", "keep"


@dataclass(frozen=True)
class Change:
    """What happens to one task, and why."""

    action: str  #: `add`, `replace`, `remove` or `keep`
    task: Task  #: as it is afterwards; for `remove` as it was
    why: str = ""
    fresh: bool = False  #: its line is written anew even where the task stays the same


@dataclass
class Plan:
    """What would be on the crontab, against what is."""

    tasks: dict[str, Task]  #: all of the user's tasks afterwards, the paused ones too
    changes: list[Change] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  #: what could not be read; nothing of it is changed
    unreachable: list[str] = field(default_factory=list)  #: sources that did not answer
    diff: list[str] = field(default_factory=list)  #: of our block, as unified diff lines
    tabfile: Tabfile = field(default_factory=Tabfile)  #: our block afterwards
    rewritten: set[str] = field(default_factory=set)  #: the tasks whose lines are written anew
    busiest_before: float = 0.0  #: starts in the fullest minute of the day
    busiest_after: float = 0.0
    notes: list[str] = field(default_factory=list)  #: what was noticed while it was written

    def of(self, action: str) -> list[Change]:
        return [change for change in self.changes if change.action == action]

    @property
    def is_empty(self) -> bool:
        return all(change.action == KEEP for change in self.changes) and not self.diff


class Planner:
    """Plans and writes under one lock; see `planning`."""

    def __init__(self, settings: Settings, dry_run: bool) -> None:
        self.settings = settings
        self.dry_run = dry_run
        self.store = TaskStore(settings)
        tasks, problems = self.store.read_all()
        self.before = {task.name: task for task in tasks}
        self.broken = [str(problem) for problem in problems]
        self.custody = Custody(settings)
        self._load: Load | None = None

    @property
    def load(self) -> Load:
        """The load of the tasks that are there, and of those planned so far."""
        if self._load is None:
            self._load = load_of(task.schedule for task in self.before.values() if task.enabled)
        return self._load

    def wish(
        self,
        wishes: Iterable[Wish],
        overwrite: bool = False,
        balance: bool = True,
        settings: dict[str, str] | None = None,
    ) -> Plan:
        """A plan that adds what is wanted. A task that is there stays, unless `overwrite`; it keeps its slot
        where the same is asked of it. One of another source or workspace is never overwritten.
        """
        plan = Plan(dict(self.before), problems=list(self.broken), busiest_before=self.load.busiest)
        remembered = self.settings.remembered() if settings is None else settings
        wished: dict[str, str] = {}
        # Short intervals first: what is left of unevenness is then filled by the long ones.
        for wish in sorted(wishes, key=lambda wish: (wish.asked.every or 0, wish.name)):
            check_name(wish.name)
            if wish.name in wished:
                plan.problems.append(f"{wish.flow}: its task {wish.name!r} is that of {wished[wish.name]} already")
                continue
            wished[wish.name] = wish.flow or " ".join(("flows", *wish.command))
            old = self.before.get(wish.name)
            if old is None:
                schedule = placed(wish.asked, self.load, wish.name, balance)
                task = self._task(wish, schedule, remembered)
                plan.changes.append(Change(ADD, task, task.schedule.words()))
            elif not _belongs(old, wish, self.settings):
                if old.source == "manual" and (old.workspace, old.flow) == (self.settings.home, wish.flow):
                    plan.changes.append(Change(KEEP, old, "scheduled by hand"))
                    continue
                whose = f"belongs to the source {old.source!r} in {old.workspace}"
                plan.changes.append(Change(KEEP, old, f"{whose}; choose another name, or remove it first"))
                continue
            elif not overwrite:
                changed = "" if _asks_the_same(wish.asked, old, balance) else "; its schedule has changed"
                plan.changes.append(Change(KEEP, old, f"already scheduled{changed}; --overwrite replaces it"))
                continue
            else:
                task = self._replaced(wish, old, remembered, balance)
                why = task.schedule.words() if task != old else "unchanged"
                plan.changes.append(Change(REPLACE if task != old else KEEP, task, why, fresh=True))
            plan.tasks[wish.name] = task
        return self._finished(plan)

    def change(self, changes: Iterable[Change]) -> Plan:
        """A plan that replaces and removes tasks."""
        plan = Plan(dict(self.before), problems=list(self.broken), busiest_before=self.load.busiest)
        for change in changes:
            plan.changes.append(change)
            if change.action == REMOVE:
                plan.tasks.pop(change.task.name, None)
            else:
                plan.tasks[change.task.name] = change.task
        return self._finished(plan)

    def repaired(self) -> Plan:
        """A plan that changes no task and writes all lines anew: in their slots, inside of the block."""
        strays = {entry.name for entry in self.custody.parts.strays}
        changes = []
        for task in self.before.values():
            why = "its line outside the block is taken in" if task.name in strays else task.schedule.words()
            changes.append(Change(KEEP, task, why if task.enabled else "paused", fresh=True))
        return self.change(changes)

    def drop(self, plan: Plan, removed: Iterable[Change]) -> Plan:
        """The plan with tasks removed besides."""
        for change in removed:
            plan.changes.append(change)
            if change.action == REMOVE:
                plan.tasks.pop(change.task.name, None)
        return self._finished(plan)

    def task(self, name: str) -> Task:
        """A task by its name. Raises NotFound with the nearest name there is."""
        found = self.before.get(name)
        if found is None:
            raise no_such_task(name, self.before)
        return found

    def names(self) -> list[str]:
        """The names of all tasks, those of lines without a task file too."""
        return sorted({*self.before, *(entry.name for entry in self._entries())})

    def removal(self, name: str) -> Change:
        """The removal of a task, or of a line of ours whose task file is gone or broken. Raises NotFound."""
        found = self.before.get(name)
        if found is None:
            entry = next((each for each in self._entries() if each.name == name), None)
            if entry is not None:
                found = Task(name, Schedule(entry.fields), flow=entry.flow)
            elif os.path.exists(self.store.path(name)):
                found = Task(name, Schedule("* * * * *"))
            else:
                raise no_such_task(name, self.before)
        return Change(REMOVE, found, found.schedule.words())

    def switched(self, name: str, enabled: bool) -> Change:
        """A task, paused or not. Raises NotFound."""
        old = self.task(name)
        why = "enabled" if enabled else "paused"
        if old.enabled == enabled:
            return Change(KEEP, old, f"{why} already")
        return Change(REPLACE, replace(old, enabled=enabled), why)

    def _entries(self) -> list[Entry]:
        return [*self.custody.tabfile.entries, *self.custody.parts.strays]

    def write(self, plan: Plan, overwrite: bool = False) -> None:
        """Carry a plan out. Raises Busy for a block that was changed by hand, unless `overwrite`; Refused."""
        if not overwrite:
            self.custody.check()
        names = {change.task.name for change in plan.changes if change.action != KEEP}
        wanted = names.intersection(plan.tasks)
        many = len(names) > 20
        with _undisturbed():
            try:
                for name in wanted:
                    self.store.write(plan.tasks[name], durable=not many)
                plan.notes.extend(self.custody.write(plan.tabfile, plan.rewritten))
                # Last, so that no line is ever without its task.
                for name in names - wanted:
                    self.store.remove(name)
            except BaseException as error:
                for name in names:
                    self._put_back(name, durable=not many)
                if isinstance(error, OSError):
                    raise _refused(error, self.store.folder) from error
                raise

    def _put_back(self, name: str, durable: bool) -> None:
        try:
            if name in self.before:
                self.store.write(self.before[name], durable)
            else:
                self.store.remove(name)
        except OSError:
            pass  # The first error is what is told; the others must not stop the rest.

    def _finished(self, plan: Plan) -> Plan:
        plan.rewritten = {change.task.name for change in plan.changes if change.action != KEEP or change.fresh}
        plan.tabfile = self.custody.lines(plan.tasks.values(), plan.rewritten)
        plan.diff = self.custody.diff(plan.tabfile)
        plan.busiest_after = load_of(task.schedule for task in plan.tasks.values() if task.enabled).busiest
        return plan

    def _task(self, wish: Wish, schedule: Schedule, remembered: dict[str, str]) -> Task:
        return Task(
            name=wish.name,
            schedule=schedule,
            flow=wish.flow,
            command=wish.command,
            workspace=self.settings.home,
            params=wish.params,
            settings=remembered,
            timeout=wish.timeout,
            dry=wish.dry,
            source=wish.source,
            kind=wish.kind,
            created=time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
            catch_up=wish.asked.catch_up,
            catch_up_cap=wish.asked.catch_up_cap,
            overlap=wish.asked.overlap,
        )

    def _replaced(self, wish: Wish, old: Task, remembered: dict[str, str], balance: bool) -> Task:
        if _asks_the_same(wish.asked, old, balance):
            schedule = old.schedule
        else:
            schedule = placed(wish.asked, self.load, wish.name, balance)
        new = self._task(wish, schedule, remembered)
        return replace(new, enabled=old.enabled, created=old.created)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Have signals that would end the process wait until all is written; also for the program crontab."""
    import signal

    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGHUP, signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _refused(error: OSError, folder: str) -> Refused:
    import errno

    where = error.filename or folder
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    help = f"make room: df -h {folder}" if full else f"see who owns {folder}: ls -ld"
    return Refused(f"{where}: cannot be written: {error.strerror}; nothing was changed", help)


@contextmanager
def planning(settings: Settings, dry_run: bool = False) -> Iterator[Planner]:
    """A planner that has tasks, tabfile and crontab for itself until the end of the block.

    A dry run takes no lock, since that would make files.
    """
    if dry_run:
        yield Planner(settings, dry_run)
        return
    with file_lock(settings):
        yield Planner(settings, dry_run)


def note_in_log(settings: Settings, plan: Plan) -> None:
    """Write what was scheduled into the scheduler's log; a log that cannot be written stops nothing."""
    from scflows.logfile import TaskLog, scheduler_log

    log = TaskLog(scheduler_log(settings.tasks_path), settings.log_level)
    for change in plan.changes:
        if change.action != KEEP:
            log.info(f"{change.action} {change.task.name}: {change.why}")
    for problem in plan.problems:
        log.warning(problem)
    log.close()


def _belongs(old: Task, wish: Wish, settings: Settings) -> bool:
    """Whether a wish may replace a task: a person's may replace any, a source's only its own."""
    if wish.source == "manual":
        return True
    return old.source == wish.source and old.workspace == settings.home


def _asks_the_same(asked: Asked, old: Task, balance: bool) -> bool:
    schedule = old.schedule
    if asked.cron is not None:
        return schedule.every is None and (schedule.cron, schedule.timezone) == (asked.cron, asked.timezone)
    if schedule.every != asked.every:
        return False
    # Its nominal slot was asked for: a slot that was chosen is another one.
    return balance or schedule == placed(asked, load_of([]), old.name, balance=False)
