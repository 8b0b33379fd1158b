"""Due slots for a scheduler that looks at the clock once and exits: kept in the index from one look to the next."""

from __future__ import annotations

import os
import sqlite3

from scflows.cron.crontab.tabfile import Tabfile
from scflows.cron.schedule.schedule import STARTABLE
from scflows.cron.scheduler_lock import last_heartbeat
from scflows.cron.task_index import TaskIndex, index_path
from scflows.errors import ScflowsError
from scflows.scheduler.due_slots import DueSlots, Loaded, Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from scflows.settings import Settings

#: What keeps the index from being used.
FAULTS = (sqlite3.Error, OSError, ScflowsError)


class IndexedDueSlots(DueSlots):
    """Holds only the tasks that are due; when the others are is in the index. A context manager.

    Tasks with a line of their own in the tabfile are started by that line, and not handed out here. Where the index can
    be neither used nor made, as on a full disk, it goes by the task files from this minute on.
    """

    def __init__(
        self, settings: Settings, now: float, warn: Callable[[str], None] = lambda text: None, only_now: bool = False
    ) -> None:
        """`warn` is called if the index cannot be used; `only_now`: return no later minute than that of `now`."""
        before = last_heartbeat(settings)
        # Without a look before, this minute is the first to be looked at.
        super().__init__(settings, now - 60 if before is None else before.until)
        self._warn = warn
        self._lined: frozenset[str] = frozenset()
        self._minute = int(now) // 60 * 60  #: the last one that was looked at
        self._last = self._minute if only_now else self._never
        #: Older slots of a task that is new here are ignored.
        self._oldest = self._minute - STARTABLE
        self._path = index_path(settings)
        self._index: TaskIndex | None = None
        self._following: dict[str, int] = {}  #: when the tasks that were due are due next
        try:
            self._index = TaskIndex(settings)
            self._index.keep_dates_of(_clock())
        except FAULTS as error:
            self._do_without(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ended: object) -> None:
        if self._index is not None:
            self._index.__exit__(*ended)

    def reload(self, always: bool = False) -> Loaded | None:
        problems = []
        try:
            self._lined = frozenset(entry.name for entry in Tabfile.read(self._tabfile).entries)
        except ScflowsError as error:
            problems.append(str(error))
        if self._index is not None:
            try:
                problems += self._refresh(self._index)
            except FAULTS as error:
                self._do_without(error)
        if self._index is None:
            problems += self._read_files()
        return Loaded(len(self.tasks), tuple(problems)) if problems else None

    def take(self, now: float) -> tuple[list[Slot], list[Slot]]:
        self._minute = int(now) // 60 * 60
        if self._minute > self._last:
            return [], []
        if self._index is not None:
            until = self.until
            try:
                return self._take_indexed(self._index, now)
            except FAULTS as error:
                self.until = until
                self._do_without(error)
                self._read_files()
        return super().take(now)

    def _refresh(self, index: TaskIndex) -> list[str]:
        """Read what changed, and return what is wrong with it."""
        changed = index.refresh(quick=True)
        problems = [str(problem) for problem in index.problems()] if changed else []
        self._date_all(index)
        self.tasks = {}
        return problems

    def _take_indexed(self, index: TaskIndex, now: float) -> tuple[list[Slot], list[Slot]]:
        minute = self._minute
        found = index.due(minute)
        for task, due in found:
            # An older one was returned while its date could not be written.
            slot = due if due > self.until else task.schedule.next_start(self.until)
            if slot is not None and task.name not in self._lined:
                self.tasks[task.name] = task
                self._next[task.name] = slot
        self._fill_heap()
        due_now, missed = super().take(now)
        self._following = {}
        for task, _ in found:
            slot = self._next.get(task.name, task.schedule.next_start(minute))
            self._following[task.name] = self._never if slot is None else slot
        self._next.clear()
        return due_now, missed

    def keep(self) -> None:
        # Not before they are in the queue: after a kill in between they are taken again, and each is claimed once.
        if self._index is not None and self._following and self.until >= self._minute:
            try:
                self._index.date(self._following)
            except FAULTS as error:
                self._warn(f"{self._path}: cannot be written: {error}")

    def _do_without(self, error: Exception) -> None:
        """Use the task files from now on. What was returned before is unknown, so older minutes are ignored."""
        if self._index is not None:
            self._index.__exit__()
            self._index = None
        if not self._minute - 60 <= self.until <= self._minute:
            self.until = self._minute - 60
        self._warn(f"{self._path}: cannot be used: {error}; going by the task files (if it stays so: rm {self._path})")

    def _read_files(self) -> list[str]:
        """Read all tasks and their next slots from their files, and return what is wrong with these."""
        tasks, wrong = self._store.read_all()
        problems = [str(error) for error in wrong]
        self.tasks = {}
        self._next.clear()
        for task in tasks:
            if task.enabled and task.name not in self._lined:
                try:
                    self._set_next(task)
                    self.tasks[task.name] = task
                except (ScflowsError, ValueError) as error:
                    problems.append(f"{task.name}: {error}")
        self._fill_heap()
        return problems

    #: A slot that never comes.
    _never = 1 << 62

    def _begin_at(self, minute: int) -> None:
        if self._index is None:
            super()._begin_at(minute)
            return
        self.until = self._oldest = minute
        self._next.clear()
        self._heap.clear()
        self._index.forget_dates()
        self._date_all(self._index)

    def _date_all(self, index: TaskIndex) -> None:
        dues = {}
        for task in index.undated():
            self._set_next(task, max(self.until, self._oldest))
            dues[task.name] = self._next.pop(task.name, self._never)
        if dues:
            index.date(dues)


def _clock() -> str:
    """Return what the slots of tasks without a zone depend on."""
    path = os.path.realpath("/etc/localtime")
    try:
        changed = os.stat(path).st_mtime_ns
    except OSError:
        changed = 0
    return f"{os.environ.get('TZ', '')} {path} {changed}"
