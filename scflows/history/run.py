"""A run: one execution of a flow, and the records of its steps."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Protocol

    class Listener(Protocol):
        """Is told when steps start and end; may not change them."""

        def step_started(self, record: StepRecord) -> None: ...

        def step_ended(self, record: StepRecord) -> None: ...


QUEUED = "queued"
RUNNING = "running"
SUCCESS = "success"
FAILED = "failed"
EXIT = "exit"  #: ended early on purpose
SKIPPED = "skipped"  #: the flow was already running, or the slot was not due
CANCELLED = "cancelled"
CRASHED = "crashed"  #: its process died; found out by whoever looks next
STATUSES = (QUEUED, RUNNING, SUCCESS, FAILED, EXIT, SKIPPED, CANCELLED, CRASHED)
FINAL = (SUCCESS, FAILED, EXIT, SKIPPED, CANCELLED, CRASHED)  #: written once, never changed
#: Ends that a task's state follows. Others say nothing of it: skipped, or stopped by somebody on purpose.
GOOD = (SUCCESS, EXIT)
BAD = (FAILED, CRASHED)
CATCH_UP = "catch_up"  #: who started a run that makes up for a slot
CHECK = "check"  #: who started a run as cron would, to see whether it goes; it answers for no slot
HOOK = "hook"  #: who started a run that tells of another
#: The reason of a run that found what the one before it has told already: it says nothing of its task's state.
UNCHANGED = "unchanged"

#: Crockford's base 32: sorts as text, no letters that are mistaken for digits.
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


@dataclass
class StepRecord:
    """What became of one step. Times are seconds since the epoch."""

    position: int  #: counts executed and skipped steps of the run, from 1
    name: str
    type: str
    status: str = RUNNING  #: `success`, `failed`, `skipped`, `ignored` (failed, did not matter), `handled`
    started: float = 0.0
    ended: float | None = None
    message: str = ""


@dataclass
class Run:
    """One execution of a flow. Times are seconds since the epoch, UTC by definition."""

    id: str
    flow: str  #: the flow's path as written, or the command
    task: str = ""  #: the task's name; for a flow run by its path the name its log has
    trigger: str = "manual"  #: who started it: `cron`, `scheduler`, `catch_up`, `manual`, `first-run`, `check`, `hook`
    slot: float | None = None  #: the due time it answers for
    status: str = RUNNING
    reason: str = ""  #: one word or code for a status that wants one: `error`, `timeout`, `locked`, …
    message: str = ""
    started: float = 0.0
    ended: float | None = None
    dry_run: bool = False
    params: dict[str, Any] = field(default_factory=dict)
    holder: str = ""  #: the process that runs it, see `lock.me()`
    log: str = ""  #: path of the log file, empty when none could be opened
    waited: float = 0.0  #: seconds that it was kept from starting when its time had come
    waited_for: str = ""  #: what kept it: that all places were taken, a mutex, an earlier run of it
    unclaimed: bool = False  #: neither history nor claim file could be written
    steps: list[StepRecord] = field(default_factory=list)

    @property
    def is_told(self) -> bool:
        """Whether hooks and pings tell of it: not of a run that tells of another itself or has nothing new to tell,
        and of no dry one."""
        return self.trigger != HOOK and not self.dry_run and self.reason != UNCHANGED

    @property
    def took(self) -> float | None:
        """Seconds from start to end."""
        return None if self.ended is None else max(0.0, self.ended - self.started)


def new_run_id(now: float | None = None) -> str:
    """16 characters that sort by time: 10 of milliseconds, 6 of chance (the layout of a ULID, cut)."""
    milliseconds = int((time.time() if now is None else now) * 1000)
    chance = int.from_bytes(os.urandom(4), "big") >> 2
    return _encode(milliseconds, 10) + _encode(chance, 6)


def first_id(moment: float) -> str:
    """What the ids of runs since a moment do not sort before."""
    return _encode(max(0, int(moment * 1000)), 10)


def _encode(number: int, width: int) -> str:
    text = ""
    for _ in range(width):
        number, digit = divmod(number, 32)
        text = ALPHABET[digit] + text
    return text


def quantile(values: Sequence[float], part: float) -> float:
    """Return the value that `part` (0 to 1) of the distribution behind these values does not exceed.

    Linear between the order statistics at `part * (n + 1/3) + 1/3`, which is unbiased for the median whatever
    the distribution: type 8 of Hyndman and Fan, "Sample quantiles in statistical packages", The American
    Statistician 50 (1996), pages 361 to 365, which they recommend. Raises ValueError without values.
    """
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    place = part * (len(ordered) + 1 / 3) + 1 / 3 - 1
    lower = min(max(int(place // 1), 0), len(ordered) - 1)
    upper = min(lower + 1, len(ordered) - 1)
    share = min(max(place - lower, 0.0), 1.0)
    return ordered[lower] + (ordered[upper] - ordered[lower]) * share
