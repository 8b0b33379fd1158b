"""The deadlines of a task: how soon after its slot a run must start, and how long it may take."""

from __future__ import annotations

import time
from dataclasses import dataclass

from scflows.cron.schedule.schedule import OVERDUE
from scflows.errors import ScflowsError
from scflows.history.contract import Query
from scflows.history.run import BY_HAND, GOOD, Run, latest_start, quantile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from scflows.cron.task import Task
    from scflows.history.contract import RunStore

#: The longest `start_within`, whatever the interval, in seconds.
MAX_START_WITHIN = 600.0
#: The longest wait in the queue that counts as usual, in seconds.
MAX_USUAL_WAIT = 900.0
#: The shortest `end_within`, in seconds.
MIN_END_WITHIN = 60.0
#: A run takes too long if it exceeds the quantile of earlier durations by this factor.
FACTOR = 3.0
QUANTILE = 0.9
#: How many of the newest runs are measured, and how many are needed.
RUNS = 100
MIN_RUNS = 5


@dataclass(frozen=True)
class Deadlines:
    """Deadlines in seconds. Those set in the schedule take precedence over those derived from the history."""

    start_within: float  #: from the slot to the start of the run
    end_within: float  #: from the start of the run to its end

    def to_dict(self) -> dict[str, float]:
        return {"start_within": round(self.start_within, 3), "end_within": round(self.end_within, 3)}


def deadlines_of(task: Task, runs: Sequence[Run], limit: float) -> Deadlines:
    """Return the deadlines of a task, given its `measured_runs`; `limit` is the `time_limit` of its runs."""
    start = task.start_within
    if start is None:
        start = base_start_within(task) + usual_wait(runs)
    return Deadlines(start, end_within(task, runs, limit))


def base_start_within(task: Task) -> float:
    """Return the deadline without the usual wait: as set in the schedule, or half of the interval, within bounds."""
    if task.start_within is not None:
        return task.start_within
    if task.schedule.is_boot:
        return MAX_START_WITHIN
    every: float | None = task.schedule.every
    if every is None:
        from scflows.cron.schedule.fields import values

        every = 3600 / len(values(task.schedule.cron.split(" ")[0], 0))
    return max(OVERDUE, min(MAX_START_WITHIN, every / 2))


def usual_wait(runs: Sequence[Run]) -> float:
    """Return how long runs usually wait before they start, in seconds."""
    waits = [run.started - run.slot for run in runs if run.slot is not None and run.trigger not in BY_HAND]
    return max(0.0, min(MAX_USUAL_WAIT, quantile(waits, QUANTILE))) if len(waits) >= MIN_RUNS else 0.0


def end_within(task: Task, runs: Sequence[Run], limit: float) -> float:
    """Return how long a run may take: as set in the schedule, or several times as long as earlier runs took."""
    if task.end_within is not None:
        return task.end_within
    longest = task.timeout or limit
    took = [run.took for run in runs if run.took is not None]
    if len(took) < MIN_RUNS:
        return longest
    return min(longest, max(MIN_END_WITHIN, FACTOR * quantile(took, QUANTILE)))


def time_limit(task: Task, general: float) -> float:
    """Return after how many seconds a run of a task is ended; `general` applies if nothing else can be read."""
    return time_limit_and_source(task, general)[0]


def time_limit_and_source(task: Task, general: float) -> tuple[float, str]:
    """Return the time limit of a task's runs in seconds, and what sets it, in words."""
    from scflows.cron.task import task_settings
    from scflows.flows.loader import find_flow, load_flow

    flow_limit = None
    try:
        settings = task_settings(task)
        general = settings.timeout_seconds
        if task.flow:
            flow_limit = load_flow(find_flow(task.flow, settings), settings).timeout
    except (ScflowsError, OSError):
        pass  # The run was started with an earlier version of the flow, or is refused.
    if task.timeout and task.timeout <= (flow_limit or float("inf")):
        return task.timeout, "set by the task"
    return (flow_limit, "set by the flow") if flow_limit else (general, "default; FLOW_TIMEOUT_SECONDS")


def measured_runs(task: Task, store: RunStore) -> list[Run]:
    """Return the newest successful runs."""
    runs = store.find(Query(task=task.name, statuses=GOOD, until=latest_start(time.time()), limit=RUNS))
    return [run for run in runs if not run.dry_run or task.dry]
