"""Notes on a schedule: coming changes of the clocks that affect it, and uneven intervals."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from scflows.cron.schedule.describe import WEEKDAYS
from scflows.cron.schedule.fields import values
from scflows.cron.schedule.zones import Change, changes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from scflows.cron.schedule.schedule import Schedule


#: How many changes are reported, within how many days.
MAX_CHANGES = 2
DAYS = 366


def coming_changes(name: str | None, now: float, days: int = DAYS) -> list[Change]:
    """Return the coming changes of a zone's clocks; None is the system's zone. Raises UsageError."""
    return [change for change in changes(name, days, now) if change.moment > now]


def clock_notes(schedule: Schedule, now: float) -> list[str]:
    """Describe how the next changes of the clocks affect a schedule with times of day. Raises UsageError."""
    if not is_fixed(schedule):
        return []
    return [
        note for change in coming_changes(schedule.timezone, now)[:MAX_CHANGES] for note in _notes(schedule, change)
    ]


def is_fixed(schedule: Schedule) -> bool:
    """Return whether a schedule has times of day; one that is due every hour or minute is not affected by changes."""
    if schedule.is_boot:
        return False
    minute, hour = schedule.cron.split(" ")[:2]
    return not schedule.is_counted and not minute.startswith("*") and not hour.startswith("*")


def affected_times(schedule: Schedule, change: Change) -> list[datetime]:
    """Return the local times of a schedule that a change skips or repeats, in order."""
    minute, hour = schedule.cron.split(" ")[:2]
    minutes, hours = set(values(minute, 0)), set(values(hour, 1))
    begin, end = change.local
    length = int((end - begin).total_seconds()) // 60
    times = [begin + timedelta(minutes=number) for number in range(length)]
    found = [each for each in times if each.minute in minutes and each.hour in hours]
    if change.is_gap:
        # Cron runs them at the moment of the change, if the day is one of the schedule's days.
        return found if found and schedule.next_epoch(change.moment - 1) == change.moment else []
    return [each for each in found if schedule.next_epoch(_first(each, change) - 1) == _first(each, change)]


def zone_name(name: str | None) -> str:
    """Return the name of a zone for messages."""
    if name:
        return name
    path = os.environ.get("TZ", "").lstrip(":") or os.path.realpath("/etc/localtime")
    return path.partition("zoneinfo/")[2] or (time.tzname[0] if path.startswith("/") else path)


def _notes(schedule: Schedule, change: Change) -> Iterator[str]:
    times = affected_times(schedule, change)
    if not times:
        return
    more = f" (and {len(times) - 1} more times)" if len(times) > 1 else ""
    subject = f"{times[0]:%H:%M} {zone_name(schedule.timezone)}{more}"
    if change.is_gap:
        at = datetime.fromtimestamp(schedule.start_of(change.moment) + change.after, UTC)
        yield f"{subject} does not exist on {times[0]:%Y-%m-%d}: the task runs at {at:%H:%M}"
    else:
        yield f"{subject} occurs twice on {times[0]:%Y-%m-%d}: the task runs the first time only"


def _first(local: datetime, change: Change) -> int:
    return int(local.replace(tzinfo=UTC).timestamp()) - change.before


def day_notes(schedule: Schedule) -> list[str]:
    """Explain an expression with two day fields of which one has to match, and how both would have to."""
    if schedule.is_boot:
        return []
    minute, hour, day, month, weekday = schedule.cron.split(" ")
    if "*" in day + weekday:
        return []
    names = ", ".join(WEEKDAYS[each] for each in values(weekday, 4))
    both = "test the weekday in the flow"
    if 1 in values(day, 2):
        both = f"cron '{minute} {hour} */31,{day} {month} {weekday}'"
    elif 0 in values(weekday, 4):
        both = f"cron '{minute} {hour} {day} {month} {'*/7' if weekday == '0' else f'*/7,{weekday}'}'"
    days = f"day {day}" if day.isdigit() else f"days {day}"
    return [f"starts on {days} and also on every {names}, as in cron; if both have to match: {both}"]


def uneven_notes(schedule: Schedule) -> list[str]:
    """Report where a cron expression looks like an interval but is uneven, and suggest the interval."""
    if schedule.every is not None or schedule.is_boot:
        return []
    minute, hour = schedule.cron.split(" ")[:2]
    notes = []
    for field, number, whole, unit, shown in ((minute, 0, 60, "m", ":{:02}"), (hour, 1, 24, "h", "{:02}:00")):
        if field == "*" or (number == 0 and hour != "*"):
            continue
        found = values(field, number)
        steps = {after - before for before, after in pairwise(found)}
        rest = whole - found[-1] + found[0]
        if len(found) < 3 or len(steps) > 1 or rest >= (step := min(steps)):
            continue
        gap = f"from {shown.format(found[-1])} to {shown.format(found[0])} it is {rest}{unit}"
        notes.append(f"not every {step}{unit}: {gap}; for even intervals use every: {step}{unit}")
    return notes
