"""A run that waits for its turn, as the name of its file and what the file says."""

from __future__ import annotations

import json
from dataclasses import dataclass

LEFT_ENDING, OWN_ENDING = ".left", ".own"
#: Added to what is subtracted from, so that names sort like numbers.
BIAS = 5000
#: No time in a file is later than this, in seconds since the epoch: the end of the year 9999.
LAST = 253402300800.0


@dataclass(frozen=True)
class QueueEntry:
    """What the name of a file says: whose turn it is, and when. Sorts in the order of the turns."""

    rank: int  #: less is earlier: minus the priority
    at: float  #: not before this time, in seconds since the epoch
    task: str
    run: str
    is_own: bool = False  #: whether a process waits with it

    @property
    def key(self) -> tuple[int, float, str, str]:
        return self.rank, self.at, self.task, self.run

    @property
    def name(self) -> str:
        ending = OWN_ENDING if self.is_own else LEFT_ENDING
        return f"{self.rank + BIAS:04d}_{round(self.at * 1000):014d}_{self.task}_{self.run}{ending}"


@dataclass(frozen=True)
class QueuedRun:
    """What a file says besides. Times are seconds since the epoch."""

    trigger: str
    slot: float | None
    since: float
    until: float  #: then it is given up
    most: int  #: how many places there are for it; 0: it needs none
    lock_path: str
    lock: str  #: the name of its lock
    mutexes: list[str]
    patient: bool  #: whether it waits until its lock is free, too
    why: str  #: what it waits for, as it was when it came


def parse_entry_name(name: str) -> QueueEntry | None:
    """What the name of a file says; None for one that is no ticket."""
    stem, _, ending = name.rpartition(".")
    if name.startswith(".") or f".{ending}" not in (LEFT_ENDING, OWN_ENDING):
        return None
    try:
        rank, at, rest = stem.split("_", 2)
        task, run = rest.rsplit("_", 1)
        return QueueEntry(int(rank) - BIAS, int(at) / 1000, task, run, f".{ending}" == OWN_ENDING)
    except ValueError:
        return None


def parse_queued_run(text: str) -> QueuedRun | None:
    """What a file says; None for one that is broken."""
    try:
        waiting = QueuedRun(**json.loads(text))
    except (ValueError, TypeError, RecursionError):
        return None
    return waiting if _is_sound(waiting) else None


def _is_sound(waiting: QueuedRun) -> bool:
    """Whether each value is of its type: a power cut or a full disk may leave anything in a file."""
    texts = [waiting.trigger, waiting.lock_path, waiting.lock, waiting.why]
    if not isinstance(waiting.mutexes, list) or type(waiting.patient) is not bool or type(waiting.most) is not int:
        return False
    if not all(isinstance(text, str) and "\0" not in text for text in [*texts, *waiting.mutexes]):
        return False
    times = [waiting.since, waiting.until, 0.0 if waiting.slot is None else waiting.slot]
    return all(type(moment) in (int, float) and abs(moment) < LAST for moment in times)
