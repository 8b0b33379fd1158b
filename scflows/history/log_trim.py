"""Limiting the size of logs: a run keeps the head and tail of its output, a task's log keeps its newest lines."""

from __future__ import annotations

import os
import time
from contextlib import suppress

from scflows.locks import EXISTING, locked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 1 << 16
OMITTED = " lines of this run are omitted here, "


def trim_run(path: str, start: int, limit: int, stamp: str) -> None:
    """Trim what a run wrote, from `start` to the log's end, to `limit` bytes: its first half and its last lines.

    A line between them, with the time `stamp`, says how much was omitted. The file's size decides, so output of the
    run's programs counts too. Raises OSError.
    """
    # While another process makes it smaller, there is nothing to do.
    with suppress(BlockingIOError), locked(path, wait=False, how=EXISTING) as descriptor:
        size = os.fstat(descriptor).st_size
        if size - start <= limit:
            return
        middle, last = start + limit // 2, size - limit // 5
        head = _line_after(descriptor, middle, min(last, middle + limit // 5))
        separator = b""
        if head is None:
            head, separator = middle, b"\n"  # A line longer than the limit.
        lines, omitted, begin = _read_note(descriptor, head)
        tail = _line_after(descriptor, last, size) or last
        lines += sum(block.count(b"\n") for block in _blocks(descriptor, begin, tail))
        omitted += tail - begin
        note = f"{stamp} WARNING {lines}{OMITTED}{omitted} bytes: the output exceeds run_log_bytes ({limit})\n"
        content = separator + note.encode()
        if tail - head > len(content):
            _close_gap(descriptor, head, content, tail)


def trim_log(path: str, limit: int, before: float | None = None) -> bool:
    """Trim a log to its newer half if it exceeds `limit` bytes, and remove lines from before a moment.

    Old lines are removed once a tenth of the period has passed, at least a day. Return whether the log was trimmed.
    Raises OSError.
    """
    try:
        with locked(path, wait=False, how=EXISTING) as descriptor:
            size = os.fstat(descriptor).st_size
            begin = 0
            if size > limit:
                begin = _line_after(descriptor, size - limit // 2, size) or size - limit // 2
            elif before is not None and _is_older(
                os.pread(descriptor, 32, 0), before - max(86400, (time.time() - before) / 10)
            ):
                begin = _first_since(descriptor, before)
            if begin:
                _close_gap(descriptor, 0, b"", begin)
            return begin > 0
    except BlockingIOError:
        return False  # Another process trims it.


def _close_gap(descriptor: int, start: int, note: bytes, begin: int) -> None:
    """Replace the bytes from `start` to `begin` by a note.

    The file is changed in place, because other processes have it open: they continue to append at its new end.
    """
    end = start
    content = note
    while True:
        while content:
            written = os.pwrite(descriptor, content, end)
            end += written
            content = content[written:]
        # This includes lines that are appended meanwhile.
        content = os.pread(descriptor, BLOCK, begin)
        if not content:
            os.ftruncate(descriptor, end)
            return
        begin += len(content)


def _blocks(descriptor: int, begin: int, end: int) -> Iterator[bytes]:
    while begin < end:
        block = os.pread(descriptor, min(BLOCK, end - begin), begin)
        if not block:
            return
        yield block
        begin += len(block)


def _line_after(descriptor: int, begin: int, end: int) -> int | None:
    """Return where the first line after `begin` starts, or None if that is not before `end`."""
    for block in _blocks(descriptor, begin, end):
        found = block.find(b"\n")
        if found >= 0:
            return begin + found + 1 if begin + found + 1 < end else None
        begin += len(block)
    return None


def _read_note(descriptor: int, head: int) -> tuple[int, int, int]:
    """Return the lines and bytes omitted so far, from the note at `head` if there is one, and where it ends."""
    line, newline, _ = os.pread(descriptor, 300, head).partition(b"\n")
    words = line.decode("utf-8", "replace").partition(OMITTED)
    lines, omitted = words[0].rpartition(" ")[2], words[2].partition(" ")[0]
    if newline and lines.isdigit() and omitted.isdigit():
        return int(lines), int(omitted), head + len(line) + 1
    return 0, 0, head


def _is_older(line: bytes, before: float) -> bool:
    """Return whether a line starts with a time before a moment; False if it has no time."""
    from datetime import datetime

    try:
        return datetime.fromisoformat(line[:25].decode("ascii")).timestamp() < before
    except (ValueError, OverflowError, TypeError):
        return False


def _first_since(descriptor: int, before: float) -> int:
    """Return where the first line that is not older than a moment starts; the end if there is none."""
    position = 0
    rest = b""
    size = os.fstat(descriptor).st_size
    for block in _blocks(descriptor, 0, size):
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            if line[:2] == b"20" and not _is_older(line, before):
                return position
            position += len(line) + 1
    return size
