"""The sign of life of the scheduler that runs in the foreground, and the lock that lets only one run."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

from scflows.errors import Busy, Refused
from scflows.locks import FallbackLock, holder
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


def acquire_scheduler_lock(settings: Settings, warn: Callable[[str], None] = lambda text: None) -> FallbackLock:
    """The lock of the one scheduler, taken. Raises Busy, naming who has it, and Refused in the folder of another user.

    Where it cannot be made for another reason, as on a full disk, `warn` is told so: tasks must start all the same.
    """
    lock = _lock(settings)
    try:
        taken = lock.acquire(CRON_RUN)
    except OSError as error:
        if not isinstance(error, PermissionError):
            warn(_without(lock, error))
            return lock
        raise _not_ours(lock, error) from error
    if isinstance(lock.problem, PermissionError):
        lock.release()
        raise _not_ours(lock, lock.problem)
    if lock.problem is not None:
        warn(_without(lock, lock.problem))
    if not taken:
        other = holder(settings.state_path, LOCK)
        named = f" (process {other.pid})" if other is not None and other.pid else ""
        if other is not None and other.run == TICK:
            told = f"the crontab's one line for all tasks is at work{named}"
            raise Busy(told, "let cron start the tasks; or take the line off first: flows repair --no-one-line")
        raise Busy(f"a scheduler runs already{named}", "look at it with: flows cron status")
    return lock


def scheduler(settings: Settings) -> Holder | None:
    """The scheduler in the foreground, by the lock it holds; None when it does not run."""
    found = holder(settings.state_path, LOCK)
    return found if found is not None and found.run != TICK else None


def is_scheduler_busy(settings: Settings) -> bool:
    """Whether somebody else knows better which slots are still to be started: they wait for a place with it."""
    found = holder(settings.state_path, LOCK)
    if found is None:
        return False
    before = last_heartbeat(settings)
    return found.run != TICK or (before is not None and before.waiting > 0)


def try_scheduler_lock(settings: Settings, warn: Callable[[str], None] = lambda text: None) -> FallbackLock | None:
    """The same lock, taken for one look at the clock; None when a scheduler is at work.

    Where its file cannot be made, `warn` is told so; where nothing else can be locked either, it is not held.
    """
    lock = _lock(settings)
    try:
        if not lock.acquire(TICK):
            return None
    except OSError as error:
        warn(_without(lock, error))
        return lock
    if lock.problem is not None:
        warn(_without(lock, lock.problem))
    return lock


def _lock(settings: Settings) -> FallbackLock:
    return FallbackLock(settings.state_path, LOCK, settings.state_path)


def _not_ours(lock: FallbackLock, error: OSError) -> Refused:
    return Refused(f"{lock.path}: cannot be locked: {error.strerror}", "see whose it is: flows check")


def _without(lock: FallbackLock, error: OSError) -> str:
    return f"{lock.path}: cannot be locked: {error.strerror}; going on without it"


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
