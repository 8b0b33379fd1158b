"""Time limits and stop requests, for the main thread and for worker threads.

A signal interrupts the main thread wherever it is. A worker thread is interrupted by an exception raised between two
Python instructions, so code that waits there must wait in short intervals or use `CancelScope.sleep`.
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

#: Seconds that a final step may take after its flow has timed out or the run was asked to stop.
FINAL_SECONDS = 30.0
#: The longest that a worker thread waits before it checks for an interruption, in seconds.
POLL_SECONDS = 0.1


class Deadline:
    """A time by which something must have ended."""

    __slots__ = ("ends", "kind", "name", "number", "seconds")

    def __init__(self, seconds: float, kind: str, name: str = "") -> None:
        self.ends = time.monotonic() + seconds
        self.seconds = seconds
        self.kind = kind  #: what it limits: `run`, `flow`, `step`, `final`
        self.name = name  #: of the step, or the path of the flow
        self.number = 0  #: identifies it in reports to the supervisor; 0: not reported


class StepInterrupted(BaseException):
    """The interruption of a step. Not an Exception, so that a step does not handle it as an error of its own."""

    def __init__(self, cause: Deadline | str | None = None) -> None:
        super().__init__()
        self.cause = cause  #: the deadline that has passed, or `CANCELLED`; None: ask the scope


class CancelScope:
    """The limits of one thread that runs steps, and whether it may be interrupted now."""

    def __init__(self, watchdog: Watchdog, parent: CancelScope | None = None) -> None:
        self.watchdog = watchdog
        self.deadlines: list[Deadline] = list(parent.deadlines) if parent is not None else []
        self.abandoned = False  #: whether the result is no longer wanted; an abandoned scope starts no more steps
        self.in_final = False
        self.step: str = parent.step if parent is not None else ""  #: the current step of the run's top-level flow
        self.blocked = True
        self.thread = get_ident()
        self._parent = parent
        self._seen_stops: int = parent._seen_stops if parent is not None else 0
        self._lock = allocate_lock()

    def remaining(self) -> float | None:
        """Return the seconds until the nearest limit; None if there is none."""
        if not self.deadlines:
            return None
        return max(0.0, min(each.ends for each in self.deadlines) - time.monotonic())

    def pending_cause(self) -> Deadline | str | None:
        """Return why this scope must be interrupted now: the outermost passed deadline or `CANCELLED`, if any."""
        if self.abandoned or self.watchdog.stops > self._seen_stops:
            return CANCELLED
        now = time.monotonic()
        return next((each for each in self.deadlines if now >= each.ends), None)

    def check(self) -> None:
        """Raise StepInterrupted if an interruption is pending."""
        cause = self.pending_cause()
        if cause is not None:
            raise StepInterrupted(cause)

    def add_limit(self, seconds: float | None, kind: str, name: str) -> Deadline | None:
        """Add a limit that starts now and lasts until `remove_limit`. Call it only while interruptions are blocked."""
        if seconds is None:
            return None
        deadline = Deadline(seconds, kind, name)
        self.deadlines.append(deadline)
        self.watchdog.report_limit(deadline, self.step)
        self.watchdog.set_timer()
        return deadline

    def remove_limit(self, deadline: Deadline | None) -> None:
        """Remove a limit."""
        if deadline is not None and deadline in self.deadlines:
            self.deadlines.remove(deadline)
            self.watchdog.report_limit_removed(deadline)

    def abandon(self) -> None:
        """Give up on a scope whose thread hangs and cannot be interrupted; its own limits no longer apply."""
        self.abandoned = True
        parent = self._parent.deadlines if self._parent is not None else []
        for deadline in [each for each in self.deadlines if each not in parent]:
            self.watchdog.report_limit_removed(deadline)

    def start_step(self) -> None:
        """Allow interruptions. Raise StepInterrupted if one is pending already."""
        self.blocked = False
        self.check()

    def end_step(self) -> None:
        """Block interruptions until the next step starts."""
        with self._lock:
            self.blocked = True
            if not self.is_main:
                _raise_in_thread(self.thread, None)

    def start_final(self) -> list[Deadline]:
        """Give a final step its own limit if the flow's has passed or is near; return the value for `end_final`."""
        before = self.deadlines
        left = self.remaining()
        if self.pending_cause() is not None or (left is not None and left < FINAL_SECONDS):
            self.deadlines = [Deadline(FINAL_SECONDS, "final")]
            self._seen_stops = self.watchdog.stops
            self.watchdog.set_timer()
        self.in_final = True
        return before

    def end_final(self, before: list[Deadline]) -> None:
        """Restore the limits from before the final step."""
        self.deadlines = before
        self.in_final = False

    def sleep(self, seconds: float) -> None:
        """Wait; an interruption ends the wait early."""
        if self.is_main:
            time.sleep(seconds)
            return
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            time.sleep(min(left, POLL_SECONDS))
            self.check()

    @property
    def is_main(self) -> bool:
        return self._parent is None

    def interrupt(self) -> None:
        """Raise StepInterrupted in this scope's thread, if it may be interrupted."""
        with self._lock:
            if not self.blocked:
                _raise_in_thread(self.thread, StepInterrupted)


class Watchdog:
    """The interrupter of running steps: when a limit passes or the process is asked to stop."""

    def __init__(self, limit: float | None = None, report: Callable[[str, dict[str, Any]], None] | None = None) -> None:
        """Limit the whole run to `limit` seconds from now; `report` is called for the limits within it.

        The events are `limit_set` and `limit_removed`.
        """
        self.stops = 0  #: how often the process was asked to stop
        self._report = report
        self._reported = 0
        self._report_lock = allocate_lock()
        self.main_scope = CancelScope(self)
        self.scopes: dict[int, CancelScope] = {}  #: of the worker threads, by thread
        self._is_active = False
        if limit is not None:
            self.main_scope.deadlines.append(Deadline(limit, "run"))

    def start(self) -> None:
        """Install the signal handlers of this process."""
        self._is_active = True
        signal.signal(signal.SIGALRM, self._alarm)
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.set_timer()

    def branch(self, parent: CancelScope) -> CancelScope:
        """Return a scope for the calling thread, with the current limits of `parent`."""
        scope = CancelScope(self, parent)
        self.scopes[scope.thread] = scope
        return scope

    def remove(self, scope: CancelScope) -> None:
        """Remove the scope of a thread that has ended."""
        self.scopes.pop(scope.thread, None)

    def report_limit(self, deadline: Deadline, step: str) -> None:
        """Report that a limit is set, in a step of the run's top-level flow."""
        if self._report is None:
            return
        with self._report_lock:
            self._reported += 1
            deadline.number = self._reported
        self._report(
            "limit_set",
            {
                "number": deadline.number,
                "step": step,
                "kind": deadline.kind,
                "name": deadline.name,
                "seconds": deadline.seconds,
                "ends": deadline.ends,
            },
        )

    def report_limit_removed(self, deadline: Deadline) -> None:
        """Report that a limit is removed."""
        if self._report is not None and deadline.number:
            self._report("limit_removed", {"number": deadline.number})

    def set_timer(self) -> None:
        """Set the timer signal to the nearest deadline."""
        if not self._is_active:
            return
        ends = [each.ends for scope in (self.main_scope, *list(self.scopes.values())) for each in scope.deadlines]
        if not ends:
            signal.setitimer(signal.ITIMER_REAL, 0)
            return
        now = time.monotonic()
        ahead = [each for each in ends if each > now]
        left = min(ahead) - now if ahead else 1.0
        if len(ahead) < len(ends):
            left = min(left, 1.0)
        # Repeated every second, because code that catches every exception can swallow an interruption.
        signal.setitimer(signal.ITIMER_REAL, max(left, 0.001), 1.0)

    def _alarm(self, number: int, frame: FrameType | None) -> None:
        self.set_timer()
        self._interrupt_due()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stops += 1
        # Repeated soon, for a thread that was between two steps.
        signal.setitimer(signal.ITIMER_REAL, 0.2, 1.0)
        self._interrupt_due()

    def _interrupt_due(self) -> None:
        for scope in list(self.scopes.values()):
            if scope.pending_cause() is not None:
                scope.interrupt()
        if not self.main_scope.blocked:
            self.main_scope.check()


def _raise_in_thread(thread: int, kind: Any) -> None:
    """Raise an exception in a thread; None withdraws one that has not been raised yet."""
    import ctypes

    kind = None if kind is None else ctypes.py_object(kind)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), kind)
