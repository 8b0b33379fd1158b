"""What is done to runs that happened or go on: find out who crashed, stop, prune."""

from __future__ import annotations

import fcntl
import os
import signal
import time

from scflows.crashes import settle
from scflows.errors import NotFound, Refused
from scflows.follow_up import pay_owed
from scflows.history import open_store
from scflows.history.recorder import FAULTS, take_in_pending
from scflows.launch import start_hook
from scflows.lock import is_alive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.history import RunStore
    from scflows.run import Run
    from scflows.settings import Settings

#: Seconds between two housekeepings of a machine, and between two prunings.
HOUSEKEEPING_EVERY = 60.0
PRUNING_EVERY = 24 * 3600.0


def read_store(settings: Settings) -> RunStore:
    """The history, true as of now: records that waited are taken in, runs whose process died are `crashed`.

    One that cannot be written is read as it is.
    """
    import sqlite3

    store: RunStore | None = None
    try:
        store = open_store(settings)
        take_in_pending(settings, store)
        settle(store, settings)
        return store
    except (sqlite3.OperationalError, OSError) as error:
        if store is not None:
            store.close()
        try:
            return open_store(settings, read_only=True)
        except (sqlite3.Error, OSError):
            raise error from None


def stop(run: Run) -> int:
    """Tell a run's process to stop; its number. Raises NotFound or Refused when that cannot be."""
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


def housekeeping(settings: Settings) -> None:
    """What is done now and then: take in waiting records, settle crashed runs, call their hooks, prune.

    It is done by whoever ends a run, at most once a minute.

    It never raises and never waits: a history that cannot be written is told by the run itself.
    """
    stamp = os.path.join(settings.state_path, "housekeeping")
    if not _is_older(stamp, HOUSEKEEPING_EVERY):
        return
    try:
        descriptor = os.open(stamp, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.utime(descriptor)
        store = read_store(settings)
        try:
            pruned = os.path.join(settings.state_path, "pruning")
            if _is_older(pruned, PRUNING_EVERY):
                from scflows.retention import prune

                with open(pruned, "wb"):
                    prune(store, settings)
        finally:
            store.close()
        pay_owed(settings, start_hook)
    except FAULTS:
        pass
    finally:
        os.close(descriptor)


def _is_older(path: str, seconds: float) -> bool:
    try:
        return abs(time.time() - os.stat(path).st_mtime) > seconds
    except FileNotFoundError:
        return True
    except OSError:
        return False
