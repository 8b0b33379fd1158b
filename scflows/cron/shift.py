"""Crontab fields for schedules that the system's own calendar does not have: other zones, odd intervals.

Such a line starts at every time that could be a slot in the coming year; the run then asks the schedule.
"""

from __future__ import annotations

from itertools import product
from math import gcd

from scflows.cron.fields import values, write
from scflows.cron.zone import differences, offsets


def check_minutes(every: int) -> int:
    """How often, in minutes, the line of an interval starts that is counted; it divides the hour."""
    return 1 if every % 60 else gcd(every // 60, 60)


def interval_fields(every: int, anchor: int) -> str:
    """The fields for an interval that is counted from its anchor, not taken from the calendar."""
    check = check_minutes(every)
    # Offsets of half and quarter hours turn the minute, so all those of the year are wanted.
    phases = {(anchor // 60 + offset) % check for offset in offsets()}
    return write((minute for minute in range(60) if minute % check in phases), 0) + " * * * *"


def shifted_fields(cron: str, timezone: str) -> str:
    """The fields, in the system's zone, of an expression that is meant in another."""
    ahead = differences(timezone)
    if ahead == {0}:
        return cron
    minute, hour, *days = cron.split(" ")
    moments = [
        60 * each_hour + each_minute - shift
        for each_hour, each_minute, shift in product(values(hour, 1), values(minute, 0), ahead)
    ]
    minutes = write((moment % 60 for moment in moments), 0)
    hours = write((moment // 60 % 24 for moment in moments), 1)
    if any(not 0 <= moment < 1440 for moment in moments):
        days = ["*", "*", "*"]
    return " ".join((minutes, hours, *days))
