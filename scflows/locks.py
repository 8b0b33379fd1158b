"""One run per flow or task at a time: who holds the lock, and is the holder alive.

A process is named by its boot, its PID namespace, its number and its start time, so that a number that was given
out again is not mistaken for the process that had it.
"""

from __future__ import annotations

import fcntl
import os
import time
from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection


@dataclass(frozen=True)
class Holder:
    """Who holds a lock, as its file says."""

    name: str  #: of the lock: a task, or a flow's path
    run: str
    process: str  #: see `me`
    since: float  #: seconds since the epoch
    alive: bool  #: whether the kernel says that the lock is held

    @property
    def pid(self) -> int:
        number = self.process.split(":")[2:3]
        return int(number[0]) if number and number[0].isdigit() else 0


def current_process() -> str:
    """This process: `BOOT:NAMESPACE:PID:START`, START in clock ticks since the boot."""
    pid = os.getpid()
    return f"{_boot()}:{_namespace()}:{pid}:{_start(pid)}"


def is_alive(process: str) -> bool | None:
    """Whether a process named by `me` still runs; None when it cannot be told from here."""
    parts = process.split(":")
    if len(parts) != 4 or not parts[2].isdigit():
        return None
    boot, namespace, pid, start = parts
    if boot != _boot():
        return False
    if namespace != _namespace():
        return None
    return _start(int(pid)) == start


def lock_name(path: str) -> str:
    """A flow's real path as the name of a lock; file names have at most 255 bytes."""
    name = path.strip("/").replace("%", "%25").replace("/", "%2F")
    encoded = os.fsencode(name)
    if len(encoded) <= 200:
        return name
    import hashlib

    digest = hashlib.sha256(encoded).hexdigest()[:16]
    return encoded[-150:].decode(errors="ignore") + "%" + digest


def _boot() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read(8)
    except OSError:
        return "unknown"


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid").strip("pid:[]")
    except OSError:
        return "0"


def _start(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return ""
    # A zombie runs no more.
    return "" if fields[0] in (b"Z", b"X") else fields[19].decode()


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
            os.pwrite(self._descriptor, f"{run}\n{current_process()}\n{time.time():.3f}\n".encode(), 0)
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


class FallbackLock(FileLock):
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
