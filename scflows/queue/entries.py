"""The queue: one file for each run that waits to start, whose name says in which order they start.

No process waits with its run. The queue worker (`scheduler.worker`) starts what waits.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from dataclasses import dataclass, replace

from scflows.locks import holder, running
from scflows.queue.permits import ENTRY_ENDING as ENDING
from scflows.queue.permits import QUEUE_FOLDER, is_entry, is_entry_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Added to ranks in file names, so that names sort like numbers.
BIAS = 5000
#: The rank of catch-up runs: after every priority.
LAST_RANK = BIAS - 1
#: No time in an entry is later than this, in seconds since the epoch: the end of the year 9999.
LAST = 253402300800.0
#: An entry is written at most this many seconds before its time; a time further ahead comes from another clock.
AHEAD = 60.0
#: Seconds after which a file that is not completely written is removed.
FORGOTTEN = 600.0


@dataclass(frozen=True)
class QueueEntry:
    """The name of an entry: when the run starts, compared with others."""

    rank: int  #: less is earlier: minus the priority
    at: float  #: not before this time, in seconds since the epoch
    task: str
    run: str

    @property
    def key(self) -> tuple[int, float, str, str]:
        return self.rank, self.at, self.task, self.run

    @property
    def name(self) -> str:
        return f"{self.rank + BIAS:04d}_{round(self.at * 1000):014d}_{self.task}_{self.run}{ENDING}"

    def is_due(self, now: float) -> bool:
        """Return whether its time has come, also where the clock was set back meanwhile."""
        return not now < self.at <= now + AHEAD


@dataclass(frozen=True)
class QueuedRun:
    """The content of an entry. Times are seconds since the epoch."""

    trigger: str
    slot: float | None
    since: float
    until: float  #: then the run is given up
    most: int  #: how many permits there are for it; 0: it needs none
    lock_path: str
    lock: str  #: the name of its lock
    mutexes: list[str]
    overlap: str  #: `skip`, `wait` or `cancel`; empty: it waits for all other runs of its task
    why: str  #: what it waited for when it was enqueued; empty if that was not looked at
    request: dict[str, Any]  #: the rest of what was asked for, see `execution.enqueue`
    active: int = 1  #: how many runs of its task may be active at the same time

    @property
    def locks(self) -> list[tuple[str, str]]:
        """The locks, each as folder and name, that the run needs before it can start: its own, and its mutexes."""
        folder = mutex_folder(self.lock_path)
        return [(self.lock_path, self.lock), *((folder, name) for name in self.mutexes)]

    @property
    def is_startable(self) -> bool:
        """Whether it could have all its locks now."""
        own, *mutexes = self.locks
        return len(running(*own)) < self.active and all(holder(*each) is None for each in mutexes)


class HeldEntry:
    """An entry that this process holds: no other process starts or ends its run."""

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor
        self.is_stuck = False  #: whether it could not be removed

    def leave(self) -> None:
        """Let go of the entry; the run stays in the queue."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def remove(self) -> None:
        """Take the run out of the queue."""
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass
        except OSError:
            self.is_stuck = True
        self.leave()

    def rewrite(self, queued: QueuedRun) -> None:
        """Replace the content. Raises OSError."""
        os.close(_written(self.path, queued))


def entry_names(state: str) -> list[str]:
    """Return the file names of all entries, in no order."""
    try:
        with os.scandir(os.path.join(state, QUEUE_FOLDER)) as found:
            return [each.name for each in found if is_entry(each)]
    except OSError:
        return []


def entries(state: str) -> list[QueueEntry]:
    """Return all entries in the order in which they start."""
    found = (parse_entry_name(name) for name in entry_names(state))
    return sorted((entry for entry in found if entry is not None), key=lambda entry: entry.key)


def parse_entry_name(name: str) -> QueueEntry | None:
    """Return the entry of a file name; None for other names."""
    if not is_entry_name(name):
        return None
    rank, at, rest = name.removesuffix(ENDING).split("_", 2)
    task, run = rest.rsplit("_", 1)
    return QueueEntry(int(rank) - BIAS, int(at) / 1000, task, run)


def read_queued_run(state: str, entry: QueueEntry) -> QueuedRun | None:
    """Return the content of an entry; None when it is gone or broken."""
    try:
        with open(_path(state, entry), encoding="utf-8") as file:
            return _parsed(file.read())
    except (OSError, ValueError):
        return None


def write_entry(state: str, entry: QueueEntry, queued: QueuedRun) -> HeldEntry:
    """Add an entry to the queue; the run cannot start before the entry is let go of. Raises OSError."""
    path = _path(state, entry)
    return HeldEntry(path, _written(path, queued))


def claim_entry(state: str, entry: QueueEntry) -> HeldEntry | None:
    """Hold an entry; None when another process holds it, or it is gone."""
    path = _path(state, entry)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), os.stat(path)):
            return HeldEntry(path, descriptor)
    except OSError:
        pass
    os.close(descriptor)
    return None


def entry_of_run(state: str, run: str) -> QueueEntry | None:
    """Return the entry of a run; None when it is not in the queue."""
    ending = f"_{run}{ENDING}"
    return next((parse_entry_name(name) for name in entry_names(state) if name.endswith(ending)), None)


def check_writable(state: str) -> None:
    """Raise OSError if entries cannot be removed: their runs would be started again and again."""
    folder = os.path.join(state, QUEUE_FOLDER)
    if not os.access(folder, os.W_OK | os.X_OK):
        number = errno.EROFS if os.statvfs(folder).f_flag & os.ST_RDONLY else errno.EACCES
        raise OSError(number, os.strerror(number), folder)


def remove_unfinished(state: str, now: float) -> None:
    """Remove files that a killed process left half written."""
    folder = os.path.join(state, QUEUE_FOLDER)
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        path = os.path.join(folder, name)
        try:
            if name[0] == "." and now - os.stat(path).st_mtime > FORGOTTEN:
                os.unlink(path)
        except OSError:
            pass


def mutex_folder(lock_path: str) -> str:
    """Return the folder of the locks of mutexes."""
    return os.path.join(lock_path, "mutexes")


def without_request(queued: QueuedRun) -> QueuedRun:
    """Return what the order of starts depends on: an input may be large."""
    return replace(queued, request={})


def _path(state: str, entry: QueueEntry) -> str:
    return os.path.join(state, QUEUE_FOLDER, entry.name)


def _written(path: str, queued: QueuedRun) -> int:
    """Write a file beside its place, lock it and move it there; return its descriptor."""
    folder, name = os.path.split(path)
    hidden = os.path.join(folder, "." + name)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        descriptor = os.open(hidden, flags, 0o600)
    except FileNotFoundError:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        descriptor = os.open(hidden, flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        content = json.dumps(queued.__dict__).encode()
        if os.write(descriptor, content) != len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        os.rename(hidden, path)
    except BaseException:
        os.close(descriptor)
        os.unlink(hidden)
        raise
    return descriptor


def _parsed(text: str) -> QueuedRun | None:
    """Return the content of an entry; None where a value is of the wrong type, as after a power cut."""
    try:
        queued = QueuedRun(**json.loads(text))
    except (ValueError, TypeError, RecursionError):
        return None
    texts = [queued.trigger, queued.lock_path, queued.lock, queued.overlap, queued.why]
    if not isinstance(queued.mutexes, list) or not isinstance(queued.request, dict):
        return None
    if type(queued.most) is not int or type(queued.active) is not int or queued.active < 1:
        return None
    if not all(isinstance(text, str) and "\0" not in text for text in [*texts, *queued.mutexes]):
        return None
    times = [queued.since, queued.until, 0.0 if queued.slot is None else queued.slot]
    return queued if all(type(moment) in (int, float) and abs(moment) < LAST for moment in times) else None
