"""The schedule of a task, by where a run of it makes the load least uneven: pure functions.

Tasks that are there already never move.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from scflows.cron.schedule.crontab_fields import check_minutes
from scflows.cron.schedule.fields import write
from scflows.cron.schedule.schedule import DAY, HOUR, MINUTE, WEEK, Schedule, is_exact
from scflows.cron.schedule.zones import offsets
from scflows.planner.load.durations import DEFAULT
from scflows.planner.load.load import BIN, CYCLE, DAY_BINS, MINUTE_BINS, RUN, Load, Rhythm, bins, lasting

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from scflows.cron.schedule.spec import ScheduleSpec
    from scflows.planner.load.load import Numbers
    from scflows.planner.load.other_crontabs import BusyMinutes


def placed(asked: ScheduleSpec, load: Load, name: str, balance: bool = True, seconds: float = DEFAULT) -> Schedule:
    """The schedule of a new task, counted into the load. `seconds` is what a run of it is expected to take.

    A cron expression stays as it is. An interval gets its slots from the load; without `balance` it starts at
    full hours and at midnight of its zone.
    """
    if asked.cron is not None:
        schedule = Schedule(asked.cron, timezone=asked.timezone)
    elif not balance:
        assert asked.every
        schedule = nominal(asked.every, asked.timezone)
    elif asked.every and asked.every % MINUTE:
        schedule = _at(asked.every, 0, pick(range(asked.every), f"{name}/turn"), None)
    else:
        assert asked.every
        # The time of day is ours to choose, so the zone asked for says nothing; without it the line is exact.
        return _placed(asked.every, load, name, seconds)
    load.count(schedule, seconds)
    return schedule


def nominal(every: int, timezone: str | None) -> Schedule:
    """An interval at full hours and at midnight of its zone."""
    return _at(every, 0, 0, timezone)


def _placed(every: int, load: Load, name: str, seconds: float) -> Schedule:
    period, parts = _cycle(every)
    start = count_best(period, bins(seconds), load, name, round(RUN / parts))
    turn = 0
    if parts > 1:
        minute = start // MINUTE_BINS
        turn = _turn(every, period // MINUTE_BINS, minute, load, name, seconds)
    schedule = _at(every, start, turn, None)
    load.count_besides(schedule, seconds)
    return schedule


def _turn(every: int, check: int, minute: int, load: Load, name: str, seconds: float) -> int:
    """Which of the times at which an interval may start that no week divides, has the fewest runs of its like."""
    own = load.turns.get(every, {})
    count = every // 60 // check
    ahead = 0 if every % DAY == 0 else max(offsets())
    here = []
    whole = [0.0] * count
    for at, part in own.items():
        whole[at // check % count] += part
    for turn in range(count):
        begin = minute - ahead + turn * check
        here.append((sum(own.get(at, 0.0) for at, _ in lasting(begin, every, seconds)), whole[begin // check % count]))
    best = min(here)
    return pick([turn for turn in range(count) if here[turn] == best], f"{name}/turn")


def _at(every: int, start: int, turn: int, timezone: str | None) -> Schedule:
    """The schedule of an interval that begins in a bin of its cycle, on its turn of the days or hours."""
    minutes, second = start // MINUTE_BINS, start % MINUTE_BINS * BIN
    hours, minute = divmod(minutes, 60)
    weekday, hour = divmod(hours, 24)
    if every % MINUTE:
        # Its line starts each minute; the phase is what spreads several of them over the seconds.
        return Schedule("* * * * *", every, turn % every)
    if every == WEEK:
        return Schedule(f"{minute} {hour} * * {weekday}", every, timezone=timezone, second=second)
    if every % DAY == 0 and not is_exact(every):
        days = every // DAY
        if days % 7:
            return Schedule(f"{minute} {hour} * * *", every, turn % days * DAY, timezone, second)
        # The first day of the epoch was a Thursday, day 4 of the week.
        first = turn % (days // 7) * 7 + (weekday - 4) % 7
        return Schedule(f"{minute} {hour} * * {weekday}", every, first * DAY, timezone, second)
    if not is_exact(every):
        check = check_minutes(every)
        anchor = (minutes - max(offsets()) + turn * check) * MINUTE % every
        schedule = Schedule("* * * * *", every, anchor)
        return Schedule(schedule.line, every, anchor, second=second)
    period = every // MINUTE
    if every < HOUR:
        return Schedule(write(range(minute, 60, period), 0) + " * * * *", every, second=second)
    fields = f"{minute} {write(range(hour, 24, period // 60), 1)} * * *"
    return Schedule(fields, every, timezone=timezone, second=second)


def _cycle(every: int) -> tuple[int, int]:
    """The bins after which the starts of an interval's line repeat, and how many of these make the interval."""
    if is_exact(every):
        return every // BIN, 1
    if every % WEEK == 0:
        return CYCLE, every // WEEK
    if every % DAY == 0:
        return DAY_BINS, every // DAY
    check = check_minutes(every)
    return check * MINUTE_BINS, every // 60 // check


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


def _best(around: Numbers, minutes: Numbers, length: int, name: str, avoided: BusyMinutes) -> int:
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
