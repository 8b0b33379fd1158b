"""The slots of a calendar schedule, with changes of the clocks handled as in Debian's cron.

A line whose minute or hour starts with a star follows the clock: skipped times have no slot, repeated times have two.
Any other line has each time once: a skipped time is due at the end of the gap.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo

from scflows.cron.schedule.zones import zone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

#: Every n-th day: n, and which of the n days, counted from the first day of the epoch.
Turn = tuple[int, int]
FIRST_DAY = date(1970, 1, 1).toordinal()
#: More than any change of the clocks.
JUMP = timedelta(hours=3)
#: No zone changes its clocks and changes them back within this time.
STEADY = timedelta(days=7)
SECOND = timedelta(seconds=1)


def forward(cron: str, timezone: str | None, turn: Turn | None, after: datetime) -> Iterator[datetime]:
    """Yield the slots later than `after`, in UTC, in order; endless unless the calendar ends."""
    place = zone(timezone)
    after = after.astimezone(UTC)
    for local, moment in _by_clock(cron, place, after) if _is_by_clock(cron) else _once(cron, place, after):
        if _is_turn(turn, local):
            yield moment


def newest(cron: str, timezone: str | None, turn: Turn | None, at: datetime) -> datetime | None:
    """Return the newest slot up to `at`, in UTC; None if there is none within fifty years."""
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
    """Yield the local times and moments later than `after` of a line that follows the clock, in order."""
    from cronsim import CronSim

    # cronsim works in whole hours and misses slots if the clocks change by half an hour. So it only computes the
    # calendar, from one change of the clocks to the next.
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
    """Yield the same backwards, from and including `until`."""
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
    """Yield the local times and moments later than `after` of a line that has each time once, in order."""
    from cronsim import CronSim

    # cronsim identifies a repeated hour by its local time only: start before it and skip past slots.
    last = after
    for local in CronSim(cron, (after - JUMP).astimezone(place)):
        moment = local.astimezone(UTC)
        if moment > last:
            last = moment
            yield local, moment


def _once_back(cron: str, place: tzinfo, until: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Yield the same backwards, from and including `until`."""
    from cronsim import CronSim

    for local in CronSim(cron, (until + JUMP + SECOND).astimezone(place), reverse=True):
        moment = local.astimezone(UTC)
        if moment <= until:
            yield local, moment


def _ahead(place: tzinfo, moment: datetime) -> timedelta:
    """Return how far a zone is ahead of UTC at a moment."""
    return moment.astimezone(place).replace(tzinfo=UTC) - moment


def _change(place: tzinfo, start: datetime, end: datetime) -> datetime | None:
    """Return the first change of the clocks after `start` up to `end`; backwards if `end` is before `start`."""
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
        # If `start` has fractions of a second, the full second is in between.
        return max(near, far).replace(microsecond=0)
    return None


def _is_turn(turn: Turn | None, local: datetime) -> bool:
    """Return whether a date is the chosen one of every n days."""
    return turn is None or (local.toordinal() - FIRST_DAY) % turn[0] == turn[1]
