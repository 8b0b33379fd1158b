"""Run locks on one machine: the kernel's `flock`, dropped by the kernel when its holder dies."""

from __future__ import annotations

import fcntl
import os
import time

from scflows.lock import Holder, me

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

SUFFIX = ".lock"


class FileLock:
    """A lock in a folder. A lock file that is left behind means nothing; only the kernel's word counts."""

    def __init__(self, folder: str, name: str) -> None:
        self.folder = folder
        self.name = name
        self.path = os.path.join(folder, name + SUFFIX)
        self._descriptor = -1

    @property
    def is_held(self) -> bool:
        """Whether this process has it."""
        return self._descriptor >= 0

    def acquire(self, run: str) -> bool:
        """Take the lock for a run; False when another holds it. Raises OSError for a folder that cannot be used."""
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Between opening and locking, the file may have been removed by who held or cleared it.
                if _is_at(descriptor, self.path):
                    break
            except BlockingIOError:
                os.close(descriptor)
                return False
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
        self._descriptor = descriptor
        self.name_holder(run)
        return True

    def name_holder(self, run: str) -> None:
        """Write down that this process has the lock, which it took or was handed by the one that forked it."""
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{run}\n{me()}\n{time.time():.3f}\n".encode(), 0)
        except OSError:
            pass  # A full disk: the lock holds all the same, only its holder cannot be named.

    def say_alive(self) -> None:
        """That the process which has the lock is at work."""
        try:
            os.utime(self._descriptor)
        except OSError:
            pass

    def release(self) -> None:
        """Give the lock back and remove its file; does nothing when it is not held."""
        if self._descriptor < 0:
            return
        if _is_at(self._descriptor, self.path):
            try:
                os.unlink(self.path)
            except OSError:
                pass
        os.close(self._descriptor)
        self._descriptor = -1

    def disown(self) -> None:
        """Close this process's hold without giving the lock back: for a child that shares it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def holders(folder: str) -> list[Holder]:
    """All locks of a folder that are held or were left behind, by name."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    found = []
    for name in names:
        if name.endswith(SUFFIX):
            holder = _holder(folder, name)
            if holder is not None:
                found.append(holder)
    return found


def holder(folder: str, name: str) -> Holder | None:
    """Who holds a lock, or None when nobody does."""
    found = _holder(folder, name + SUFFIX)
    return found if found is not None and found.alive else None


def held(folder: str, names: Collection[str]) -> set[str]:
    """Those of some locks that are held."""
    try:
        files = os.listdir(folder)
    except OSError:
        return set()
    there = {file.removesuffix(SUFFIX) for file in files if file.endswith(SUFFIX)}
    return {name for name in names if name in there and holder(folder, name) is not None}


def clear(folder: str, name: str) -> bool:
    """Remove a lock's file: the next run is let in, one that runs goes on. False when there is none."""
    try:
        os.unlink(os.path.join(folder, name + SUFFIX))
    except FileNotFoundError:
        return False
    return True


def _holder(folder: str, name: str) -> Holder | None:
    try:
        descriptor = os.open(os.path.join(folder, name), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        lines = os.read(descriptor, 4096).decode("utf-8", "replace").splitlines()
        try:
            # Shared, so that two who look at once do not see each other.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            alive = False
        except BlockingIOError:
            alive = True
        run, process, since = (*lines, "", "", "")[:3]
        started = float(since) if since.replace(".", "", 1).isdigit() else os.fstat(descriptor).st_mtime
        return Holder(name.removesuffix(SUFFIX), run, process, started, alive)
    except OSError:
        return None  # Such as a folder of that name: nobody can lock it.
    finally:
        os.close(descriptor)


def _is_at(descriptor: int, path: str) -> bool:
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    mine = os.fstat(descriptor)
    return (there.st_ino, there.st_dev) == (mine.st_ino, mine.st_dev)
