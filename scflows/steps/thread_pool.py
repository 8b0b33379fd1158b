"""A thread pool whose work ends soon after it is interrupted."""

from __future__ import annotations

import time
from collections import deque
from threading import Condition, Lock, Thread

from scflows.steps.cancellation import FINAL_SECONDS, POLL_SECONDS, CancelScope

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any

    Work = Callable[[CancelScope], Any]

#: The most threads of all pools of a process together; nested loops would multiply them.
MAX_THREADS = 128
#: Seconds to wait for interrupted work; a thread that hangs longer is abandoned and ends with the process.
GRACE_SECONDS = 2.0

_count = 0
_count_lock = Lock()


class StepThreadPool:
    """A pool of up to `max_threads` threads that run submitted work in order; a context manager.

    On exit, work that has not started is dropped; running work has ended or is abandoned.
    """

    def __init__(self, scope: CancelScope, max_threads: int) -> None:
        self._scope = scope
        self._max_threads = max(1, max_threads)
        # One lock, two conditions: submitted work wakes one idle thread and nothing else.
        lock = Lock()
        self._changed = Condition(lock)  #: work has completed, or a thread has started or ended
        self._work_available = Condition(lock)  #: work is pending, or the pool is closed
        self._pending: deque[tuple[Any, Work]] = deque()
        self._completed: deque[tuple[Any, Any]] = deque()
        self._busy = 0
        self._scopes: list[CancelScope] = []
        self._closed = False
        self._was_blocked = True

    def __enter__(self) -> StepThreadPool:
        # From here on the scope checks for interruptions itself, never while it holds a lock.
        self._was_blocked = self._scope.blocked
        self._scope.blocked = True
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._shut_down()
        self._scope.blocked = self._was_blocked

    def submit(self, key: Any, work: Work) -> None:
        """Submit work; `completed` returns its result, or the exception it raised, with `key`."""
        with self._changed:
            self._pending.append((key, work))
            self._work_available.notify()
            wanted = len(self._pending) + self._busy > len(self._scopes) and len(self._scopes) < self._max_threads
        if wanted:
            self._start_thread()

    def drop_pending(self) -> int:
        """Drop the work that has not started; return how much that was."""
        with self._changed:
            dropped = len(self._pending)
            self._pending.clear()
        return dropped

    def completed(self) -> list[tuple[Any, Any]]:
        """Wait for results and return those since the last call, as (key, result).

        Raises StepInterrupted if the scope of the caller is interrupted.
        """
        while True:
            if not self._scopes:
                # No thread could be started: the work is done here.
                with self._changed:
                    key, work = self._pending.popleft()
                return [(key, _result(work, self._scope))]
            with self._changed:
                if not self._completed:
                    self._changed.wait(POLL_SECONDS)
                found = list(self._completed)
                self._completed.clear()
            if found:
                return found
            self._scope.check()

    def remaining(self) -> list[tuple[Any, Any]]:
        """Return the results that were completed when the pool was closed and were not yet returned."""
        with self._changed:
            return list(self._completed)

    def _start_thread(self) -> None:
        if not _count_thread(1):
            return
        started: list[CancelScope] = []

        def work() -> None:
            scope = self._scope.watchdog.branch(self._scope)
            started.append(scope)
            with self._changed:
                self._scopes.append(scope)
                self._changed.notify_all()
            try:
                self._work(scope)
            finally:
                scope.watchdog.remove(scope)
                with self._changed:
                    self._scopes.remove(scope)
                    self._changed.notify_all()
                _count_thread(-1)

        try:
            # A daemon thread: if it hangs, the process can still exit.
            Thread(target=work, daemon=True).start()
        except RuntimeError:
            _count_thread(-1)
            return  # The system refuses more threads; the existing ones do the work.
        with self._changed:
            while not started:
                self._changed.wait(POLL_SECONDS)

    def _work(self, scope: CancelScope) -> None:
        while True:
            with self._changed:
                while not self._pending:
                    if self._closed:
                        return
                    self._work_available.wait()
                key, work = self._pending.popleft()
                self._busy += 1
            result = _result(work, scope)
            with self._changed:
                self._busy -= 1
                self._completed.append((key, result))
                self._changed.notify_all()
            del work, result

    def _shut_down(self) -> None:
        with self._changed:
            self._closed = True
            self._pending.clear()
            self._work_available.notify_all()
            ends = time.monotonic() + GRACE_SECONDS
            final_ends = time.monotonic() + FINAL_SECONDS + GRACE_SECONDS
            while self._scopes:
                now = time.monotonic()
                if now >= final_ends or (now >= ends and not any(scope.in_final for scope in self._scopes)):
                    break
                self._changed.wait(POLL_SECONDS)
            for scope in self._scopes:
                scope.abandon()


def _result(work: Work, scope: CancelScope) -> Any:
    try:
        return work(scope)
    except BaseException as error:
        # The caller of `completed` decides what to do with it; in the thread nothing could handle it.
        return error


def _count_thread(change: int) -> bool:
    """Add to the count of threads; return False if that would exceed the maximum."""
    global _count
    with _count_lock:
        if change > 0 and _count >= MAX_THREADS:
            return False
        _count += change
        return True
