"""Put tasks on the crontab: what is wanted, which slot, what changes, and the writing of it.

A plan is made whole before anything is written, and written once: task files, tabfile, crontab. If the crontab
refuses, the other two are put back as they were.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, suppress
from dataclasses import replace

from scflows.cron.crontab.editor import CrontabEditor
from scflows.cron.crontab.line import parse_line
from scflows.cron.crontab.tabfile import file_lock
from scflows.cron.lazy_tasks import TaskChanges
from scflows.cron.schedule.schedule import Schedule
from scflows.cron.task import Task, TaskStore, check_name, is_name, no_such_task
from scflows.errors import Refused
from scflows.planner.inventory import TaskInventory
from scflows.planner.load.placement import nominal, placed
from scflows.planner.plan import ADD, KEEP, REMOVE, REPLACE, Change, Plan
from scflows.planner.write_intent import WriteIntent, forget, unfinished_write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from scflows.cron.crontab.line import CrontabEntry
    from scflows.cron.schedule.spec import ScheduleSpec
    from scflows.planner.load.rebalance import Rebalanced
    from scflows.planner.sources.base import TaskRequest
    from scflows.settings import Settings

#: The part of the tasks that `rebalanced` moves at most, unless it is told.
MOST_MOVED = 0.3


class Planner:
    """Plans and writes under one lock; see `planning`."""

    def __init__(self, settings: Settings, dry_run: bool, one_line: bool | None = None, whole: bool = False) -> None:
        self.settings = settings
        self.dry_run = dry_run
        self.store = TaskStore(settings)
        #: What a command that was killed had begun; done with the first plan that is written.
        self.left_over = unfinished_write(settings)
        if not dry_run:
            for name in self.left_over.removed:
                self.store.remove(name)
        self.custody = CrontabEditor(settings, whole, dry_run)
        if one_line is not None:
            self.custody.one_line = one_line
        self.standing = TaskInventory(
            settings, self.store, self.left_over, dry_run, self.custody.one_line, self.custody.parts.foreign
        )
        self.before = self.standing.tasks

    def place(self, wish: TaskRequest, balance: bool = True) -> Schedule:
        """The schedule that a new task gets now, counted into the load."""
        return placed(wish.asked, self.standing.load, wish.name, balance, self.standing.seconds(wish))

    def wish(
        self,
        wishes: Iterable[TaskRequest],
        overwrite: bool = False,
        balance: bool = True,
        settings: dict[str, str] | None = None,
    ) -> Plan:
        """A plan that adds what is wanted. A task that is there stays, unless `overwrite`; it keeps its slot
        where the same is asked of it. One of another source or workspace is never overwritten.
        """
        wishes = sorted(wishes, key=lambda wish: wish.name)
        plan = self._plan(wish.name for wish in wishes)
        remembered = self.settings.remembered() if settings is None else settings
        wished: dict[str, str] = {}
        # Short intervals first: what is left of unevenness is then filled by those that start rarely. Of these the
        # long runs first, for which there is no room later.
        for wish in sorted(wishes, key=lambda wish: (wish.asked.every or 0, -self.standing.seconds(wish), wish.name)):
            check_name(wish.name)
            if wish.name in wished:
                plan.problems.append(f"{wish.flow}: its task {wish.name!r} is that of {wished[wish.name]} already")
                continue
            wished[wish.name] = wish.flow or " ".join(("flows", *wish.command))
            old = self.before.get(wish.name)
            if old is None:
                schedule = self.place(wish, balance)
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

    def _plan(self, names: Iterable[str]) -> Plan:
        """A plan that changes nothing yet. The tasks of these names are read first: one may cast doubt on the load."""
        for name in names:
            if is_name(name):
                self.before.get(name)
        return Plan(
            TaskChanges(self.before),
            problems=list(self.standing.broken),
            notes=list(self.custody.notes),
            peak_before=self.standing.load.peak,
        )

    def change(self, changes: Iterable[Change]) -> Plan:
        """A plan that replaces and removes tasks."""
        changes = list(changes)
        plan = self._plan(change.task.name for change in changes)
        for change in changes:
            plan.changes.append(change)
            if change.action == REMOVE:
                plan.tasks.pop(change.task.name, None)
            else:
                plan.tasks[change.task.name] = change.task
        return self._finished(plan)

    def rebalanced(self, max_moves: int | None = None) -> tuple[Plan, Rebalanced]:
        """A plan that moves tasks of an interval until the load is nearly as level as a new plan's; what it gains.

        It moves `max_moves` at most: 30 % of the tasks, if not said.
        """
        from scflows.planner.load.rebalance import Weighed, moved, rebalance

        standing = self.standing
        standing.weigh_anew()
        tasks = [task for task in self.before.values() if task.enabled]
        most = int(len(tasks) * MOST_MOVED) if max_moves is None else max_moves
        weighed = (Weighed(task.name, task.schedule, standing.seconds(task)) for task in tasks)
        found = rebalance(weighed, most, standing.avoided)
        changes = []
        now = time.time()
        for name, schedule in sorted(found.moved.items()):
            old = self.before[name]
            changes.append(Change(REPLACE, replace(old, schedule=schedule), moved(old.schedule, schedule, now)))
        return self.change(changes), found

    def repaired(self) -> Plan:
        """A plan that changes no task and writes all lines anew: in their slots, inside of the block."""
        strays = {entry.name for entry in self.custody.parts.strays}
        changes = []
        for task in self.before.values():
            why = "its line outside the block is taken in" if task.name in strays else task.schedule.words()
            changes.append(Change(KEEP, task, why if task.enabled else "paused", fresh=True))
        plan = self.change(changes)
        plan.notes += [f"{problem}; its line stays as it is" for problem in self.standing.broken]
        return plan

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
        return sorted({*self.before, *(entry.name for entry in self._entries() if entry.is_task)})

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
        return Change(REPLACE, replace(old, enabled=enabled, since=_now() if enabled else old.since), why)

    def _entries(self) -> list[CrontabEntry]:
        theirs = {entry.text for entry in self.custody.others}
        tabfile, block = self.custody.tabfile, self.custody.parts.lines or []
        # Also what stayed in the crontab while the tabfile was written alone.
        beside = [] if block == tabfile.lines else [entry for entry in map(parse_line, block) if entry is not None]
        known = {entry.name for entry in tabfile.entries}
        found = [*tabfile.entries, *(each for each in beside if each.is_task and each.name not in known)]
        return [*(entry for entry in found if entry.text not in theirs), *self.custody.parts.strays]

    def write(self, plan: Plan, overwrite: bool = False) -> None:
        """Carry a plan out. Raises Busy for a block that was changed by hand, unless `overwrite`; Refused."""
        self.custody.check_owner(plan.tabfile.lines)
        if not overwrite:
            self.custody.check()
        names = {change.task.name for change in plan.changes if change.action != KEEP}
        wanted = {name for name in names if name in plan.tasks}
        before = self.left_over
        with _undisturbed():
            try:
                if names or before.names:
                    lost = names - wanted | before.removed - wanted
                    WriteIntent(frozenset(wanted | before.written - lost), frozenset(lost)).keep(self.settings)
                self.store.write(*(plan.tasks[name] for name in wanted))
                plan.notes.extend(self.custody.write(plan.tabfile, plan.rewritten))
                # Last, so that no line is ever without its task.
                for name in names - wanted:
                    self.store.remove(name)
            except BaseException as error:
                self._put_back(names)
                if before.names:
                    with suppress(OSError):  # What is told is why the writing failed.
                        before.keep(self.settings)
                else:
                    forget(self.settings)
                if isinstance(error, OSError):
                    raise _refused(error, self.store.folder) from error
                raise
            forget(self.settings)
            self.standing.keep(plan)

    def _put_back(self, names: Iterable[str]) -> None:
        old = [self.before[name] for name in names if name in self.before]
        try:
            self.store.write(*old)
        except OSError:
            # The first error is what is told; the others must not stop the rest.
            for task in old:
                with suppress(OSError):
                    self.store.write(task)
        for name in names:
            if name not in self.before:
                with suppress(OSError):
                    self.store.remove(name)

    def _finished(self, plan: Plan) -> Plan:
        plan.rewritten = {change.task.name for change in plan.changes if change.action != KEEP or change.fresh}
        plan.rewritten |= self.left_over.removed
        # One whose file cannot be read keeps its line.
        begun = self.left_over.written
        plan.rewritten |= {each for each in begun if each in plan.tasks or not os.path.lexists(self.store.path(each))}
        plan.tabfile = self.custody.lines(plan.tasks, plan.rewritten)
        plan.diff = self.custody.diff(plan.tabfile)
        plan.load_after = self.standing.load_after(plan)
        plan.peak_after = plan.load_after.peak
        return plan

    def _task(self, wish: TaskRequest, schedule: Schedule, remembered: dict[str, str]) -> Task:
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
            created=_now(),
            catch_up=wish.asked.catch_up,
            catch_up_cap=wish.asked.catch_up_cap,
            overlap=wish.asked.overlap,
            priority=wish.priority,
            mutex=wish.mutex,
            start_within=wish.asked.start_within,
            end_within=wish.asked.end_within,
        )

    def _replaced(self, wish: TaskRequest, old: Task, remembered: dict[str, str], balance: bool) -> Task:
        if _asks_the_same(wish.asked, old, balance):
            schedule = old.schedule
        else:
            self.standing.make_room(old)
            schedule = self.place(wish, balance)
        new = self._task(wish, schedule, remembered)
        return replace(new, enabled=old.enabled, created=old.created, since=since(old, schedule))


def since(old: Task, schedule: Schedule) -> str:
    """From when on the slots of a task count that gets this schedule."""
    return old.since if schedule == old.schedule else _now()


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Postpone the signals that would end the process until everything is written.

    They are blocked for the program crontab, which inherits the mask. A mask alone does not protect this process:
    libraries such as numpy start threads, which do not block the signals, and the kernel delivers a signal to any
    thread that takes it. So they have a handler as well, and are sent again at the end.
    """
    import signal

    postponed = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
    received: list[int] = []
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, postponed)
    handlers: dict[signal.Signals, Any] = {}
    try:
        for number in postponed:
            if signal.getsignal(number) not in (None, signal.SIG_IGN):
                handlers[number] = signal.signal(number, lambda sent, _: received.append(sent))
        yield
    finally:
        # First the mask, so that the handlers see what was blocked.
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for sent in received:
            os.kill(os.getpid(), sent)


def _refused(error: OSError, folder: str) -> Refused:
    import errno

    where = error.filename or folder
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    help = f"make room: df -h {folder}" if full else f"see who owns {folder}: ls -ld"
    return Refused(f"{where}: cannot be written: {error.strerror}; nothing was changed", help)


@contextmanager
def planning(
    settings: Settings, dry_run: bool = False, one_line: bool | None = None, whole: bool = False
) -> Iterator[Planner]:
    """A planner that has tasks, tabfile and crontab for itself until the end of the block.

    A dry run takes no lock, since that would make files. `one_line` says whether one line of the crontab shall
    stand for all tasks; without it that stays as it is. `whole` is for who replaces the crontab as a whole, whatever
    it holds.
    """
    if dry_run:
        yield Planner(settings, dry_run, one_line, whole)
        return
    with file_lock(settings):
        yield Planner(settings, dry_run, one_line, whole)


def _belongs(old: Task, wish: TaskRequest, settings: Settings) -> bool:
    """Whether a wish may replace a task: a person's may replace any, a source's only its own."""
    if wish.source == "manual":
        return True
    return old.source == wish.source and old.workspace == settings.home


def _asks_the_same(asked: ScheduleSpec, old: Task, balance: bool) -> bool:
    schedule = old.schedule
    if asked.cron is not None:
        return schedule.every is None and (schedule.cron, schedule.timezone) == (asked.cron, asked.timezone)
    if schedule.every != asked.every:
        return False
    # Its nominal slot was asked for: a slot that was chosen is another one.
    return balance or schedule == nominal(schedule.every or 0, asked.timezone)
