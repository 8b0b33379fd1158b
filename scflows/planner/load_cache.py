"""The load cache: the load of many tasks in one file, so that adding a task does not have to read all others.

It is valid while the folder of the task files is as the planner left it. A command that reads all tasks anyway uses a
cache of at most an hour, one that changes a few tasks of at most a week. In any doubt the cache is ignored.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from hashlib import blake2b

from scflows import __version__
from scflows.cron.schedule.zones import offsets
from scflows.planner.load.durations import Durations
from scflows.planner.load.load import CYCLE, RUN, Load
from scflows.storage import discard, open_regular, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.settings import Settings

#: Up to this many tasks, counting them is as fast as reading a cache.
MAX_UNCACHED = 300
#: The maximum age of measured durations in seconds, for commands that read all tasks.
HOUR = 3600
#: The same for commands that would have to read all tasks for it.
WEEK = 7 * 86400
DIGEST = 16
#: The version of the format; a cache of another version is ignored.
FORMAT = 4


@dataclass(frozen=True)
class CachedLoad:
    """What is known about the tasks without reading them."""

    load: Load
    durations: Durations  #: the durations from which the load was counted
    count: int  #: how many tasks there are, including paused ones
    enabled: int  #: how many of them are not paused
    measured: float  #: when the durations were measured, in seconds since the epoch
    written: int = 0  #: the modification time of the cache file, in nanoseconds

    @property
    def is_old(self) -> bool:
        """Whether the durations of tasks may have changed since."""
        return time.time() - self.measured >= HOUR


def load_file(settings: Settings) -> str:
    return os.path.join(settings.state_path, "tasks.load")


def write_cached_load(settings: Settings, cached: CachedLoad) -> None:
    """Write the cache for the next command. Hold `file_lock`, with all task files written."""
    state = _state(settings)
    if state is None or cached.count <= MAX_UNCACHED:
        drop_cached_load(settings)
        return
    head = {
        "state": state,
        "measured": cached.measured,
        "count": cached.count,
        "enabled": cached.enabled,
        "turns": {every: list(own.items()) for every, own in cached.load.turns.items()},
        "own": list(cached.durations.own),
        "groups": [[*group, seconds] for group, seconds in cached.durations.groups.items()],
    }
    import numpy

    # Binary, because writing 50,000 numbers as text takes a tenth of a second.
    seconds = numpy.fromiter(cached.durations.own.values(), numpy.float64, len(cached.durations.own))
    numbers = (cached.load.runs, cached.load.starts, seconds)
    body = b"".join((json.dumps(head).encode(), b"\n", *(each.tobytes() for each in numbers)))
    try:
        replace(load_file(settings), _digest(body) + body, mode=0o600, durable=False)
    except OSError:
        drop_cached_load(settings)


def drop_cached_load(settings: Settings) -> None:
    """Remove the cache, so that the next command counts all tasks."""
    discard(load_file(settings))


def read_cached_load(settings: Settings) -> CachedLoad | None:
    """Return the cached load; None if there is none or it may be outdated. Hold `file_lock`, or do not write."""
    try:
        with open(open_regular(load_file(settings)), "rb") as file:
            written = os.fstat(file.fileno()).st_ctime_ns
            content = file.read()
    except OSError:
        return None
    digest, body = content[:DIGEST], memoryview(content)[DIGEST:]
    if _digest(body) != digest:
        return None  # The file is incomplete, for example after a power failure.
    length = content.index(b"\n", DIGEST) - DIGEST
    head = json.loads(bytes(body[:length]))
    if not 0 <= time.time() - head["measured"] < WEEK or head["state"] != _state(settings):
        return None
    import numpy

    load = Load()
    position = length + 1
    for counted in (load.runs, load.starts):
        counted[:] = numpy.frombuffer(body, numpy.int64, len(counted), position)
        position += counted.nbytes
    seconds = numpy.frombuffer(body, numpy.float64, len(head["own"]), position)
    load.turns = {int(every): dict(own) for every, own in head["turns"].items()}
    durations = Durations((), {})
    durations.own = dict(zip(head["own"], seconds.tolist(), strict=True))
    durations.groups = {tuple(group): seconds for *group, seconds in head["groups"]}
    return CachedLoad(load, durations, head["count"], head["enabled"], head["measured"], written)


def _state(settings: Settings) -> list[object] | None:
    """Return a value that changes with every change of a task file and of the clocks; None without a folder."""
    try:
        folder = os.stat(os.path.join(settings.state_path, "tasks"))
    except OSError:
        return None
    zone = [os.environ.get("TZ"), sorted(offsets())]
    return [FORMAT, __version__, CYCLE, RUN, folder.st_mtime_ns, folder.st_ctime_ns, folder.st_ino, *zone]


def _digest(body: bytes | memoryview) -> bytes:
    return blake2b(body, digest_size=DIGEST).digest()
