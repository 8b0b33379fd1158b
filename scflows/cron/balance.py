"""Which slots keep the load level: pure functions over the starts in each minute of the day.

A new task goes where the peak over its whole cycle stays lowest; among equals where the sum does; then where
neither the system's own cron nor a change of the clocks is near; then at random, but always the same for the
same name. Tasks that are there already never move.
"""

from __future__ import annotations

from hashlib import blake2b

from scflows.cron.fields import write
from scflows.cron.load import MINUTES, Load, load_of
from scflows.cron.schedule import DAY, HOUR, MINUTE, WEEK, Schedule, is_exact
from scflows.cron.shift import check_minutes
from scflows.cron.zone import offsets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from scflows.cron.asked import Asked

__all__ = ["Load", "load_of", "place", "placed"]

#: Minutes of every hour in which much starts elsewhere: all those who round, and Debian's hourly jobs.
BUSY_MINUTES = (0, 17)
#: Debian's daily and weekly jobs.
BUSY_TIMES = (6 * 60 + 25, 6 * 60 + 47)
#: Until this hour a change of the clocks can skip or repeat a time.
NIGHT_HOURS = 4
#: Sums of fractions that differ by less are equal.
NEAR = 1e-9


def place(
    every: int,
    load: Load,
    name: str,
    busy_minutes: Sequence[int] = BUSY_MINUTES,
    busy_times: Sequence[int] = BUSY_TIMES,
    night_hours: int = NIGHT_HOURS,
) -> int:
    """The minute of its cycle at which a new task of an interval in seconds starts; counted into the load."""
    period, weight = _cycle(every)
    peaks, sums = load.cycle(period)
    found = _lowest(range(period), peaks)
    found = _lowest(found, sums)
    if len(found) > 1:
        found = _lowest(found, _penalties(period, tuple(busy_minutes), tuple(busy_times), night_hours))
    offset = found[_number(name) % len(found)]
    load.add(range(offset, MINUTES, period), weight)
    return offset


def placed(asked: Asked, load: Load, name: str, balance: bool = True) -> Schedule:
    """The schedule of a new task, counted into the load.

    A cron expression stays as it is. An interval gets its slots from the load; without `balance` it starts at
    full hours and at midnight of its zone.
    """
    if asked.cron is not None:
        schedule = Schedule(asked.cron, timezone=asked.timezone)
        load.count(schedule)
        return schedule
    every = asked.every
    assert every
    if not balance:
        schedule = _at(every, 0, 0, 0, asked.timezone)
        load.count(schedule)
        return schedule
    weekdays = _lowest(range(7), load.weekdays)
    turn = _number(f"{name}/turn")
    weekday = weekdays[turn % len(weekdays)]
    if every % WEEK == 0:
        load.weekdays[weekday] += 1
    # The time of day is ours to choose, so the zone asked for says nothing; without it the line is exact.
    return _at(every, place(every, load, name), weekday, turn, None)


def _at(every: int, offset: int, weekday: int, turn: int, timezone: str | None) -> Schedule:
    """The schedule of an interval that begins at a minute of its cycle, on its turn of the days or hours."""
    hour, minute = divmod(offset, 60)
    if every == WEEK:
        return Schedule(f"{minute} {hour} * * {weekday}", every, timezone=timezone)
    if every % DAY == 0 and not is_exact(every):
        days = every // DAY
        if days % 7:
            return Schedule(f"{minute} {hour} * * *", every, turn % days * DAY, timezone)
        # The first day of the epoch was a Thursday, day 4 of the week.
        first = turn % (days // 7) * 7 + (weekday - 4) % 7
        return Schedule(f"{minute} {hour} * * {weekday}", every, first * DAY, timezone)
    if not is_exact(every):
        check = check_minutes(every)
        steps = every // MINUTE // check
        anchor = (offset - max(offsets()) + turn % steps * check) * MINUTE % every
        schedule = Schedule("* * * * *", every, anchor)
        return Schedule(schedule.line, every, anchor)
    period = every // MINUTE
    if every < HOUR:
        return Schedule(write(range(offset, 60, period), 0) + " * * * *", every)
    return Schedule(f"{minute} {write(range(hour, 24, period // 60), 1)} * * *", every, timezone=timezone)


def _cycle(every: int) -> tuple[int, float]:
    """After how many minutes of the day an interval repeats, and its share of these starts."""
    if every % DAY == 0:
        return MINUTES, DAY / every
    if is_exact(every):
        return every // MINUTE, 1.0
    check = check_minutes(every)
    return check, check * MINUTE / every


def _lowest(places: Sequence[int], cost: Sequence[float]) -> list[int]:
    limit = min(cost[place] for place in places) + NEAR
    return [place for place in places if cost[place] <= limit]


_known_penalties: dict[tuple[object, ...], list[float]] = {}


def _penalties(
    period: int, busy_minutes: tuple[int, ...], busy_times: tuple[int, ...], night_hours: int
) -> list[float]:
    """For each minute of a period, how many of its starts of the day are better elsewhere."""
    key = (period, busy_minutes, busy_times, night_hours)
    if key not in _known_penalties:
        bad = [
            (minute % 60 in busy_minutes) + (minute in busy_times) + (minute < night_hours * 60)
            for minute in range(MINUTES)
        ]
        _known_penalties[key] = [float(sum(bad[place::period])) for place in range(period)]
    return _known_penalties[key]


def _number(name: str) -> int:
    """A number that is as good as random, and the same in every process."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big")
