"""Append to a file: everything or nothing, one process at a time."""

from __future__ import annotations

import os

from scflows.locks import FILE, locked
from scflows.storage import replace

#: Up to this size a file is replaced by a longer copy, so that even `kill -9` leaves the old or the new file. For
#: larger files the copy would be too slow, so the content is appended in place: an error undoes it, but a kill or a
#: power failure during the write can leave a part of it.
COPIED_BYTES = 1024 * 1024


class FileAppender:
    """An exclusive lock on a file for appending; the file and its folders are created if missing."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._is_new = False
        self._descriptor = -1

    def __enter__(self) -> FileAppender:
        """Wait for the lock. Raises OSError."""
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        self._is_new = not os.path.exists(self.path)
        self._lock = locked(self.path, how=FILE | os.O_APPEND, mode=0o666)
        self._descriptor = self._lock.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        try:
            if self._is_new and self.size == 0 and os.stat(self.path).st_ino == os.fstat(self._descriptor).st_ino:
                os.unlink(self.path)
        except FileNotFoundError:
            pass  # Another process removed it.
        finally:
            self._lock.__exit__(None, None, None)

    @property
    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    @property
    def ends_with_newline(self) -> bool:
        """Return True if the file is empty or its last line has a newline."""
        size = self.size
        return size == 0 or os.pread(self._descriptor, 1, size - 1) == b"\n"

    def read(self) -> bytes:
        """Return the content of the file."""
        with open(self.path, "rb") as file:
            return file.read()

    def add(self, content: bytes) -> None:
        """Append content, at most once. Raises OSError; then the file is unchanged."""
        if not content:
            return
        size = self.size
        if size <= COPIED_BYTES:
            replace(self.path, self.read() + content)
            return
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
            os.fsync(self._descriptor)
        except BaseException:
            os.ftruncate(self._descriptor, size)
            raise

    def replace(self, content: bytes) -> None:
        """Replace the whole content atomically, at most once. Raises OSError; then the file is unchanged."""
        replace(self.path, content)
