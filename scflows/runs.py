"""What is done to runs that happened or go on: find out who crashed, stop, prune."""

from __future__ import annotations

import fcntl
import os
import signal
import time

from scflows.errors import NotFound, Refused
from scflows.history import open_store
from scflows.history.recorder import FAULTS, take_in_pending
from scflows.lock import is_alive
from scflows.lock.file import holders
from scflows.run import CRASHED, Run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from scflows.history import RunStore
    from scflows.settings import Settings

#: Seconds between two housekeepings of a machine, and between two prunings.
HOUSEKEEPING_EVERY = 60.0
PRUNING_EVERY = 24 * 3600.0
#: How long finished runs are kept, in days, and how large a log may grow, in bytes.
KEPT_DAYS = 90
KEPT_LOG_BYTES = 10 * 1024 * 1024


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


def settle(store: RunStore, settings: Settings) -> list[Run]:
    """End the runs whose process died without a word; those runs."""
    locks = None
    crashed = []
    for run in store.unfinished():
        alive = is_alive(run.holder)
        if alive is None:
            # Its process lives in another container or on another host: only its lock can tell.
            locks = holders(settings.lock_path) if locks is None else locks
            alive = not any(lock.run == run.id and not lock.alive for lock in locks)
        if alive:
            continue
        run.status, run.ended = CRASHED, time.time()
        run.reason, run.message = "died", "its process died without a word"
        if store.finish(run):
            crashed.append(run)
    return crashed


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
    """Take in waiting records, settle crashed runs, prune: by whoever ends a run, at most once a minute.

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
                with open(pruned, "wb"):
                    prune(store, settings, time.time() - KEPT_DAYS * 24 * 3600)
        finally:
            store.close()
    except FAULTS:
        pass
    finally:
        os.close(descriptor)


def prune(store: RunStore, settings: Settings, before: float) -> int:
    """Remove runs that started before a moment, and the head of logs that grew too large; how many runs."""
    for path in log_files(settings):
        try:
            cut_log(path)
        except OSError:
            continue  # A log that cannot be cut is as good as before.
    for folder in ("claims", "checked-flows"):
        _remove_older(os.path.join(settings.state_path, folder), before)
    return store.prune(before)


def log_files(settings: Settings) -> Iterator[str]:
    """The log of every task."""
    try:
        names = sorted(os.listdir(settings.tasks_path))
    except OSError:
        return
    for name in names:
        path = os.path.join(settings.tasks_path, name, f"{name}.log")
        if os.path.isfile(path):
            yield path


def cut_log(path: str, limit: int = KEPT_LOG_BYTES) -> bool:
    """Keep the newer half of a log that is larger than `limit` bytes, from a line's start."""
    size = os.path.getsize(path)
    if size <= limit:
        return False
    with open(path, "r+b") as file:
        file.seek(size - limit // 2)
        file.readline()
        kept = file.read()
        # In place, for who has it open: appending goes on at the new end.
        file.seek(0)
        file.write(kept)
        file.truncate()
    return True


def _remove_older(folder: str, before: float) -> None:
    """Remove the files below a folder that were last written before a moment."""
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            try:
                if os.stat(path).st_mtime < before:
                    os.unlink(path)
            except OSError:
                continue  # Somebody else was quicker.


def _is_older(path: str, seconds: float) -> bool:
    try:
        return abs(time.time() - os.stat(path).st_mtime) > seconds
    except FileNotFoundError:
        return True
    except OSError:
        return False
