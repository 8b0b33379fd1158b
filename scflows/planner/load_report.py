"""The load by minute of the hour or hour of the day: as planned, and as measured."""

from __future__ import annotations

import time
from dataclasses import dataclass

from scflows.cron.task_index import read_tasks
from scflows.history.store import ask, open_read_only
from scflows.planner.load.durations import measured_durations
from scflows.planner.load.load import load_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from scflows.settings import Settings

DAY = 86400
MINUTES = 1440


@dataclass(frozen=True)
class LoadView:
    """The load in each minute of the hour or hour of the day; each value is the highest of the week."""

    runs: list[float]  #: the expected peak of concurrent runs
    starts: list[float]  #: the expected starts
    measured: list[int] | None  #: the peak in the last 24 hours; None if the history cannot be read
    peak: float  #: of the expected concurrent runs
    mean: float
    measured_mean: float | None


def load_view(settings: Settings, by: str, now: float | None = None) -> LoadView:
    """Return the load by `minute` (of the hour) or `hour` (of the day)."""
    tasks = [task for task in read_tasks(settings)[0] if task.enabled]
    durations = measured_durations(settings, tasks)
    load = load_of((task.schedule, durations.of(task.name, task.source, task.kind)) for task in tasks)
    until = time.time() if now is None else now
    measured: list[int] | None = None
    mean: float | None = None
    spans = ask(settings, lambda store: store.spans(until - DAY, until), None, open_read_only)
    if spans is not None:
        peaks = peaks_by_minute(spans, until - DAY, until)
        if by == "minute":
            measured = [max(peaks[minute::60]) for minute in range(60)]
        else:
            measured = [max(peaks[hour * 60 : hour * 60 + 60]) for hour in range(24)]
        mean = sum(min(end, until) - max(start, until - DAY) for start, end in spans) / DAY
    runs, starts = (
        (load.minute_runs(), load.minute_starts()) if by == "minute" else (load.hour_runs(), load.hour_starts())
    )
    return LoadView(runs, starts, measured, load.peak, load.mean, mean)


def peaks_by_minute(spans: Iterable[tuple[float, float]], since: float, until: float) -> list[int]:
    """Return the peak of concurrent runs for each local minute of the day, within at most one day."""
    edges = []
    for start, end in spans:
        edges.append((max(start, since), 1))
        if end < until:
            edges.append((max(end, start, since), -1))
    edges.sort()
    # The current offset of local time; if it changed within the day, earlier values are off by the difference.
    offset = time.localtime(until).tm_gmtoff
    peaks = [0] * MINUTES
    running = 0
    last = since
    for moment, step in [*edges, (until, 0)]:
        if running:
            first, end = int(last + offset) // 60, int(moment + offset) // 60
            for minute in range(first, end + 1):
                peaks[minute % MINUTES] = max(peaks[minute % MINUTES], running)
        running += step
        last = moment
    return peaks
