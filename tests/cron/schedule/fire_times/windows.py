"""Spans of time in which clocks do odd things, and tasks that are due in them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

MINUTE = 60
HOUR = 3600
DAY = 86400


@dataclass(frozen=True)
class Window:
    """A span on the clocks of a zone, and by how much they are set meanwhile."""

    zone: str
    around: str  #: the moment that it is about, ISO 8601 with an offset
    before: int = 75  #: minutes from the start up to that moment
    after: int = 105  #: minutes from there on
    step: int = 0  #: minutes by which the clock is set at that moment, over what the zone has it do

    @property
    def moment(self) -> int:
        return int(datetime.fromisoformat(self.around).timestamp())

    @property
    def start(self) -> int:
        return self.moment - self.before * MINUTE

    @property
    def tasks(self) -> dict[str, dict[str, Any]]:
        """The schedules of the tasks, as task files have them, by name."""
        local = datetime.fromtimestamp(self.moment - MINUTE, ZoneInfo(self.zone))
        india = datetime.fromtimestamp(self.moment + 10 * MINUTE, ZoneInfo("Asia/Kolkata"))
        days = local.date().toordinal() - datetime(1970, 1, 1).toordinal()
        return {
            "half-past-two": {"cron": "30 2 * * *"},
            "half-past-midnight": {"cron": "30 0 * * *"},
            "night": {"cron": "17 0,1,2,3,4 * * *"},
            "hourly": {"cron": "17 * * * *", "every": HOUR},
            "quarter": {"cron": "0,15,30,45 * * * *", "every": 15 * MINUTE},
            "three-hours": {"cron": "47 2,5,8,11,14,17,20,23 * * *", "every": 3 * HOUR},
            "seven-hours": {"cron": "* * * * *", "every": 7 * HOUR, "anchor": (self.moment + 1020) % (7 * HOUR)},
            "odd-minutes": {"cron": "* * * * *", "every": 7 * MINUTE, "anchor": 120},
            "ninety-minutes": {"cron": "* * * * *", "every": 90 * MINUTE, "anchor": 300},
            "other-day": {"cron": "30 2 * * *", "every": 2 * DAY, "anchor": days % 2 * DAY},
            "india": {"cron": f"{india.minute} {india.hour} * * *", "timezone": "Asia/Kolkata"},
            "seconds": {"cron": "* * * * *", "every": 40, "anchor": 13},
            "ninety-seconds": {"cron": "* * * * *", "every": 90, "anchor": 7},
        }


WINDOWS = {
    "madrid-spring": Window("Europe/Madrid", "2026-03-29T01:00+00:00"),
    "madrid-autumn": Window("Europe/Madrid", "2026-10-25T01:00+00:00", 135, 75),
    "lord-howe-spring": Window("Australia/Lord_Howe", "2026-10-03T15:30+00:00"),
    "lord-howe-autumn": Window("Australia/Lord_Howe", "2026-04-04T15:00+00:00", 135, 75),
    "sao-paulo-spring": Window("America/Sao_Paulo", "2018-11-04T03:00+00:00"),
    "sao-paulo-autumn": Window("America/Sao_Paulo", "2018-02-18T02:00+00:00", 135, 75),
    "sleep": Window("Europe/Madrid", "2026-06-10T01:20+02:00", 35, 60, 8 * 60),
    "nap": Window("Europe/Madrid", "2026-06-10T01:20+02:00", 35, 60, 90),
    "set-back": Window("Europe/Madrid", "2026-06-10T02:50+02:00", 65, 100, -40),
    "set-far-back": Window("Europe/Madrid", "2026-06-10T02:50+02:00", 65, 40, -300),
}
