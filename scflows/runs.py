"""What is done to runs that happened or go on: find out who crashed, stop."""

from __future__ import annotations

import os
import signal

from scflows.crashes import settle
from scflows.errors import Busy, NotFound, Refused
from scflows.history import open_store
from scflows.history.recorder import Recorder, take_in_pending
from scflows.lock import is_alive
from scflows.place import nobody_waits
from scflows.run import CANCELLED, QUEUED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.history import RunStore
    from scflows.run import Run
    from scflows.settings import Settings
    from scflows.unanswered import Owed


def read_store(settings: Settings, looks_at_slots: bool = True) -> RunStore:
    """The history, true as of now: records that waited are taken in, runs whose process died are `crashed`, slots
    that nobody answered are `missed`.

    One that cannot be written is read as it is. With very many tasks their slots are left to the housekeeping, which
    is done aside: nobody waits for it.
    """
    import sqlite3

    store: RunStore | None = None
    try:
        store = open_store(settings)
        take_in_pending(settings, store)
        settle(store, settings)
        if not nobody_waits(settings.state_path):
            from scflows.backlog import see_to

            see_to(settings.state_path)
        if looks_at_slots:
            from scflows.cron.index import are_very_many
            from scflows.unanswered import settle as settle_slots

            if not are_very_many(settings):
                settle_slots(store, settings)
        return store
    except (sqlite3.OperationalError, OSError) as error:
        if store is not None:
            store.close()
        try:
            return open_store(settings, read_only=True)
        except (sqlite3.Error, OSError):
            raise error from None


def stop(run: Run, settings: Settings) -> int:
    """Tell a run's process to stop; its number, 0 for one that waited and is taken out of the line.

    Raises NotFound or Refused when that cannot be.
    """
    if run.status == QUEUED:
        from scflows.backlog import ticket_of
        from scflows.entrance import withdraw

        ticket = ticket_of(settings.state_path, run.id)
        if ticket is not None and not ticket.is_own:
            recorder = Recorder(settings)
            told = "told to stop while it waited for its turn"
            if withdraw(settings.state_path, ticket, recorder, CANCELLED, "terminated", told):
                recorder.close()
                return 0
            raise Busy(f"run {run.id} is about to start", f"try again: flows runs stop {run.id}")
    pid = int(run.holder.split(":")[2]) if run.holder.count(":") == 3 else 0
    if run.ended is not None or not is_alive(run.holder) or not pid:
        raise NotFound(f"run {run.id} does not run any more, or not on this machine")
    try:
        os.kill(pid, signal.SIGTERM)
    except PermissionError as error:
        raise Refused(f"run {run.id} belongs to another user") from error
    except ProcessLookupError as error:
        raise NotFound(f"run {run.id} does not run any more") from error
    return pid


def owed_slots(settings: Settings) -> list[Owed]:
    """The slots that are to be made up, the oldest first; those that were missed are recorded on the way."""
    from scflows.unanswered import settle as settle_slots

    store = read_store(settings, looks_at_slots=False)
    try:
        return settle_slots(store, settings, at_once=True).owed
    finally:
        store.close()
