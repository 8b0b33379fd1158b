"""In how many bins of the week the runs of each task go on while too many do: what moving it elsewhere may gain."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scflows.cron.load import Load, Numbers, Rhythm


class Gains:
    """Of many tasks, by their numbers: for thousands of them as quick as for a few."""

    def __init__(self, rhythms: Sequence[Rhythm]) -> None:
        import numpy

        self._rhythms = list(rhythms)
        self._of_period: dict[int, tuple[Numbers, Numbers, Numbers]] = {}  #: tasks, first bins, bins after the last
        self._places: list[slice] = []  #: where in these a task is
        rows: dict[int, list[tuple[int, int, int]]] = {}
        for number, (period, starts, length, _) in enumerate(self._rhythms):
            row = rows.setdefault(period, [])
            self._places.append(slice(len(row), len(row) + len(starts)))
            row += [(number, start, start + length) for start in starts]
        for period, row in rows.items():
            tasks, first, after = numpy.array(row, numpy.int64).T.copy()
            self._of_period[period] = tasks, first, after

    def put(self, number: int, rhythm: Rhythm) -> None:
        """A task has other starts; as many of them, with the same period, as before."""
        self._rhythms[number] = rhythm
        _, first, after = self._of_period[rhythm.period]
        first[self._places[number]] = rhythm.starts
        after[self._places[number]] = [start + rhythm.length for start in rhythm.starts]

    def of(self, load: Load, goal: int) -> Numbers:
        """For each task the bins in which its runs go on while more than `goal` do."""
        import numpy

        over = load.runs > goal
        found = numpy.zeros(len(self._rhythms), numpy.int64)
        for period, (tasks, first, after) in self._of_period.items():
            folded = over.reshape(-1, period).sum(axis=0)
            ahead = numpy.cumsum(numpy.concatenate(([0], folded, folded)))
            numpy.add.at(found, tasks, ahead[after] - ahead[first])
        return found
