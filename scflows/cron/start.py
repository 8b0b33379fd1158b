"""The start of a run within its period that keeps the load level: pure functions over the runs expected at once.

A new task goes where the peak over its whole cycle stays lowest; among equals into the narrowest room, so that the
wide ones are left for long runs; then where least goes on in sum, then where runs of the same length leave no gaps,
then where fewest start in the same minute; then where neither other entries of the system's cron nor a change of the
clocks are; then at random, but always the same for the same name.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from scflows.cron.load import CYCLE, DAY_BINS, MINUTE_BINS, RUN, Load, Rhythm

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from scflows.cron.avoided import Avoided
    from scflows.cron.load import Numbers

#: Up to so many runs at once, rooms are looked at.
FEW_RUNS = 20
#: Room for a run that is wider by this factor is not worth keeping for a longer one.
WIDE = 2
#: The multiples of the golden ratio, less their whole numbers, are spread evenly, however many of them are taken.
GOLDEN = 0.6180339887498949


def count_best(period: int, length: int, load: Load, name: str, weight: int = RUN) -> int:
    """The bin of its period in which a new task starts; counted into the load. `length` is that of a run in bins."""
    length = min(length, period)
    weekday = 0
    if period == CYCLE:
        # Day by day, so that the days get their share also where nearly nothing is there yet.
        weekday = pick(_lowest(load.runs.reshape(7, -1).sum(axis=1)), f"{name}/day")
        runs, starts = load.runs, load.starts
        begin = weekday * DAY_BINS
        # One round of the day, and as much after it as a run may reach into.
        around = _numpy().take(runs, range(begin, begin + DAY_BINS + length - 1), mode="wrap")
        minutes = starts[weekday * 1440 : weekday * 1440 + 1440]
    else:
        runs, minutes = load.folded(period)
        around = _numpy().concatenate((runs, runs[: length - 1]))
    start = _best(around, minutes, length, name, load.avoided)
    start += weekday * DAY_BINS
    load.add(Rhythm(period, (start,), length, weight))
    return start


def pick(found: Sequence[int] | Numbers, name: str) -> int:
    """One of the places: as good as random, and the same in every process."""
    number = int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big")
    return int(found[number % len(found)])


def _best(around: Numbers, minutes: Numbers, length: int, name: str, avoided: Avoided) -> int:
    """The best start for a run of some bins, given what goes on in the bins from the first start on."""
    numpy = _numpy()
    peaks = _sliding_max(around, length)
    lowest = peaks.min()
    found = numpy.flatnonzero(peaks == lowest)
    # Where many run at once, one run more or less says little, and looking at rooms takes its time.
    if len(found) > 1 and 0 < lowest < FEW_RUNS * RUN:
        found = found[_lowest(_rooms(around[: len(peaks)] > lowest, found, length))]
    if len(found) > 1:
        sums = numpy.zeros(len(around) + 1, numpy.int64)
        numpy.cumsum(around, out=sums[1:])
        found = found[_lowest(sums[found + length] - sums[found])]
    if len(found) > 1:
        # Each layer has its own phase, so that layers full of equal runs do not start in the same second.
        phase = int(length * ((int(lowest) // RUN * GOLDEN + 0.5) % 1))
        aligned = found[(found - phase) % length == 0]
        found = aligned if len(aligned) else found
    if len(found) > 1:
        found = found[_lowest(minutes[found // MINUTE_BINS])]
    if len(found) > 1:
        found = found[_lowest(avoided.of(len(peaks) // MINUTE_BINS)[found // MINUTE_BINS])]
    return int(pick(found, name))


def _rooms(walls: Numbers, found: Numbers, length: int) -> Numbers:
    """For each start the bins without a wall around a run, no more than `WIDE` times its length."""
    numpy = _numpy()
    places = numpy.flatnonzero(walls)
    if not len(places):
        same: Numbers = numpy.zeros(len(found), numpy.int64)
        return same
    period = len(walls)
    each = numpy.arange(period)
    before = numpy.maximum.accumulate(numpy.where(walls, each, places[-1] - period))
    behind = numpy.minimum.accumulate(numpy.where(walls, each, places[0] + period)[::-1])[::-1]
    rooms = behind[found] - before[found] - 1
    few: Numbers = numpy.minimum(rooms, length * WIDE)
    return few


def _sliding_max(values: Numbers, length: int) -> Numbers:
    """The highest value of each window of some values."""
    numpy = _numpy()
    size = 1
    while size * 2 <= length:
        values = numpy.maximum(values[:-size], values[size:])
        size *= 2
    rest = length - size
    return numpy.maximum(values[:-rest], values[rest:]) if rest else values


def _lowest(cost: Numbers) -> Numbers:
    places: Numbers = _numpy().flatnonzero(cost == cost.min())
    return places


def _numpy() -> ModuleType:
    # Imported here: what it costs is more than all else that a command needs which places nothing.
    import numpy

    return numpy
