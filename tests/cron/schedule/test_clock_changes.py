"""The slots around changes of the clocks: forwards, backwards, and minute by minute, are the same."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from scflows.cron.schedule.fields import values
from scflows.cron.schedule.schedule import Schedule

MINUTE = timedelta(minutes=1)
#: What is looked at before and after a change.
SPAN = timedelta(hours=20)
CHANGES = [
    ("Australia/Lord_Howe", "2027-10-02T15:30"),
    ("Australia/Lord_Howe", "2027-04-03T15:00"),
    ("Europe/Madrid", "2026-03-29T01:00"),
    ("Europe/Madrid", "2026-10-25T01:00"),
    ("America/Sao_Paulo", "2018-11-04T03:00"),
    ("America/Sao_Paulo", "2018-02-18T02:00"),
    ("UTC", "2026-03-29T01:00"),
]
LINES = [
    "* 18 * * *",
    "*/5 18 * * *",
    "0,20,40 18 * * *",
    "* 0 * * *",
    "* 1,2 * * *",
    "*/10 0 * * *",
    "17 * * * *",
    "45 * * * *",
    "50 */2 * * *",
    "0,10,20,30,40,50 1,2,3 * * *",
    "30 2 * * *",
    "15,45 0 * * *",
    "17 0,3,6,9,12,15,18,21 * * *",
    "* 23 3,17,24,28 * *",
    "*/20 * 4,18,29 * 6",
    "10 5 * * 0",
    "*/30 18 * * 0",
]


def by_the_minute(cron: str, zone: ZoneInfo, start: datetime, end: datetime) -> list[datetime]:
    """The slots later than `start` up to `end`, each minute looked at."""
    fields = cron.split(" ")
    minutes, hours, days, months, weekdays = (set(values(text, number)) for number, text in enumerate(fields))
    both = fields[2][0] == "*" or fields[4][0] == "*"

    def fits(local: datetime) -> bool:
        near = (local.day in days, local.isoweekday() % 7 in weekdays)
        day = all(near) if both else any(near)
        return day and local.month in months and local.hour in hours and local.minute in minutes

    if fields[0][0] == "*" or fields[1][0] == "*":
        number = (end - start) // MINUTE
        moments = (start + minute * MINUTE for minute in range(1, number + 1))
        return [moment for moment in moments if fits(moment.astimezone(zone))]
    found = set()
    local = start.astimezone(zone).replace(tzinfo=None) - 4 * 60 * MINUTE
    last = end.astimezone(zone).replace(tzinfo=None) + 4 * 60 * MINUTE
    while local < last:
        shown = local
        while shown.replace(tzinfo=zone).astimezone(UTC).astimezone(zone).replace(tzinfo=None) != shown:
            shown += MINUTE
        if fits(local):
            found.add(shown.replace(tzinfo=zone).astimezone(UTC))
        local += MINUTE
    return sorted(moment for moment in found if start < moment <= end)


@pytest.mark.parametrize("is_named", [True, False], ids=["named", "system"])
@pytest.mark.parametrize(("zone", "change"), CHANGES, ids=[f"{zone}-{change[:7]}" for zone, change in CHANGES])
def test_forwards_backwards_and_by_the_minute_the_slots_are_the_same(
    zone: str, change: str, is_named: bool, system_zone: Callable[[str], None]
) -> None:
    system_zone("Asia/Kolkata" if is_named else zone)
    centre = datetime.fromisoformat(change).replace(tzinfo=UTC)
    start, end = centre - SPAN, centre + SPAN
    for cron in LINES:
        schedule = Schedule(cron, timezone=zone if is_named else None)
        slots = by_the_minute(cron, ZoneInfo(zone), start, end)
        assert list(schedule.slots(start, end)) == slots, cron
        near = [slot for slot in slots if abs(slot - centre) < timedelta(minutes=6)]
        asked = [start + minute * MINUTE for minute in range(1, 2400, 181)] + near + slots[:1] + slots[-1:]
        for moment in asked:
            at = moment.timestamp() + 0.5
            number = bisect_right(slots, moment)
            if number:
                assert schedule.latest_epoch(at) == slots[number - 1].timestamp(), (cron, moment)
            if number < len(slots):
                assert schedule.next_epoch(at) == slots[number].timestamp(), (cron, moment)
                assert schedule.latest_epoch(slots[number].timestamp()) == slots[number].timestamp(), (cron, moment)
