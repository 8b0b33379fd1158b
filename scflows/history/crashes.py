"""Runs whose process died without a word: they are ended in the history, and what follows on that is noted."""

from __future__ import annotations

import fcntl
import os
import time

from scflows.history.run import CRASHED, QUEUED, Run
from scflows.locks import holders, is_alive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from scflows.history.contract import RunStore
    from scflows.settings import Settings


def record_crashes(store: RunStore, settings: Settings) -> list[Run]:
    """End the runs whose process died; those runs. Their hooks are owed from then on, see `owed`."""
    locks = None
    crashed = []
    for run in store.unfinished():
        if run.status == QUEUED and not _is_lost(run, store, settings):
            continue
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
            _owe(run, settings)
            crashed.append(run)
    return crashed


def _is_lost(run: Run, store: RunStore, settings: Settings) -> bool:
    """Whether a run is recorded as waiting, and waits nowhere: neither its process nor its file is there."""
    from scflows.queue.files import contains

    if is_alive(run.holder) or contains(settings.state_path, run.id):
        return False
    # One that began meanwhile lost its file only after it was recorded as running.
    now = store.run(run.id)
    return now is not None and now.status == QUEUED


def runs_with_pending_hooks(settings: Settings) -> Iterator[str]:
    """The ids of settled runs whose hooks nobody called yet, the oldest first.

    Each is given out to one who asks at a time, and forgotten once the next is asked for: if that one is killed
    in between, somebody else is given it again.
    """
    folder = _folder(settings)
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return
    for name in names:
        try:
            descriptor = os.open(os.path.join(folder, name), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue  # Somebody else was quicker.
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink:
                yield name
                os.unlink(os.path.join(folder, name))
        except OSError:
            continue
        finally:
            os.close(descriptor)


def has_pending_hooks(settings: Settings) -> bool:
    """Whether there are runs whose hooks nobody called yet."""
    try:
        return bool(os.listdir(_folder(settings)))
    except OSError:
        return False


def _owe(run: Run, settings: Settings) -> None:
    folder = _folder(settings)
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        with open(os.path.join(folder, run.id), "wb"):
            pass
    except OSError:
        pass  # The history has its crash; only its hooks stay away.


def _folder(settings: Settings) -> str:
    return os.path.join(settings.state_path, "owed")
