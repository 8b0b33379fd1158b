"""Who of those that are due starts next: by their turn, their places, and their `overlap`."""

from __future__ import annotations

from functools import partial

from scflows.execution.admission import CANCEL
from scflows.scheduler.missed.skipped import BEHIND, LATE, STOPPED, SUPPLANTED
from scflows.scheduler.pending_slots import PendingSlots

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from scflows.scheduler.capacity import Capacity
    from scflows.scheduler.child_runs import ChildRuns
    from scflows.scheduler.due_slots import DueSlots, Slot
    from scflows.scheduler.missed.catch_up_queue import CatchUpQueue
    from scflows.scheduler.missed.skipped import SkippedSlots
    from scflows.scheduler.process_host import Host


class Dispatcher:
    """The slots that are due, on their way from the agenda to a process."""

    def __init__(
        self,
        world: Host,
        agenda: DueSlots,
        capacity: Capacity,
        starts: ChildRuns,
        arrears: CatchUpQueue,
        missed: SkippedSlots,
    ) -> None:
        self.waiting = PendingSlots()
        self.is_crowded = False  #: whether a slot is due that waits for others, who tell nobody when they end
        self._world = world
        self._agenda = agenda
        self._capacity = capacity
        self._starts = starts
        self._arrears = arrears
        self._missed = missed
        self._is_stopped = False

    def add(self, slots: Iterable[Slot], now: float) -> None:
        """Have slots wait for their turn."""
        for slot in slots:
            self.waiting.add(slot, self._agenda.tasks[slot.name], now)

    def stop(self) -> None:
        """Start nothing more, and give up what waits."""
        self._is_stopped = True
        self.is_crowded = False
        self._missed.add(self.waiting.clear(), self._agenda.tasks, STOPPED)

    def fill(self) -> None:
        """Start what waits as long as there are places."""
        if self._is_stopped:
            return
        self.is_crowded = False
        expired = self.waiting.expired(self._world.now(), lambda name: self._capacity.of(name).patience)
        self._missed.add(expired, self._agenda.tasks, LATE)
        self._give_way()
        elsewhere = self._run_elsewhere()
        places = self._capacity.places
        full = 0  # so many places are taken: a task that has more of them may start all the same
        while True:
            if places and self._starts.places >= places:
                full = places
            busy = elsewhere.union(self._starts.tasks)
            may = partial(self._may_start, full=full, busy=busy) if full else None
            slot = self.waiting.first(busy, self._world.now(), may)
            if slot is None:
                if not full:
                    self._arrears.make_up(self._world.now(), busy)
                # Nobody tells us when these end.
                self.is_crowded |= not elsewhere.isdisjoint(self.waiting.due(self._world.now()))
                return
            task = self._agenda.tasks.get(slot.name)
            # A task that is gone was removed or paused while it waited.
            if task is not None:
                now, since = self._world.now(), self.waiting.since(slot)
                has_room, place = self._capacity.take(slot, task, now, since, full)
                if not has_room and slot.name not in busy:
                    self.is_crowded = True
                    full = max(full, self._capacity.of(slot.name).places)
                    continue
                try:
                    if not self._starts.start(slot, task, place):
                        return
                finally:
                    # The child has it, and nobody else.
                    if place is not None:
                        place.release()
            self.waiting.remove(slot)

    def _run_elsewhere(self) -> frozenset[str]:
        """The tasks with slots to start that run in a process of others: they came through the backlog, or by hand."""
        names = self.waiting.due(self._world.now()).difference(self._starts.tasks)
        return frozenset(self._capacity.runs(name for name in names if not self._capacity.is_light(name)))

    def _may_start(self, name: str, full: int, busy: Collection[str]) -> bool:
        """Whether a task needs no place of those that are taken. Of one that runs, the start goes by its `overlap`."""
        return self._capacity.is_light(name) or name in busy or self._capacity.of(name).places > full

    def _give_way(self) -> None:
        """Of slots of one task that wait, all but one are answered, by its `overlap`, as they are under cron."""
        for slot, earlier in self.waiting.overlapping(self._world.now()):
            task = self._agenda.tasks.get(slot.name)
            if task is None or task.command or task.schedule.is_fine or slot not in self.waiting:
                continue
            is_supplanted = task.overlap == CANCEL
            ended = [each for each in earlier if each in self.waiting] if is_supplanted else [slot]
            for each in ended:
                self.waiting.remove(each)
            self._missed.add(ended, self._agenda.tasks, SUPPLANTED if is_supplanted else BEHIND)
