"""The load that tasks make: how many of their runs are expected to go on at once, through a week, every 5 seconds.

A week is the common cycle of the periods that the calendar has. What has another one (7 hours, 10 days, the first
of a month) counts at each time at which it may start, with its share of these times.
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

#: Seconds of a bin: a minute has twelve, and no finer order outlives a run's own jitter.
BIN = 5
MINUTE_BINS = 60 // BIN
DAY_BINS = 24 * 60 * MINUTE_BINS
#: Bins of the cycle.
CYCLE = 7 * DAY_BINS
MINUTES = 1440  #: of a day
#: One run, in whole numbers: so that sums are exact, also of the usual shares (thirds, sevenths, …) of one.
RUN = 10080


class Rhythm(NamedTuple):
    """The runs of a task in the cycle."""

    period: int  #: bins; divides the cycle
    starts: tuple[int, ...]  #: bins in each period
    length: int  #: bins that a run lasts, at most the period
    weight: int = RUN  #: what of a run is expected at each of the starts


class Load:
    """The expected runs of tasks. Counting and placing take 0.1 to 0.5 ms; weights are in parts of `RUN`."""

    def __init__(self, avoided: BusyMinutes | None = None) -> None:
        import numpy

        from scflows.planner.load.other_crontabs import BusyMinutes

        self.avoided = avoided or BusyMinutes()  #: what decides between places that are as good
        self.runs: Numbers = numpy.zeros(CYCLE, numpy.int64)  #: expected at once in each bin of the week
        self.starts: Numbers = numpy.zeros(CYCLE // MINUTE_BINS, numpy.int64)  #: expected in each minute of the week
        #: The seconds that runs of intervals which no week divides take, by the minute of their own period.
        self.turns: dict[int, dict[int, float]] = {}
        self._folded: dict[int, tuple[Numbers, Numbers]] = {}

    def add(self, rhythm: Rhythm, times: int = 1) -> None:
        """Count a task, or with `times=-1` count it no more."""
        period, starts, length, weight = rhythm
        weight *= times
        runs = self.runs.reshape(-1, period)
        for start in starts:
            _add(runs, start, length, weight)
            self._add_start(period, start, weight)
        # The highest of all repetitions rises by as much as each of them does; of other periods nothing is known.
        kept = self._folded.pop(period, None)
        self._folded.clear()
        if kept is not None:
            for start in starts:
                _add(kept[0].reshape(1, -1), start, length, weight)
            self._folded[period] = kept[0], self._starts_of(period)

    def add_all(self, rhythms: Iterable[Rhythm]) -> None:
        """Count many tasks at once, each in some microseconds."""
        import numpy

        edges: dict[int, list[int]] = {}
        begun: dict[int, list[int]] = {}
        for period, starts, length, weight in rhythms:
            edge = edges.get(period)
            if edge is None:
                edge = edges[period] = [0] * (2 * period + 1)
                begun[period] = [0] * (period // MINUTE_BINS or 1)
            for start in starts:
                edge[start] += weight
                edge[start + length] -= weight
                begun[period][start // MINUTE_BINS] += weight
        for period, edge in edges.items():
            level = numpy.cumsum(numpy.array(edge[:-1], numpy.int64))
            self.runs.reshape(-1, period)[:] += level[:period] + level[period:]
            if period >= MINUTE_BINS:
                some = numpy.array(begun[period], numpy.int64)
                self.starts.reshape(-1, len(some))[:] += some
        self._folded.clear()

    def folded(self, period: int) -> tuple[Numbers, Numbers]:
        """For each bin of a period the most runs at once in any repetition; for each minute of it the most starts."""
        if period not in self._folded:
            self._folded[period] = self.runs.reshape(-1, period).max(axis=0), self._starts_of(period)
        return self._folded[period]

    def count(self, schedule: Schedule, seconds: float, times: int = 1) -> None:
        """Count a task by its schedule and the expected duration of its runs; with `times=-1` no more."""
        self.add(rhythm(schedule, seconds), times)
        self.count_besides(schedule, seconds, times)

    def count_besides(self, schedule: Schedule, seconds: float, times: int = 1) -> None:
        """Count what a rhythm does not say: in which of its own times an interval starts that no week divides, and how
        often in a minute one of seconds.
        """
        if schedule.is_fine:
            assert schedule.every
            self.starts += round(RUN * 60 / schedule.every) * times
            self._folded.clear()
            return
        begin = first_minute(schedule)
        if begin is None:
            return
        assert schedule.every
        own = self.turns.setdefault(schedule.every, {})
        for minute, part in lasting(begin, schedule.every, seconds):
            own[minute] = own.get(minute, 0.0) + part * times

    def copy(self) -> Load:
        """Another load of the same tasks."""
        other = Load(self.avoided)
        other.runs[:], other.starts[:] = self.runs, self.starts
        other.turns = {every: dict(own) for every, own in self.turns.items()}
        return other

    @property
    def peak(self) -> float:
        """The most runs that are expected at once."""
        return float(self.runs.max()) / RUN

    @property
    def mean(self) -> float:
        """The runs that are expected at once on average; rounded up no plan can do with a lower peak."""
        return float(self.runs.mean()) / RUN

    def minute_starts(self) -> list[float]:
        """For each minute of the hour, the starts in the fullest such minute of the week."""
        return [float(each) / RUN for each in self.starts.reshape(-1, 60).max(axis=0)]

    def hour_starts(self) -> list[float]:
        """For each hour of the day, the starts in the fullest such hour of the week."""
        return [float(each) / RUN for each in self.starts.reshape(-1, 24, 60).sum(axis=2).max(axis=0)]

    def minute_runs(self) -> list[float]:
        """For each minute of the hour, the most runs at once in any such minute of the week."""
        return [float(each) / RUN for each in self.runs.reshape(-1, 60, MINUTE_BINS).max(axis=(0, 2))]

    def hour_runs(self) -> list[float]:
        """For each hour of the day, the most runs at once in any such hour of the week."""
        return [float(each) / RUN for each in self.runs.reshape(-1, 24, 60 * MINUTE_BINS).max(axis=(0, 2))]

    def _add_start(self, period: int, start: int, weight: int) -> None:
        if period >= MINUTE_BINS:
            self.starts[start // MINUTE_BINS :: period // MINUTE_BINS] += weight

    def _starts_of(self, period: int) -> Numbers:
        most: Numbers = self.starts.reshape(-1, max(1, period // MINUTE_BINS)).max(axis=0)
        return most


def load_of(tasks: Iterable[tuple[Schedule, float]], avoided: BusyMinutes | None = None) -> Load:
    """The load of tasks with these schedules and expected durations in seconds."""
    load = Load(avoided)
    known = list(tasks)
    load.add_all(rhythm(schedule, seconds) for schedule, seconds in known)
    for schedule, seconds in known:
        load.count_besides(schedule, seconds)
    return load


def rhythm(schedule: Schedule, seconds: float) -> Rhythm:
    """The runs of a schedule whose runs take so many seconds, in the system's zone."""
    length = bins(seconds)
    every, late = schedule.every, schedule.second // BIN
    if schedule.is_fine:
        assert every
        # From one line a minute: as good as going on all the time.
        return Rhythm(1, (0,), 1, round(RUN * min(1.0, seconds / every)))
    if schedule.is_counted:
        assert every
        check = check_minutes(every)
        start = (schedule.anchor // 60 + max(offsets())) % check * MINUTE_BINS + late
        return Rhythm(check * MINUTE_BINS, (start,), min(length, check * MINUTE_BINS), round(RUN * check * 60 / every))
    minute, hour, day, month, weekday = schedule.cron.split(" ")
    shift = max(differences(schedule.timezone)) if schedule.timezone else 0
    if every is not None and every % 86400 and shift == 0:
        period = every // BIN
        begin = (int(hour.partition(",")[0].partition("-")[0]) * 60 if hour != "*" else 0) + (
            int(minute.partition(",")[0].partition("-")[0]) if minute != "*" else 0
        )
        return Rhythm(period, ((begin * MINUTE_BINS + late) % period,), min(length, period))
    moments = [
        each_hour * 60 + each_minute - shift for each_hour in values(hour, 1) for each_minute in values(minute, 0)
    ]
    # Of the days of the month, or of every so many, not one is known: each counts with its share.
    share = 1 / schedule.every_days if schedule.every_days else _share_of_days(day, month, weekday)
    if weekday == "*" or day != "*":
        begins = tuple((each * MINUTE_BINS + late) % DAY_BINS for each in moments)
        return Rhythm(DAY_BINS, begins, min(length, DAY_BINS), round(RUN * share))
    days = sorted(set(values(weekday, 4)))
    begins = tuple((number * DAY_BINS + each * MINUTE_BINS + late) % CYCLE for number in days for each in moments)
    return Rhythm(CYCLE, begins, min(length, CYCLE), round(RUN * share * 7 / len(days)))


def bins(seconds: float) -> int:
    """The bins in which a run goes on that starts with one of them."""
    return max(1, -int(-seconds // BIN))


def first_minute(schedule: Schedule) -> int | None:
    """At which minute of its own period an interval starts that no week divides; None for all others."""
    if schedule.is_counted and not schedule.is_fine:
        return schedule.anchor // 60
    if schedule.every_days:
        minute, hour = schedule.cron.split(" ")[:2]
        return schedule.anchor // 60 + int(hour) * 60 + int(minute)
    return None


def lasting(begin: int, every: int, seconds: float) -> Iterable[tuple[int, float]]:
    """The minutes of an interval's own period in which a run goes on, and for how many of their seconds."""
    period = every // 60
    left = min(seconds, every)
    while left > 0:
        yield begin % period, min(left, 60.0)
        begin, left = begin + 1, left - 60


def _add(runs: Numbers, start: int, length: int, weight: int) -> None:
    """Add to each row from a place on, beyond its end at its beginning."""
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
