"""Slots that nobody answered: the scheduler looks for them, and makes up those that are owed."""

from __future__ import annotations

from scflows.history.store import ask
from scflows.history.task_log import timestamp
from scflows.queue.permits import is_queue_empty
from scflows.scheduler.due_slots import Slot
from scflows.scheduler.missed.catch_up import start_arguments
from scflows.scheduler.missed.detection import MissedSlots, record_missed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from scflows.scheduler.capacity import Capacity
    from scflows.scheduler.child_runs import ChildRuns
    from scflows.scheduler.due_slots import DueSlots
    from scflows.settings import Settings

#: Seconds after a full minute at which all slots are looked through for those that nobody answered.
LOOK = 20
#: A look that is further ahead than this was planned on another clock.
LONGEST_LOOK = 120


class CatchUpQueue:
    """The slots that are made up when nothing else wants the place."""

    def __init__(
        self, settings: Settings, agenda: DueSlots, capacity: Capacity, starts: ChildRuns, say: Callable[[str], None]
    ) -> None:
        self.next_look = 0.0  #: when to look for slots that nobody answered, in seconds since the epoch
        self._settings = settings
        self._agenda = agenda
        self._capacity = capacity
        self._starts = starts
        self._say = say
        self._owed: list[Slot] = []

    def look(self, now: float, waiting: Iterable[Slot]) -> None:
        """Record the slots that nobody answered, and take those to be made up; once a minute, as `next_look` says.

        Those that are `waiting`, and those at work, are still to be answered.
        """
        if self.next_look - LONGEST_LOOK < now < self.next_look:
            return
        self.next_look = (now // 60 + 1) * 60 + LOOK
        pending = {
            (slot.name, float(due))
            for slot in [*waiting, *self._starts.slots, *self._owed]
            for due in (
                self._agenda.tasks[slot.name].schedule.within(slot.due)
                if self._capacity.is_light(slot.name)
                else [slot.due]
            )
        }
        problems: list[str] = []
        found = ask(
            self._settings,
            lambda store: record_missed(store, self._settings, now, pending, is_scheduler=True),
            MissedSlots(problems=problems),
            report=problems.append,
        )
        for problem in found.problems:
            self._say(f"cannot look for missed slots: {problem}")
        if found.missed:
            self._say(f"slots missed: {len(found.missed)} recorded")
        if found.owed:
            self._say(f"slots to make up: {len(found.owed)}, the first {timestamp(found.owed[0].slot)}")
            self._owed = sorted({*self._owed, *(Slot(int(each.slot), each.task) for each in found.owed)})

    def make_up(self, now: float, busy: Iterable[str]) -> None:
        """Start the oldest slot that is owed to a task that is not `busy`, and has no run that goes on or waits."""
        if self._owed and not is_queue_empty(self._settings.state_path):
            # A run that waits has no process here: it would have the next slot of its task skipped.
            from scflows.queue.files import live_entries

            busy = {*busy, *(ticket.task for ticket in live_entries(self._settings.state_path))}
        free = (slot for slot in self._owed if slot.name not in busy)
        slot = next((slot for slot in free if not self._capacity.runs([slot.name])), None)
        if slot is None:
            return
        task = self._agenda.tasks.get(slot.name)
        if task is None:
            self._owed.remove(slot)
            return
        has_room, place = self._capacity.take(slot, task, now, now)
        arguments = start_arguments(task, slot.due, self._settings.state_path)
        if has_room and self._starts.start(slot, task, place, arguments):
            self._owed.remove(slot)
        if place is not None:
            place.release()
