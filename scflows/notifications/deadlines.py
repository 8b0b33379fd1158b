"""What is expected of a task: how soon after its slot a run begins, and how long it takes."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.cron.schedule.schedule import OVERDUE
from scflows.history.contract import Query
from scflows.history.run import GOOD, quantile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from scflows.cron.task import Task
    from scflows.history.contract import RunStore
    from scflows.history.run import Run

#: A run that has not begun by then is late, whatever the interval.
MOST_START = 600.0
#: The longest that waiting for a place is taken for usual, in seconds.
MOST_WAITING = 900.0
#: Nobody is called because of a minute.
LEAST_END = 60.0
#: So many times as long as nearly all runs took is too long.
FACTOR = 3.0
QUANTILE = 0.9
#: Of how many runs, the newest, and of how many at least.
RUNS = 100
FEWEST = 5


@dataclass(frozen=True)
class Deadlines:
    """In seconds. What is set by hand in the schedule wins over what history says."""

    start_within: float  #: from the slot to the start of its run
    end_within: float  #: from the start to the end

    def to_dict(self) -> dict[str, float]:
        return {"start_within": round(self.start_within, 3), "end_within": round(self.end_within, 3)}


def deadlines_of(task: Task, runs: Sequence[Run], limit: float) -> Deadlines:
    """Return what is expected of a task, given its `measured_runs`; `limit` is how long a run may take at most."""
    start = task.start_within
    if start is None:
        start = least_start(task) + usual_waiting(runs)
    return Deadlines(start, end_within(task, runs, limit))


def least_start(task: Task) -> float:
    """From when on a run may be late: half of the time to the next slot, within bounds; or as set by hand."""
    if task.start_within is not None:
        return task.start_within
    every: float | None = task.schedule.every
    if every is None:
        from scflows.cron.schedule.fields import values

        every = 3600 / len(values(task.schedule.cron.split(" ")[0], 0))
    return max(OVERDUE, min(MOST_START, every / 2))


def usual_waiting(runs: Sequence[Run]) -> float:
    """How long runs usually wait for their turn, in seconds."""
    waits = [run.started - run.slot for run in runs if run.slot is not None and run.trigger != "manual"]
    return max(0.0, min(MOST_WAITING, quantile(waits, QUANTILE))) if len(waits) >= FEWEST else 0.0


def end_within(task: Task, runs: Sequence[Run], limit: float) -> float:
    """How long a run may take before somebody should look: several times what runs of it take."""
    if task.end_within is not None:
        return task.end_within
    most = task.timeout or limit
    took = [run.took for run in runs if run.took is not None]
    if len(took) < FEWEST:
        return most
    return min(most, max(LEAST_END, FACTOR * quantile(took, QUANTILE)))


def measured_runs(task: Task, store: RunStore) -> list[Run]:
    """The newest runs that did their work."""
    runs = store.find(Query(task=task.name, statuses=GOOD, limit=RUNS))
    return [run for run in runs if not run.dry_run or task.dry]
