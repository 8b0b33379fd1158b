"""A progress line on stderr."""

from __future__ import annotations

import shutil
import signal
import sys
import time

from scflows.cli.stream import escaped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any


#: The width of a bar, in characters.
BAR = 24


class Progress:
    """A text with its elapsed time, updated every second; nothing appears in the first second."""

    def __init__(self, shows: bool) -> None:
        self.shows = shows  #: whether to print anything
        self._broken = False
        self._text = ""
        self._since = 0.0
        self._width = 0  #: of the text on the line now
        self._before: Any = None

    def __enter__(self) -> Progress:
        if self.shows:
            # A timer instead of a thread, because a run forks and a process with threads must not fork.
            self._before = signal.signal(signal.SIGALRM, self._tick)
            signal.setitimer(signal.ITIMER_REAL, 1, 1)
        return self

    def __exit__(self, *_: object) -> None:
        if self.shows:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._before)
            self.clear()

    def show(self, text: str, done: int = 0, count: int = 0) -> None:
        """Show the current activity, with a bar if `count` says how much there is to do."""
        text = escaped(text)
        if count:
            filled = min(BAR, BAR * done // count)
            text = f"{text} {'█' * filled}{'░' * (BAR - filled)} {done} of {count}"
        elif done:
            text = f"{text} {done}"
        if (done or count) and self._text:
            self._text = text  # The elapsed time is that of the whole activity.
        else:
            self._text, self._since = text, time.monotonic()
        if self._width and not self._broken:
            self._draw()

    def clear(self) -> None:
        """Clear the line for other output."""
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
            self._broken = True  # The terminal is gone, or the timer interrupted another write.
