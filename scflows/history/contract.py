"""What every store of runs promises: claim a slot, record, ask."""

from __future__ import annotations

from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Protocol

    from scflows.history.run import Run

    class RunStore(Protocol):
        """Every implementation keeps these promises; `tests/history` holds each to them."""

        def claim(self, run: Run, again: bool = False) -> Run | None:
            """Record a run as it starts.

            One that answers for a slot claims it. If the slot is taken, nothing is recorded and the run that
            has it comes back. A run that does a slot `again` claims nothing.
            """

        def skip(self, runs: Sequence[Run]) -> list[Run]:
            """Record runs that were skipped, all or none, but for slots that have an answer by now; those recorded.

            They claim no slot.
            """

        def begin(self, run: Run) -> bool | None:
            """Record that a queued run starts; False when it is queued no more, None when nobody knows it."""

        def finish(self, run: Run) -> bool:
            """Record how a run ended, with its steps; False when a final status was there already."""

        def progress(self, run: Run) -> None:
            """Record the steps so far of a run that goes on."""

        def run(self, id: str) -> Run | None:
            """One run with its steps, by its id or a beginning of it that only one has."""

        def find(self, wanted: Query) -> list[Run]:
            """Runs without their steps, the newest first."""

        def slots(self, task: str, after: float, until: float) -> set[float]:
            """The slots of a task later than `after`, up to and including `until`, that any run answers for."""

        def latest(self, tasks: Iterable[str]) -> dict[str, Run]:
            """The newest run of each task that was not skipped, nor by hand and refused or dry."""

        def unfinished(self) -> Iterator[Run]:
            """All runs that are recorded as queued or running."""

        def belated(self, since: float) -> list[Run]:
            """Runs recorded since a moment whose slots were missed or given up, or that began later than `OVERDUE`
            after them.

            The oldest first; those that somebody started by hand are no such.
            """

        def tasks(self) -> list[str]:
            """The names of all tasks that have runs."""

        def durations(self, keep: int) -> dict[str, list[float]]:
            """For each task how many seconds its newest `keep` good runs took, the newest first.

            Good are those that ended with `success` or `exit` and were not dry.
            """

        def spans(self, since: float, until: float) -> list[tuple[float, float]]:
            """When the runs that went on in a span started and ended; one that goes on yet ends with it.

            Skipped and queued ones did not run. In seconds since the epoch, by their starts.
            """

        def excess(self, task: str, before: float | None = None, keep: int | None = None) -> list[str]:
            """The ids of a task's finished runs that started before a moment, or are not among the newest `keep`."""

        def remove(self, ids: Sequence[str]) -> int:
            """Remove runs with their steps, some at a time, so that nobody waits for long; how many."""

        def known(self, ids: Iterable[str]) -> set[str]:
            """Those of the ids that runs have."""

        def compact(self) -> None:
            """Give back the room of removed runs, if it is worth it."""

        def close(self) -> None: ...

        def __enter__(self) -> RunStore: ...

        def __exit__(self, *error: object) -> None:
            """Close the store."""


@dataclass(frozen=True)
class Query:
    """Which runs are asked for. Times are seconds since the epoch; None does not restrict."""

    task: str | None = None
    statuses: tuple[str, ...] = ()
    since: float | None = None
    until: float | None = None
    slot: float | None = None
    limit: int = 50  #: 0 for all
