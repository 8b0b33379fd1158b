"""How long a run of a task is expected to take: its weight in the load. Pure functions over past runs."""

from __future__ import annotations

from scflows.history.recorder import FAULTS
from scflows.history.store import open_store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Protocol

    class Kind(Protocol):
        """What is asked of a task: who made it, and what sort of work it does."""

        @property
        def name(self) -> str: ...

        @property
        def source(self) -> str: ...

        @property
        def kind(self) -> str: ...

    from scflows.settings import Settings


#: So many of a task's newest good runs are looked at.
KEEP = 20
#: With fewer runs of its own a task counts as its kind does.
ENOUGH = 3
#: The part of the runs that take no longer than what is expected.
HIGH = 0.8
#: Seconds, for a task of which nothing is known, nor of any of its kind.
DEFAULT = 30.0


def quantile(values: Sequence[float], part: float) -> float:
    """The value that `part` (0 to 1) of the distribution behind these values does not exceed.

    Linear between the order statistics at `part * (n + 1/3) + 1/3`, which is unbiased for the median whatever
    the distribution: type 8 of Hyndman and Fan, "Sample quantiles in statistical packages", The American
    Statistician 50 (1996), pages 361 to 365, which they recommend. Raises ValueError without values.
    """
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    place = part * (len(ordered) + 1 / 3) + 1 / 3 - 1
    lower = min(max(int(place // 1), 0), len(ordered) - 1)
    upper = min(lower + 1, len(ordered) - 1)
    share = min(max(place - lower, 0.0), 1.0)
    return ordered[lower] + (ordered[upper] - ordered[lower]) * share


def expected(runs: Sequence[float]) -> float | None:
    """The seconds a task is expected to take, by its newest good runs; None for fewer than `ENOUGH`.

    A quantile, since it takes no notice of how long the longest took; a high one, since a run that outlasts its
    expectation adds to a peak, and one that ends early only leaves room.
    """
    return quantile(runs, HIGH) if len(runs) >= ENOUGH else None


class Durations:
    """The expected duration of every task, in seconds."""

    def __init__(self, tasks: Iterable[Kind], runs: Mapping[str, Sequence[float]]) -> None:
        """`runs` has for each task the seconds of its newest good runs, such as `RunStore.durations` gives."""
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
        """By a task's own runs; else the median of its source and kind, else of its source, else `DEFAULT`."""
        for known in (self.own.get(name), self.groups.get((source, kind)), self.groups.get((source,))):
            if known is not None:
                return known
        return DEFAULT


def measured_durations(settings: Settings, tasks: Iterable[Kind]) -> Durations:
    """The expected durations of tasks; without a history that can be read, those of tasks that never ran."""
    try:
        # To read only: a plan makes no history where there is none.
        store = open_store(settings, read_only=True)
    except FAULTS:
        return Durations(tasks, {})
    try:
        return Durations(tasks, store.durations(KEEP))
    except FAULTS:
        return Durations(tasks, {})
    finally:
        store.close()
