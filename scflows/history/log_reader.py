"""Reading a log: read_backwards from its end in blocks, or following it as it grows."""

from __future__ import annotations

import os
import re
import time
from datetime import datetime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from scflows.history.run import Run

BLOCK = 1 << 16
#: Seconds between two reads of a log that is followed.
POLL_SECONDS = 0.3
#: `2026-11-20T13:42:07+01:00 INFO    message`
FORM = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d) ([A-Z]+) +(.*)", re.DOTALL)
#: The start of the messages with which a run reports its own start and end.
RUN_MESSAGE = re.compile(r"run ([0-9A-Z]{16}) (started|skipped|[a-z]+ after)\b")


def read_backwards(path: str, end: int | None = None) -> Iterator[str]:
    """Yield the lines of a file up to a position, the last one first; read no more than necessary."""
    with open(path, "rb") as file:
        position = file.seek(0, os.SEEK_END) if end is None else end
        if position == 0:
            return
        file.seek(position - 1)
        if file.read(1) == b"\n":
            position -= 1
        rest = b""
        while position > 0:
            size = min(BLOCK, position)
            position -= size
            file.seek(position)
            rest, *lines = (file.read(size) + rest).split(b"\n")
            yield from (line.decode("utf-8", "replace") for line in reversed(lines))
        yield rest.decode("utf-8", "replace")


def last_lines(
    path: str,
    count: int | None,
    since: float | None = None,
    matches: Callable[[str], bool] = lambda line: True,
    end: int | None = None,
) -> list[str]:
    """Return the last `count` matching lines, in order; None for all. `since` is in seconds since the epoch."""
    found: list[str] = []
    pending: list[str] = []
    for line in read_backwards(path, end) if count != 0 else ():
        moment = written_at(line)
        pending.append(line)
        if moment is None and since is not None:
            continue  # Output of a library belongs to the line before it.
        if since is not None and moment is not None and moment < since:
            break
        found += [each for each in pending if matches(each)]
        pending.clear()
        if count is not None and len(found) >= count:
            del found[count:]
            break
    return found[::-1]


def lines_of_run(path: str, run: Run, end: int | None = None) -> list[str]:
    """Return the lines of a run, in order; an empty list if the log no longer has them."""
    ended = time.time() if run.ended is None else run.ended
    found: list[str] = []
    for line in read_backwards(path, end):
        moment = written_at(line)
        if moment is not None and moment < int(run.started):
            break
        # Times in the log are full seconds; the last lines are written shortly after the recorded end.
        if moment is None or moment <= ended + 2:
            found.append(line)
    return extract_run(found[::-1], run.id)


def extract_run(lines: list[str], run: str) -> list[str]:
    """Return the lines of one run, given the lines from about its time."""
    selected: list[str] = []
    is_started = is_foreign = False
    for line in lines:
        own = RUN_MESSAGE.match(message_of(line))
        if own is None:
            if is_started or not is_foreign:
                selected.append(line)
        elif own[1] == run:
            if own[2] != "started":
                return [*selected, line]
            is_started = True
            selected = [line]
        elif own[2] == "started":
            if is_started:
                break  # The run was killed, so it has no last line; the next run starts here.
            is_foreign = True
        elif own[2] != "skipped" and not is_started:
            # The previous run ends here. A refused run has no first line of its own.
            is_foreign = False
            selected.clear()
    return selected if is_started else []


def written_at(line: str) -> float | None:
    """Return when a line was written, in seconds since the epoch; None if it has no time."""
    found = FORM.match(line)
    if found is None:
        return None
    try:
        return datetime.fromisoformat(found[1]).timestamp()
    except ValueError:
        return None


def message_of(line: str) -> str:
    """Return the message of a line, without its time and level."""
    found = FORM.match(line)
    return found[3] if found else line


def is_last_line(line: str, run: str) -> bool:
    """Return whether a line is the last one of a run."""
    own = RUN_MESSAGE.match(message_of(line))
    return own is not None and own[1] == run and own[2] != "started"


def follow(
    path: str, start: int, goes_on: Callable[[], bool] = lambda: True, pause: float = POLL_SECONDS
) -> Iterator[list[str]]:
    """Yield new lines after a position until `goes_on` returns False; an empty list if there are none.

    A log that is trimmed meanwhile is followed from the same line; one that is replaced or created is read from its
    start.
    """
    position, inode = start, os.stat(path).st_ino if start else 0
    last = b""
    rest = b""
    while True:
        is_last = not goes_on()
        try:
            with open(path, "rb") as file:
                state = os.fstat(file.fileno())
                if inode and state.st_ino != inode:
                    position, rest = 0, b""
                elif state.st_size < position:
                    position, rest = _position_after(file.read(), last), b""
                inode = state.st_ino
                file.seek(position)
                content = file.read()
        except FileNotFoundError:
            content = b""
        position += len(content)
        *lines, rest = (rest + content).split(b"\n")
        last = lines[-1] if lines else last
        yield [line.decode("utf-8", "replace") for line in lines]
        if is_last:
            return
        if not lines:
            time.sleep(pause)


def _position_after(content: bytes, last: bytes) -> int:
    """Return the position after the last line that was read, or 0 if a trimmed log no longer has it."""
    found = content.rfind(last + b"\n") if last else -1
    return found + len(last) + 1 if found >= 0 else 0


def json_items(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    """Yield each line as `time`, `level` and `message`; a line without a time is all `message`."""
    for line in lines:
        found = FORM.match(line)
        yield {"time": found[1], "level": found[2], "message": found[3]} if found else {"message": line}
