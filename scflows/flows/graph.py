"""Which steps can start: order by `needs`. Knows steps by their numbers; pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Graph:
    """The order of steps, of which each has the numbers of those it needs. The order in the list breaks ties."""

    def __init__(self, needs: Sequence[Sequence[int]]) -> None:
        self._open = [set(each) for each in needs]
        self._after: list[list[int]] = [[] for _ in needs]
        for number, each in enumerate(needs):
            for other in set(each):
                self._after[other].append(number)
        self._left = set(range(len(needs)))

    def first(self) -> list[int]:
        """The steps that need nothing."""
        return [number for number, needed in enumerate(self._open) if not needed and number in self._left]

    def ended(self, number: int) -> list[int]:
        """The steps that can start now that this one has ended well."""
        self._left.discard(number)
        ready = []
        for each in self._after[number]:
            self._open[each].discard(number)
            if not self._open[each] and each in self._left:
                ready.append(each)
        return ready

    def failed(self, number: int) -> list[int]:
        """The steps that can never start now that this one has failed, in order."""
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
    """The steps of one cycle, in the order in which each needs the next; empty when there is none."""
    state = [0] * len(needs)  # 1: on the way here, 2: known to be sound
    for start in range(len(needs)):
        way: list[tuple[int, Iterator[int]]] = []
        if state[start] == 0:
            state[start] = 1
            way.append((start, iter(needs[start])))
        while way:
            number, rest = way[-1]
            following = next(rest, None)
            if following is None:
                state[number] = 2
                way.pop()
            elif state[following] == 1:
                numbers = [each for each, _ in way]
                return numbers[numbers.index(following) :]
            elif state[following] == 0:
                state[following] = 1
                way.append((following, iter(needs[following])))
    return []


def unrelated(needs: Sequence[Sequence[int]], numbers: Sequence[int]) -> tuple[int, int] | None:
    """Two of `numbers` neither of which needs the other, directly or through others. `needs` has no cycle."""
    for place, one in enumerate(numbers):
        for other in numbers[place + 1 :]:
            if not _reaches(needs, one, other) and not _reaches(needs, other, one):
                return one, other
    return None


def _reaches(needs: Sequence[Sequence[int]], start: int, goal: int) -> bool:
    seen, way = {start}, [start]
    while way:
        for each in needs[way.pop()]:
            if each == goal:
                return True
            if each not in seen:
                seen.add(each)
                way.append(each)
    return False
