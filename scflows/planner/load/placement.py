"""Placement: pure functions that choose the schedule of a task so that the load stays as even as possible.

Existing tasks never move.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from scflows.cron.schedule.crontab_fields import check_minutes
from scflows.cron.schedule.fields import write
from scflows.cron.schedule.schedule import DAY, HOUR, MINUTE, WEEK, Schedule, is_exact
from scflows.cron.schedule.zones import offsets
from scflows.planner.load.durations import DEFAULT
from scflows.planner.load.load import BIN, CYCLE, DAY_BINS, MINUTE_BINS, RUN, Load, Rhythm, bins, running_minutes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from scflows.cron.schedule.spec import ScheduleSpec
    from scflows.planner.load.load import Numbers
    from scflows.planner.load.other_crontabs import BusyMinutes


def place(spec: ScheduleSpec, load: Load, name: str, balance: bool = True, seconds: float = DEFAULT) -> Schedule:
    """Choose the schedule of a new task and count it in the load; `seconds` is the expected duration of its runs.

    A cron expression is not changed. The load decides the slots of an interval; without `balance` it starts at full
    hours and at midnight of its zone.
    """
    if spec.cron is not None:
        schedule = Schedule(spec.cron, timezone=spec.timezone)
    elif not balance:
        assert spec.every
        schedule = at_full_hours(spec.every, spec.timezone)
    elif spec.every and spec.every % MINUTE:
        schedule = _at(spec.every, 0, pick(range(spec.every), f"{name}/turn"), None)
    else:
        assert spec.every
        # The planner chooses the time of day, so the zone does not matter; without one the line is exact.
        return _place_interval(spec.every, load, name, seconds)
    load.count(schedule, seconds)
    return schedule


def at_full_hours(every: int, timezone: str | None) -> Schedule:
    """Return the schedule of an interval at full hours and at midnight of its zone."""
    return _at(every, 0, 0, timezone)


def _place_interval(every: int, load: Load, name: str, seconds: float) -> Schedule:
    period, parts = _cycle(every)
    start = place_run(period, bins(seconds), load, name, round(RUN / parts))
    turn = 0
    if parts > 1:
        minute = start // MINUTE_BINS
        turn = _turn(every, period // MINUTE_BINS, minute, load, name, seconds)
    schedule = _at(every, start, turn, None)
    load.count_extra(schedule, seconds)
    return schedule


def _turn(every: int, check: int, minute: int, load: Load, name: str, seconds: float) -> int:
    """Return at which of its possible starts an interval that cron cannot express meets the fewest others."""
    own = load.turns.get(every, {})
    count = every // 60 // check
    ahead = 0 if every % DAY == 0 else max(offsets())
    costs = []
    totals = [0.0] * count
    for at, part in own.items():
        totals[at // check % count] += part
    for turn in range(count):
        begin = minute - ahead + turn * check
        costs.append(
            (sum(own.get(at, 0.0) for at, _ in running_minutes(begin, every, seconds)), totals[begin // check % count])
        )
    best = min(costs)
    return pick([turn for turn in range(count) if costs[turn] == best], f"{name}/turn")


def _at(every: int, start: int, turn: int, timezone: str | None) -> Schedule:
    """Return the schedule of an interval that starts in a bin of its cycle, on its turn of the days or hours."""
    minutes, second = start // MINUTE_BINS, start % MINUTE_BINS * BIN
    hours, minute = divmod(minutes, 60)
    weekday, hour = divmod(hours, 24)
    if every % MINUTE:
        # Its line starts every minute; the phase spreads such tasks over the seconds.
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
    """Return after how many bins the starts of an interval's line repeat, and how many of these make the interval."""
    if is_exact(every):
        return every // BIN, 1
    if every % WEEK == 0:
        return CYCLE, every // WEEK
    if every % DAY == 0:
        return DAY_BINS, every // DAY
    check = check_minutes(every)
    return check * MINUTE_BINS, every // 60 // check


#: Gaps are only considered up to this many concurrent runs.
MAX_RUNS_WITH_GAPS = 20
#: A gap counts as at most this many times as long as the run.
MAX_GAP_FACTOR = 2
#: The fractional parts of multiples of the golden ratio are spread evenly, however many there are.
GOLDEN = 0.6180339887498949


def place_run(period: int, length: int, load: Load, name: str, weight: int = RUN) -> int:
    """Return the bin of its period in which a new task starts, and count it; `length` is that of a run in bins."""
    length = min(length, period)
    weekday = 0
    if period == CYCLE:
        # The day first, so that tasks are spread over the days even if there are only a few.
        weekday = pick(_lowest(load.runs.reshape(7, -1).sum(axis=1)), f"{name}/day")
        runs, starts = load.runs, load.starts
        begin = weekday * DAY_BINS
        # The day, and as much after it as a run can extend into.
        around = _numpy().take(runs, range(begin, begin + DAY_BINS + length - 1), mode="wrap")
        minutes = starts[weekday * 1440 : weekday * 1440 + 1440]
    else:
        runs, minutes = load.folded(period)
        around = _numpy().concatenate((runs, runs[: length - 1]))
    start = _best(around, minutes, length, name, load.busy_minutes)
    start += weekday * DAY_BINS
    load.add(Rhythm(period, (start,), length, weight))
    return start


def pick(values: Sequence[int] | Numbers, name: str) -> int:
    """Return one of the values: pseudo-random, but the same in every process."""
    number = int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big")
    return int(values[number % len(values)])


def _best(around: Numbers, minutes: Numbers, length: int, name: str, busy_minutes: BusyMinutes) -> int:
    """Return the best start for a run of some bins, given the concurrent runs from the first possible start."""
    numpy = _numpy()
    peaks = _sliding_max(around, length)
    lowest = peaks.min()
    found = numpy.flatnonzero(peaks == lowest)
    # With many concurrent runs, one more matters little, and computing gaps takes long.
    if len(found) > 1 and 0 < lowest < MAX_RUNS_WITH_GAPS * RUN:
        found = found[_lowest(_gaps(around[: len(peaks)] > lowest, found, length))]
    if len(found) > 1:
        sums = numpy.zeros(len(around) + 1, numpy.int64)
        numpy.cumsum(around, out=sums[1:])
        found = found[_lowest(sums[found + length] - sums[found])]
    if len(found) > 1:
        # Each layer of runs has its own phase, so that layers of equal runs do not start in the same second.
        phase = int(length * ((int(lowest) // RUN * GOLDEN + 0.5) % 1))
        aligned = found[(found - phase) % length == 0]
        found = aligned if len(aligned) else found
    if len(found) > 1:
        found = found[_lowest(minutes[found // MINUTE_BINS])]
    if len(found) > 1:
        found = found[_lowest(busy_minutes.of(len(peaks) // MINUTE_BINS)[found // MINUTE_BINS])]
    return int(pick(found, name))


def _gaps(walls: Numbers, found: Numbers, length: int) -> Numbers:
    """Return for each start the bins of the gap between walls around it, at most `MAX_GAP_FACTOR` times the length."""
    numpy = _numpy()
    bins_of_walls = numpy.flatnonzero(walls)
    if not len(bins_of_walls):
        equal: Numbers = numpy.zeros(len(found), numpy.int64)
        return equal
    period = len(walls)
    each = numpy.arange(period)
    before = numpy.maximum.accumulate(numpy.where(walls, each, bins_of_walls[-1] - period))
    after = numpy.minimum.accumulate(numpy.where(walls, each, bins_of_walls[0] + period)[::-1])[::-1]
    gaps: Numbers = numpy.minimum(after[found] - before[found] - 1, length * MAX_GAP_FACTOR)
    return gaps


def _sliding_max(values: Numbers, length: int) -> Numbers:
    """Return the highest value of each window of `length` values."""
    numpy = _numpy()
    size = 1
    while size * 2 <= length:
        values = numpy.maximum(values[:-size], values[size:])
        size *= 2
    rest = length - size
    return numpy.maximum(values[:-rest], values[rest:]) if rest else values


def _lowest(cost: Numbers) -> Numbers:
    indices: Numbers = _numpy().flatnonzero(cost == cost.min())
    return indices


def _numpy() -> ModuleType:
    # Imported here, because it costs more than everything else in a command that places nothing.
    import numpy

    return numpy
