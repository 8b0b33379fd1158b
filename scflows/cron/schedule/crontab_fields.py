"""Crontab fields for schedules that the system's calendar cannot express: other zones, odd intervals.

Such a line starts at every time that could be a slot in the coming year; the run then checks the schedule.
"""

from __future__ import annotations

import time
from itertools import product
from math import gcd

from scflows.cron.schedule.fields import values, write
from scflows.cron.schedule.zones import changes, differences, offsets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

#: In days; one more than a leap year, because today has already begun.
YEAR = 367


def check_minutes(every: int) -> int:
    """Return every how many minutes the line of a counted interval starts; a divisor of the hour."""
    return 1 if every % 60 else gcd(every // 60, 60)


def interval_fields(every: int, anchor: int) -> str:
    """Return the fields for an interval that is counted from its anchor, not taken from the calendar."""
    check = check_minutes(every)
    # Offsets of half and quarter hours shift the minute, so all offsets of the year are needed.
    phases = {(anchor // 60 + offset) % check for offset in offsets()}
    return write((minute for minute in range(60) if minute % check in phases), 0) + " * * * *"


def shifted_fields(cron: str, timezone: str) -> str:
    """Return the fields, in the system's zone, of an expression in another zone."""
    ahead = differences(timezone)
    if ahead == {0}:
        return cron
    minute, hour, *days = cron.split(" ")
    minutes, hours = values(minute, 0), values(hour, 1)
    moments = [60 * each_hour + each_minute - shift for each_hour, each_minute, shift in product(hours, minutes, ahead)]
    if not (minute.startswith("*") or hour.startswith("*")):
        moments += _after_gaps(
            timezone, {60 * each_hour + each_minute for each_hour, each_minute in product(hours, minutes)}
        )
    if any(not 0 <= moment < 1440 for moment in moments):
        days = ["*", "*", "*"]
    minute = write((moment % 60 for moment in moments), 0)
    hour = write((moment // 60 % 24 for moment in moments), 1)
    return " ".join((minute, hour, *days))


def one_day_field(fields: str) -> str:
    """Return fields that are due on every day on which both day fields match, if both have to.

    Crons disagree on when both have to: busybox never asks for both. So the line has only the rarer days, and the run
    checks the others.
    """
    minute, hour, day, month, weekday = fields.split(" ")
    if "*" in (day, weekday) or "*" not in day[0] + weekday[0]:
        return fields
    days, weekdays = values(day, 2), values(weekday, 4)
    if len(days) * 7 <= len(weekdays) * 31:
        return f"{minute} {hour} {write(days, 2)} {month} *"
    return f"{minute} {hour} * {month} {write(weekdays, 4)}"


def _after_gaps(timezone: str, times: set[int]) -> Iterator[int]:
    """Yield when those of `times` that a coming change of the clocks skips are due, in the system's zone.

    All are minutes of the day; 1440 is added if the due time is on another day in the system's zone.
    """
    for change in changes(timezone, YEAR):
        begin, end = change.local
        first = begin.hour * 60 + begin.minute
        skipped = range(first, first + int((end - begin).total_seconds()) // 60)
        here, before = time.localtime(change.moment), time.localtime(change.moment - 1)
        is_same = here.tm_gmtoff - before.tm_gmtoff == change.after - change.before
        # If the system's clocks change at the same moment, cron itself handles the gap.
        if change.is_gap and not is_same and any(moment % 1440 in times for moment in skipped):
            yield here.tm_hour * 60 + here.tm_min + (1440 if here.tm_mday != end.day else 0)
