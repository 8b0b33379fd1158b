"""Which slots are due, for the tasks on the tabfile: every slot is returned once, in order."""

from __future__ import annotations

import os
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from scflows.cron.crontab.tabfile import Tabfile
from scflows.cron.schedule.schedule import STARTABLE
from scflows.cron.task import Task, TaskStore
from scflows.errors import ScflowsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from scflows.settings import Settings

#: A clock that is set back by more than this many seconds was wrong before; otherwise it is waited for.
SET_BACK = 3 * 3600


@dataclass(frozen=True, order=True)
class Slot:
    """One due time of a task, in seconds since the epoch; of several in a minute, the minute stands for all."""

    due: int
    name: str


@dataclass(frozen=True)
class Loaded:
    """The result of a look at the tabfile and the task files."""

    tasks: int
    problems: tuple[str, ...] = ()  #: tasks that cannot be scheduled, and why


class DueSlots:
    """The tasks of the tabfile with their next slots."""

    def __init__(self, settings: Settings, after: float) -> None:
        self.tasks: dict[str, Task] = {}
        self._tabfile = settings.tabfile
        self._store = TaskStore(settings)
        self.until = int(after) // 60 * 60  #: slots up to this time have been returned
        self._next: dict[str, int] = {}
        self._heap: list[Slot] = []
        self._read: tuple[int, ...] | None = None  #: the state of the tabfile when it was read
        self._files: dict[str, tuple[int, ...]] = {}  #: the same of each task file

    def reload(self, always: bool = False) -> Loaded | None:
        """Read what changed since the last time; return None if nothing did."""
        tabfile, files = _state(self._tabfile), dict(_states(self._store.folder))
        if (tabfile, files) == (self._read, self._files) and not always:
            return None
        problems = []
        try:
            tabfile_content = Tabfile.read(self._tabfile)
            names = [entry.name for entry in tabfile_content.entries]
            if tabfile_content.tick:
                names += sorted(files.keys() - set(names))
        except ScflowsError as error:
            names = list(self.tasks)
            problems.append(f"{error}; the tasks read before are used")
        before = self.tasks
        self.tasks = {}
        for name in names:
            if name in before and files.get(name) == self._files.get(name) and not always:
                self.tasks[name] = before[name]
                continue
            try:
                task = self._store.read(name)
                if not task.enabled:
                    continue
                if name not in before or _times(before[name]) != _times(task):
                    self._next.pop(name, None)
                    self._set_next(task)
                self.tasks[name] = task
            except (ScflowsError, ValueError) as error:
                problems.append(f"{name}: {error}")
        self._read, self._files = tabfile, files
        self._fill_heap()
        return Loaded(len(self.tasks), tuple(problems))

    def take(self, now: float) -> tuple[list[Slot], list[Slot]]:
        """Return the slots that became due up to `now`, in order, and the oldest missed one of each task."""
        minute = int(now) // 60 * 60
        if minute < self.until - SET_BACK:
            self._begin_at(minute)
        if minute <= self.until:
            return [], []
        due: list[Slot] = []
        missed: list[Slot] = []
        edge = minute - STARTABLE
        while self._heap and self._heap[0].due <= minute:
            slot = heappop(self._heap)
            task = self.tasks[slot.name]
            if slot.due < edge:
                missed.append(slot)
                following = task.schedule.next_start(edge - 1)
            else:
                due.append(slot)
                following = task.schedule.next_start(slot.due)
            self._put(slot.name, following)
        self.until = minute
        return due, missed

    def keep(self) -> None:
        """Keep which slots were taken, once they are in the queue."""

    def _begin_at(self, minute: int) -> None:
        self.until = minute
        self._next.clear()
        for task in self.tasks.values():
            self._set_next(task)
        self._fill_heap()

    def _set_next(self, task: Task, after: int | None = None) -> None:
        begin = self.until if after is None else after
        # The creation time of a task may come from a clock that was far ahead.
        begins = task.begins if task.begins < begin + SET_BACK else 0
        following = task.schedule.next_start(max(begin, int(max(begins, task.paused_until)) - 1))
        if following is not None:
            self._next[task.name] = following

    def _fill_heap(self) -> None:
        self._next = {name: due for name, due in self._next.items() if name in self.tasks}
        self._heap = [Slot(due, name) for name, due in self._next.items()]
        heapify(self._heap)

    def _put(self, name: str, following: int | None) -> None:
        if following is None:
            del self._next[name]
        else:
            self._next[name] = following
            heappush(self._heap, Slot(following, name))


def _times(task: Task) -> tuple[object, float]:
    """Return what the slots of a task depend on."""
    return task.schedule, task.paused_until


def _states(folder: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    try:
        with os.scandir(folder) as found:
            for each in found:
                if each.name.endswith(".json"):
                    state = each.stat()
                    yield each.name[:-5], (state.st_mtime_ns, state.st_size, state.st_ino)
    except OSError:
        return  # No such folder, or a file that is gone by now: the next look sees it as it is then.


def _state(path: str) -> tuple[int, ...]:
    try:
        state = os.stat(path)
    except OSError:
        return ()
    return state.st_mtime_ns, state.st_size, state.st_ino
