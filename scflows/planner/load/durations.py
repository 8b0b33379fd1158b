"""How long a run of a task is expected to take: its weight in the load. Pure functions over past runs."""

from __future__ import annotations

from scflows.history.run import quantile
from scflows.history.store import ask, open_read_only

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
    """Return the expected durations of tasks; if the history cannot be read, those of tasks that never ran."""
    # Read only: a plan does not create a history.
    return Durations(tasks, ask(settings, lambda store: store.durations(KEEP), {}, open_read_only))
