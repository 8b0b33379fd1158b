"""Time zones: the system's, which cron uses, and those that schedules name."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from scflows.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DAY = 86400
_EPOCH = datetime(1970, 1, 1)
_found: dict[tuple[str | None, str | None, int], frozenset[int]] = {}
_changes: dict[tuple[str | None, str | None, int, int], list[Change]] = {}


@dataclass(frozen=True)
class Change:
    """A change of a zone's clocks: its moment in seconds since the epoch, and the offsets before and after it."""

    moment: int
    before: int  #: seconds ahead of UTC
    after: int

    @property
    def is_gap(self) -> bool:
        """Whether local times are skipped; otherwise some are repeated."""
        return self.after > self.before

    @property
    def local(self) -> tuple[datetime, datetime]:
        """The range of local times that are skipped or repeated."""
        edges = sorted((self.before, self.after))
        first, last = (datetime.fromtimestamp(self.moment + edge, UTC).replace(tzinfo=None) for edge in edges)
        return first, last


class SystemZone(tzinfo):
    """The zone of the C library (`TZ`, otherwise `/etc/localtime`), which cron uses."""

    def utcoffset(self, moment: datetime | None) -> timedelta:
        naive = (moment or datetime.now()).replace(tzinfo=None)
        # Not tm_gmtoff, which within a skipped hour is already the offset after it.
        return timedelta(seconds=round((naive - _EPOCH).total_seconds() - naive.timestamp()))

    def dst(self, moment: datetime | None) -> None:
        return None

    def tzname(self, moment: datetime | None) -> str:
        naive = (moment or datetime.now()).replace(tzinfo=None)
        return time.localtime(naive.timestamp()).tm_zone

    def fromutc(self, moment: datetime) -> datetime:
        seconds = (moment.replace(tzinfo=None) - _EPOCH).total_seconds()
        return datetime.fromtimestamp(seconds).replace(tzinfo=self)


def zone(name: str | None) -> tzinfo:
    """Return the zone of a name; None is the system's. Raises UsageError for an unknown name."""
    if name is None:
        # Calendar arithmetic in UTC is several times faster.
        return UTC if time.tzname == ("UTC", "UTC") else SystemZone()
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise UsageError(f"timezone {name!r} is unknown", _nearest(name)) from error


def offsets(now: float | None = None) -> frozenset[int]:
    """Return by how many minutes the system's zone is ahead of UTC on the days of the coming year."""
    start = _today(now)
    key = (None, os.environ.get("TZ"), start)
    if key not in _found:
        _found[key] = frozenset(time.localtime(noon).tm_gmtoff // 60 for noon in _noons(start))
    return _found[key]


def differences(name: str, now: float | None = None) -> frozenset[int]:
    """Return by how many minutes a zone is ahead of the system's on the days of the coming year."""
    start = _today(now)
    key = (name, os.environ.get("TZ"), start)
    if key not in _found:
        there = zone(name)
        found = set()
        for noon in _noons(start):
            ahead = datetime.fromtimestamp(noon, there).utcoffset() or timedelta()
            found.add((int(ahead.total_seconds()) - time.localtime(noon).tm_gmtoff) // 60)
        _found[key] = frozenset(found)
    return _found[key]


def changes(name: str | None, days: int, now: float | None = None) -> list[Change]:
    """Return the changes of a zone's clocks in some days from the start of today; None is the system's zone.

    Raises UsageError.
    """
    start = _today(now)
    key = (name, os.environ.get("TZ"), start, days)
    if key not in _changes:
        _changes[key] = list(_changes_of(zone(name), start * DAY, days))
    return _changes[key]


def _offset(place: tzinfo) -> Callable[[int], int]:
    """Return a function that says how many seconds a zone is ahead of UTC at a moment."""
    if isinstance(place, SystemZone):
        return lambda moment: time.localtime(moment).tm_gmtoff  # 20 times as fast; it is called for every day.
    return lambda moment: int((datetime.fromtimestamp(moment, place).utcoffset() or timedelta()).total_seconds())


def _changes_of(place: tzinfo, start: int, days: int) -> Iterator[Change]:
    offset = _offset(place)
    after = offset(start)
    for day in range(start, start + days * DAY, DAY):
        low, high = day, day + DAY
        before, after = after, offset(high)
        if before == after:
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if offset(middle) == before else (low, middle)
        yield Change(high, before, after)


def _today(now: float | None) -> int:
    return int(time.time() if now is None else now) // DAY


def _noons(start: int) -> range:
    # Noon, because clocks change at night; more than a year, because today has already begun.
    return range(start * DAY + DAY // 2, (start + 367) * DAY, DAY)


def _nearest(name: str) -> str:
    import difflib
    import zoneinfo

    known = sorted(zoneinfo.available_timezones())
    if not known:
        return "this system has no time zones; install the package tzdata"
    folded = {zone.lower(): zone for zone in known}
    near = difflib.get_close_matches(name.lower(), folded, 1)
    return f"did you mean {folded[near[0]]!r}?" if near else "use a name such as Europe/Madrid"
