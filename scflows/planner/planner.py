"""The planner: turns task requests into a plan of changes, and writes the plan.

A plan is complete before anything is written. It is written in one go: task files, tabfile, crontab. If the crontab
cannot be written, the other two are restored.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, suppress
from dataclasses import replace

from scflows.cron.crontab.editor import CrontabEditor
from scflows.cron.crontab.line import CrontabEntry, parse_line
from scflows.cron.crontab.tabfile import file_lock
from scflows.cron.lazy_tasks import TaskChanges
from scflows.cron.schedule.schedule import Schedule
from scflows.cron.task import Task, TaskStore, check_name, is_name, no_such_task
from scflows.errors import Refused
from scflows.planner.differences import differences
from scflows.planner.inventory import TaskInventory
from scflows.planner.load.placement import at_full_hours, place
from scflows.planner.plan import ADD, BY_HAND, FOREIGN, KEEP, REMOVE, REPLACE, Change, Plan, lacking_variables
from scflows.planner.write_intent import WriteIntent, remove_intent, unfinished_write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from scflows.cron.schedule.spec import ScheduleSpec
    from scflows.planner.load.rebalance import Rebalanced
    from scflows.planner.sources.base import TaskRequest
    from scflows.settings import Settings

#: The share of the tasks that `plan_rebalance` moves at most by default.
MAX_MOVED_SHARE = 0.3


class Planner:
    """A planner that plans and writes under one lock; see `planning`."""

    def __init__(self, settings: Settings, dry_run: bool, one_line: bool | None = None, whole: bool = False) -> None:
        self.settings = settings
        self.dry_run = dry_run
        self.store = TaskStore(settings)
        #: The write that a killed command left unfinished; the next plan that is written completes it.
        self.unfinished = unfinished_write(settings)
        if not dry_run:
            for name in self.unfinished.removed:
                self.store.remove(name)
        self.editor = CrontabEditor(settings, whole, dry_run)
        if one_line is not None:
            self.editor.one_line = one_line
        self.inventory = TaskInventory(
            settings, self.store, self.unfinished, dry_run, self.editor.one_line, self.editor.parts.foreign
        )
        self.before = self.inventory.tasks

    def place(self, request: TaskRequest, balance: bool = True) -> Schedule:
        """Choose the schedule of a new task and count it in the load."""
        return place(request.spec, self.inventory.load, request.name, balance, self.inventory.seconds(request))

    def plan_requests(
        self,
        requests: Iterable[TaskRequest],
        overwrite: bool = False,
        balance: bool = True,
        settings: dict[str, str] | None = None,
    ) -> Plan:
        """Return a plan that adds the requested tasks.

        Existing tasks are only replaced with `overwrite`, and keep their slot if the requested schedule is the same.
        Tasks of another source or workspace are never replaced.
        """
        requests = sorted(requests, key=lambda request: request.name)
        plan = self._plan(request.name for request in requests)
        remembered = self.settings.remembered() if settings is None else settings
        requested: dict[str, str] = {}
        # Short intervals first, so that tasks that start rarely even out the rest; then long runs first, because they
        # find no room later.
        for request in sorted(
            requests, key=lambda request: (request.spec.every or 0, -self.inventory.seconds(request), request.name)
        ):
            check_name(request.name)
            if request.name in requested:
                plan.problems.append(
                    f"{request.flow}: {requested[request.name]} already has a task named {request.name!r}"
                )
                continue
            requested[request.name] = request.flow or " ".join(("flows", *request.command))
            old = self.before.get(request.name)
            if old is None:
                schedule = self.place(request, balance)
                task = self._task(request, schedule, remembered)
                plan.changes.append(Change(ADD, task, task.schedule.words()))
            elif not _may_replace(old, request, self.settings):
                if old.source == "manual" and (old.workspace, old.flow) == (self.settings.home, request.flow):
                    plan.changes.append(Change(KEEP, old, "scheduled by hand", protection=BY_HAND))
                    continue
                owner = f"belongs to the source {old.source!r} in {old.workspace}"
                why = f"{owner}; use another name, or remove it first"
                plan.changes.append(Change(KEEP, old, why, protection=FOREIGN))
                continue
            elif not overwrite:
                changed = "" if _has_same_schedule(request.spec, old, balance) else "; its schedule has changed"
                plan.changes.append(Change(KEEP, old, f"already scheduled{changed}; --overwrite replaces it"))
                continue
            else:
                task = self._replaced(request, old, remembered, balance)
                why = "; ".join(differences(old, task)) or "unchanged"
                plan.changes.append(Change(REPLACE if task != old else KEEP, task, why, rewrite=True))
            plan.tasks[request.name] = task
            if request.timeout is None and not request.has_limit and plan.changes[-1].action != KEEP:
                plan.unlimited.append(request.name)
        if plan.of(ADD):
            plan.notes += lacking_variables(self.editor.parts.foreign, self.settings)
        return self._completed(plan)

    def _plan(self, names: Iterable[str]) -> Plan:
        """Return a plan without changes. The named tasks are read first, as they may invalidate the cached load."""
        for name in names:
            if is_name(name):
                self.before.get(name)
        return Plan(
            TaskChanges(self.before),
            problems=list(self.inventory.broken),
            notes=list(self.editor.notes),
            peak_before=self.inventory.load.peak,
        )

    def plan_changes(self, changes: Iterable[Change]) -> Plan:
        """Return a plan that replaces and removes tasks."""
        changes = list(changes)
        plan = self._plan(change.task.name for change in changes)
        for change in changes:
            plan.changes.append(change)
            if change.action == REMOVE:
                plan.tasks.pop(change.task.name, None)
            else:
                plan.tasks[change.task.name] = change.task
        return self._completed(plan)

    def plan_rebalance(self, max_moves: int | None = None) -> tuple[Plan, Rebalanced]:
        """Return a plan that moves interval tasks until the load is nearly as even as a new plan's, and its effect.

        At most `max_moves` tasks are moved; by default 30 % of them.
        """
        from scflows.planner.load.rebalance import PlannedTask, describe_move, rebalance

        inventory = self.inventory
        inventory.measure_again()
        tasks = [task for task in self.before.values() if task.enabled]
        limit = int(len(tasks) * MAX_MOVED_SHARE) if max_moves is None else max_moves
        planned = (PlannedTask(task.name, task.schedule, inventory.seconds(task)) for task in tasks)
        result = rebalance(planned, limit, inventory.busy_minutes)
        changes = []
        now = time.time()
        for name, schedule in sorted(result.moved.items()):
            old = self.before[name]
            why = describe_move(old.schedule, schedule, now)
            changes.append(Change(REPLACE, replace(old, schedule=schedule), why, verb="move"))
        return self.plan_changes(changes), result

    def plan_repair(self) -> Plan:
        """Return a plan that changes no task and rewrites all lines, inside the block."""
        strays = {entry.name for entry in self.editor.parts.strays}
        changes = []
        for task in self.before.values():
            why = "its line outside the block is moved into it" if task.name in strays else task.schedule.words()
            changes.append(Change(KEEP, task, why if task.enabled else "paused", rewrite=True))
        plan = self.plan_changes(changes)
        plan.notes += [f"{problem}; its line is not changed" for problem in self.inventory.broken]
        return plan

    def repair_lines(self, plan: Plan) -> Plan:
        """Return the plan with the lines whose Python is gone rewritten for this one."""
        dead = {
            entry.name: entry.python
            for entry in self.editor.tabfile.entries
            if entry.name in plan.tasks and not os.access(entry.python, os.X_OK)
        }
        known = {change.task.name for change in plan.changes if change.action != KEEP}
        names = dead.keys() - known
        if not names:
            return plan
        plan.changes = [change for change in plan.changes if change.task.name not in names]
        for name in sorted(names):
            why = f"the Python of its line is gone ({dead[name]})"
            plan.changes.append(Change(REPLACE, plan.tasks[name], why, rewrite=True, verb="repair"))
        return self._completed(plan)

    def add_removals(self, plan: Plan, removed: Iterable[Change]) -> Plan:
        """Return the plan with additional removals."""
        for change in removed:
            plan.changes.append(change)
            if change.action == REMOVE:
                plan.tasks.pop(change.task.name, None)
        return self._completed(plan)

    def task(self, name: str) -> Task:
        """Return a task by its name. Raises NotFound, which suggests the most similar name."""
        found = self.before.get(name)
        if found is None:
            raise no_such_task(name, self.before)
        return found

    def names(self) -> list[str]:
        """Return the names of all tasks, including those of lines without a task file."""
        return sorted({*self.before, *(entry.name for entry in self._entries() if entry.is_task)})

    def removal(self, name: str) -> Change:
        """Return the removal of a task, or of our line whose task file is missing or invalid. Raises NotFound."""
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

    def _entries(self) -> list[CrontabEntry]:
        foreign = {entry.text for entry in self.editor.others}
        tabfile, block = self.editor.tabfile, self.editor.parts.lines or []
        # Lines in the crontab that are missing from the tabfile.
        additional = [] if block == tabfile.lines else [entry for entry in map(parse_line, block) if entry is not None]
        known = {entry.name for entry in tabfile.entries}
        found = [*tabfile.entries, *(each for each in additional if each.is_task and each.name not in known)]
        return [*(entry for entry in found if entry.text not in foreign), *self.editor.parts.strays]

    def write(self, plan: Plan, overwrite: bool = False) -> None:
        """Write a plan. Raises Busy if the block was changed by hand and `overwrite` is false, or Refused."""
        self.editor.check_owner(plan.tabfile.lines)
        if not overwrite:
            self.editor.check()
        names = {change.task.name for change in plan.changes if change.action != KEEP}
        wanted = {name for name in names if name in plan.tasks}
        before = self.unfinished
        with _postponed_signals():
            try:
                if names or before.names:
                    lost = names - wanted | before.removed - wanted
                    WriteIntent(frozenset(wanted | before.written - lost), frozenset(lost)).save(self.settings)
                self.store.write(*(plan.tasks[name] for name in wanted))
                plan.notes.extend(self.editor.write(plan.tabfile, plan.rewritten))
                # Last, so that no line ever lacks its task.
                for name in names - wanted:
                    self.store.remove(name)
            except BaseException as error:
                self._restore(names)
                if before.names:
                    with suppress(OSError):  # The original error is reported.
                        before.save(self.settings)
                else:
                    remove_intent(self.settings)
                if isinstance(error, OSError):
                    raise _refused(error, self.store.folder) from error
                raise
            remove_intent(self.settings)
            self.inventory.cache_load(plan)

    def _restore(self, names: Iterable[str]) -> None:
        old = [self.before[name] for name in names if name in self.before]
        try:
            self.store.write(*old)
        except OSError:
            # The original error is reported; further errors must not stop the rest.
            for task in old:
                with suppress(OSError):
                    self.store.write(task)
        for name in names:
            if name not in self.before:
                with suppress(OSError):
                    self.store.remove(name)

    def _completed(self, plan: Plan) -> Plan:
        plan.rewritten = {change.task.name for change in plan.changes if change.action != KEEP or change.rewrite}
        plan.rewritten |= self.unfinished.removed
        # A task whose file cannot be read keeps its line.
        unfinished = self.unfinished.written
        plan.rewritten |= {
            each for each in unfinished if each in plan.tasks or not os.path.lexists(self.store.path(each))
        }
        plan.tabfile = self.editor.lines(plan.tasks, plan.rewritten)
        plan.note_boot_tasks()
        plan.diff = self.editor.diff(plan.tabfile)
        plan.load_after = self.inventory.load_after(plan)
        plan.peak_after = plan.load_after.peak
        return plan

    def _task(self, request: TaskRequest, schedule: Schedule, remembered: dict[str, str]) -> Task:
        return Task(
            name=request.name,
            schedule=schedule,
            flow=request.flow,
            command=request.command,
            workspace=self.settings.home,
            params=request.params,
            settings=remembered,
            timeout=request.timeout,
            dry=request.dry,
            source=request.source,
            kind=request.kind,
            created=written_now(),
            catch_up=request.spec.catch_up,
            catch_up_cap=request.spec.catch_up_cap,
            overlap=request.spec.overlap,
            priority=request.priority,
            mutex=request.mutex,
            max_active_runs=request.max_active_runs,
            start_within=request.spec.start_within,
            end_within=request.spec.end_within,
        )

    def _replaced(self, request: TaskRequest, old: Task, remembered: dict[str, str], balance: bool) -> Task:
        if _has_same_schedule(request.spec, old, balance):
            schedule = old.schedule
        else:
            self.inventory.uncount(old)
            schedule = self.place(request, balance)
        new = self._task(request, schedule, remembered)
        new = replace(new, enabled=old.enabled, paused_until=old.paused_until)
        return replace(new, created=old.created, since=since(old, schedule))


def since(old: Task, schedule: Schedule) -> str:
    """Return since when the slots of a task count, given its new schedule."""
    return old.since if schedule == old.schedule else written_now()


def written_now() -> str:
    """Return the current time as in task files: ISO 8601, UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())


@contextmanager
def _postponed_signals() -> Iterator[None]:
    """Postpone the signals that would end the process until everything is written.

    They are blocked for the program `crontab`, which inherits the mask. The mask alone does not protect this process:
    libraries such as numpy start threads that do not block the signals, and the kernel delivers a signal to any thread
    that accepts it. So the signals have a handler as well, and are sent again at the end.
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
        # First the mask, so that the handlers receive the blocked signals.
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for sent in received:
            os.kill(os.getpid(), sent)


def _refused(error: OSError, folder: str) -> Refused:
    import errno

    where = error.filename or folder
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    help = f"free disk space: df -h {folder}" if is_full else f"check its owner: ls -ld {folder}"
    return Refused(f"{where}: cannot be written: {error.strerror}; nothing was changed", help)


@contextmanager
def planning(
    settings: Settings, dry_run: bool = False, one_line: bool | None = None, whole: bool = False
) -> Iterator[Planner]:
    """Yield a planner that holds the lock of tasks, tabfile and crontab until the end of the block.

    A dry run takes no lock, because that would create files. `one_line` says whether a single crontab line stands for
    all tasks; None does not change that. `whole` is for callers that replace the whole crontab, whatever it holds.
    """
    if dry_run:
        yield Planner(settings, dry_run, one_line, whole)
        return
    with file_lock(settings):
        yield Planner(settings, dry_run, one_line, whole)


def _may_replace(old: Task, request: TaskRequest, settings: Settings) -> bool:
    """Return whether a request may replace a task: a manual one any, that of a source only the source's own."""
    if request.source == "manual":
        return True
    return old.source == request.source and old.workspace == settings.home


def _has_same_schedule(spec: ScheduleSpec, old: Task, balance: bool) -> bool:
    schedule = old.schedule
    if spec.cron is not None:
        return schedule.every is None and (schedule.cron, schedule.timezone) == (spec.cron, spec.timezone)
    if schedule.every != spec.every:
        return False
    # A slot at full hours was requested; a slot that the planner chose is not the same.
    return balance or schedule == at_full_hours(schedule.every or 0, spec.timezone)
