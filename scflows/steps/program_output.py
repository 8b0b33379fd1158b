"""What the program of a step prints: in the task's log, line by line, and its end for the record of a failed step."""

from __future__ import annotations

from scflows.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scflows.history.task_log import TaskLog

STREAMS = ("stdout", "stderr")
#: A line that is longer is logged in parts, in bytes.
LONGEST_LINE = 1 << 16
#: How many lines and characters of the end are kept.
TAIL_LINES = 20
TAIL_CHARACTERS = 4000


class OutputLog:
    """The log of a program's output. Each line is marked with the stream that it came from.

    `write` is called with parts of both streams as they arrive; `close` logs a last line without an end.
    """

    def __init__(self, log: TaskLog) -> None:
        self._log = log
        self._partial = {name: bytearray() for name in STREAMS}
        self._before = dict.fromkeys(STREAMS, "")  #: the last line of each stream, not masked
        self._tail: list[str] = []

    def write(self, stream: str, part: bytes) -> None:
        partial = self._partial[stream]
        partial += part
        *lines, rest = bytes(partial).split(b"\n") if b"\n" in part else [bytes(partial)]
        for line in lines:
            self._line(stream, line)
        while len(rest) > LONGEST_LINE:
            end = self._cut(rest)
            self._line(stream, rest[:end])
            rest = rest[end:]
        partial[:] = rest

    def close(self) -> None:
        for stream, partial in self._partial.items():
            if partial:
                self._line(stream, bytes(partial))
                partial.clear()

    def error(self, message: str, **details: Any) -> StepError:
        """Return the error of the step, with the end of the output for its record."""
        self.close()
        error = StepError(message, **details)
        error.output = self.tail
        return error

    @property
    def tail(self) -> str:
        """The last lines of both streams in the order in which they came, masked."""
        return "\n".join(self._tail)[-TAIL_CHARACTERS:]

    def _line(self, stream: str, content: bytes) -> None:
        written = content.decode("utf-8", "replace")
        text = self._log.mask.text(written, self._before[stream])
        self._before[stream] = written
        # The log has a line for each part between any characters that end lines, such as the `\r` of a progress bar.
        for line in text.splitlines() or [""]:
            self._log.info(f"{stream}: {line}")
            self._tail.append(f"{stream}: {line}")
        del self._tail[:-TAIL_LINES]

    def _cut(self, content: bytes) -> int:
        """Return where a long line can be cut without cutting a secret in two."""
        end = LONGEST_LINE
        reach = 4 * self._log.mask.longest
        while end > LONGEST_LINE // 2:
            around = content[end - reach : end + reach].decode("utf-8", "replace")
            halves = [content[end - reach : end], content[end : end + reach]]
            parts = [self._log.mask.text(half.decode("utf-8", "replace")) for half in halves]
            if self._log.mask.text(around) == "".join(parts):
                return end
            end -= reach
        return end
