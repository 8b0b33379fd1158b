"""The slots of a schedule by the calendar, through every change of the clocks as Debian's cron has it.

A line whose minute or hour begins with a star goes by the clock: a time that is skipped is none, one that comes twice
is two. Any other line has each of its times once: one that is skipped comes at the end of the gap.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from scflows.cron.schedule.zones import zone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo

#: One of every so many days: how many, and which of them, counted from the first day of the epoch.
Turn = tuple[int, int]
FIRST_DAY = date(1970, 1, 1).toordinal()
#: More than the clocks ever jump at once.
JUMP = timedelta(hours=3)
#: No zone sets its clocks and sets them back within so long.
STEADY = timedelta(days=7)
SECOND = timedelta(seconds=1)


def forward(cron: str, timezone: str | None, turn: Turn | None, after: datetime) -> Iterator[datetime]:
    """The slots later than `after`, in UTC, in order, without end where the calendar has none."""
    place = zone(timezone)
    after = after.astimezone(UTC)
    for local, moment in _by_clock(cron, place, after) if _is_by_clock(cron) else _once(cron, place, after):
        if _is_turn(turn, local):
            yield moment


def newest(cron: str, timezone: str | None, turn: Turn | None, at: datetime) -> datetime | None:
    """The newest slot up to `at`, in UTC; None if there is none within fifty years."""
    place = zone(timezone)
    until = at.astimezone(UTC).replace(microsecond=0)
    for local, moment in _by_clock_back(cron, place, until) if _is_by_clock(cron) else _once_back(cron, place, until):
        if _is_turn(turn, local):
            return moment
    return None


def _is_by_clock(cron: str) -> bool:
    minute, hour = cron.split()[:2]
    return minute.startswith("*") or hour.startswith("*")


def _by_clock(cron: str, place: tzinfo, after: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The local times and the moments later than `after` of a line that goes by the clock, in order."""
    from cronsim import CronSim

    # The library goes by whole hours, so it misses some where the clocks are set by half an hour: it is asked for the
    # calendar alone, from one change of the clocks to the next.
    ahead, moment = _ahead(place, after), after
    while True:
        for local in CronSim(cron, (after + ahead).replace(tzinfo=None)):
            found = local.replace(tzinfo=UTC) - ahead
            change = _change(place, moment, found)
            if change is not None:
                after, ahead, moment = change - SECOND, _ahead(place, change), change
                break
            moment = found
            yield local, moment
        else:
            return


def _by_clock_back(cron: str, place: tzinfo, until: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The same back in time, from `until`, which may be one."""
    from cronsim import CronSim

    ahead, moment = _ahead(place, until), until
    while True:
        for local in CronSim(cron, (until + ahead + SECOND).replace(tzinfo=None), reverse=True):
            found = local.replace(tzinfo=UTC) - ahead
            change = _change(place, moment, found)
            if change is not None:
                until = moment = change - SECOND
                ahead = _ahead(place, until)
                break
            moment = found
            yield local, moment
        else:
            return


def _once(cron: str, place: tzinfo, after: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The local times and the moments later than `after` of a line whose times come once each, in order."""
    from cronsim import CronSim

    # cronsim names a repeated hour by its clock time alone: begin before it and leave out the past.
    last = after
    for local in CronSim(cron, (after - JUMP).astimezone(place)):
        moment = local.astimezone(UTC)
        if moment > last:
            last = moment
            yield local, moment


def _once_back(cron: str, place: tzinfo, until: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The same back in time, from `until`, which may be one."""
    from cronsim import CronSim

    for local in CronSim(cron, (until + JUMP + SECOND).astimezone(place), reverse=True):
        moment = local.astimezone(UTC)
        if moment <= until:
            yield local, moment


def _ahead(place: tzinfo, moment: datetime) -> timedelta:
    """By how much the clocks are ahead of UTC."""
    return moment.astimezone(place).replace(tzinfo=UTC) - moment


def _change(place: tzinfo, start: datetime, end: datetime) -> datetime | None:
    """The first change of the clocks after `start` up to `end`; with `end` before `start` the last one after `end`."""
    if place is UTC:
        return None
    ahead = _ahead(place, start)
    while start != end:
        step = min(max(end - start, -STEADY), STEADY)
        if _ahead(place, start + step) == ahead:
            start += step
            continue
        near, far = start, start + step
        while abs(far - near) > SECOND:
            middle = near + (far - near) // 2
            if _ahead(place, middle) == ahead:
                near = middle
            else:
                far = middle
        # With parts of a second in `start`, the full second is the one in between.
        return max(near, far).replace(microsecond=0)
    return None


def _is_turn(turn: Turn | None, local: datetime) -> bool:
    """Whether this date is one of every so many days."""
    return turn is None or (local.toordinal() - FIRST_DAY) % turn[0] == turn[1]
