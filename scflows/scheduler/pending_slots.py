"""The slots that are due and wait for a place, in their order."""

from __future__ import annotations

from bisect import bisect_left, insort

from scflows.scheduler.due_slots import Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from scflows.cron.task import Task


class PendingSlots:
    """In the order of priority, time and name, save that slots of one task that wait together go one after another."""

    def __init__(self) -> None:
        self._slots: dict[Slot, bool] = {}  #: whether it must not meet a run of its own task
        self._own: dict[str, list[Slot]] = {}
        self._order: list[tuple[int, int, str, Slot]] = []  #: minus the priority, not before, the name
        self._came: dict[Slot, float] = {}
        self._since: dict[Slot, float] = {}
        self._keys: dict[Slot, tuple[int, int, str, Slot]] = {}

    def __len__(self) -> int:
        return len(self._slots)

    def add(self, slot: Slot, task: Task, now: float) -> None:
        """Queue up."""
        own = self._own.setdefault(slot.name, [])
        self._slots[slot] = bool(own)
        own.append(slot)
        self._came[slot] = now
        self._since[slot] = max(now, slot.due + task.schedule.second)
        self._keys[slot] = (-task.priority, slot.due + task.schedule.second, slot.name, slot)
        insort(self._order, self._keys[slot])

    def overlapping(self, now: float) -> list[tuple[Slot, list[Slot]]]:
        """Slots whose time has come, and those of the same task that came before it and wait still."""
        found = []
        for own in self._own.values():
            for slot in own[1:]:
                earlier = [each for each in own if self._came[each] < self._came[slot]]
                if earlier and self._keys[slot][1] <= now:
                    found.append((slot, earlier))
        return found

    def first(self, busy: Iterable[str], now: float, only: Callable[[str], bool] | None = None) -> Slot | None:
        """The slot whose turn it is, `busy` being the tasks that run; it stays until it is removed.

        `only` says of a task whether it is asked for.
        """
        running = set(busy)
        for _, at, name, slot in self._order:
            if at <= now and not (self._slots[slot] and name in running) and (only is None or only(name)):
                return slot
        return None

    def due(self, now: float) -> set[str]:
        """The tasks of those whose time has come."""
        return {name for _, at, name, _ in self._order if at <= now}

    def since(self, slot: Slot) -> float:
        """From when on a slot waits, in seconds since the epoch."""
        return self._since[slot]

    def expired(self, now: float, longest: Callable[[str], float]) -> list[Slot]:
        """Those that have waited longer than the seconds that their task may; they wait no more."""
        given_up = [slot for slot in self._slots if self._since[slot] < now - longest(slot.name)]
        for slot in given_up:
            self.remove(slot)
        return given_up

    def following(self, now: float) -> int | None:
        """When the next of those begins whose second has not come yet; None without one."""
        return min((at for _, at, _, _ in self._order if at > now), default=None)

    def __contains__(self, slot: Slot) -> bool:
        return slot in self._slots

    def slots(self) -> list[Slot]:
        """All that wait."""
        return list(self._slots)

    def remove(self, slot: Slot) -> None:
        del self._slots[slot]
        del self._since[slot], self._came[slot]
        del self._order[bisect_left(self._order, self._keys.pop(slot))]
        own = self._own[slot.name]
        own.remove(slot)
        if not own:
            del self._own[slot.name]

    def clear(self) -> list[Slot]:
        """Give up all of them; those that waited."""
        slots = list(self._slots)
        self._slots.clear()
        self._own.clear()
        self._order.clear()
        self._keys.clear()
        self._since.clear()
        self._came.clear()
        return slots
