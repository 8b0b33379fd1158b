"""The lock that allows only one scheduler to run, and the heartbeat of the scheduler in the foreground."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import dataclass

from scflows.errors import Busy, Refused
from scflows.locks import Holder, Lock
from scflows.storage import BROKEN, checked_number, checked_seconds, open_regular, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scflows.settings import Settings

LOCK = "scheduler"
#: The holders: the scheduler in the foreground, and `flows tick` while its tasks run.
CRON_RUN, TICK = "cron-run", "tick"


@dataclass(frozen=True)
class Heartbeat:
    """What the scheduler reported at its last tick."""

    pid: int
    tick: float  #: the time of the tick, in seconds since the epoch
    until: float  #: slots up to this time have been enqueued


def acquire_scheduler_lock(settings: Settings, warn: Callable[[str], None] = lambda text: None) -> Lock:
    """Take the lock of the one scheduler. Raises Busy with its holder, and Refused in the folder of another user.

    If locking fails for another reason, `warn` is called, because tasks must start anyway.
    """
    lock = scheduler_lock(settings)
    try:
        is_taken = lock.acquire(CRON_RUN)
        if os.geteuid() and os.stat(settings.state_path).st_uid != os.geteuid():
            lock.release()
            raise PermissionError(errno.EPERM, "it belongs to another user")
    except PermissionError as error:
        message = f"{settings.state_path}: cannot be locked: {error.strerror}"
        raise Refused(message, "find its owner: flows check") from error
    except OSError as error:
        warn(_without(settings, error))
        return lock
    if not is_taken:
        other = lock.holder()
        process = f" (process {other.pid})" if other is not None and other.pid else ""
        if other is not None and other.run == TICK:
            message = f"the crontab's line for all tasks is running{process}"
            raise Busy(message, "let cron start the tasks, or remove the line first: flows repair --no-one-line")
        raise Busy(f"a scheduler is already running{process}", "show it: flows cron status")
    return lock


def try_scheduler_lock(settings: Settings, warn: Callable[[str], None] = lambda text: None) -> Lock | None:
    """Take the lock for one tick; return None if a scheduler holds it.

    If it cannot be locked, `warn` is called, and the lock is not held.
    """
    lock = scheduler_lock(settings)
    try:
        return lock if lock.acquire(TICK) else None
    except OSError as error:
        warn(_without(settings, error))
        return lock


def scheduler_lock(settings: Settings) -> Lock:
    """Return the lock of the one scheduler: the state folder itself."""
    return Lock(settings.state_path, LOCK, instead=settings.state_path)


def scheduler(settings: Settings) -> Holder | None:
    """Return the scheduler in the foreground, from its lock; None if it is not running."""
    holder = scheduler_lock(settings).holder()
    return holder if holder is not None and holder.run != TICK else None


def is_scheduler_busy(settings: Settings) -> bool:
    """Return whether another process is at work that knows which slots are still to be enqueued."""
    return scheduler_lock(settings).holder() is not None


def _without(settings: Settings, error: OSError) -> str:
    return f"{settings.state_path}: cannot be locked: {error.strerror}; continuing without a lock"


def write_heartbeat(settings: Settings, heartbeat: Heartbeat) -> None:
    """Write the heartbeat. Raises OSError."""
    replace(heartbeat_file(settings), json.dumps(heartbeat.__dict__).encode() + b"\n", durable=False)


def last_heartbeat(settings: Settings) -> Heartbeat | None:
    """Return the last heartbeat, even of a scheduler that has ended; None if it is missing or damaged."""
    try:
        with open(open_regular(heartbeat_file(settings)), encoding="utf-8") as file:
            values = json.load(file)
        return Heartbeat(
            pid=checked_number(values["pid"]),
            tick=checked_seconds(values["tick"]),
            until=checked_seconds(values["until"]),
        )
    except BROKEN:
        return None


def heartbeat_file(settings: Settings) -> str:
    return os.path.join(settings.state_path, "heartbeat")
