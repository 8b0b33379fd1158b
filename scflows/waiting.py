"""The slots that are due and wait for a place, in their order."""

from __future__ import annotations

from bisect import bisect_left, insort

from scflows.agenda import MADE_UP, Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from scflows.cron.task import Task

#: How many slots of one task may wait, the most that can be made up; of more, the oldest are missed.
MOST = MADE_UP // 60 + 1


class Waiting:
    """In the order of priority, time and name, save that slots of one task that wait together go one after another."""

    def __init__(self) -> None:
        self._slots: dict[Slot, bool] = {}  #: whether it must not meet a run of its own task
        self._own: dict[str, list[Slot]] = {}
        self._order: list[tuple[int, int, str, Slot]] = []  #: minus the priority, not before, the name
        self._since: dict[Slot, float] = {}
        self._keys: dict[Slot, tuple[int, int, str, Slot]] = {}

    def __len__(self) -> int:
        return len(self._slots)

    def add(self, slot: Slot, task: Task, now: float) -> Slot | None:
        """Queue up; the slot of the same task that has to give way, if too many of them wait."""
        own = self._own.setdefault(slot.name, [])
        self._slots[slot] = bool(own)
        own.append(slot)
        self._since[slot] = max(now, slot.due + task.schedule.second)
        self._keys[slot] = (-task.priority, slot.due + task.schedule.second, slot.name, slot)
        insort(self._order, self._keys[slot])
        if len(own) <= MOST:
            return None
        given_up = own[0]
        self.remove(given_up)
        return given_up

    def first(self, busy: Iterable[str], now: float, only: Callable[[str], bool] | None = None) -> Slot | None:
        """The slot whose turn it is, `busy` being the tasks that run; it stays until it is removed.

        `only` says of a task whether it is asked for.
        """
        running = set(busy)
        for _, at, name, slot in self._order:
            if at <= now and not (self._slots[slot] and name in running) and (only is None or only(name)):
                return slot
        return None

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

    def slots(self) -> list[Slot]:
        """All that wait."""
        return list(self._slots)

    def remove(self, slot: Slot) -> None:
        del self._slots[slot]
        del self._since[slot]
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
        return slots
