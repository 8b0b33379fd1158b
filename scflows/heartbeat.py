"""The sign of life of the scheduler that runs in the foreground, and the lock that lets only one run."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

from scflows.errors import Busy, Refused
from scflows.lock.file import FileLock, holder
from scflows.safefile import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.lock import Holder
    from scflows.settings import Settings

LOCK = "scheduler"
#: A scheduler that beat longer ago than this many seconds hangs: it wakes every minute.
STALE = 150.0


@dataclass(frozen=True)
class Heartbeat:
    """What the scheduler said of itself at its last tick."""

    pid: int
    tick: float  #: when that was, in seconds since the epoch
    until: float  #: slots up to this time have been dealt with
    running: tuple[str, ...]  #: the tasks it has started that have not ended
    waiting: int  #: slots that wait for a place


def only_scheduler(settings: Settings) -> FileLock:
    """The lock of the one scheduler, taken. Raises Busy, naming who has it, and Refused."""
    lock = FileLock(settings.state_path, LOCK)
    try:
        taken = lock.acquire("cron-run")
    except OSError as error:
        raise Refused(f"{lock.path}: cannot be locked: {error.strerror}", "see who owns the folder: ls -ld") from error
    if not taken:
        other = scheduler(settings)
        named = f" (process {other.pid})" if other is not None and other.pid else ""
        raise Busy(f"a scheduler runs already{named}", "look at it with: flows cron status")
    return lock


def scheduler(settings: Settings) -> Holder | None:
    """The scheduler that runs, by the lock it holds; None when none does."""
    return holder(settings.state_path, LOCK)


def beat(settings: Settings, heartbeat: Heartbeat) -> None:
    """Write the sign of life. Raises OSError."""
    values = {**heartbeat.__dict__, "running": list(heartbeat.running)}
    replace(heartbeat_file(settings), json.dumps(values).encode() + b"\n", durable=False)


def last_beat(settings: Settings) -> Heartbeat | None:
    """The newest sign of life, also of a scheduler that has ended; None when there is none."""
    try:
        with open(heartbeat_file(settings), encoding="utf-8") as file:
            values = json.load(file)
        return Heartbeat(
            pid=int(values["pid"]),
            tick=float(values["tick"]),
            until=float(values["until"]),
            running=tuple(values["running"]),
            waiting=int(values["waiting"]),
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None


def heartbeat_file(settings: Settings) -> str:
    return os.path.join(settings.state_path, "heartbeat")
