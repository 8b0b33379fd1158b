"""One run per flow or task at a time: who holds the lock, and is the holder alive.

A process is named by its boot, its PID namespace, its number and its start time, so that a number that was given
out again is not mistaken for the process that had it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass


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


def me() -> str:
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
