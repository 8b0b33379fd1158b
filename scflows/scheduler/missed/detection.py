"""Slots that were not started: they are recorded as missed, or caught up.

A slot is handled when the history has a run for it, however that ended.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field

from scflows.cron.schedule.schedule import OVERDUE, Schedule
from scflows.cron.scheduler_lock import is_scheduler_busy
from scflows.cron.task_index import gc_paused, read_tasks
from scflows.history.recorder import claim_path
from scflows.history.run import SKIPPED, Run, new_run_id
from scflows.history.store import FAULTS
from scflows.history.task_groups import TaskGroup, task_groups
from scflows.history.task_log import timestamp
from scflows.locks import Lock
from scflows.scheduler.missed.watermark import Watermark, read_watermark, write_watermark

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from scflows.cron.task import Task
    from scflows.history.contract import RunStore
    from scflows.settings import Settings

#: How many missed slots of a task get a record of their own, the newest; one more record counts all others.
MOST_OF_A_TASK = 100
#: The same for all tasks together.
MOST = 10_000
#: Missed slots that are recorded together.
AT_ONCE = 500
#: How far back slots are looked for, in seconds.
LONGEST = 366 * 86400.0
#: How many of the others are counted, for a cron expression.
MOST_COUNTED = 5000
#: The pause after a look, as a multiple of the time that it took: with very many tasks it is a long one.
PAUSE = 50.0
NOT_STARTED = "not started in time: the scheduler was not running, or the machine was off or asleep"


@dataclass(frozen=True, order=True)
class CatchUpSlot:
    """A slot that is to be caught up."""

    slot: float  #: seconds since the epoch
    task: str


@dataclass
class MissedSlots:
    """The result of a look."""

    missed: list[Run] = field(default_factory=list)  #: as recorded just now
    to_catch_up: list[CatchUpSlot] = field(
        default_factory=list
    )  #: slots to be caught up, the oldest first; also those of earlier looks
    problems: list[str] = field(default_factory=list)  #: histories and settings that cannot be used


def record_missed(
    store: RunStore,
    settings: Settings,
    now: float | None = None,
    is_scheduler: bool = False,
    at_once: bool = False,
    tasks: Iterable[Task] | None = None,
) -> MissedSlots:
    """Record the slots of all enabled tasks that were missed; return them and those to be caught up.

    `store` is the history of `settings`; tasks of other workspaces have their own. `tasks` are all tasks, for callers
    that have read them. While `flows cron run` is running, only it may look. With very many tasks, a look soon after
    another does nothing, unless `at_once`.
    Raises what the store raises; other tasks' histories that cannot be used are in `problems`.
    """
    moment = time.time() if now is None else now
    if not is_scheduler and is_scheduler_busy(settings):
        return MissedSlots()
    if not at_once and moment < read_watermark(settings, moment, store).again:
        return MissedSlots()
    lock = Lock(settings.state_path, "watermark")
    if not lock.acquire(""):
        return MissedSlots()
    try:
        with gc_paused():
            known = read_tasks(settings)[0] if tasks is None else tasks
            return _Look(settings, store, moment, is_scheduler).run(known)
    finally:
        lock.release()


class _Look:
    """One look at all tasks."""

    def __init__(
        self,
        settings: Settings,
        store: RunStore,
        now: float,
        is_scheduler: bool,
    ) -> None:
        self.settings = settings
        self.store = store
        self.now = now
        self.is_scheduler = is_scheduler
        # Read again, now that no other process writes it.
        self.before = read_watermark(settings, now, store)
        self.after = Watermark(max(now - OVERDUE, self.before.until), former=self.before.former)
        self.most = MOST_OF_A_TASK
        self.trigger = "scheduler" if is_scheduler else "housekeeping"
        self.found = MissedSlots()
        #: Of the same millisecond: of tens of thousands two would be the same by chance.
        self.ids: set[str] = set()
        self.unrecorded: list[Run] = []

    def run(self, all_tasks: Iterable[Task]) -> MissedSlots:
        began = time.perf_counter()
        tasks = [task for task in all_tasks if task.enabled]
        self.most = min(MOST_OF_A_TASK, max(1, MOST // max(1, len(tasks))))
        for group in task_groups(self.settings, self.store, tasks, self._give_up):
            if group.store is self.store:
                self._look_at_all(group)
                continue
            # A history of another workspace that cannot be used must not stop the others.
            try:
                self._look_at_all(group)
            except FAULTS as error:
                self._give_up(group.tasks, error)
        self.found.to_catch_up.sort()
        self.after.again = self.now + PAUSE * (time.perf_counter() - began)
        write_watermark(self.settings, self.after)
        return self.found

    def _give_up(self, group: list[Task], error: Exception) -> None:
        """Come back to these tasks later."""
        self.found.problems.append(f"{group[0].workspace}: {error}")
        self.unrecorded = []
        for task in group:
            self.after.behind[task.name] = self._since(task)
            if task.name in self.before.open:
                self.after.open[task.name] = self.before.open[task.name]

    def _since(self, task: Task) -> float:
        """Return the time up to which the task's slots are accounted for, or are not its own."""
        known = self.before.behind.get(task.name, self.before.until)
        if not known and not task.begins:
            return self.now - OVERDUE  # It is unknown how long it has been there.
        return max(known, _first(task), self.now - LONGEST)

    def _look_at_all(self, group: TaskGroup) -> None:
        for task in group.tasks:
            self._look_at(task, group.store)
            if len(self.unrecorded) >= AT_ONCE:
                self._record(group.store)
        self._record(group.store)

    def _record(self, history: RunStore) -> None:
        if self.unrecorded:
            self.found.missed += history.skip(self.unrecorded)
            self.unrecorded = []

    def _look_at(self, task: Task, history: RunStore) -> None:
        after, until = self._since(task), self.now - OVERDUE
        earlier = [slot for slot in self.before.open.get(task.name, ()) if slot > _first(task)]
        following = task.schedule.next_epoch(after)
        if not earlier and (following is None or following > until):
            return
        left, rest = self._unhandled(task, after, until, earlier, history)
        coming = []
        if left and not self.is_scheduler and _is_asked_again(task.schedule, left[-1], self.now):
            coming.append(left.pop())
        slots = _slots_to_catch_up(task, left)
        self.found.to_catch_up += (CatchUpSlot(slot, task.name) for slot in slots)
        runs = [missed_run(task, slot, NOT_STARTED, self.now, self.trigger) for slot in left if slot not in slots]
        if rest is not None:
            runs.insert(0, missed_run(task, *rest, self.now, self.trigger))
        for run in runs:
            while run.id in self.ids:
                run.id = new_run_id(self.now)
            self.ids.add(run.id)
        self.unrecorded += runs
        if coming or slots:
            self.after.open[task.name] = sorted({*coming, *slots})

    def _unhandled(
        self, task: Task, after: float, until: float, earlier: list[float], history: RunStore
    ) -> tuple[list[float], tuple[float, str] | None]:
        """Return the newest slots without a run, in order, and, if there are too many, a record of the older ones."""
        handled = history.slots(task.name, min([after, *earlier]) - 1, until)
        found = {slot for slot in earlier if slot <= after and slot not in handled}
        slot = task.schedule.latest_epoch(until)
        while slot is not None and slot > after and len(found) < self.most:
            if slot not in handled and not self._is_claimed(task.name, slot):
                found.add(float(slot))
            slot = task.schedule.latest_epoch(slot - 1)
        while slot is not None and slot > after and slot in handled:
            slot = task.schedule.latest_epoch(slot - 1)
        rest = None
        if slot is not None and slot > after:
            first = task.schedule.next_epoch(after) or slot
            while first < slot and first in handled:
                first = task.schedule.next_epoch(first) or slot
            number = _count(task.schedule, first, slot, sum(first <= each <= slot for each in handled))
            since = timestamp(first, self.settings.timezone)
            rest = float(slot), f"{number} from {since} on, this one the last of them: {NOT_STARTED}"
        return sorted(found), rest

    def _is_claimed(self, task: str, slot: float) -> bool:
        """Return whether a run claimed a slot by a file that is still to be imported."""
        return os.path.lexists(claim_path(self.settings, task, slot))


def _first(task: Task) -> float:
    """Return the time after which the slots of a task can be started."""
    # Cron may not have read a line that was written in the second before the slot.
    begins = task.begins + 2
    # The slots within a minute belong to the process that starts with it.
    return begins // 60 * 60 + 59 if task.schedule.is_fine else begins


def _count(schedule: Schedule, first: float, last: float, handled: int) -> str:
    """Count the slots between two, including both, without those that have a run."""
    if schedule.every:
        number = round((last - first) / schedule.every) + 1
    else:
        from datetime import UTC, datetime

        number = 1
        for _ in schedule.slots(datetime.fromtimestamp(first, UTC), datetime.fromtimestamp(last, UTC)):
            number += 1
            if number == MOST_COUNTED:
                return f"more than {number - handled} slots"
    return f"{max(1, number - handled)} slots"


def _is_asked_again(schedule: Schedule, slot: float, now: float) -> bool:
    """Return whether a line that starts more often than the task is due will still start this slot."""
    if not schedule.gated or schedule.latest_epoch(now) != slot:
        return False
    asks, following = Schedule(schedule.line).next_epoch(now), schedule.next_epoch(now)
    return asks is not None and (following is None or asks < following)


def _slots_to_catch_up(task: Task, slots: list[float]) -> list[float]:
    """Return those slots that the task catches up."""
    if task.catch_up == "last":
        return slots[-1:]
    return slots[-task.catch_up_cap :] if task.catch_up == "all" else []


def missed_run(task: Task, slot: float, why: str, now: float, trigger: str) -> Run:
    """Return the record of a missed slot."""
    return Run(
        id=new_run_id(now),
        flow=task.flow or " ".join(task.command),
        task=task.name,
        trigger=trigger,
        slot=float(slot),
        status=SKIPPED,
        reason="missed",
        message=why,
        started=now,
        ended=now,
        dry_run=task.dry,
        workspace=task.workspace,
    )
