"""The sign of life of the scheduler that runs in the foreground, and the lock that lets only one run."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import dataclass

from scflows.errors import Busy, Refused
from scflows.locks import Lock
from scflows.storage import BROKEN, checked_number, checked_seconds, checked_text, open_regular, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scflows.locks import Holder
    from scflows.settings import Settings

LOCK = "scheduler"
#: Who holds it: the scheduler in the foreground, or the one line of the crontab while its tasks run.
CRON_RUN, TICK = "cron-run", "tick"


@dataclass(frozen=True)
class Heartbeat:
    """What the scheduler said of itself at its last tick."""

    pid: int
    tick: float  #: when that was, in seconds since the epoch
    until: float  #: slots up to this time have been dealt with
    running: tuple[str, ...]  #: the tasks it has started that have not ended
    waiting: int  #: slots that wait for a place


def acquire_scheduler_lock(settings: Settings, warn: Callable[[str], None] = lambda text: None) -> Lock:
    """Take the lock of the one scheduler. Raises Busy with its holder, and Refused in the folder of another user.

    If it cannot be locked for another reason, `warn` is called: tasks must start all the same.
    """
    lock = scheduler_lock(settings)
    try:
        is_taken = lock.acquire(CRON_RUN)
        if os.geteuid() and os.stat(settings.state_path).st_uid != os.geteuid():
            lock.release()
            raise PermissionError(errno.EPERM, "it belongs to another user")
    except PermissionError as error:
        told = f"{settings.state_path}: cannot be locked: {error.strerror}"
        raise Refused(told, "see whose it is: flows check") from error
    except OSError as error:
        warn(_without(settings, error))
        return lock
    if not is_taken:
        other = lock.holder()
        named = f" (process {other.pid})" if other is not None and other.pid else ""
        if other is not None and other.run == TICK:
            told = f"the crontab's one line for all tasks is at work{named}"
            raise Busy(told, "let cron start the tasks; or take the line off first: flows repair --no-one-line")
        raise Busy(f"a scheduler runs already{named}", "look at it with: flows cron status")
    return lock


def try_scheduler_lock(settings: Settings, warn: Callable[[str], None] = lambda text: None) -> Lock | None:
    """Take the same lock for one look at the clock; None if a scheduler is at work.

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
    """Return the scheduler in the foreground, by the lock that it holds; None if it does not run."""
    found = scheduler_lock(settings).holder()
    return found if found is not None and found.run != TICK else None


def is_scheduler_busy(settings: Settings) -> bool:
    """Return whether another process knows better which slots are still to be started: they wait with it."""
    found = scheduler_lock(settings).holder()
    if found is None:
        return False
    before = last_heartbeat(settings)
    return found.run != TICK or (before is not None and before.waiting > 0)


def _without(settings: Settings, error: OSError) -> str:
    return f"{settings.state_path}: cannot be locked: {error.strerror}; going on without it"


def write_heartbeat(settings: Settings, heartbeat: Heartbeat) -> None:
    """Write the sign of life. Raises OSError."""
    values = {**heartbeat.__dict__, "running": list(heartbeat.running)}
    replace(heartbeat_file(settings), json.dumps(values).encode() + b"\n", durable=False)


def last_heartbeat(settings: Settings) -> Heartbeat | None:
    """The newest sign of life, also of a scheduler that has ended; None when there is none, or a broken one."""
    try:
        with open(open_regular(heartbeat_file(settings)), encoding="utf-8") as file:
            values = json.load(file)
        return Heartbeat(
            pid=checked_number(values["pid"]),
            tick=checked_seconds(values["tick"]),
            until=checked_seconds(values["until"]),
            running=tuple(checked_text(name) for name in values["running"]),
            waiting=checked_number(values["waiting"]),
        )
    except BROKEN:
        return None


def heartbeat_file(settings: Settings) -> str:
    return os.path.join(settings.state_path, "heartbeat")
