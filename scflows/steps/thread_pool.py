"""Work done side by side, in threads that end soon when they are told to."""

from __future__ import annotations

import time
from collections import deque
from threading import Condition, Lock, Thread

from scflows.steps.cancellation import FINAL_SECONDS, PIECE, CancelScope

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any

    Work = Callable[[CancelScope], Any]

#: How many threads a process may have in all; loops inside loops would multiply them.
MOST_THREADS = 128
#: Seconds that interrupted work is waited for; what hangs longer is left behind, and ends with the process.
PATIENCE = 2.0

_count = 0
_counting = Lock()


class StepThreadPool:
    """Up to `most` threads that take what is handed in, first come, first served. A context manager.

    When it is left, what was not begun is dropped, and what goes on has ended or is left behind.
    """

    def __init__(self, line: CancelScope, most: int) -> None:
        self._line = line
        self._most = max(1, most)
        # One lock, two conditions: what is handed in wakes one thread that has nothing to do, and nobody else.
        lock = Lock()
        self._changed = Condition(lock)  #: something has ended, or a thread has come or gone
        self._handed = Condition(lock)  #: there is something to do, or nothing will be any more
        self._waiting: deque[tuple[Any, Work]] = deque()
        self._ended: deque[tuple[Any, Any]] = deque()
        self._busy = 0
        self._lines: list[CancelScope] = []
        self._closed = False
        self._was_blocked = True

    def __enter__(self) -> StepThreadPool:
        # From here on the line looks by itself whether it is interrupted, never in the midst of a lock.
        self._was_blocked = self._line.blocked
        self._line.blocked = True
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._leave()
        self._line.blocked = self._was_blocked

    def hand_in(self, key: Any, work: Work) -> None:
        """Have something done; `ended` tells its result under `key`, be it an exception."""
        with self._changed:
            self._waiting.append((key, work))
            self._handed.notify()
            wanted = len(self._waiting) + self._busy > len(self._lines) and len(self._lines) < self._most
        if wanted:
            self._grow()

    def drop(self) -> int:
        """Take back what was not begun; how much that was."""
        with self._changed:
            dropped = len(self._waiting)
            self._waiting.clear()
        return dropped

    def ended(self) -> list[tuple[Any, Any]]:
        """What has ended since the last time, as (key, result); waits until there is something.

        Raises Interrupted when the line that asks is to be interrupted.
        """
        while True:
            if not self._lines:
                # No thread was to be had: it is done here.
                with self._changed:
                    key, work = self._waiting.popleft()
                return [(key, _done(work, self._line))]
            with self._changed:
                if not self._ended:
                    self._changed.wait(PIECE)
                found = list(self._ended)
                self._ended.clear()
            if found:
                return found
            self._line.check()

    def rest(self) -> list[tuple[Any, Any]]:
        """What has ended by the time the crew was left, and was not asked for."""
        with self._changed:
            return list(self._ended)

    def _grow(self) -> None:
        if not _counted(1):
            return
        begun: list[CancelScope] = []

        def work() -> None:
            line = self._line.clock.branch(self._line)
            begun.append(line)
            with self._changed:
                self._lines.append(line)
                self._changed.notify_all()
            try:
                self._work(line)
            finally:
                line.clock.leave(line)
                with self._changed:
                    self._lines.remove(line)
                    self._changed.notify_all()
                _counted(-1)

        try:
            # A daemon: one that hangs must not keep the process from ending.
            Thread(target=work, daemon=True).start()
        except RuntimeError:
            _counted(-1)
            return  # The system has no more threads for us; the others do it.
        with self._changed:
            while not begun:
                self._changed.wait(PIECE)

    def _work(self, line: CancelScope) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    if self._closed:
                        return
                    self._handed.wait()
                key, work = self._waiting.popleft()
                self._busy += 1
            result = _done(work, line)
            with self._changed:
                self._busy -= 1
                self._ended.append((key, result))
                self._changed.notify_all()
            del work, result

    def _leave(self) -> None:
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._handed.notify_all()
            ends = time.monotonic() + PATIENCE
            final_ends = time.monotonic() + FINAL_SECONDS + PATIENCE
            while self._lines:
                now = time.monotonic()
                if now >= final_ends or (now >= ends and not any(line.in_final for line in self._lines)):
                    break
                self._changed.wait(PIECE)
            for line in self._lines:
                line.abandon()


def _done(work: Work, line: CancelScope) -> Any:
    try:
        return work(line)
    except BaseException as error:
        # Whoever asks for the result decides; a thread has nobody above it who could.
        return error


def _counted(change: int) -> bool:
    """Count a thread in or out; False when there are too many for one more."""
    global _count
    with _counting:
        if change > 0 and _count >= MOST_THREADS:
            return False
        _count += change
        return True
