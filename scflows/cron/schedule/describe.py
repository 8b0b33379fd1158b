"""Schedules in words, for example `every 3 h at :17`, `daily at 04:41`, `every 7 h, checked hourly`."""

from __future__ import annotations

from functools import lru_cache

from scflows.cron.schedule.crontab_fields import check_minutes
from scflows.cron.schedule.fields import values

WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
ORDINALS = ("first", "second", "third", "fourth")
#: Up to this many times of day are listed.
MAX_TIMES = 4


@lru_cache(maxsize=4096)
def counted(every: int) -> str:
    """Describe a counted interval in seconds, and how often the crontab's line checks it."""
    check = check_minutes(every)
    how = {1: "every minute", 60: "hourly"}.get(check, f"every {check} min")
    return f"every {duration(every)}, checked {how}"


def why_counted(every: int | None, is_counted: bool, days: int) -> str:
    """Say why a crontab line cannot express an interval; return an empty text if it can."""
    if every is None or not (is_counted or days):
        return ""
    if days:
        reason = "does not divide weeks or months: the days are counted"
    elif every % 60:
        reason = "is not a multiple of 1 min: one process per minute starts the runs at their seconds"
    elif every < 3600:
        reason = "does not divide 60 min: the slots are counted"
    else:
        problem = "is not a multiple of 1 h" if every % 3600 else "does not divide 24 h"
        reason = f"{problem}: the slots are counted"
    return f"{duration(every)} {reason}"


def turn(days: int, cron: str) -> str:
    """Describe an interval of days, given an expression with one time a day or a week."""
    minute, hour, _, _, weekday = cron.split(" ")
    time = f"at {int(hour):02}:{int(minute):02}"
    if weekday == "*":
        return f"every {days} d {time}, checked daily"
    return f"every {days // 7} weeks on {WEEKDAYS[int(weekday)]} {time}, checked weekly"


@lru_cache(maxsize=4096)
def calendar(cron: str) -> str:
    """Describe a simple cron expression in words; return other expressions unchanged."""
    try:
        return _calendar(cron) or cron
    except ValueError:
        # A line that a user wrote into the crontab may contain anything.
        return cron


def duration(seconds: int) -> str:
    """Write seconds in the largest unit that divides them."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds % size == 0:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _calendar(cron: str) -> str | None:
    minute, hour, day, month, weekday = cron.split(" ")
    minutes = values(minute, 0)
    if hour == "*":
        if (day, month, weekday) != ("*", "*", "*"):
            return None
        step = _step(minutes, 60)
        if step == 1:
            return "every minute"
        if step == 60:
            return f"hourly at :{minutes[0]:02}"
        return f"every {step} min" if step else None
    hours = values(hour, 1)
    step = _step(hours, 24)
    if step and step < 12 and len(minutes) == 1 and (day, month, weekday) == ("*", "*", "*"):
        return f"every {step} h at :{minutes[0]:02}"
    if len(minutes) * len(hours) > MAX_TIMES:
        return None
    times = ", ".join(f"{each:02}:{minute:02}" for each in hours for minute in minutes)
    which = _days(day, month, weekday)
    return f"{which} at {times}" if which else None


def _days(day: str, month: str, weekday: str) -> str | None:
    if (day, month, weekday) == ("*", "*", "*"):
        return "daily"
    if (day, month) == ("*", "*"):
        if weekday == "1-5":
            return "Monday to Friday"
        days = values(weekday, 4)
        return f"weekly on {WEEKDAYS[days[0]]}" if len(days) == 1 else None
    if (month, weekday) == ("*", "*") and len(values(day, 2)) == 1:
        return f"monthly on day {day}"
    weekdays, days = values(weekday, 4), values(day, 2)
    week = (days[0] - 1) // 7
    needs_both = "*" in day[0] + weekday[0] and "*" not in (day, weekday)
    is_week = needs_both and week < len(ORDINALS) and days == list(range(week * 7 + 1, week * 7 + 8))
    if month == "*" and is_week and len(weekdays) == 1:
        return f"monthly on the {ORDINALS[week]} {WEEKDAYS[weekdays[0]]}"
    return None


def _step(numbers: list[int], cycle: int) -> int | None:
    """Return the step of numbers that are evenly spread over a cycle, or None."""
    step = cycle // len(numbers)
    is_even = cycle % len(numbers) == 0 and numbers == list(range(numbers[0], cycle, step))
    return step if is_even else None
