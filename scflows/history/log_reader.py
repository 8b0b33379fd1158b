"""The lines of a log, read from its end by blocks, and as they come."""

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
#: Seconds between two looks at a log that is followed.
LOOK_EVERY = 0.3
#: `2026-11-20T13:42:07+01:00 INFO    message`
FORM = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d) ([A-Z]+) +(.*)", re.DOTALL)
#: What a run writes of itself, at the begin of a message.
OWN = re.compile(r"run ([0-9A-Z]{16}) (started|skipped|[a-z]+ after)\b")


def backwards(path: str, end: int | None = None) -> Iterator[str]:
    """The lines of a file up to a position, the last one first; only as much is read as is asked for."""
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


def newest(
    path: str,
    count: int | None,
    since: float | None = None,
    chosen: Callable[[str], bool] = lambda line: True,
    end: int | None = None,
) -> list[str]:
    """The last `count` of the chosen lines, in order; None for all. `since` is in seconds since the epoch."""
    found: list[str] = []
    pending: list[str] = []
    for line in backwards(path, end) if count != 0 else ():
        moment = written(line)
        pending.append(line)
        if moment is None and since is not None:
            continue  # What a library printed belongs to the line before it.
        if since is not None and moment is not None and moment < since:
            break
        found += [each for each in pending if chosen(each)]
        pending.clear()
        if count is not None and len(found) >= count:
            del found[count:]
            break
    return found[::-1]


def of_run(path: str, run: Run, end: int | None = None) -> list[str]:
    """The lines that a run wrote, in order; empty when they are no longer there."""
    ended = time.time() if run.ended is None else run.ended
    found: list[str] = []
    for line in backwards(path, end):
        moment = written(line)
        if moment is not None and moment < int(run.started):
            break
        # Lines tell whole seconds; the last ones are written a moment after the end was noted.
        if moment is None or moment <= ended + 2:
            found.append(line)
    return cut(found[::-1], run.id)


def cut(lines: list[str], run: str) -> list[str]:
    """The lines of one run, out of the lines from about its time."""
    kept: list[str] = []
    is_begun = is_foreign = False
    for line in lines:
        own = OWN.match(message(line))
        if own is None:
            if is_begun or not is_foreign:
                kept.append(line)
        elif own[1] == run:
            if own[2] != "started":
                return [*kept, line]
            is_begun = True
            kept = [line]
        elif own[2] == "started":
            if is_begun:
                break  # The run was killed: it has no last line, and the next one begins.
            is_foreign = True
        elif own[2] != "skipped" and not is_begun:
            # The run before ends here; a refused run begins without a first line of its own.
            is_foreign = False
            kept.clear()
    return kept if is_begun else []


def written(line: str) -> float | None:
    """When a line was written, in seconds since the epoch; None for one that does not say."""
    found = FORM.match(line)
    if found is None:
        return None
    try:
        return datetime.fromisoformat(found[1]).timestamp()
    except ValueError:
        return None


def message(line: str) -> str:
    """What a line says, without its time and level."""
    found = FORM.match(line)
    return found[3] if found else line


def ends(line: str, run: str) -> bool:
    """Whether a line is the last one of a run."""
    own = OWN.match(message(line))
    return own is not None and own[1] == run and own[2] != "started"


def followed(path: str, start: int, goes_on: Callable[[], bool] = lambda: True) -> Iterator[list[str]]:
    """The lines that come after a position, in the order they come, for as long as `goes_on`.

    An empty list stands for a look that found none. A log that was cut at its head is followed on; one that was
    replaced, or does not exist yet, is opened anew.
    """
    position, inode = start, os.stat(path).st_ino if start else 0
    last = b""
    rest = b""
    while True:
        is_over = not goes_on()
        try:
            with open(path, "rb") as file:
                state = os.fstat(file.fileno())
                if inode and state.st_ino != inode:
                    position, rest = 0, b""
                elif state.st_size < position:
                    position, rest = _after(file.read(), last), b""
                inode = state.st_ino
                file.seek(position)
                content = file.read()
        except FileNotFoundError:
            content = b""
        position += len(content)
        *lines, rest = (rest + content).split(b"\n")
        last = lines[-1] if lines else last
        yield [line.decode("utf-8", "replace") for line in lines]
        if is_over:
            return
        if not lines:
            time.sleep(LOOK_EVERY)


def _after(content: bytes, last: bytes) -> int:
    """Where to read on in a log that was cut: after the last line that was seen, if it is still there."""
    found = content.rfind(last + b"\n") if last else -1
    return found + len(last) + 1 if found >= 0 else 0


def json_items(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    """Each line as `time`, `level` and `message`; one in another form is all message."""
    for line in lines:
        found = FORM.match(line)
        yield {"time": found[1], "level": found[2], "message": found[3]} if found else {"message": line}
