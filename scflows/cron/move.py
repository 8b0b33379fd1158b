"""A move of a task in words."""

from __future__ import annotations

import time

from scflows.cron.fields import values
from scflows.cron.schedule import DAY, WEEK, Schedule
from scflows.cron.words import WEEKDAYS, duration


def moved(old: Schedule, new: Schedule, now: float) -> str:
    """From which start to which an interval goes; `now` is in seconds since the epoch."""
    every = new.every or 0
    if new.is_counted or new.every_days:
        how = "next at"
    elif every >= WEEK:
        how = "on"
    else:
        how = "at" if every == DAY else "first at"
    return f"every {duration(every)}, {how} {_start(old, now)} → {_start(new, now)}"


def _start(schedule: Schedule, now: float) -> str:
    """The first start of an interval in its day or week; where none is, the next, in the system's zone."""
    if schedule.is_counted or schedule.every_days:
        slot = schedule.next_epoch(now - schedule.second) or 0
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(slot + schedule.second))
    minute, hour, _, _, weekday = schedule.cron.split(" ")
    at = f"{values(hour, 1)[0]:02}:{values(minute, 0)[0]:02}:{schedule.second:02}"
    return at if weekday == "*" else f"{WEEKDAYS[values(weekday, 4)[0]]} {at}"
