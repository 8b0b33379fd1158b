"""Check the zone of the tasks; find those that are due at times which the next clock change skips or repeats."""

from __future__ import annotations

from scflows.cron.machine_zone import find_zone, is_same_zone, kept_zone
from scflows.cron.schedule.notes import affected_times, coming_changes, is_fixed, zone_name
from scflows.cron.schedule.zones import Change
from scflows.errors import UsageError
from scflows.health import FAIL, OK, WARN, Finding, counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from scflows.cron.schedule.schedule import Schedule
    from scflows.health.installation import Installation

#: How far to look ahead.
DAYS = 60


def changes(installation: Installation) -> Iterator[Finding]:
    """Report times that upcoming clock changes skip or repeat, for each time zone with tasks due then."""
    zones: dict[str | None, list[tuple[str, Schedule]]] = {}
    for task in installation.scheduled:
        if is_fixed(task.schedule):
            zones.setdefault(task.schedule.timezone, []).append((task.name, task.schedule))
    for name, tasks in zones.items():
        try:
            coming = coming_changes(name, installation.now, DAYS)
        except UsageError:
            continue  # Such a task cannot be read, which another check reports.
        for change in coming:
            due = [task for task, schedule in tasks if affected_times(schedule, change)]
            if due:
                yield _finding(name, change, due)


def zone(installation: Installation) -> Iterator[Finding]:
    """Check that the zone of the tasks is that of the machine's cron."""
    settings = installation.settings
    stored = kept_zone(settings.state_path)
    if not stored:
        return  # There are no tasks yet.
    try:
        found = find_zone(settings, installation.proc)
    except UsageError as error:
        yield Finding(FAIL, "clock", str(error), error.help or "")
        return
    if is_same_zone(stored, found):
        yield Finding(OK, "clock", f"tasks are due in the time zone {stored}, that of the machine's cron")
        return
    text = f"tasks are due in the time zone {stored}, but the machine's cron is in {found}"
    yield Finding(FAIL, "clock", text, "plan for that zone: flows repair; or name the right one: CRON_TIMEZONE in .env")


def _finding(name: str | None, change: Change, due: list[str]) -> Finding:
    names = ", ".join(due[:5]) + (", …" if len(due) > 5 else "")
    verb = "is" if len(due) == 1 else "are"
    begin, end = change.local
    action = "skips" if change.is_gap else "repeats"
    text = f"{zone_name(name)} {action} {begin:%H:%M}–{end:%H:%M} on {begin:%Y-%m-%d};"
    text += f" {counted(len(due), 'task')} {verb} due then and will start"
    if change.is_gap:
        help = "busybox's cron skips them; schedule them for another hour to be safe"
        return Finding(WARN, "clock", f"{text} at {end:%H:%M}: {names}", help)
    help = "change the time only if they must not run an hour early"
    return Finding(WARN, "clock", f"{text} only the first time: {names}", help)
