"""A schedule: when a task is due, as a cron expression or an interval, with its crontab fields and slots."""

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

MINUTE = 60
HOUR = 3600
DAY = 86400
WEEK = 7 * DAY
#: Seconds after its slot from which a run that has not started is overdue. Cron itself may take two minutes.
OVERDUE = 150.0
#: Seconds after a slot within which its run may still start; after that, the slot is missed.
STARTABLE = 300
#: The longest interval in a task file: ten years, in seconds.
LONGEST = 3660 * DAY


@dataclass(frozen=True)
class Schedule:
    """When a task is due. A task keeps its schedule until a user changes it."""

    cron: str  #: five normalised fields in `timezone`: as requested, or as placed
    every: int | None = None  #: the requested interval in seconds; None for a cron expression
    anchor: int = 0  #: the phase of an interval that the calendar cannot express, in seconds since the epoch
    timezone: str | None = None  #: an IANA name; None is the system's zone
    second: int = 0  #: 0 to 59: how many seconds after its slot, a full minute, a run starts

    @property
    def is_boot(self) -> bool:
        """Whether the task starts once after each boot, and has no slots."""
        return self.cron == "@reboot"

    @property
    def line(self) -> str:
        """The five fields for the crontab, in the system's zone; `@reboot` for a boot task."""
        if self.is_counted:
            from scflows.cron.schedule.crontab_fields import interval_fields

            return interval_fields(self.every or 0, self.anchor)
        fields = self.cron
        if self.timezone is not None:
            from scflows.cron.schedule.crontab_fields import shifted_fields

            fields = shifted_fields(fields, self.timezone)
        if fields.count("*") > fields.endswith("*") and not fields.endswith(" *"):
            from scflows.cron.schedule.crontab_fields import one_day_field

            return one_day_field(fields)
        return fields

    @property
    def gated(self) -> bool:
        """Whether the crontab's line starts more often than a slot is due, so that `latest` must decide."""
        return self.is_counted or self.every_days > 0 or self.line != self.cron

    @property
    def is_counted(self) -> bool:
        """Whether the slots are counted in seconds from `anchor`, not taken from the calendar."""
        return self.every is not None and self.every % DAY != 0 and not is_exact(self.every)

    @property
    def is_fine(self) -> bool:
        """Whether slots are not full minutes; then a process is started for each minute with slots."""
        return self.every is not None and self.every % MINUTE != 0

    @property
    def every_days(self) -> int:
        """N for an interval of N days that needs a count of the days; 0 for all others."""
        return self.every // DAY if self.every and self.every % DAY == 0 and not is_exact(self.every) else 0

    def latest_epoch(self, now: float) -> int | None:
        """Return the newest slot up to `now`, both in seconds since the epoch; None if there was none."""
        if self.is_boot:
            return None
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
        """Return the first slot later than `after`, both in seconds since the epoch; None if there is none."""
        if self.is_boot:
            return None
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
        """Return the first minute later than `after` for which a process must start: a slot, or one with slots."""
        if not self.is_fine:
            return self.next_epoch(after)
        slot = self.next_epoch(after // MINUTE * MINUTE + MINUTE - 1)
        return None if slot is None else slot // MINUTE * MINUTE

    def start_of(self, slot: int) -> int:
        """Return when the crontab's line starts a slot; later if that local time of the system is repeated."""
        if not self.gated or self.is_fine:
            return slot
        return Schedule(self.line).next_epoch(slot - 1) or slot

    def within(self, minute: float) -> Iterator[int]:
        """Yield the slots of a minute, in seconds since the epoch, in order."""
        slot = self.next_epoch(minute - 1)
        while slot is not None and slot < minute + MINUTE:
            yield slot
            slot = self.next_epoch(slot)

    def slots(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """Yield the slots later than `after` up to and including `until`, in UTC, in order."""
        if self.is_counted:
            from datetime import UTC, datetime

            slot, last = self.next_epoch(after.timestamp()), until.timestamp()
            while slot is not None and slot <= last:
                yield datetime.fromtimestamp(slot, UTC)
                slot = self.next_epoch(slot)
            return
        if self.is_boot:
            return
        from scflows.cron.schedule.slots import forward

        for moment in forward(self.cron, self.timezone, self._turn, after):
            if moment > until:
                return
            yield moment

    def words(self) -> str:
        """Describe the schedule, for example `every 3 h at :17`."""
        from scflows.cron.schedule.describe import calendar, counted, turn

        if self.is_boot:
            text = "at boot"
        elif self.is_counted:
            text = counted(self.every or 0)
        else:
            text = turn(self.every_days, self.cron) if self.every_days else calendar(self.cron)
        return text + (f" ({self.timezone})" if self.timezone else "")

    def why_counted(self) -> str:
        """Say why the line starts more often than slots are due; return an empty text if it does not."""
        from scflows.cron.schedule.describe import why_counted

        return why_counted(self.every, self.is_counted, self.every_days)

    def to_dict(self) -> dict[str, Any]:
        """Return the schedule as JSON values, without those that have their default."""
        values: dict[str, Any] = {"cron": self.cron}
        if self.every is not None:
            values["every"] = self.every
        if self.anchor:
            values["anchor"] = self.anchor
        if self.timezone is not None:
            values["timezone"] = self.timezone
        if self.second:
            values["second"] = self.second
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Schedule:
        """Return the schedule of `to_dict`. Raises UsageError, TypeError, ValueError or KeyError if it is invalid."""
        from scflows.cron.schedule.fields import normalised

        # Validate it, because users edit these files.
        schedule = cls(**{**values, "cron": normalised(values["cron"])})
        every = schedule.every
        if schedule.is_boot and schedule != cls(schedule.cron):
            raise ValueError("a schedule at boot has no interval and no zone")
        if type(schedule.anchor) is not int or (every is not None and (type(every) is not int or every < 1)):
            raise TypeError(f"every and anchor must be integers, not {every!r} and {schedule.anchor!r}")
        if abs(schedule.anchor) >= MAX_SECONDS or (every is not None and every > LONGEST):
            raise ValueError(f"every {every!r} or anchor {schedule.anchor!r} is too large")
        if schedule.timezone is not None:
            if not isinstance(schedule.timezone, str):
                raise TypeError(f"timezone must be text, not {schedule.timezone!r}")
            from scflows.cron.schedule.zones import zone

            zone(schedule.timezone)
        if type(schedule.second) is not int or not 0 <= schedule.second < MINUTE:
            raise TypeError(f"second must be an integer from 0 to 59, not {schedule.second!r}")
        return schedule

    @classmethod
    def from_checked(cls, values: dict[str, Any]) -> Schedule:
        """Return the schedule of `to_dict`, given values that `from_dict` has validated before."""
        schedule = object.__new__(cls)
        schedule.__dict__.update(values)
        return schedule

    @property
    def _turn(self) -> tuple[int, int] | None:
        """The number of days of the interval and which of them it is; None unless days are counted."""
        return (self.every_days, self.anchor // DAY) if self.every_days else None

    def _near(self, now: float, direction: int) -> int | None:
        """Return the nearest slot in a direction, within a day, for schedules of plain minutes and hours.

        Return None if calendar libraries must decide: for certain days, other zones, or near changes of the clocks.
        Every start by cron calls this, and those libraries cost as much as the rest of such a start.
        """
        if self.timezone is not None or self.every_days or not self.cron.endswith(" * * *"):
            return None
        return _by_the_clock(self.cron, now, direction, os.environ.get("TZ"))


# Commands that handle many tasks ask for the same few times of day, and for the same moment.
@lru_cache(maxsize=8192)
def _by_the_clock(cron: str, now: float, direction: int, zone: str | None) -> int | None:
    """Do the work of `Schedule._near`; `zone` is part of the cache key."""
    here = _steady(now, direction, zone)
    if here is None:
        return None
    from scflows.cron.schedule.fields import values

    minute_field, hour_field = cron.split(" ")[:2]
    away = _minutes_to(values(minute_field, 0), values(hour_field, 1), here.tm_hour, here.tm_min, direction)
    return int(now // 1) - here.tm_sec + away * MINUTE


@lru_cache(maxsize=64)
def _steady(now: float, direction: int, zone: str | None) -> time.struct_time | None:
    """Return the local time, or None if the clocks change within two days; `zone` is part of the cache key."""
    here = time.localtime(now)
    around = (-2 * DAY,) if direction < 0 else (-2 * DAY, 2 * DAY)
    if any(time.localtime(now + distance).tm_gmtoff != here.tm_gmtoff for distance in around):
        return None
    return here


def is_exact(every: int) -> bool:
    """Return whether a crontab line can express the interval: it divides the hour or the day, or is a week."""
    if every < HOUR:
        return every % MINUTE == 0 and HOUR % every == 0
    return every == WEEK or (every % HOUR == 0 and DAY % every == 0)


def _minutes_to(minutes: list[int], hours: list[int], hour: int, minute: int, direction: int) -> int:
    """Return in how many minutes the next slot is, or, as a negative number, how long ago the last one was.

    The current minute counts as the last one, not as the next.
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
