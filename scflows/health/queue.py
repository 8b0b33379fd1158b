"""Check that the queue worker starts queued runs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from shlex import quote

from scflows.health import FAIL, OK, Finding, counted
from scflows.history.task_log import timestamp
from scflows.locks import is_alive
from scflows.queue.entries import QueueEntry, entries, read_queued_run
from scflows.queue.permits import has_free_permit
from scflows.queue.worker_process import ASLEEP, worker_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from scflows.health.installation import Installation


@dataclass(frozen=True)
class HangingWorker:
    """A queue worker that does not start runs although they could start."""

    pid: int
    since: float  #: its last sign of life, in seconds since the epoch
    waiting: int
    path: str  #: of its lock
    state: str  #: the kernel's letter for the state of the process
    zone: str = "UTC"  #: the time zone of the message

    @property
    def message(self) -> str:
        process = f"process {self.pid}" if self.pid else "a process of another container"
        state = f" ({STATES[self.state]})" if self.state in STATES else ""
        runs = "1 run is" if self.waiting == 1 else f"{self.waiting} runs are"
        text = f"the queue worker ({process}) has not responded since {timestamp(self.since, self.zone)}{state}"
        return f"{text}; {runs} waiting although a permit is free"

    @property
    def help(self) -> str:
        if self.state == "T":
            return f"resume it: kill -CONT {self.pid}"
        stop = f"kill it: kill -9 {self.pid}; if that fails" if self.pid else "kill it there; if that is impossible"
        return f"{stop}: rm {quote(self.path)}; then start another one: flows history"


#: Why a process does not continue, by the letter of its state.
STATES = {"D": "waiting for a disk or a network drive", "T": "stopped", "t": "stopped by a debugger"}


def queue(installation: Installation) -> Iterator[Finding]:
    """Check that queued runs are started."""
    state = installation.settings.state_path
    hanging = find_hanging_worker(state, installation.now, installation.settings.timezone)
    if hanging is not None:
        yield Finding(FAIL, "queue", hanging.message, hanging.help)
        return
    waiting = entries(state)
    due = sum(entry.at <= installation.now for entry in waiting)
    if due:
        yield Finding(OK, "queue", f"{counted(due, 'run')} waiting to start")
    early = len(waiting) - due
    if early:
        yield Finding(OK, "queue", f"{counted(early, 'run')} waiting for {'its' if early == 1 else 'their'} start time")


def find_hanging_worker(state: str, now: float, zone: str) -> HangingWorker | None:
    """Return the queue worker if queued runs could start but it has not responded for a minute."""
    due = [entry for entry in entries(state) if now - entry.at > ASLEEP]
    lock = worker_lock(state)
    path = lock.path
    found = lock.holder() if due else None
    if found is None:
        return None
    try:
        since = os.stat(path).st_mtime
    except OSError:
        return None  # It has ended.
    if now - since <= ASLEEP or not any(_could_start(state, entry) for entry in due):
        return None
    pid = found.pid if is_alive(found.process) else 0
    return HangingWorker(pid, since, len(due), path, _process_state(pid), zone)


def _could_start(state: str, entry: QueueEntry) -> bool:
    run = read_queued_run(state, entry)
    return run is not None and has_free_permit(state, run.most) and run.is_startable


def _process_state(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0].decode()
    except (OSError, IndexError):
        return ""
