"""A run lock that needs no file: the kernel's `flock` on a folder that is there, where a lock's file cannot be used.

Nothing has to be written for it, so it holds on a full disk, in a read-only folder, and beside another user's file. It
names no holder.
"""

from __future__ import annotations

import fcntl
import os

from scflows.lock.file import FileLock, holder


class SureLock(FileLock):
    """A lock in a folder, or instead, where its file can be neither made nor opened, on a folder."""

    def __init__(self, folder: str, name: str, instead: str) -> None:
        super().__init__(folder, name)
        self.problem: OSError | None = None  #: why the file cannot be used, where it cannot
        self._instead = instead

    def acquire(self, run: str) -> bool:
        """Take the lock for a run; False when another holds it. Raises OSError when the folder is none to lock."""
        self.problem = None
        try:
            if not super().acquire(run):
                return False
        except OSError as error:
            # Somebody may hold the file since a time when it could be used; or since a moment ago.
            if holder(self.folder, self.name) is not None or not self._acquire_folder(error):
                return False
            self.problem = error
            if holder(self.folder, self.name) is None:
                return True
        else:
            # Somebody may hold the folder since a time when the file could not be used.
            if not self._is_folder_held():
                return True
        self.release()
        return False

    def say_alive(self) -> None:
        # A folder's time says when its files changed.
        if self.problem is None:
            super().say_alive()

    def _is_folder_held(self) -> bool:
        try:
            descriptor = os.open(self._instead, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            os.close(descriptor)

    def _acquire_folder(self, error: OSError) -> bool:
        try:
            descriptor = os.open(self._instead, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            raise error from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError:
            os.close(descriptor)
            raise error from None  # As on some network drives.
        self._descriptor = descriptor
        return True
