"""What a device's process says, line by line on stderr, each with its level before it; and the other end, that hears.

The levels are those of syslog in angle brackets, as sd-daemon(3) has them: `<3>` error, `<4>` warning, `<6>`
information, `<7>` for who looks for a fault. A line without one was printed by a library.
"""

from __future__ import annotations

import logging
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

ERROR, WARNING, INFO, DEBUG = "<3>", "<4>", "<6>", "<7>"
LEVELS = {ERROR: "error", WARNING: "warning", INFO: "info", DEBUG: "debug"}
#: The libraries that bring coloured handlers of their own.
LOUD = ("scdata", "smartcitizen_connector")
LONGEST = 4000  #: characters of a line


def say(text: str, level: str = INFO) -> None:
    """Put it into the task's log."""
    lines = [f"{level}{line[:LONGEST]}\n" for line in text.splitlines() if line.strip()]
    content = "".join(lines).encode("utf-8", "backslashreplace")
    try:
        while content:
            content = content[os.write(2, content) :]
    except OSError:
        pass  # Nobody hears any more.


class Voice(logging.Handler):
    """Says what libraries log: what they tell of their progress is for who looks for a fault."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[str] = []  #: what went wrong so far

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            text += f": {type(error).__name__}: {error}"
            say(logging.Formatter().formatException(record.exc_info), DEBUG)
        if record.levelno >= logging.ERROR:
            self.errors.append(text)
            say(text, ERROR)
        elif record.levelno >= logging.WARNING:
            say(text, WARNING)
        else:
            say(text, DEBUG)


def take_over(is_verbose: bool) -> Voice:
    """Have all that is logged said by one voice, in place of the libraries' own handlers."""
    voice = Voice()
    root = logging.getLogger()
    root.handlers[:] = [voice]
    root.setLevel(logging.WARNING)
    for name in LOUD:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.INFO if is_verbose else logging.WARNING)
    return voice


class Hearer:
    """Cuts what comes into lines, and tells each with the name of its level."""

    def __init__(self, tell: Callable[[str, str], None]) -> None:
        self.tell = tell
        self._rest = b""

    def __call__(self, content: bytes) -> None:
        *lines, self._rest = (self._rest + content).split(b"\n")
        if len(self._rest) > 16 * LONGEST:
            lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            self._pass_on(line)

    def close(self) -> None:
        """Tell what has no end."""
        if self._rest:
            self._pass_on(self._rest)
            self._rest = b""

    def _pass_on(self, line: bytes) -> None:
        text = line.decode("utf-8", "backslashreplace").rstrip()
        level = LEVELS.get(text[:3])
        text = text[3:] if level else text
        if text.strip():
            self.tell(level or "info", text)
