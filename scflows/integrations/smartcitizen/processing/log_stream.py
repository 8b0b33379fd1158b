"""The log of a device's process on stderr, with a level before each line, and its reader.

The levels are those of sd-daemon(3): `<3>` error, `<4>` warning, `<6>` information, `<7>` debugging. A line without a
level was printed by a library.
"""

from __future__ import annotations

import logging
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

ERROR, WARNING, INFO, DEBUG = "<3>", "<4>", "<6>", "<7>"
LEVELS = {ERROR: "error", WARNING: "warning", INFO: "info", DEBUG: "debug"}
#: The libraries that install their own log handlers.
LOUD = ("scdata", "smartcitizen_connector")
LONGEST = 4000  #: characters of a line


def say(text: str, level: str = INFO) -> None:
    """Write a text to the task's log."""
    lines = [f"{level}{line[:LONGEST]}\n" for line in text.splitlines() if line.strip()]
    content = "".join(lines).encode("utf-8", "backslashreplace")
    try:
        while content:
            content = content[os.write(2, content) :]
    except OSError:
        pass  # The reader has closed the pipe.


class Voice(logging.Handler):
    """The log handler for libraries; their progress messages are for debugging only."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[str] = []  #: the messages of errors so far

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
    """Replace the libraries' log handlers with ours."""
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
    """The reader, which splits the stream into lines and reports each with its level."""

    def __init__(self, report: Callable[[str, str], None]) -> None:
        self.report = report
        self._rest = b""

    def __call__(self, content: bytes) -> None:
        *lines, self._rest = (self._rest + content).split(b"\n")
        if len(self._rest) > 16 * LONGEST:
            lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            self._pass_on(line)

    def close(self) -> None:
        """Report an unfinished last line."""
        if self._rest:
            self._pass_on(self._rest)
            self._rest = b""

    def _pass_on(self, line: bytes) -> None:
        text = line.decode("utf-8", "backslashreplace").rstrip()
        level = LEVELS.get(text[:3])
        text = text[3:] if level else text
        if text.strip():
            self.report(level or "info", text)
