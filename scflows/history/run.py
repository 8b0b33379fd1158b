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
        """An observer that is called when steps start and end; it must not change them."""

        def step_started(self, record: StepRecord) -> None: ...

        def step_progress(self, record: StepRecord) -> None: ...

        def step_ended(self, record: StepRecord) -> None: ...


QUEUED = "queued"
RUNNING = "running"
SUCCESS = "success"
FAILED = "failed"
EXIT = "exit"  #: ended early on purpose
SKIPPED = "skipped"  #: the flow was already running, or the slot was not due
CANCELLED = "cancelled"
CRASHED = "crashed"  #: its process died; the next process that reads the history records it
STATUSES = (QUEUED, RUNNING, SUCCESS, FAILED, EXIT, SKIPPED, CANCELLED, CRASHED)
FINAL = (SUCCESS, FAILED, EXIT, SKIPPED, CANCELLED, CRASHED)  #: written once, never changed
#: Final statuses that decide a task's state. Skipped and cancelled runs do not.
GOOD = (SUCCESS, EXIT)
BAD = (FAILED, CRASHED)
CATCH_UP = "catch_up"  #: trigger of a run for a missed slot
CHECK = "check"  #: trigger of a trial run started as cron would start it; it has no slot
BOOT = "boot"  #: trigger of a run of a task that starts once per boot; it has no slot
#: The triggers of runs that a person starts: how long after its slot one starts says nothing about the scheduler.
BY_HAND = ("manual", "retry", "resume")
HOOK = "hook"  #: trigger of a run that reports another run
#: Seconds by which the start of a run may lie in the future, since clocks are adjusted.
AHEAD = 60.0
#: The reason of a run that found nothing new to report since the previous one; it does not change the task's state.
UNCHANGED = "unchanged"

#: Crockford's base 32: sorts as text, has no letters that look like digits.
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


@dataclass
class StepRecord:
    """The record of one step. Times are seconds since the epoch."""

    position: int  #: counts executed and skipped steps of the run, from 1
    name: str
    type: str
    status: str = RUNNING  #: `success`, `failed`, `skipped`, `ignored` (failed, but ignored), `handled`
    started: float = 0.0
    ended: float | None = None
    message: str = ""
    #: Of a failed step, the last lines that its program printed, each after `stdout: ` or `stderr: `; of a loop, its
    #: failed items.
    output: str = ""


@dataclass
class Run:
    """One execution of a flow. Times are seconds since the epoch, UTC by definition."""

    id: str
    flow: str  #: the flow's path as written, or the command
    task: str = ""  #: the task's name; for a flow run by its path, the name of its log
    trigger: str = (
        "manual"  #: what started it: `cron`, `scheduler`, `catch_up`, `manual`, `first-run`, `check`, `boot`, `hook`
    )
    slot: float | None = None  #: the due time that it was started for
    status: str = RUNNING
    reason: str = ""  #: a word or code that explains the status: `error`, `timeout`, `locked`, …
    message: str = ""
    started: float = 0.0
    ended: float | None = None
    dry_run: bool = False
    params: dict[str, Any] = field(default_factory=dict)
    holder: str = ""  #: the process that runs it, see `locks.current_process()`
    log: str = ""  #: path of the log file; empty if it could not be opened
    waited: float = 0.0  #: seconds between its due time and its start
    waited_for: str = ""  #: what it waited for: a permit, a mutex, an earlier run of the task
    workspace: str = ""  #: the workspace that it ran in; empty if unknown
    count: int = 0  #: how many runs without anything to do the record stands for, itself included; 0: had something
    asked_by: str = ""  #: the user or program that asked for it; empty if a schedule did, or it is unknown
    unclaimed: bool = False  #: neither the history nor a claim file could be written
    steps: list[StepRecord] = field(default_factory=list)

    @property
    def is_reported(self) -> bool:
        """Whether hooks and pings report the run: not if it is dry, a hook itself, or has nothing new to report."""
        return self.trigger != HOOK and not self.dry_run and self.reason != UNCHANGED

    @property
    def took(self) -> float | None:
        """Seconds from start to end; None until the run has ended."""
        return None if self.ended is None else max(0.0, self.ended - self.started)


def new_run_id(now: float | None = None) -> str:
    """Return 16 characters that sort by time: 10 for the milliseconds, 6 random (a shortened ULID)."""
    milliseconds = int((time.time() if now is None else now) * 1000)
    random_bits = int.from_bytes(os.urandom(4), "big") >> 2
    return _encode(milliseconds, 10) + _encode(random_bits, 6)


def is_run_id(text: str) -> bool:
    """Return whether a text has the form of a run's id."""
    return len(text) == 16 and set(text) <= set(ALPHABET)


def latest_start(now: float) -> float:
    """Return when the newest run can have started: later ones were recorded by a clock that was ahead."""
    return now + AHEAD


def first_id(moment: float) -> str:
    """Return a lower bound for the ids of runs since a moment."""
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
    rank = part * (len(ordered) + 1 / 3) + 1 / 3 - 1
    lower = min(max(int(rank // 1), 0), len(ordered) - 1)
    upper = min(lower + 1, len(ordered) - 1)
    weight = min(max(rank - lower, 0.0), 1.0)
    return ordered[lower] + (ordered[upper] - ordered[lower]) * weight
