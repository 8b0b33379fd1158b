"""Logs stay within their size: of what one run wrote, head and tail are kept; of a task's log, what is newest."""

from __future__ import annotations

import fcntl
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 1 << 16
LEFT_OUT = " lines of this run are left out here, "


def cut_share(path: str, start: int, limit: int) -> None:
    """Keep the first half of what a run wrote, from `start` to the log's end, and what it wrote last.

    Never more than `limit` bytes stay, with a line that says how much was left out. It goes by the file's size, so
    what others write there for the run, such as a program, counts as well. Raises OSError.
    """
    with _alone(path) as descriptor:
        if descriptor < 0:
            return
        size = os.fstat(descriptor).st_size
        if size - start <= limit:
            return
        middle, last = start + limit // 2, size - limit // 5
        head = _line_after(descriptor, middle, min(last, middle + limit // 5))
        separator = b""
        if head is None:
            head, separator = middle, b"\n"  # One endless line.
        lines, left, begin = _counted(descriptor, head)
        tail = _line_after(descriptor, last, size) or last
        lines += sum(block.count(b"\n") for block in _blocks(descriptor, begin, tail))
        left += tail - begin
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime())
        note = (
            f"{stamp[:-2]}:{stamp[-2:]} WARNING {lines}{LEFT_OUT}{left} bytes: "
            f"it wrote more than run_log_bytes ({limit})\n"
        )
        content = separator + note.encode()
        if tail - head > len(content):
            _close_gap(descriptor, head, content, tail)


def cut_log(path: str, limit: int, before: float | None = None) -> bool:
    """Keep the newer half of a log that is larger than `limit` bytes, and no lines from before a moment.

    The lines that are too old go once there is a tenth more than that. Raises OSError.
    """
    with _alone(path) as descriptor:
        if descriptor < 0:
            return False
        size = os.fstat(descriptor).st_size
        begin = 0
        if size > limit:
            begin = _line_after(descriptor, size - limit // 2, size) or size - limit // 2
        elif before is not None and _is_older(_first(descriptor), before - max(86400, (time.time() - before) / 10)):
            begin = _first_since(descriptor, before)
        if begin == 0:
            return False
        _close_gap(descriptor, 0, b"", begin)
    return True


class _alone:
    """A log opened to be made smaller: its descriptor, or -1 while somebody else does that."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def __enter__(self) -> int:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return -1
        return self._descriptor

    def __exit__(self, *error: object) -> None:
        os.close(self._descriptor)


def _close_gap(descriptor: int, place: int, note: bytes, begin: int) -> None:
    """Move what stands from `begin` on to `place`, a note before it.

    In place, for who has the file open: appending goes on at the new end.
    """
    end = place
    content = note
    while True:
        while content:
            written = os.pwrite(descriptor, content, end)
            end += written
            content = content[written:]
        # Also what was appended meanwhile.
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
    """Where the first line begins behind a place, if that is before `end`."""
    for block in _blocks(descriptor, begin, end):
        found = block.find(b"\n")
        if found >= 0:
            return begin + found + 1 if begin + found + 1 < end else None
        begin += len(block)
    return None


def _counted(descriptor: int, head: int) -> tuple[int, int, int]:
    """(lines, bytes) left out before, as the note at a place says, and where the note ends."""
    line, newline, _ = os.pread(descriptor, 300, head).partition(b"\n")
    words = line.decode("utf-8", "replace").partition(LEFT_OUT)
    lines, left = words[0].rpartition(" ")[2], words[2].partition(" ")[0]
    if newline and lines.isdigit() and left.isdigit():
        return int(lines), int(left), head + len(line) + 1
    return 0, 0, head


def _first(descriptor: int) -> bytes:
    return os.pread(descriptor, 32, 0)


def _is_older(line: bytes, before: float) -> bool:
    """Whether a line says that it was written before a moment; one without a time does not."""
    from datetime import datetime

    try:
        return datetime.fromisoformat(line[:25].decode("ascii")).timestamp() < before
    except (ValueError, OverflowError, TypeError):
        return False


def _first_since(descriptor: int, before: float) -> int:
    """Where the first line with a time not before a moment begins; the end where there is none."""
    place = 0
    rest = b""
    size = os.fstat(descriptor).st_size
    for block in _blocks(descriptor, 0, size):
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            if line[:2] == b"20" and not _is_older(line, before):
                return place
            place += len(line) + 1
    return size
