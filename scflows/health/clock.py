"""Tasks that are due in an hour that the clocks will skip."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta

from scflows.cron.fields import values
from scflows.cron.zone import zone
from scflows.errors import UsageError
from scflows.health import WARN, Finding, counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo

    from scflows.cron.schedule import Schedule
    from scflows.health.installation import Installation

#: How far to look ahead.
DAYS = 60


def gaps(installation: Installation) -> Iterator[Finding]:
    """The next skipped hour of each zone in which tasks are due."""
    zones: dict[str | None, list[tuple[str, Schedule]]] = {}
    for task in installation.scheduled:
        if _is_fixed(task.schedule):
            zones.setdefault(task.schedule.timezone, []).append((task.name, task.schedule))
    for name, tasks in zones.items():
        try:
            place = zone(name)
        except UsageError:
            continue  # Such a task cannot be read, which is told elsewhere.
        found = coming_gap(place, installation.now)
        if found is None:
            continue
        moment, begin, end = found
        due = [task for task, schedule in tasks if _is_due(schedule, moment, begin, end)]
        if due:
            some = ", ".join(due[:5]) + (", …" if len(due) > 5 else "")
            verb = "is" if len(due) == 1 else "are"
            told = (
                f"{name or _system_zone()} skips {begin:%H:%M}–{end:%H:%M} on {begin:%Y-%m-%d}; "
                f"{counted(len(due), 'task')} {verb} due then and will start at {end:%H:%M}: {some}"
            )
            yield Finding(WARN, "clock", told, "busybox's cron leaves them out; to be sure, choose another hour")


def coming_gap(place: tzinfo, now: float, days: int = DAYS) -> tuple[float, datetime, datetime] | None:
    """The next time that a zone's clocks are set forward: the moment, and the local times around the gap."""

    def offset(moment: float) -> int:
        found = datetime.fromtimestamp(moment, UTC).astimezone(place).utcoffset() or timedelta()
        return int(found.total_seconds())

    hour = now // 3600 * 3600
    for _ in range(days * 24):
        if offset(hour + 3600) > offset(hour):
            low, high = hour, hour + 3600
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (low, middle) if offset(middle) > offset(low) else (middle, high)
            before = datetime.fromtimestamp(high + offset(low), UTC).replace(tzinfo=None)
            return high, before, before + timedelta(seconds=offset(high) - offset(low))
        hour += 3600
    return None


def _is_fixed(schedule: Schedule) -> bool:
    """Whether it is due at times of day: what follows every hour or minute goes on through a change."""
    minute, hour = schedule.cron.split(" ")[:2]
    return not schedule.is_counted and not minute.startswith("*") and not hour.startswith("*")


def _is_due(schedule: Schedule, moment: float, begin: datetime, end: datetime) -> bool:
    minute, hour = schedule.cron.split(" ")[:2]
    first, last = begin.hour * 60 + begin.minute, end.hour * 60 + end.minute
    times = (each * 60 + minutes for each in values(hour, 1) for minutes in values(minute, 0))
    # The slot is made up at the moment of the change, if the day is one of its days.
    return any(first <= at < last for at in times) and schedule.next_epoch(moment - 1) == moment


def _system_zone() -> str:
    path = os.environ.get("TZ", "").lstrip(":") or os.path.realpath("/etc/localtime")
    return path.partition("zoneinfo/")[2] or (time.tzname[0] if path.startswith("/") else path)
