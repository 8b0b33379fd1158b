"""Steps of a cron expression that begin anew with each hour or day, and so leave one gap shorter than the others."""

from __future__ import annotations

from itertools import pairwise

from scflows.cron.fields import values

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.cron.schedule import Schedule


def uneven_notes(schedule: Schedule) -> list[str]:
    """Where a schedule that looks like an interval is none, and how to have the interval."""
    if schedule.every is not None:
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
        notes.append(f"not every {step}{unit}: {gap}; for that say every: {step}{unit}")
    return notes
