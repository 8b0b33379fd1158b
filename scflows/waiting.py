"""The slots that are due and wait for a place, in their order."""

from __future__ import annotations

from scflows.agenda import MADE_UP, Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

#: How many slots of one task may wait, the most that can be made up; of more, the oldest are missed.
MOST = MADE_UP // 60 + 1


class Waiting:
    """First come, first served, save that slots of one task that wait together are started one after another."""

    def __init__(self) -> None:
        self._slots: dict[Slot, bool] = {}  #: whether it must not meet a run of its own task
        self._own: dict[str, list[Slot]] = {}

    def __len__(self) -> int:
        return len(self._slots)

    def add(self, slot: Slot) -> Slot | None:
        """Queue up; the slot of the same task that has to give way, if too many of them wait."""
        own = self._own.setdefault(slot.name, [])
        self._slots[slot] = bool(own)
        own.append(slot)
        if len(own) <= MOST:
            return None
        given_up = own[0]
        self.remove(given_up)
        return given_up

    def first(self, busy: Iterable[str]) -> Slot | None:
        """The slot whose turn it is, `busy` being the tasks that run; it stays until it is removed."""
        running = set(busy)
        for slot, is_patient in self._slots.items():
            if not (is_patient and slot.name in running):
                return slot
        return None

    def remove(self, slot: Slot) -> None:
        del self._slots[slot]
        own = self._own[slot.name]
        own.remove(slot)
        if not own:
            del self._own[slot.name]

    def clear(self) -> list[Slot]:
        """Give up all of them; those that waited."""
        slots = list(self._slots)
        self._slots.clear()
        self._own.clear()
        return slots
