"""How many tasks start in each minute of the day."""

from __future__ import annotations

from scflows.cron.fields import LONGEST, values
from scflows.cron.shift import check_minutes
from scflows.cron.zone import differences, offsets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from scflows.cron.schedule import Schedule

MINUTES = 1440  #: of a day
#: From so many starts on, what is known of the cycles is sooner made anew than brought up to date.
MANY = 300


class Load:
    """Starts in each minute of the day. A task that is not due daily counts with its share of the days."""

    def __init__(self) -> None:
        self.starts = [0.0] * MINUTES
        self.weekdays = [0.0] * 7  #: of what is due on one day of the week, from Sunday
        self._cycles: dict[int, tuple[list[float], list[float]]] = {}

    def add(self, minutes: Iterable[int], weight: float = 1.0) -> None:
        """Count a task that starts at these minutes of the day."""
        starts = self.starts
        moments = list(minutes)
        for minute in moments:
            starts[minute] += weight
        if len(moments) > MANY:
            self._cycles.clear()
        for period, (peaks, sums) in self._cycles.items():
            for minute in moments:
                place = minute % period
                sums[place] += weight
                peaks[place] = max(peaks[place], starts[minute])

    def cycle(self, period: int) -> tuple[list[float], list[float]]:
        """For each minute of a period that divides the day: peak and sum over the day's repetitions."""
        # Kept and brought up to date by `add`: ten thousand tasks are placed one by one.
        if period not in self._cycles:
            repetitions = [self.starts[place::period] for place in range(period)]
            self._cycles[period] = [max(each) for each in repetitions], [sum(each) for each in repetitions]
        return self._cycles[period]

    def count(self, schedule: Schedule) -> None:
        """Count a task by its schedule."""
        self.add(*starts(schedule))
        weekday = schedule.cron.rpartition(" ")[2]
        if weekday.isdigit():
            self.weekdays[int(weekday)] += 1

    @property
    def busiest(self) -> float:
        """The starts in the fullest minute of the day."""
        return max(self.starts)

    def minute_load(self) -> list[float]:
        """For each minute of the hour, the starts in the fullest of its 24."""
        return list(self.cycle(60)[0])

    def hour_load(self) -> list[float]:
        """For each hour of the day, the starts in it."""
        return [sum(self.starts[hour * 60 : hour * 60 + 60]) for hour in range(24)]


def load_of(schedules: Iterable[Schedule]) -> Load:
    """The load of the tasks with these schedules."""
    load = Load()
    for schedule in schedules:
        load.count(schedule)
    return load


def starts(schedule: Schedule) -> tuple[list[int], float]:
    """At which minutes of the day (in the system's zone) a task starts, and on which share of the days."""
    if schedule.is_counted:
        assert schedule.every
        check = check_minutes(schedule.every)
        phase = (schedule.anchor // 60 + max(offsets())) % check
        return list(range(phase, MINUTES, check)), check * 60 / schedule.every
    minute, hour, day, month, weekday = schedule.cron.split(" ")
    shift = max(differences(schedule.timezone)) if schedule.timezone else 0
    minutes = [
        (each_hour * 60 + each_minute - shift) % MINUTES
        for each_hour in values(hour, 1)
        for each_minute in values(minute, 0)
    ]
    if schedule.every_days:
        return minutes, 1 / schedule.every_days
    return minutes, _share_of_days(day, month, weekday)


def _share_of_days(day: str, month: str, weekday: str) -> float:
    months = values(month, 3)
    year = sum(LONGEST[each - 1] for each in months)
    by_day = sum(number <= LONGEST[each - 1] for each in months for number in values(day, 2)) / year
    by_week = len(set(values(weekday, 4))) / 7
    if day != "*" and weekday != "*":
        both = by_day * by_week
        share = both if "*" in day + weekday else by_day + by_week - both
    else:
        share = by_day * by_week
    return share * year / 366
