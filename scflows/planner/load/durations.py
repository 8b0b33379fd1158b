"""How long a run of a task is expected to take, derived from past runs by pure functions."""

from __future__ import annotations

import time

from scflows.history.run import latest_start, quantile
from scflows.history.store import ask, open_read_only

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Protocol

    class Kind(Protocol):
        """A task: its name, its source and its kind of work."""

        @property
        def name(self) -> str: ...

        @property
        def source(self) -> str: ...

        @property
        def kind(self) -> str: ...

    from scflows.settings import Settings


#: How many of a task's newest good runs are considered.
KEEP = 20
#: With fewer runs, a task gets the duration of its kind.
MIN_RUNS = 3
#: The share of the runs that take at most the expected duration.
QUANTILE = 0.8
#: Seconds, for a task without runs whose kind has none either.
DEFAULT = 30.0


def expected(runs: Sequence[float]) -> float | None:
    """Return the seconds a run is expected to take, from the newest good runs; None for fewer than `MIN_RUNS`.

    A quantile ignores outliers. A high one is used because a run that takes longer than expected adds to a peak,
    while one that ends early only leaves room.
    """
    return quantile(runs, QUANTILE) if len(runs) >= MIN_RUNS else None


class Durations:
    """The expected duration of every task, in seconds."""

    def __init__(self, tasks: Iterable[Kind], runs: Mapping[str, Sequence[float]]) -> None:
        """`runs` maps each task to the seconds of its newest good runs, as `RunStore.durations` returns them."""
        measured = ((name, expected(each)) for name, each in runs.items())
        self.own = {name: seconds for name, seconds in measured if seconds is not None}
        groups: dict[tuple[str, ...], list[float]] = {}
        for task in tasks:
            if task.name in self.own:
                groups.setdefault((task.source, task.kind), []).append(self.own[task.name])
                groups.setdefault((task.source,), []).append(self.own[task.name])
        #: The median of each source and kind, and of each source.
        self.groups = {group: quantile(each, 0.5) for group, each in groups.items()}

    def of(self, name: str, source: str, kind: str) -> float:
        """Return a task's own duration, or the median of its source and kind, or of its source, or `DEFAULT`."""
        for known in (self.own.get(name), self.groups.get((source, kind)), self.groups.get((source,))):
            if known is not None:
                return known
        return DEFAULT


def measured_durations(settings: Settings, tasks: Iterable[Kind]) -> Durations:
    """Return the expected durations of tasks; if the history cannot be read, those of tasks that never ran."""
    # Read only: a plan does not create a history.
    return Durations(
        tasks, ask(settings, lambda store: store.durations(KEEP, latest_start(time.time())), {}, open_read_only)
    )
