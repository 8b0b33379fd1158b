"""The load of many tasks as it was counted last, in one file: to add one task to them no other has to be read.

It holds while the folder of the task files is as the planner left it. Whoever reads all tasks anyway weighs them anew
once an hour; whoever changes a few goes by what was weighed within a week. At the first doubt it is as if it were not
there.
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
from scflows.storage import open_regular, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.settings import Settings

#: Fewer tasks are as soon counted.
FEW = 300
#: Seconds for which what was measured counts as still so, for whoever needs the other tasks besides.
HOUR = 3600
#: The same for whoever does not, and would have to read them all.
WEEK = 7 * 86400
DIGEST = 16
#: Changed with what is counted, or how.
FORM = 4


@dataclass(frozen=True)
class CachedLoad:
    """What is known of the tasks without reading them."""

    load: Load
    durations: Durations  #: by which they were counted
    count: int  #: of the tasks, the paused ones too
    enabled: int  #: of them, how many are not paused
    weighed: float  #: when the durations were measured, in seconds since the epoch
    kept: int = 0  #: when this was written: the time of its file, in nanoseconds

    @property
    def is_old(self) -> bool:
        """Whether tasks may well take other times by now."""
        return time.time() - self.weighed >= HOUR


def load_file(settings: Settings) -> str:
    return os.path.join(settings.state_path, "tasks.load")


def write_cached_load(settings: Settings, kept: CachedLoad) -> None:
    """Keep it for the next command. Hold `file_lock`, with all task files written."""
    state = _state(settings)
    if state is None or kept.count <= FEW:
        drop_cached_load(settings)
        return
    head = {
        "state": state,
        "weighed": kept.weighed,
        "count": kept.count,
        "enabled": kept.enabled,
        "turns": {every: list(own.items()) for every, own in kept.load.turns.items()},
        "own": list(kept.durations.own),
        "groups": [[*group, seconds] for group, seconds in kept.durations.groups.items()],
    }
    import numpy

    # Numbers as they are: to write 50,000 as text takes a tenth of a second.
    seconds = numpy.fromiter(kept.durations.own.values(), numpy.float64, len(kept.durations.own))
    numbers = (kept.load.runs, kept.load.starts, seconds)
    body = b"".join((json.dumps(head).encode(), b"\n", *(each.tobytes() for each in numbers)))
    try:
        replace(load_file(settings), _digest(body) + body, mode=0o600, durable=False)
    except OSError:
        drop_cached_load(settings)


def drop_cached_load(settings: Settings) -> None:
    """Have the next command count all tasks."""
    try:
        os.unlink(load_file(settings))
    except OSError:
        pass


def read_cached_load(settings: Settings) -> CachedLoad | None:
    """What was kept; None for nothing, and for what may no longer be so. Hold `file_lock`, or look only."""
    try:
        with open(open_regular(load_file(settings)), "rb") as file:
            written = os.fstat(file.fileno()).st_ctime_ns
            content = file.read()
    except OSError:
        return None
    digest, body = content[:DIGEST], memoryview(content)[DIGEST:]
    if _digest(body) != digest:
        return None  # Half of it, after the machine went down.
    length = content.index(b"\n", DIGEST) - DIGEST
    head = json.loads(bytes(body[:length]))
    if not 0 <= time.time() - head["weighed"] < WEEK or head["state"] != _state(settings):
        return None
    import numpy

    load = Load()
    place = length + 1
    for counted in (load.runs, load.starts):
        counted[:] = numpy.frombuffer(body, numpy.int64, len(counted), place)
        place += counted.nbytes
    seconds = numpy.frombuffer(body, numpy.float64, len(head["own"]), place)
    load.turns = {int(every): dict(own) for every, own in head["turns"].items()}
    durations = Durations((), {})
    durations.own = dict(zip(head["own"], seconds.tolist(), strict=True))
    durations.groups = {tuple(group): seconds for *group, seconds in head["groups"]}
    return CachedLoad(load, durations, head["count"], head["enabled"], head["weighed"], written)


def _state(settings: Settings) -> list[object] | None:
    """What changes with every task file that comes, goes or is replaced, and with the clocks; None without a folder."""
    try:
        folder = os.stat(os.path.join(settings.state_path, "tasks"))
    except OSError:
        return None
    zone = [os.environ.get("TZ"), sorted(offsets())]
    return [FORM, __version__, CYCLE, RUN, folder.st_mtime_ns, folder.st_ctime_ns, folder.st_ino, *zone]


def _digest(body: bytes | memoryview) -> bytes:
    return blake2b(body, digest_size=DIGEST).digest()
