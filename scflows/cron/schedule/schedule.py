"""When a task is due: a cron expression or an interval, its crontab fields and its slots."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from functools import lru_cache

from scflows.storage import MAX_SECONDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from typing import Any

    from scflows.cron.schedule.spec import ScheduleSpec

MINUTE = 60
HOUR = 3600
DAY = 86400
WEEK = 7 * DAY
#: Seconds after a slot by which its run has begun, or something is wrong: cron itself takes up to two minutes.
OVERDUE = 150.0
#: Seconds after a slot in which the run is still started; later, the slot was missed.
STARTABLE = 300
#: No task file's interval is longer: ten years, in seconds.
LONGEST = 3660 * DAY


@dataclass(frozen=True)
class Schedule:
    """When a task is due. Immutable; a task keeps its schedule until somebody changes it."""

    cron: str  #: five normalised fields in `timezone`: as asked for, or as placed
    every: int | None = None  #: the interval asked for, in seconds; None for a cron expression
    anchor: int = 0  #: the phase of an interval that the calendar cannot express, in seconds since the epoch
    timezone: str | None = None  #: an IANA name; None is the system's zone
    second: int = 0  #: 0 to 59: how long after its slot, which is a full minute, a run starts

    @property
    def line(self) -> str:
        """The five fields for the crontab, in the system's zone."""
        if self.is_counted:
            from scflows.cron.schedule.crontab_fields import interval_fields

            return interval_fields(self.every or 0, self.anchor)
        if self.timezone is None:
            return self.cron
        from scflows.cron.schedule.crontab_fields import shifted_fields

        return shifted_fields(self.cron, self.timezone)

    @property
    def gated(self) -> bool:
        """Whether the crontab's line starts more often than a slot is due; `latest` decides then."""
        return self.is_counted or self.every_days > 0 or self.line != self.cron

    @property
    def is_counted(self) -> bool:
        """Whether the slots are counted in seconds from `anchor`, not taken from the calendar."""
        return self.every is not None and self.every % DAY != 0 and not is_exact(self.every)

    @property
    def is_fine(self) -> bool:
        """Whether its slots are no full minutes: a process is started for each minute that has some."""
        return self.every is not None and self.every % MINUTE != 0

    @property
    def every_days(self) -> int:
        """N for an interval of N days that needs a count of the days; 0 for all others."""
        return self.every // DAY if self.every and self.every % DAY == 0 and not is_exact(self.every) else 0

    def latest_epoch(self, now: float) -> int | None:
        """The newest slot up to `now`, both in seconds since the epoch; None when there never was one."""
        if self.is_counted:
            assert self.every
            return int(now - self.anchor) // self.every * self.every + self.anchor
        found = self._near(now, -1)
        if found is not None:
            return found
        from datetime import UTC, datetime

        from scflows.cron.schedule.slots import newest

        moment = newest(self.cron, self.timezone, self._turn, datetime.fromtimestamp(now, UTC))
        return None if moment is None else int(moment.timestamp())

    def next_epoch(self, after: float) -> int | None:
        """The first slot later than `after`, both in seconds since the epoch; None when there is none."""
        if self.is_counted:
            assert self.every
            return (int((after - self.anchor) // self.every) + 1) * self.every + self.anchor
        found = self._near(after, 1)
        if found is not None:
            return found
        from datetime import UTC, datetime

        from scflows.cron.schedule.slots import forward

        begin = datetime.fromtimestamp(after, UTC)
        moment = next(forward(self.cron, self.timezone, self._turn, begin), None)
        return None if moment is None else int(moment.timestamp())

    def next_start(self, after: float) -> int | None:
        """The first minute later than `after` that a process is to be started for: a slot, or one that has some."""
        if not self.is_fine:
            return self.next_epoch(after)
        slot = self.next_epoch(after // MINUTE * MINUTE + MINUTE - 1)
        return None if slot is None else slot // MINUTE * MINUTE

    def start_of(self, slot: int) -> int:
        """When the crontab's line starts a slot: later than it where the system's clocks have that time twice."""
        if not self.gated or self.is_fine:
            return slot
        return Schedule(self.line).next_epoch(slot - 1) or slot

    def within(self, minute: float) -> Iterator[int]:
        """The slots of a minute, in seconds since the epoch, in order."""
        slot = self.next_epoch(minute - 1)
        while slot is not None and slot < minute + MINUTE:
            yield slot
            slot = self.next_epoch(slot)

    def latest(self, at: datetime) -> datetime | None:
        """The newest slot up to `at`, in UTC."""
        return _moment(self.latest_epoch(at.timestamp()))

    def next(self, after: datetime) -> datetime | None:
        """The first slot later than `after`, in UTC."""
        return _moment(self.next_epoch(after.timestamp()))

    def slots(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """The slots later than `after` up to and including `until`, in UTC, in order."""
        if self.is_counted:
            moment = self.next(after)
            while moment is not None and moment <= until:
                yield moment
                moment = self.next(moment)
            return
        from scflows.cron.schedule.slots import forward

        for moment in forward(self.cron, self.timezone, self._turn, after):
            if moment > until:
                return
            yield moment

    def words(self) -> str:
        """The schedule for people, such as `every 3 h at :17`."""
        from scflows.cron.schedule.describe import calendar, counted, turn

        if self.is_counted:
            text = counted(self.every or 0)
        else:
            text = turn(self.every_days, self.cron) if self.every_days else calendar(self.cron)
        return text + (f" ({self.timezone})" if self.timezone else "")

    def why_counted(self) -> str:
        """Why its line starts more often than it is due; empty where it does not."""
        from scflows.cron.schedule.describe import why_counted

        return why_counted(self.every, self.is_counted, self.every_days)

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values; what has its usual value is left out."""
        kept: dict[str, Any] = {"cron": self.cron}
        if self.every is not None:
            kept["every"] = self.every
        if self.anchor:
            kept["anchor"] = self.anchor
        if self.timezone is not None:
            kept["timezone"] = self.timezone
        if self.second:
            kept["second"] = self.second
        return kept

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Schedule:
        """The schedule of `to_dict`. Raises UsageError, TypeError, ValueError or KeyError for what cannot be one."""
        from scflows.cron.schedule.fields import normalised

        # Checked, since people edit such files.
        schedule = cls(**{**values, "cron": normalised(values["cron"])})
        every = schedule.every
        if type(schedule.anchor) is not int or (every is not None and (type(every) is not int or every < 1)):
            raise TypeError(f"every {every!r} and anchor {schedule.anchor!r} are no whole numbers of seconds")
        if abs(schedule.anchor) >= MAX_SECONDS or (every is not None and every > LONGEST):
            raise ValueError(f"every {every!r} or anchor {schedule.anchor!r} is too large")
        if schedule.timezone is not None:
            if not isinstance(schedule.timezone, str):
                raise TypeError(f"timezone {schedule.timezone!r} is no text")
            from scflows.cron.schedule.zones import zone

            zone(schedule.timezone)
        if type(schedule.second) is not int or not 0 <= schedule.second < MINUTE:
            raise TypeError(f"second {schedule.second!r} is no whole number from 0 to 59")
        return schedule

    @classmethod
    def from_checked(cls, values: dict[str, Any]) -> Schedule:
        """The schedule of `to_dict` whose values `from_dict` took before."""
        schedule = object.__new__(cls)
        schedule.__dict__.update(values)
        return schedule

    @property
    def _turn(self) -> tuple[int, int] | None:
        """Of how many days it is which one; None when it is not a matter of counting days."""
        return (self.every_days, self.anchor // DAY) if self.every_days else None

    def _near(self, now: float, direction: int) -> int | None:
        """The slot next to `now` in a direction: on a calendar of plain minutes and hours, within a day.

        None where calendar libraries must decide: other days, other zones, clocks changed near by. This is
        what every start by cron asks, and those libraries cost as much as all the rest of such a start.
        """
        if self.timezone is not None or self.every_days or not self.cron.endswith(" * * *"):
            return None
        return _by_the_clock(self.cron, now, direction, os.environ.get("TZ"))


# Whoever looks at many tasks asks for the same few times of day, and for the same moment.
@lru_cache(maxsize=8192)
def _by_the_clock(cron: str, now: float, direction: int, zone: str | None) -> int | None:
    """See `Schedule._near`; `zone` is what it depends on besides."""
    here = _steady(now, direction, zone)
    if here is None:
        return None
    from scflows.cron.schedule.fields import values

    minute_field, hour_field = cron.split(" ")[:2]
    away = _minutes_to(values(minute_field, 0), values(hour_field, 1), here.tm_hour, here.tm_min, direction)
    return int(now // 1) - here.tm_sec + away * MINUTE


@lru_cache(maxsize=64)
def _steady(now: float, direction: int, zone: str | None) -> time.struct_time | None:
    """The clock's time, if it is not set within two days in a direction; `zone` is what it depends on besides."""
    here = time.localtime(now)
    around = (-2 * DAY,) if direction < 0 else (-2 * DAY, 2 * DAY)
    if any(time.localtime(now + distance).tm_gmtoff != here.tm_gmtoff for distance in around):
        return None
    return here


def parse_schedule(given: dict[str, Any]) -> ScheduleSpec:
    """What a flow's `schedule`, or its top-level `cron` or `every_seconds`, asks for. Raises UsageError."""
    # In a module of its own, since no start by cron needs it.
    from scflows.cron.schedule.spec import parse_schedule as read

    return read(given)


def parse_every(text: str) -> int:
    """The seconds of an interval such as `15m`, `3h`, `1d`, `2w`, `@daily`. Raises UsageError."""
    from scflows.cron.schedule.spec import parse_every as read

    return read(text)


def is_exact(every: int) -> bool:
    """Whether one line of the calendar can say the interval: it divides the hour, the day, or is a week."""
    if every < HOUR:
        return every % MINUTE == 0 and HOUR % every == 0
    return every == WEEK or (every % HOUR == 0 and DAY % every == 0)


def _minutes_to(minutes: list[int], hours: list[int], hour: int, minute: int, direction: int) -> int:
    """How many minutes on is the next of these minutes of these hours, or how many back, as minus, the last one.

    The minute itself is the last one, and not the next.
    """
    if hour in hours:
        near = [each for each in minutes if (each <= minute if direction < 0 else each > minute)]
        if near:
            return (max(near) if direction < 0 else min(near)) - minute
    if direction < 0:
        before = max([each for each in hours if each < hour] or hours)
        return -((hour * 60 + minute - before * 60 - max(minutes)) % 1440)
    after = min([each for each in hours if each > hour] or hours)
    return (after * 60 + min(minutes) - hour * 60 - minute) % 1440 or 1440


def _moment(epoch: int | None) -> datetime | None:
    if epoch is None:
        return None
    from datetime import UTC, datetime

    return datetime.fromtimestamp(epoch, UTC)
