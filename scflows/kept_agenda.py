"""The agenda of a scheduler that looks at the clock once and is gone: kept from one look to the next."""

from __future__ import annotations

import os

from scflows.agenda import MADE_UP, Agenda, Loaded, Slot
from scflows.cron.index import TaskIndex
from scflows.cron.tabfile import Tabfile
from scflows.errors import ScflowsError
from scflows.heartbeat import last_beat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from scflows.settings import Settings


class KeptAgenda(Agenda):
    """Holds only the tasks that are due; when the others are is in the index. A context manager.

    Tasks with a line of their own in the tabfile are started by that line, and not handed out here.
    """

    def __init__(self, settings: Settings, now: float) -> None:
        before = last_beat(settings)
        # Without a look before, this minute is the first to be looked at.
        super().__init__(settings, now - 60 if before is None else before.until)
        self._index = TaskIndex(settings)
        self._index.keep_dates_of(_clock())
        self._lined: frozenset[str] = frozenset()
        #: Of a task that is new here no slot is asked for that is older.
        self._oldest = int(now) // 60 * 60 - MADE_UP

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ended: object) -> None:
        self._index.__exit__(*ended)

    def reload(self, always: bool = False) -> Loaded | None:
        problems = []
        try:
            self._lined = frozenset(entry.name for entry in Tabfile.read(self._tabfile).entries)
        except ScflowsError as error:
            problems.append(str(error))
        changed = self._index.refresh(quick=True)
        if changed:
            problems += [str(problem) for problem in self._index.problems()]
        self._date_all()
        # Of those that wait for a place, some may have been changed, paused or removed.
        self.tasks = self._index.find(self.tasks)
        return Loaded(len(self.tasks), tuple(problems)) if problems else None

    def take(self, now: float) -> tuple[list[Slot], list[Slot]]:
        minute = int(now) // 60 * 60
        found = self._index.due(minute)
        for task, due in found:
            if task.name not in self._lined:
                self.tasks[task.name] = task
                self._next[task.name] = due
        self._fill_heap()
        due_now, missed = super().take(now)
        following = {}
        for task, _ in found:
            slot = self._next.get(task.name, task.schedule.next_start(minute))
            following[task.name] = self._never if slot is None else slot
        # Before they are started: what is handed out twice would be claimed twice.
        if following and self.until >= minute:
            self._index.date(following)
        self._next.clear()
        return due_now, missed

    #: A slot that never comes.
    _never = 1 << 62

    def _begin_at(self, minute: int) -> None:
        self.until = self._oldest = minute
        self._next.clear()
        self._heap.clear()
        self._index.forget_dates()
        self._date_all()

    def _date_all(self) -> None:
        dues = {}
        for task in self._index.undated():
            self._set_next(task, max(self.until, self._oldest))
            dues[task.name] = self._next.pop(task.name, self._never)
        if dues:
            self._index.date(dues)


def _clock() -> str:
    """What the slots of tasks without a zone hang on."""
    path = os.path.realpath("/etc/localtime")
    try:
        changed = os.stat(path).st_mtime_ns
    except OSError:
        changed = 0
    return f"{os.environ.get('TZ', '')} {path} {changed}"
