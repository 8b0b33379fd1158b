"""What runs are expected to take, by the history."""

from __future__ import annotations

from scflows.cron.duration import KEEP, Durations
from scflows.history import open_store
from scflows.history.recorder import FAULTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from scflows.cron.duration import Kind
    from scflows.settings import Settings


def measured(settings: Settings, tasks: Iterable[Kind]) -> Durations:
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
