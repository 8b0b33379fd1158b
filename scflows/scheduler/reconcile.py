"""Open the history after bringing it up to date: crashed runs and missed slots are recorded."""

from __future__ import annotations

from scflows.history.crashes import record_crashes
from scflows.history.recorder import import_claims
from scflows.history.store import open_store
from scflows.queue.permits import is_queue_empty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.history.contract import RunStore
    from scflows.scheduler.missed.detection import CatchUpSlot
    from scflows.settings import Settings


def open_reconciled_history(settings: Settings, looks_at_slots: bool = True) -> RunStore:
    """Open the history, up to date: pending records are imported, runs whose process died are `crashed`, and slots that
    were not started are `missed`.

    If it cannot be written, it is opened as it is. With very many tasks, missed slots are left to the housekeeping in
    the background.
    """
    import sqlite3

    store: RunStore | None = None
    try:
        store = open_store(settings)
        import_claims(settings, store)
        record_crashes(store, settings)
        if not is_queue_empty(settings.state_path):
            from scflows.queue.worker_process import ensure_worker

            ensure_worker(settings.state_path)
        if looks_at_slots:
            from scflows.cron.task_index import are_very_many
            from scflows.scheduler.missed.detection import record_missed

            if not are_very_many(settings):
                record_missed(store, settings)
        return store
    except (sqlite3.OperationalError, OSError) as error:
        if store is not None:
            store.close()
        try:
            return open_store(settings, read_only=True)
        except (sqlite3.Error, OSError):
            raise error from None


def catch_up_slots(settings: Settings) -> list[CatchUpSlot]:
    """Record missed slots, and return those that are to be caught up, the oldest first."""
    from scflows.scheduler.missed.detection import record_missed

    with open_reconciled_history(settings, looks_at_slots=False) as store:
        return record_missed(store, settings, at_once=True).to_catch_up
