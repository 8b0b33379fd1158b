"""Locks of the kernel, which releases them when their holder dies; who holds one, and whether that process is alive.

A process is identified by its boot, its PID namespace, its number and its start time, because the kernel gives out
numbers again.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Holder:
    """The holder of a lock, as its file says."""

    name: str  #: of the lock: a task, or a flow's path
    run: str
    process: str  #: see `current_process`
    since: float  #: seconds since the epoch
    alive: bool  #: whether the kernel says that the lock is held

    @property
    def pid(self) -> int:
        number = self.process.split(":")[2:3]
        return int(number[0]) if number and number[0].isdigit() else 0


def current_process() -> str:
    """Return this process as `BOOT:NAMESPACE:PID:START`, START in clock ticks since the boot."""
    pid = os.getpid()
    return f"{_boot()}:{_namespace()}:{pid}:{_start(pid)}"


def is_alive(process: str) -> bool | None:
    """Return whether a process still runs; None if that cannot be seen from here, as in another container."""
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
    """Return the name of a flow's lock, made of its real path; file names have at most 255 bytes."""
    name = path.strip("/").replace("%", "%25").replace("/", "%2F").replace(":", "%3A")
    encoded = os.fsencode(name)
    if len(encoded) <= 200:
        return name
    import hashlib

    digest = hashlib.sha256(encoded).hexdigest()[:16]
    return encoded[-150:].decode(errors="ignore") + "%" + digest


def this_boot() -> str:
    """Return what identifies the current boot of the machine or, in a container, its start."""
    # The kernel's boot is the same in all containers, but each has a first process of its own.
    return f"{_boot()}:{_start(1)}"


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
    # A zombie does not run.
    return "" if fields[0] in (b"Z", b"X") else fields[19].decode()


SUFFIX = ".lock"
#: How a file or a folder is opened to be locked.
FILE = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
EXISTING = os.O_RDWR | os.O_CLOEXEC
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
#: A process that looks at a lock holds it for a moment; this many times, another one tries again a moment later.
TRIES = 3
MOMENT = 0.001


def open_locked(path: str, wait: bool = True, how: int = FILE, mode: int = 0o600) -> int:
    """Return a descriptor that holds the lock of the file or folder at `path` until it is closed.

    `how` is FILE (made if it is missing), EXISTING or FOLDER. Raises BlockingIOError if another process holds the lock
    and `wait` is false, OSError if it cannot be opened or locked.
    """
    while True:
        descriptor = os.open(path, how, mode)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            # Between opening and locking, the file may have been removed or replaced.
            if _is_at(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


@contextmanager
def locked(path: str, wait: bool = True, how: int = FILE, mode: int = 0o600) -> Iterator[int]:
    """Hold the lock of the file or folder at `path`, as `open_locked` does; yields the descriptor."""
    descriptor = open_locked(path, wait, how, mode)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class Lock:
    """A lock that names its holder in the file `NAME.lock`. A file that is left behind means nothing.

    The file itself is locked, or `instead` an existing folder: to lock a folder needs no writing, so that it works on
    a full disk and beside a file of another user. Its holder is then named if the file can be written.
    """

    def __init__(self, folder: str, name: str, instead: str = "") -> None:
        self.folder = folder
        self.name = name
        self.path = os.path.join(folder, name + SUFFIX)
        self._instead = instead
        self._descriptor = -1

    @property
    def is_held(self) -> bool:
        """Whether this process holds it."""
        return self._descriptor >= 0

    def acquire(self, run: str) -> bool:
        """Take the lock for a run; False if another process holds it. Raises OSError if it cannot be locked."""
        os.makedirs(self._instead or self.folder, mode=0o700, exist_ok=True)
        for attempt in range(TRIES):
            try:
                self._descriptor = open_locked(self._instead or self.path, False, FOLDER if self._instead else FILE)
            except BlockingIOError:
                if attempt + 1 == TRIES or self.holder() is not None:
                    return False
                time.sleep(MOMENT)
            else:
                break
        self.name_holder(run)
        return True

    def name_holder(self, run: str) -> None:
        """Write down that this process holds the lock, which it took or got from the process that forked it."""
        content = f"{run}\n{current_process()}\n{time.time():.3f}\n".encode()
        try:
            if not self._instead:
                os.ftruncate(self._descriptor, 0)
                os.pwrite(self._descriptor, content, 0)
                return
            # It may be another user's.
            with suppress(FileNotFoundError):
                os.unlink(self.path)
            descriptor = os.open(self.path, FILE | os.O_EXCL, 0o600)
            try:
                os.write(descriptor, content)
            finally:
                os.close(descriptor)
        except OSError:
            pass  # As on a full disk: the lock is held all the same, only its holder cannot be named.

    def holder(self) -> Holder | None:
        """Return its holder; None if no process holds it, or the one that does cannot be named."""
        found = _holder(self.path, self._instead)
        return found if found is not None and found.alive else None

    def say_alive(self) -> None:
        """Note that the process that holds the lock is at work."""
        with suppress(OSError):
            os.utime(self.path)

    def release(self) -> None:
        """Release the lock and remove its file; does nothing if it is not held."""
        if self._descriptor < 0:
            return
        if self._instead or _is_at(self._descriptor, self.path):
            with suppress(OSError):
                os.unlink(self.path)
        self.disown()

    def disown(self) -> None:
        """Close this process's hold without releasing the lock for a child that shares it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class RunLock(Lock):
    """The lock of a task's or a flow's runs. `most` of them may hold it at the same time: `NAME`, `NAME:2`, …"""

    def __init__(self, folder: str, name: str, most: int = 1) -> None:
        super().__init__(folder, name)
        self.most = most

    def acquire(self, run: str) -> bool:
        """Take the lock for a run; False if as many runs hold it as may."""
        for number in range(1, self.most + 1):
            suffix = f":{number}" if number > 1 else ""
            self.path = os.path.join(self.folder, f"{self.name}{suffix}{SUFFIX}")
            if super().acquire(run):
                # Runs that started when more were allowed count as well.
                if len(self.runs()) <= self.most:
                    return True
                self.release()
                return False
        return False

    def runs(self) -> list[Holder]:
        """Return the runs that hold the lock, the oldest first."""
        return running(self.folder, self.name)


def running(folder: str, name: str) -> list[Holder]:
    """Return the runs that hold the lock of a task or flow, the oldest first."""
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    locks = [each for each in names if each.startswith(name) and lock_family(each.removesuffix(SUFFIX)) == name]
    found = [_holder(os.path.join(folder, each)) for each in locks if each.endswith(SUFFIX)]
    return sorted((each for each in found if each is not None and each.alive), key=lambda each: each.since)


def lock_family(name: str) -> str:
    """Return the task or flow that a lock belongs to, without its number."""
    family, colon, number = name.rpartition(":")
    return family if colon and number.isdecimal() else name


def holders(folder: str) -> list[Holder]:
    """Return all locks of a folder that are held or were left behind, by name."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    found = (_holder(os.path.join(folder, name)) for name in names if name.endswith(SUFFIX))
    return [holder for holder in found if holder is not None]


def holder(folder: str, name: str) -> Holder | None:
    """Return the holder of a lock that is a file; None if no process holds it."""
    return Lock(folder, name).holder()


def clear(folder: str, name: str) -> bool:
    """Remove a lock's file, so that the next run may start while the holder continues. False if there is none."""
    try:
        os.unlink(os.path.join(folder, name + SUFFIX))
    except FileNotFoundError:
        return False
    return True


def is_locked(path: str, how: int = os.O_RDONLY | os.O_CLOEXEC) -> bool:
    """Return whether a process holds the lock of a file or folder. Raises OSError if it cannot be opened or locked."""
    descriptor = os.open(path, how)
    try:
        # Shared, so that two processes that look at the same time do not see each other.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)


def _holder(path: str, instead: str = "") -> Holder | None:
    try:
        # Only where a holder is named: to look at a lock that is free would disturb a process that takes it.
        with open(path, "rb") as file:
            lines = file.read(4096).decode("utf-8", "replace").splitlines()
            changed = os.fstat(file.fileno()).st_mtime
        alive = is_locked(instead, FOLDER) if instead else is_locked(path)
    except OSError:
        return None  # Such as a folder of that name, which no process can lock.
    run, process, since = (*lines, "", "", "")[:3]
    started = float(since) if since.replace(".", "", 1).isdigit() else changed
    return Holder(os.path.basename(path).removesuffix(SUFFIX), run, process, started, alive)


def _is_at(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
