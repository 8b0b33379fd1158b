"""The order of steps by `needs`: which steps can start. Steps are numbers; nothing here has side effects."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Graph:
    """The progress through steps, each with the numbers of the steps it needs; ties are broken by list order."""

    def __init__(self, needs: Sequence[Sequence[int]]) -> None:
        self._open = [set(each) for each in needs]
        self._after: list[list[int]] = [[] for _ in needs]
        for number, each in enumerate(needs):
            for other in set(each):
                self._after[other].append(number)
        self._left = set(range(len(needs)))

    def first(self) -> list[int]:
        """Return the steps that need no others."""
        return [number for number, needed in enumerate(self._open) if not needed and number in self._left]

    def ended(self, number: int) -> list[int]:
        """Return the steps that can start now that this one has succeeded."""
        self._left.discard(number)
        ready = []
        for each in self._after[number]:
            self._open[each].discard(number)
            if not self._open[each] and each in self._left:
                ready.append(each)
        return ready

    def failed(self, number: int) -> list[int]:
        """Return the steps that can never start now that this one has failed, in order."""
        self._left.discard(number)
        lost: set[int] = set()
        reached = [number]
        while reached:
            for each in self._after[reached.pop()]:
                if each in self._left:
                    self._left.discard(each)
                    lost.add(each)
                    reached.append(each)
        return sorted(lost)


def cycle(needs: Sequence[Sequence[int]]) -> list[int]:
    """Return the steps of one cycle, each needing the next; empty if there is none."""
    from graphlib import CycleError, TopologicalSorter

    try:
        TopologicalSorter(dict(enumerate(needs))).prepare()
    except CycleError as error:
        # From a step to one that needs it, with the first step again at the end.
        found: list[int] = error.args[1][:0:-1]
        first = found.index(min(found))
        return found[first:] + found[:first]
    return []


def unrelated(needs: Sequence[Sequence[int]], numbers: Sequence[int]) -> tuple[int, int] | None:
    """Return two of `numbers` neither of which needs the other, even indirectly. `needs` must have no cycle."""
    for index, one in enumerate(numbers):
        for other in numbers[index + 1 :]:
            if not _reaches(needs, one, other) and not _reaches(needs, other, one):
                return one, other
    return None


def _reaches(needs: Sequence[Sequence[int]], start: int, goal: int) -> bool:
    seen, path = {start}, [start]
    while path:
        for each in needs[path.pop()]:
            if each == goal:
                return True
            if each not in seen:
                seen.add(each)
                path.append(each)
    return False
