"""The contract of every store of runs: claim a slot, record a run, query runs."""

from __future__ import annotations

from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Protocol

    from scflows.history.run import Run

    class RunStore(Protocol):
        """A store of runs; `tests/history` runs one suite against every implementation."""

        def claim(self, run: Run, again: bool = False) -> Run | None:
            """Record a run as it starts.

            A run for a slot claims the slot. If the slot is taken, record nothing and return the run that has it.
            A run that repeats a slot (`again`) claims nothing.
            """

        def skip(self, runs: Sequence[Run]) -> list[Run]:
            """Record skipped runs, all or none, and return those recorded.

            Runs whose slot has a run by now are omitted. Skipped runs do not claim their slot.
            """

        def begin(self, run: Run) -> bool | None:
            """Record that a queued run starts. Return False if it is no longer queued, None if it is unknown."""

        def finish(self, run: Run) -> bool:
            """Record how a run ended, with its steps. Return False if it already had a final status.

            A run with a `count` had nothing to do: its record replaces those of its task's earlier runs of that kind,
            and counts them.
            """

        def progress(self, run: Run) -> None:
            """Record the steps so far of a running run."""

        def run(self, id: str) -> Run | None:
            """Return a run with its steps, by its id or a unique prefix of it."""

        def find(self, wanted: Query) -> list[Run]:
            """Return matching runs without their steps, the newest first."""

        def slots(self, task: str, after: float, until: float) -> set[float]:
            """Return the slots of a task after `after`, up to and including `until`, that have a run."""

        def latest(self, tasks: Iterable[str], until: float | None = None) -> dict[str, Run]:
            """Return each task's newest run that was recorded until a moment.

            Skipped runs and manual runs that were refused or dry are omitted.
            """

        def unfinished(self) -> Iterator[Run]:
            """Yield all runs that are recorded as queued or running."""

        def late_runs(self, since: float, until: float) -> list[Run]:
            """Return runs recorded in a period whose slot was missed or given up, or that started late; oldest first.

            Late is more than `OVERDUE` seconds after the slot. Manual runs are omitted.
            """

        def tasks(self) -> list[str]:
            """Return the names of all tasks that have runs."""

        def durations(self, keep: int, until: float | None = None) -> dict[str, list[float]]:
            """Return how many seconds each task's newest `keep` good runs until a moment took, the newest first.

            A run is good if it ended with `success` or `exit` and was not dry.
            """

        def spans(self, since: float, until: float) -> list[tuple[float, float]]:
            """Return start and end of each run that ran within a period, in seconds since the epoch, by start.

            Skipped and queued runs are omitted. A run that is still running ends with the period.
            """

        def excess(
            self, task: str, before: float | None = None, keep: int | None = None, until: float | None = None
        ) -> list[str]:
            """Return the ids of a task's finished runs that started before a moment, or exceed the newest `keep`.

            Runs recorded after `until`, by a clock that was ahead, count as the oldest.
            """

        def remove(self, ids: Sequence[str]) -> int:
            """Remove runs with their steps and return how many; in batches, so that other writers wait briefly."""

        def known(self, ids: Iterable[str]) -> set[str]:
            """Return those of the ids that exist."""

        def wait_at_most(self, seconds: float) -> None:
            """Set how long each following call waits for other writers."""

        def compact(self) -> None:
            """Free the disk space of removed runs, if there is enough of it."""

        def close(self) -> None: ...

        def __enter__(self) -> RunStore: ...

        def __exit__(self, *error: object) -> None:
            """Close the store."""


@dataclass(frozen=True)
class Query:
    """A filter for runs. Times are seconds since the epoch; None matches any run."""

    task: str | None = None
    statuses: tuple[str, ...] = ()
    since: float | None = None
    until: float | None = None
    slot: float | None = None
    workspace: str | None = None  #: also matches runs whose workspace is unknown
    limit: int = 50  #: 0: no limit
