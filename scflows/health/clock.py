"""Tasks that are due at times which a coming change of the clocks skips or repeats."""

from __future__ import annotations

from scflows.cron.schedule.notes import coming_changes, is_fixed, touched, zone_name
from scflows.cron.schedule.zones import Change
from scflows.errors import UsageError
from scflows.health import WARN, Finding, counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from scflows.cron.schedule.schedule import Schedule
    from scflows.health.installation import Installation

#: How far to look ahead.
DAYS = 60


def changes(installation: Installation) -> Iterator[Finding]:
    """What the clocks of each zone in which tasks are due will skip or repeat soon."""
    zones: dict[str | None, list[tuple[str, Schedule]]] = {}
    for task in installation.scheduled:
        if is_fixed(task.schedule):
            zones.setdefault(task.schedule.timezone, []).append((task.name, task.schedule))
    for name, tasks in zones.items():
        try:
            coming = coming_changes(name, installation.now, DAYS)
        except UsageError:
            continue  # Such a task cannot be read, which is told elsewhere.
        for change in coming:
            due = [task for task, schedule in tasks if touched(schedule, change)]
            if due:
                yield _finding(name, change, due)


def _finding(name: str | None, change: Change, due: list[str]) -> Finding:
    some = ", ".join(due[:5]) + (", …" if len(due) > 5 else "")
    verb = "is" if len(due) == 1 else "are"
    begin, end = change.local
    what = "skips" if change.is_gap else "repeats"
    told = f"{zone_name(name)} {what} {begin:%H:%M}–{end:%H:%M} on {begin:%Y-%m-%d}; {counted(len(due), 'task')} {verb}"
    if change.is_gap:
        told += f" due then and will start at {end:%H:%M}: {some}"
        return Finding(WARN, "clock", told, "busybox's cron leaves them out; to be sure, choose another hour")
    told += f" due then and will start the first time only: {some}"
    return Finding(WARN, "clock", told, "nothing is to be done, unless they must not run an hour early")
