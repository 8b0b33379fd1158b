"""The load of tasks: how many of their runs are expected to run at the same time, for every 5 seconds of a week.

A week is the common cycle of most periods. Tasks with another period (7 hours, 10 days, the first of a month) count at
each time at which they may start, weighted by the share of these times at which they do.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from scflows.cron.schedule.crontab_fields import check_minutes
from scflows.cron.schedule.fields import LONGEST, values
from scflows.cron.schedule.zones import differences, offsets

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy

    from scflows.cron.schedule.schedule import Schedule
    from scflows.planner.load.other_crontabs import BusyMinutes

    Numbers = numpy.ndarray[tuple[int, ...], numpy.dtype[numpy.int64]]

#: Seconds of a bin. A minute has twelve; the jitter of runs makes shorter bins useless.
BIN = 5
MINUTE_BINS = 60 // BIN
DAY_BINS = 24 * 60 * MINUTE_BINS
#: Bins of the cycle.
CYCLE = 7 * DAY_BINS
MINUTES = 1440  #: of a day
#: The weight of one run. An integer keeps sums exact, also of the usual fractions (thirds, sevenths, …).
RUN = 10080


class Rhythm(NamedTuple):
    """The runs of a task within the cycle."""

    period: int  #: bins; divides the cycle
    starts: tuple[int, ...]  #: bins in each period
    length: int  #: bins that a run lasts, at most the period
    weight: int = RUN  #: the share of a run that is expected at each start, in parts of `RUN`


class Load:
    """The expected runs of tasks. Counting and placing a task take 0.1 to 0.5 ms; weights are in parts of `RUN`."""

    def __init__(self, busy_minutes: BusyMinutes | None = None) -> None:
        import numpy

        from scflows.planner.load.other_crontabs import BusyMinutes

        self.busy_minutes = busy_minutes or BusyMinutes()  #: breaks ties between equally good starts
        self.runs: Numbers = numpy.zeros(CYCLE, numpy.int64)  #: the concurrent runs in each bin of the week
        self.starts: Numbers = numpy.zeros(CYCLE // MINUTE_BINS, numpy.int64)  #: the starts in each minute of the week
        #: For intervals that cron cannot express: the seconds that their runs take, by the minute of their own period.
        self.turns: dict[int, dict[int, float]] = {}
        self._folded: dict[int, tuple[Numbers, Numbers]] = {}

    def add(self, rhythm: Rhythm, times: int = 1) -> None:
        """Count a task, or remove it with `times=-1`."""
        period, starts, length, weight = rhythm
        weight *= times
        runs = self.runs.reshape(-1, period)
        for start in starts:
            _add(runs, start, length, weight)
            self._add_start(period, start, weight)
        # The maximum of all repetitions rises by as much as each of them; those of other periods are unknown.
        folded = self._folded.pop(period, None)
        self._folded.clear()
        if folded is not None:
            for start in starts:
                _add(folded[0].reshape(1, -1), start, length, weight)
            self._folded[period] = folded[0], self._starts_of(period)

    def add_all(self, rhythms: Iterable[Rhythm]) -> None:
        """Count many tasks together, which takes a few microseconds each."""
        import numpy

        edges: dict[int, list[int]] = {}
        counts: dict[int, list[int]] = {}
        for period, starts, length, weight in rhythms:
            edge = edges.get(period)
            if edge is None:
                edge = edges[period] = [0] * (2 * period + 1)
                counts[period] = [0] * (period // MINUTE_BINS or 1)
            for start in starts:
                edge[start] += weight
                edge[start + length] -= weight
                counts[period][start // MINUTE_BINS] += weight
        for period, edge in edges.items():
            level = numpy.cumsum(numpy.array(edge[:-1], numpy.int64))
            self.runs.reshape(-1, period)[:] += level[:period] + level[period:]
            if period >= MINUTE_BINS:
                starts_of_period = numpy.array(counts[period], numpy.int64)
                self.starts.reshape(-1, len(starts_of_period))[:] += starts_of_period
        self._folded.clear()

    def folded(self, period: int) -> tuple[Numbers, Numbers]:
        """Return the peak of concurrent runs for each bin of a period, and the most starts for each of its minutes."""
        if period not in self._folded:
            self._folded[period] = self.runs.reshape(-1, period).max(axis=0), self._starts_of(period)
        return self._folded[period]

    def count(self, schedule: Schedule, seconds: float, times: int = 1) -> None:
        """Count a task by its schedule and the expected duration of its runs, or remove it with `times=-1`."""
        if schedule.is_boot:
            return
        self.add(rhythm(schedule, seconds), times)
        self.count_extra(schedule, seconds, times)

    def count_extra(self, schedule: Schedule, seconds: float, times: int = 1) -> None:
        """Count what a rhythm cannot express.

        That is at which of its times an interval that cron cannot express starts, and how often in a minute an
        interval of seconds starts.
        """
        if schedule.is_fine:
            assert schedule.every
            self.starts += round(RUN * 60 / schedule.every) * times
            self._folded.clear()
            return
        start = first_minute(schedule)
        if start is None:
            return
        assert schedule.every
        own = self.turns.setdefault(schedule.every, {})
        for minute, part in running_minutes(start, schedule.every, seconds):
            own[minute] = own.get(minute, 0.0) + part * times

    def copy(self) -> Load:
        """Return a copy of the load."""
        other = Load(self.busy_minutes)
        other.runs[:], other.starts[:] = self.runs, self.starts
        other.turns = {every: dict(own) for every, own in self.turns.items()}
        return other

    @property
    def peak(self) -> float:
        """The highest number of concurrent runs that is expected."""
        return float(self.runs.max()) / RUN

    @property
    def mean(self) -> float:
        """The average number of concurrent runs; rounded up, it is a lower bound of every plan's peak."""
        return float(self.runs.mean()) / RUN

    def minute_starts(self) -> list[float]:
        """Return the most starts in any such minute of the week, for each minute of the hour."""
        return [float(each) / RUN for each in self.starts.reshape(-1, 60).max(axis=0)]

    def hour_starts(self) -> list[float]:
        """Return the most starts in any such hour of the week, for each hour of the day."""
        return [float(each) / RUN for each in self.starts.reshape(-1, 24, 60).sum(axis=2).max(axis=0)]

    def minute_runs(self) -> list[float]:
        """Return the peak of concurrent runs in any such minute of the week, for each minute of the hour."""
        return [float(each) / RUN for each in self.runs.reshape(-1, 60, MINUTE_BINS).max(axis=(0, 2))]

    def hour_runs(self) -> list[float]:
        """Return the peak of concurrent runs in any such hour of the week, for each hour of the day."""
        return [float(each) / RUN for each in self.runs.reshape(-1, 24, 60 * MINUTE_BINS).max(axis=(0, 2))]

    def _add_start(self, period: int, start: int, weight: int) -> None:
        if period >= MINUTE_BINS:
            self.starts[start // MINUTE_BINS :: period // MINUTE_BINS] += weight

    def _starts_of(self, period: int) -> Numbers:
        most: Numbers = self.starts.reshape(-1, max(1, period // MINUTE_BINS)).max(axis=0)
        return most


def load_of(tasks: Iterable[tuple[Schedule, float]], busy_minutes: BusyMinutes | None = None) -> Load:
    """Return the load of tasks, given as pairs of a schedule and an expected duration in seconds.

    Those that start at boot do not count.
    """
    load = Load(busy_minutes)
    pairs = [(schedule, seconds) for schedule, seconds in tasks if not schedule.is_boot]
    load.add_all(rhythm(schedule, seconds) for schedule, seconds in pairs)
    for schedule, seconds in pairs:
        load.count_extra(schedule, seconds)
    return load


def rhythm(schedule: Schedule, seconds: float) -> Rhythm:
    """Return the runs of a schedule whose runs take some seconds, in the system's zone."""
    length = bins(seconds)
    every, offset = schedule.every, schedule.second // BIN
    if schedule.is_fine:
        assert every
        # It starts several times a minute, so it counts as always running.
        return Rhythm(1, (0,), 1, round(RUN * min(1.0, seconds / every)))
    if schedule.is_counted:
        assert every
        check = check_minutes(every)
        start = (schedule.anchor // 60 + max(offsets())) % check * MINUTE_BINS + offset
        return Rhythm(check * MINUTE_BINS, (start,), min(length, check * MINUTE_BINS), round(RUN * check * 60 / every))
    minute, hour, day, month, weekday = schedule.cron.split(" ")
    shift = max(differences(schedule.timezone)) if schedule.timezone else 0
    if every is not None and every % 86400 and shift == 0:
        period = every // BIN
        begin = (int(hour.partition(",")[0].partition("-")[0]) * 60 if hour != "*" else 0) + (
            int(minute.partition(",")[0].partition("-")[0]) if minute != "*" else 0
        )
        return Rhythm(period, ((begin * MINUTE_BINS + offset) % period,), min(length, period))
    moments = [
        each_hour * 60 + each_minute - shift for each_hour in values(hour, 1) for each_minute in values(minute, 0)
    ]
    # The days of a month, or of every n-th day, are not fixed in the week: each day counts with its share.
    share = 1 / schedule.every_days if schedule.every_days else _share_of_days(day, month, weekday)
    if weekday == "*" or day != "*":
        begins = tuple((each * MINUTE_BINS + offset) % DAY_BINS for each in moments)
        return Rhythm(DAY_BINS, begins, min(length, DAY_BINS), round(RUN * share))
    days = sorted(set(values(weekday, 4)))
    begins = tuple((number * DAY_BINS + each * MINUTE_BINS + offset) % CYCLE for number in days for each in moments)
    return Rhythm(CYCLE, begins, min(length, CYCLE), round(RUN * share * 7 / len(days)))


def bins(seconds: float) -> int:
    """Return how many bins a run takes that starts at the beginning of one."""
    return max(1, -int(-seconds // BIN))


def first_minute(schedule: Schedule) -> int | None:
    """Return at which minute of its own period an interval that cron cannot express starts.

    None for other schedules, and for intervals of seconds.
    """
    if schedule.is_counted and not schedule.is_fine:
        return schedule.anchor // 60
    if schedule.every_days:
        minute, hour = schedule.cron.split(" ")[:2]
        return schedule.anchor // 60 + int(hour) * 60 + int(minute)
    return None


def running_minutes(begin: int, every: int, seconds: float) -> Iterable[tuple[int, float]]:
    """Yield the minutes of an interval's own period in which a run is running, with the seconds of each."""
    period = every // 60
    remaining = min(seconds, every)
    while remaining > 0:
        yield begin % period, min(remaining, 60.0)
        begin, remaining = begin + 1, remaining - 60


def _add(runs: Numbers, start: int, length: int, weight: int) -> None:
    """Add a weight to some bins of each row, wrapping around at its end."""
    end = start + length
    runs[:, start:end] += weight
    if end > runs.shape[1]:
        runs[:, : end - runs.shape[1]] += weight


@cache
def _share_of_days(day: str, month: str, weekday: str) -> float:
    if day == month == weekday == "*":
        return 1.0
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
