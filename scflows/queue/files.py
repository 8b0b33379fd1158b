"""The runs that wait for their turn on this machine: a file for each, whose name says whose turn comes first.

Mostly no process waits with its run: who has to wait leaves a file behind and goes (`turn` starts it). A run by hand
waits itself, and holds its file locked meanwhile.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os

from scflows import command_line
from scflows.locks import EXISTING, Lock, holder, is_alive, is_locked, open_locked
from scflows.queue.entries import parse_entry_name, parse_queued_run
from scflows.queue.permits import QUEUE_FOLDER, has_free_permit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from scflows.queue.entries import QueuedRun, QueueEntry

#: The lock that whoever hands out turns has, and the command that does nothing else.
LOCK = "turn"
WORKER_COMMAND = ("run", "--waiting")
#: A file that was left half made this many seconds ago was left for good.
FORGOTTEN = 600.0
#: A process that waits and has said nothing for so many seconds, as one that was stopped with Ctrl-Z, loses its turn.
SILENT = 10.0
#: Who has waited for so many seconds has all its mutexes kept free for it, and not only those that are held: one that
#: needs two would wait for ever while others take turns with each.
FAIR = 300.0
#: Whoever hands out turns says far more often than once in so many seconds that it does.
ASLEEP = 60.0


class HeldEntry:
    """A file of the backlog that this process has for itself."""

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor

    def say_alive(self) -> None:
        """That the process that waits with it still looks whether it is its turn."""
        try:
            os.utime(self.descriptor)
        except OSError:
            pass

    def leave(self) -> None:
        """Let go of the file; the run waits on."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def remove(self) -> None:
        """The run waits no more."""
        try:
            os.unlink(self.path)
        except OSError:
            pass
        self.leave()


def entries(state: str) -> list[QueueEntry]:
    """All that wait, in the order of their turns."""
    try:
        names = os.listdir(os.path.join(state, QUEUE_FOLDER))
    except OSError:
        return []
    found = [ticket for ticket in map(parse_entry_name, names) if ticket is not None]
    return sorted(found, key=lambda ticket: ticket.key)


def read_queued_run(state: str, ticket: QueueEntry) -> QueuedRun | None:
    """What the ticket's file says; None when it waits no more, or the file is broken."""
    try:
        with open(_path(state, ticket), encoding="utf-8") as file:
            return parse_queued_run(file.read())
    except (OSError, ValueError):
        return None


def enqueue(state: str, ticket: QueueEntry, waiting: QueuedRun) -> HeldEntry:
    """Queue up; nobody takes it on before it is let go of. Raises OSError."""
    path = _path(state, ticket)
    folder, name = os.path.split(path)
    hidden = os.path.join(folder, "." + name)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        descriptor = os.open(hidden, flags, 0o600)
    except FileNotFoundError:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        descriptor = os.open(hidden, flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        content = json.dumps(waiting.__dict__).encode()
        if os.write(descriptor, content) != len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        os.rename(hidden, path)
    except BaseException:
        os.close(descriptor)
        os.unlink(hidden)
        raise
    return HeldEntry(path, descriptor)


def claim(state: str, ticket: QueueEntry) -> HeldEntry | None:
    """Have a ticket for oneself; None when somebody else has it, or it is gone."""
    path = _path(state, ticket)
    try:
        return HeldEntry(path, open_locked(path, wait=False, how=EXISTING))
    except OSError:
        return None


def permits_reserved_for_earlier(state: str, now: float, before: QueueEntry, most: int) -> int:
    """How many places, the first ones, are for those whose turn comes earlier; looked for up to `most`.

    These are as many as one of them may have at most, whose time has come and that nothing but a place keeps from
    starting.
    """
    kept = 0
    for ticket in entries(state):
        if kept >= most or ticket.key >= before.key:
            break
        if ticket.at > now or ticket.run == before.run:
            continue
        waiting = read_queued_run(state, ticket)
        if waiting is not None and waiting.most > kept and not is_blocked(state, ticket, waiting):
            kept = waiting.most
    return kept


def earlier_run_that_could_start(state: str, now: float, before: QueueEntry, mine: Collection[tuple[str, str]]) -> str:
    """The run whose turn comes earlier and that could start now, but for one of `mine`, or has waited for long.

    Empty when there is none.

    `mine` are locks, each by its folder and name, that who asks has taken, and did not wait for as long.
    """
    for ticket in entries(state):
        if ticket.key >= before.key:
            break
        if ticket.at > now or ticket.run == before.run:
            continue
        waiting = read_queued_run(state, ticket)
        if waiting is None or not any(each in mine for each in required_locks(waiting)):
            continue
        if now - waiting.since > FAIR and not is_suspended(state, ticket):
            return ticket.run
        if not is_blocked(state, ticket, waiting, mine) and has_free_permit(state, waiting.most):
            return ticket.run
    return ""


def is_blocked(state: str, ticket: QueueEntry, waiting: QueuedRun, besides: Collection[tuple[str, str]] = ()) -> bool:
    """Whether something else than a place keeps a run from starting: a mutex, its own lock, a process at rest.

    `waiting` is what its file says. Locks `besides` do not count.
    """
    if is_suspended(state, ticket):
        return True
    return any(each not in besides and holder(*each) is not None for each in required_locks(waiting))


def is_suspended(state: str, ticket: QueueEntry) -> bool:
    """Whether the process that waits with a run does not look whether it is its turn."""
    return ticket.is_own and not _looks(_path(state, ticket))


def required_locks(waiting: QueuedRun) -> list[tuple[str, str]]:
    """The locks, each by its folder and name, that must be free before a run can start: its own, and its mutexes."""
    own = [(waiting.lock_path, waiting.lock)] if waiting.patient else []
    folder = mutex_folder(waiting.lock_path)
    return own + [(folder, name) for name in waiting.mutexes]


def live_entries(state: str) -> list[QueueEntry]:
    """The tickets of those that wait, without those whose own process has died; in the order of their turns."""
    return [each for each in entries(state) if not each.is_own or _is_held(_path(state, each))]


def entries_of_task(state: str, task: str) -> list[QueueEntry]:
    """The tickets of a task's runs, whose processes live."""
    return [ticket for ticket in live_entries(state) if ticket.task == task]


def contains(state: str, run: str) -> bool:
    """Whether a run waits: its file is there, and its process, if that waits itself."""
    ticket = entry_of_run(state, run)
    return ticket is not None and (not ticket.is_own or _is_held(_path(state, ticket)))


def entry_of_run(state: str, run: str) -> QueueEntry | None:
    """The ticket of a run; None when it does not wait."""
    return next((ticket for ticket in entries(state) if ticket.run == run), None)


def remove_dead_entries(state: str) -> None:
    """Remove the files of those that waited themselves and died."""
    import time

    folder = os.path.join(state, QUEUE_FOLDER)
    for ticket in entries(state):
        if ticket.is_own and (held := claim(state, ticket)) is not None:
            held.remove()
    for name in _hidden(folder):
        path = os.path.join(folder, name)
        try:
            if time.time() - os.stat(path).st_mtime > FORGOTTEN:
                os.unlink(path)
        except OSError:
            pass


def needs_worker(state: str) -> bool:
    """Whether runs wait, and nobody hands out turns."""
    if all(ticket.is_own for ticket in entries(state)):
        return False
    lock = worker_lock(state)
    try:
        if not lock.acquire(""):
            resume_worker(state)
            return False
    except OSError:
        return False  # Nobody could; `flows check` tells why.
    lock.release()
    return True


def worker_lock(state: str) -> Lock:
    """Return the lock of the queue worker: the folder of the queue."""
    return Lock(state, LOCK, instead=os.path.join(state, QUEUE_FOLDER))


def resume_worker(state: str) -> None:
    """Have whoever hands out turns go on, if it was stopped, as with SIGSTOP: it has said nothing for a minute."""
    import signal
    import time

    try:
        lock = worker_lock(state)
        silent = time.time() - os.stat(lock.path).st_mtime
        found = lock.holder() if silent > ASLEEP else None
        if found is not None and is_alive(found.process):
            os.kill(found.pid, signal.SIGCONT)
    except OSError:
        pass  # It has ended meanwhile.


def ensure_worker(state: str) -> None:
    """Start somebody who hands out turns, if runs wait and nobody does: for those who must not do it themselves.

    What waits was started by cron and must not see the environment of whoever sits at a terminal.
    """
    if Lock(state, "scheduler", instead=state).holder() is not None or not needs_worker(state):
        return
    import sys

    kept = ("HOME", "LOGNAME", "USER", "LANG", "LC_ALL", "TZ", "XDG_CACHE_HOME", "PYTHONPATH")
    bare = {name: os.environ[name] for name in kept if name in os.environ}
    nothing = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(3)]
    command = command_line(*WORKER_COMMAND, "--state", state)
    try:
        os.posix_spawn(sys.executable, command, {"PATH": "/usr/bin:/bin", **bare}, file_actions=nothing, setsid=True)
    except OSError:
        pass  # Whoever comes next does it.


def mutex_folder(lock_path: str) -> str:
    """Where the locks of mutexes are."""
    return os.path.join(lock_path, "mutexes")


def _path(state: str, ticket: QueueEntry) -> str:
    return os.path.join(state, QUEUE_FOLDER, ticket.name)


def _is_held(path: str) -> bool:
    """Return whether the process that made the file lives, which holds its lock for as long."""
    try:
        return is_locked(path)
    except OSError:
        return False


def _looks(path: str) -> bool:
    """Whether the process that made the file lives, and looks whether it is its turn."""
    import time

    try:
        silent = time.time() - os.stat(path).st_mtime
    except OSError:
        return False
    return silent < SILENT and _is_held(path)


def _hidden(folder: str) -> Iterator[str]:
    try:
        yield from (name for name in os.listdir(folder) if name.startswith("."))
    except OSError:
        return
