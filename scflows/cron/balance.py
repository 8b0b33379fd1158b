"""The schedule of a task, by where a run of it makes the load least uneven: pure functions.

Tasks that are there already never move.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scflows.cron.duration import DEFAULT
from scflows.cron.fields import write
from scflows.cron.load import BIN, CYCLE, DAY_BINS, MINUTE_BINS, RUN, bins, lasting
from scflows.cron.schedule import DAY, HOUR, MINUTE, WEEK, Schedule, is_exact
from scflows.cron.shift import check_minutes
from scflows.cron.start import count_best, pick
from scflows.cron.zone import offsets

if TYPE_CHECKING:
    from scflows.cron.asked import Asked
    from scflows.cron.load import Load


def placed(asked: Asked, load: Load, name: str, balance: bool = True, seconds: float = DEFAULT) -> Schedule:
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
