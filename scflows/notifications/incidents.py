"""What is wrong with a task that no run of it can tell: kept until it is over, so that it is told once.

One file for each task, in the folder `incidents` of the state. A change is made under a lock that is held for a
moment only; the telling, which may take its time, has one for each task that nobody waits for.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import contextmanager
from dataclasses import dataclass, replace

from scflows.history.run import GOOD
from scflows.storage import BROKEN, checked_number, checked_seconds, checked_text
from scflows.storage import replace as replace_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from scflows.history.run import Run
    from scflows.settings import Settings

LATE = "late"  #: a slot was due, and its run has not begun in time
MISSED = "missed"  #: slots have no run, and will have none
TOO_LONG = "too_long"  #: a run goes on for longer than it should
#: How many slots are kept, the newest.
MOST_SLOTS = 24
#: Seconds for which one that is over is kept: what is found out late must not be told again.
KEPT = 2 * 86400.0


@dataclass(frozen=True)
class Incident:
    """Times are seconds since the epoch."""

    task: str
    kind: str  #: LATE, MISSED or TOO_LONG
    since: float  #: the first slot that has no run, or the start of the run that takes too long
    until: float  #: the newest slot that it is about; what is not newer is no news
    found: float
    message: str = ""
    slots: tuple[float, ...] = ()  #: those without a run, in order
    run: str = ""  #: the one that takes too long
    told: bool = False
    tries: int = 0  #: how often somebody began to tell
    recovery: str = ""  #: the run that ended it, from when it is known
    is_open: bool = True  #: until its recovery was told

    def ended_by(self, run: Run) -> bool:
        """Whether a run shows that all is well again."""
        if run.status not in GOOD:
            return False
        if self.kind == TOO_LONG:
            return run.started >= self.since
        # One that was started by hand says nothing of the scheduler.
        return run.slot is not None and run.slot >= self.until

    def over(self, run: Run) -> Incident:
        """The same, ended by a run."""
        return replace(self, recovery=run.id, until=max(self.until, run.slot or 0.0))

    def values(self) -> dict[str, Any]:
        """As JSON values."""
        return {**self.__dict__, "slots": list(self.slots)}


def incident_of(settings: Settings, task: str) -> Incident | None:
    """What is, or was lately, wrong with a task; None also when its file is broken."""
    try:
        with open(_path(settings, task), "rb") as file:
            values = json.loads(file.read())
        found = _checked(Incident(**{**values, "slots": tuple(values["slots"])}))
    except BROKEN:
        return None
    return found if found.task == task else None


def _checked(found: Incident) -> Incident:
    """The same. Raises ValueError for values that nobody here writes."""
    for text in (found.task, found.message, found.run, found.recovery):
        checked_text(text)
    for moment in (found.since, found.until, found.found, *found.slots):
        checked_seconds(moment)
    checked_number(found.tries)
    if found.kind not in (LATE, MISSED, TOO_LONG) or type(found.told) is not bool or type(found.is_open) is not bool:
        raise ValueError(f"kind {found.kind!r}, told {found.told!r}, is_open {found.is_open!r}")
    return found


def incidents(settings: Settings) -> list[Incident]:
    """All that are open, and those that were lately."""
    try:
        names = sorted(os.listdir(_folder(settings)))
    except OSError:
        return []
    found = (incident_of(settings, name[:-5]) for name in names if name.endswith(".json") and name[0] != ".")
    return [each for each in found if each is not None]


def change_incident(
    settings: Settings, task: str, change: Callable[[Incident | None], Incident | None]
) -> Incident | None:
    """Change what is known of a task, nobody else meanwhile; what it is then. None forgets it. Raises OSError."""
    with _locked(settings, ".lock", wait=True):
        before = incident_of(settings, task)
        after = change(before)
        if after is None:
            try:
                os.unlink(_path(settings, task))
            except FileNotFoundError:
                pass
        elif after != before:
            content = json.dumps(after.values(), ensure_ascii=False).encode() + b"\n"
            replace_file(_path(settings, task), content, mode=0o600, durable=False)
        return after


@contextmanager
def only_teller(settings: Settings, task: str) -> Iterator[None]:
    """Have the telling of a task's for oneself. Raises BlockingIOError when another is at it, OSError if it cannot be.

    The file stays: who removed it would have others lock one that nobody else finds.
    """
    with _locked(settings, f".telling-{task}", wait=False):
        yield


@contextmanager
def _locked(settings: Settings, name: str, wait: bool) -> Iterator[None]:
    folder = _folder(settings)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    descriptor = os.open(os.path.join(folder, name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)


def _path(settings: Settings, task: str) -> str:
    return os.path.join(_folder(settings), f"{task}.json")


def _folder(settings: Settings) -> str:
    return os.path.join(settings.state_path, "incidents")
