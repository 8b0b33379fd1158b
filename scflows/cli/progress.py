"""A line on stderr that tells how far a long work is."""

from __future__ import annotations

import shutil
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any


#: How wide a bar is, in characters.
BAR = 24


class Progress:
    """Shows a text and for how long it has been true, renewed every second; nothing in the first second."""

    def __init__(self, shows: bool) -> None:
        self.shows = shows  #: whether anybody looks
        self._broken = False
        self._text = ""
        self._since = 0.0
        self._width = 0  #: of what stands on the line now
        self._before: Any = None

    def __enter__(self) -> Progress:
        if self.shows:
            # A timer and no thread: a process with threads must not fork, and a run forks.
            self._before = signal.signal(signal.SIGALRM, self._tick)
            signal.setitimer(signal.ITIMER_REAL, 1, 1)
        return self

    def __exit__(self, *_: object) -> None:
        if self.shows:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._before)
            self.clear()

    def show(self, text: str, done: int = 0, count: int = 0) -> None:
        """What goes on now; a bar with it, where `count` says how much there is to do."""
        if count:
            filled = min(BAR, BAR * done // count)
            text = f"{text} {'█' * filled}{'░' * (BAR - filled)} {done} of {count}"
        elif done:
            text = f"{text} {done}"
        if (done or count) and self._text:
            self._text = text  # The clock tells how long the whole of it takes.
        else:
            self._text, self._since = text, time.monotonic()
        if self._width and not self._broken:
            self._draw()

    def clear(self) -> None:
        """Free the line for other output."""
        if self._width:
            self._put("\r" + " " * self._width + "\r")
            self._width = 0

    def _tick(self, number: int, frame: FrameType | None) -> None:
        if self._text and not self._broken:
            self._draw()

    def _draw(self) -> None:
        seconds = time.monotonic() - self._since
        room = max(10, shutil.get_terminal_size().columns - 1)
        line = f"{self._text} · {seconds:.0f} s"[:room]
        self._put("\r" + line.ljust(self._width))
        self._width = len(line)

    def _put(self, text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except (OSError, RuntimeError):
            self._broken = True  # Nobody looks any more, or another write was interrupted by the timer.
