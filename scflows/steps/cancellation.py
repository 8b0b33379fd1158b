"""Limits of time and requests to stop, for the main thread and for those that work beside it.

The main thread is interrupted by a signal, wherever it is. Another thread is interrupted by an exception that is
raised in it between two instructions of Python; so what waits there must wait in short pieces, or by `Line.sleep`.
"""

from __future__ import annotations

import signal
import time
from _thread import allocate_lock, get_ident

from scflows.history.run import CANCELLED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

#: How long a final step may take once the time of its flow is over or the run was told to stop, in seconds.
FINAL_SECONDS = 30.0
#: The longest piece in which a thread beside the main one waits, in seconds.
PIECE = 0.1


class Deadline:
    """A moment by which something must be over."""

    __slots__ = ("ends", "name", "number", "seconds", "what")

    def __init__(self, seconds: float, what: str, name: str = "") -> None:
        self.ends = time.monotonic() + seconds
        self.seconds = seconds
        self.what = what  #: whose it is: `run`, `flow`, `step`, `final`
        self.name = name  #: that of the step, the path of the flow
        self.number = 0  #: under which it was told to who watches over this process


class StepInterrupted(BaseException):
    """What goes on is cut short. Not an Exception, so that no step takes it for an error of its own."""

    def __init__(self, cause: Deadline | str | None = None) -> None:
        super().__init__()
        self.cause = cause  #: the deadline that has passed, `CANCELLED`, or None: the line knows


class CancelScope:
    """One thread's way through the steps: what bounds it, and whether it may be interrupted just now."""

    def __init__(self, clock: Watchdog, above: CancelScope | None = None) -> None:
        self.clock = clock
        self.deadlines: list[Deadline] = list(above.deadlines) if above is not None else []
        self.abandoned = False  #: whether nobody waits for it any more; it starts nothing then
        self.in_final = False
        self.step: str = above.step if above is not None else ""  #: the step of the run's own flow that it is at
        self.blocked = True
        self.thread = get_ident()
        self._above = above
        self._seen_stops: int = above._seen_stops if above is not None else 0
        self._lock = allocate_lock()

    def remaining(self) -> float | None:
        """Seconds until the nearest limit; None without one."""
        if not self.deadlines:
            return None
        return max(0.0, min(each.ends for each in self.deadlines) - time.monotonic())

    def due(self) -> Deadline | str | None:
        """Why this line is to be interrupted now: the outermost deadline that has passed, or a stop."""
        if self.abandoned or self.clock.stops > self._seen_stops:
            return CANCELLED
        now = time.monotonic()
        return next((each for each in self.deadlines if now >= each.ends), None)

    def check(self) -> None:
        """Raises Interrupted when it is due."""
        cause = self.due()
        if cause is not None:
            raise StepInterrupted(cause)

    def bound(self, seconds: float | None, what: str, name: str) -> Deadline | None:
        """A further limit from here on, until `unbound`. To be called while nothing may be interrupted."""
        if seconds is None:
            return None
        deadline = Deadline(seconds, what, name)
        self.deadlines.append(deadline)
        self.clock.tell_bound(deadline, self.step)
        self.clock.set()
        return deadline

    def unbound(self, deadline: Deadline | None) -> None:
        """Take a limit back."""
        if deadline is not None and deadline in self.deadlines:
            self.deadlines.remove(deadline)
            self.clock.tell_unbound(deadline)

    def abandon(self) -> None:
        """Nobody waits for this line any more: it hangs where nothing reaches it, and its own limits bound nothing."""
        self.abandoned = True
        above = self._above.deadlines if self._above is not None else []
        for deadline in [each for each in self.deadlines if each not in above]:
            self.clock.tell_unbound(deadline)

    def start_step(self) -> None:
        """From here on this line may be interrupted. Raises Interrupted when it is due already."""
        self.blocked = False
        self.check()

    def end_step(self) -> None:
        """From here on nothing is interrupted until the next step starts."""
        with self._lock:
            self.blocked = True
            if not self.is_main:
                _raise_in(self.thread, None)

    def start_final(self) -> list[Deadline]:
        """Give a final step a time of its own when that of the flow is over; what `end_final` needs."""
        before = self.deadlines
        left = self.remaining()
        if self.due() is not None or (left is not None and left < FINAL_SECONDS):
            self.deadlines = [Deadline(FINAL_SECONDS, "final")]
            self._seen_stops = self.clock.stops
            self.clock.set()
        self.in_final = True
        return before

    def end_final(self, before: list[Deadline]) -> None:
        """Go on with the limits that held before the final step."""
        self.deadlines = before
        self.in_final = False

    def sleep(self, seconds: float) -> None:
        """Wait; an interruption cuts it short."""
        if self.is_main:
            time.sleep(seconds)
            return
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            time.sleep(min(left, PIECE))
            self.check()

    @property
    def is_main(self) -> bool:
        return self._above is None

    def interrupt(self) -> None:
        """Raise Interrupted in this line's thread, if it may be interrupted."""
        with self._lock:
            if not self.blocked:
                _raise_in(self.thread, StepInterrupted)


class Watchdog:
    """Interrupts what goes on when a limit is passed or the process is told to stop."""

    def __init__(self, limit: float | None = None, tell: Callable[[str, dict[str, Any]], None] | None = None) -> None:
        """`limit`: seconds from now for the whole run. `tell` hears of limits within it, as `bound` and `unbound`."""
        self.stops = 0  #: how often the process was told to stop
        self._tell = tell
        self._told = 0
        self._telling = allocate_lock()
        self.line = CancelScope(self)
        self.lines: dict[int, CancelScope] = {}  #: those of the other threads
        self._watches = False
        if limit is not None:
            self.line.deadlines.append(Deadline(limit, "run"))

    def watch(self) -> None:
        """Take over the signals of this process."""
        self._watches = True
        signal.signal(signal.SIGALRM, self._alarm)
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.set()

    def branch(self, above: CancelScope) -> CancelScope:
        """A line for the calling thread, bounded by what bounds `above` now."""
        line = CancelScope(self, above)
        self.lines[line.thread] = line
        return line

    def leave(self, line: CancelScope) -> None:
        """The line's thread has ended."""
        self.lines.pop(line.thread, None)

    def tell_bound(self, deadline: Deadline, step: str) -> None:
        """A limit holds from now on, in a step of the run's own flow."""
        if self._tell is None:
            return
        with self._telling:
            self._told += 1
            deadline.number = self._told
        self._tell(
            "bound",
            {
                "number": deadline.number,
                "step": step,
                "what": deadline.what,
                "name": deadline.name,
                "seconds": deadline.seconds,
                "ends": deadline.ends,
            },
        )

    def tell_unbound(self, deadline: Deadline) -> None:
        """A limit does not hold any more."""
        if self._tell is not None and deadline.number:
            self._tell("unbound", {"number": deadline.number})

    def set(self) -> None:
        """Have the signal come when the nearest deadline passes."""
        if not self._watches:
            return
        ends = [each.ends for line in (self.line, *list(self.lines.values())) for each in line.deadlines]
        if not ends:
            signal.setitimer(signal.ITIMER_REAL, 0)
            return
        now = time.monotonic()
        ahead = [each for each in ends if each > now]
        left = min(ahead) - now if ahead else 1.0
        if len(ahead) < len(ends):
            left = min(left, 1.0)
        # Again and again: an interruption can get lost in code that swallows it.
        signal.setitimer(signal.ITIMER_REAL, max(left, 0.001), 1.0)

    def _alarm(self, number: int, frame: FrameType | None) -> None:
        self.set()
        self._interrupt_due()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stops += 1
        # Soon again, for a thread that was between two steps.
        signal.setitimer(signal.ITIMER_REAL, 0.2, 1.0)
        self._interrupt_due()

    def _interrupt_due(self) -> None:
        for line in list(self.lines.values()):
            if line.due() is not None:
                line.interrupt()
        if not self.line.blocked:
            self.line.check()


def _raise_in(thread: int, kind: Any) -> None:
    """Have an exception raised in a thread, or with None take back one that was not raised yet."""
    import ctypes

    kind = None if kind is None else ctypes.py_object(kind)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), kind)
