"""The system's cron: whether its daemon is running."""

from __future__ import annotations

import os
from dataclasses import dataclass

from scflows.storage import names_in


@dataclass(frozen=True)
class Daemon:
    """A process of the system's cron."""

    name: str
    pid: int
    since: float = 0.0  #: seconds since the epoch; 0 if unknown


#: Process names: Debian's cron, that of cronie and busybox, that of bcron.
DAEMONS = ("cron", "crond", "bcron-sched")
#: systemd-cron turns crontabs into timers and has no process of its own.
GENERATORS = ("/lib/systemd/system-generators", "/usr/lib/systemd/system-generators")
GENERATOR = "systemd-crontab-generator"
PID_FILES = ("crond.pid", "cron.pid")


def find_daemon(proc: str = "/proc", run: str = "/run", generators: tuple[str, ...] = GENERATORS) -> Daemon | None:
    """Return the running daemon of the system's cron; None if there is none."""
    pids = (int(name) for name in names_in(proc) if name.isdigit())
    for pid in sorted(pids):
        name = _daemon_name(os.path.join(proc, str(pid)))
        if name:
            return Daemon(name, pid, boot_time(proc) + _ticks(os.path.join(proc, str(pid), "stat")))
    for name in PID_FILES:
        # If other users' processes are hidden, a signal is the only way to find out.
        pid = _number(os.path.join(run, name))
        if pid and not os.path.exists(os.path.join(proc, str(pid))) and _is_hidden(pid):
            return Daemon(name.removesuffix(".pid"), pid)
    if os.path.isdir(os.path.join(run, "systemd", "system")):
        for folder in generators:
            if os.path.exists(os.path.join(folder, GENERATOR)):
                return Daemon("systemd-cron", 1, boot_time(proc))
    return None


def boot_time(proc: str = "/proc") -> float:
    """Return when the machine was started; 0 if unknown."""
    lines = _text(os.path.join(proc, "stat"), 1 << 20).splitlines()
    times = [line.split()[1] for line in lines if line.startswith("btime ")]
    return float(times[0]) if times else 0.0


def _daemon_name(folder: str) -> str:
    name = _text(os.path.join(folder, "comm"))
    if name in DAEMONS:
        return name
    words = _text(os.path.join(folder, "cmdline")).split("\0")
    return "crond" if name == "busybox" and words[1:2] == ["crond"] else ""


def _number(path: str) -> int:
    text = _text(path)
    return int(text) if text.isascii() and text.isdigit() else 0


def _ticks(path: str) -> float:
    """Return how many seconds after the boot a process was started."""
    words = _text(path).rpartition(")")[2].split()
    return int(words[19]) / os.sysconf("SC_CLK_TCK") if len(words) > 19 else 0.0


def _text(path: str, size: int = 4096) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(size).strip()
    except OSError:
        return ""


def _is_hidden(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return False
