"""Whoever hands out turns to the runs that wait: whether it does."""

from __future__ import annotations

import os
from dataclasses import dataclass
from shlex import quote

from scflows.health import FAIL, OK, Finding, counted
from scflows.history.task_log import timestamp
from scflows.locks import is_alive
from scflows.queue import files as backlog
from scflows.queue.entries import QueueEntry
from scflows.queue.permits import has_free_permit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from scflows.health.installation import Installation


@dataclass(frozen=True)
class Standstill:
    """Runs wait for their turn and could start, and whoever hands out turns does nothing."""

    pid: int
    since: float  #: when it last said that it is at work, in seconds since the epoch
    waiting: int
    path: str  #: of its lock
    state: str  #: of the process, as the kernel says

    @property
    def message(self) -> str:
        who = f"process {self.pid}" if self.pid else "a process of another container"
        doing = f" ({STATES[self.state]})" if self.state in STATES else ""
        runs = "1 run waits" if self.waiting == 1 else f"{self.waiting} runs wait"
        told = f"{who} hands out turns, and has not looked since {timestamp(self.since)}{doing}"
        return f"{told}; {runs}, though there is a place"

    @property
    def help(self) -> str:
        if self.state == "T":
            return f"have it go on: kill -CONT {self.pid}; so does any look at the history"
        end = f"end it: kill -9 {self.pid}; if it does not go" if self.pid else "end it there; if that cannot be"
        return f"{end}: rm {quote(self.path)}; then have another take over: flows history"


#: What keeps a process from going on, by the letter of its state.
STATES = {"D": "it waits for a disk or a network drive", "T": "it was stopped", "t": "a debugger stopped it"}


def turns(installation: Installation) -> Iterator[Finding]:
    """Runs that wait are started."""
    state = installation.settings.state_path
    found = standstill(state, installation.now)
    if found is not None:
        yield Finding(FAIL, "turns", found.message, found.help)
        return
    waiting = backlog.entries(state)
    due = sum(ticket.at <= installation.now for ticket in waiting)
    if due:
        yield Finding(OK, "turns", f"{counted(due, 'run')} waiting for their turn")
    if len(waiting) > due:
        yield Finding(OK, "turns", f"{counted(len(waiting) - due, 'run')} waiting for their second")


def standstill(state: str, now: float) -> Standstill | None:
    """Whether runs could start that wait, and the process that is to start them has said nothing for a minute."""
    due = [ticket for ticket in backlog.entries(state) if not ticket.is_own and now - ticket.at > backlog.ASLEEP]
    lock = backlog.worker_lock(state)
    path = lock.path
    found = lock.holder() if due else None
    if found is None:
        return None
    try:
        since = os.stat(path).st_mtime
    except OSError:
        return None  # It has ended.
    if now - since <= backlog.ASLEEP or not any(_could_start(state, ticket) for ticket in due):
        return None
    pid = found.pid if is_alive(found.process) else 0
    return Standstill(pid, since, len(due), path, _process_state(pid))


def _could_start(state: str, ticket: QueueEntry) -> bool:
    waiting = backlog.read_queued_run(state, ticket)
    return (
        waiting is not None and not backlog.is_blocked(state, ticket, waiting) and has_free_permit(state, waiting.most)
    )


def _process_state(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0].decode()
    except (OSError, IndexError):
        return ""
