"""Add to the end of a file: all of it or nothing, one process at a time."""

from __future__ import annotations

import os

from scflows.locks import FILE, locked
from scflows.storage import replace

#: Up to this size a file is replaced by a longer copy, so that even `kill -9` leaves the old one or the new one.
#: Beyond it the copy costs too much and the addition is written in place: an error takes it back, but a kill in
#: that very moment, or a power cut, can leave a part of it.
COPIED_BYTES = 1024 * 1024


class Appending:
    """A file that nobody else appends to while this is open; made, with its folders, if it is missing."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._made = False
        self._descriptor = -1

    def __enter__(self) -> Appending:
        """Wait until no other process has it open. Raises OSError."""
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        self._made = not os.path.exists(self.path)
        self._lock = locked(self.path, how=FILE | os.O_APPEND, mode=0o666)
        self._descriptor = self._lock.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        try:
            if self._made and self.size == 0 and os.stat(self.path).st_ino == os.fstat(self._descriptor).st_ino:
                os.unlink(self.path)
        except FileNotFoundError:
            pass  # Another process removed it.
        finally:
            self._lock.__exit__(None, None, None)

    @property
    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    @property
    def ends_a_line(self) -> bool:
        """Whether what is added next begins a line: the file is empty or its last line is ended."""
        size = self.size
        return size == 0 or os.pread(self._descriptor, 1, size - 1) == b"\n"

    def read(self) -> bytes:
        """What the file holds so far."""
        with open(self.path, "rb") as file:
            return file.read()

    def add(self, content: bytes) -> None:
        """Put `content` at the end. Raises OSError; then the file is as it was. At most once."""
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

    def put(self, content: bytes) -> None:
        """Replace the whole file in one move. Raises OSError; then the file is as it was. At most once."""
        replace(self.path, content)
