"""The process that starts what is in the queue: whether there is one, and how another is started."""

from __future__ import annotations

import os

from scflows import command_line
from scflows.locks import Lock, is_alive
from scflows.queue.permits import QUEUE_FOLDER, is_queue_empty

#: The lock that the queue worker holds, and the command that does nothing but its work.
LOCK = "worker"
WORKER_COMMAND = ("run", "--waiting")
#: The worker touches its lock far more often than once in this many seconds.
ASLEEP = 60.0
#: What a worker that a person's command starts has of its environment: as much as cron gives.
INHERITED_VARIABLES = ("HOME", "LOGNAME", "USER", "LANG", "LC_ALL", "XDG_CACHE_HOME", "PYTHONPATH")


def worker_lock(state: str) -> Lock:
    """Return the lock of the queue worker: the folder of the queue."""
    return Lock(state, LOCK, instead=os.path.join(state, QUEUE_FOLDER))


def needs_worker(state: str) -> bool:
    """Return whether runs wait and no worker is there; one that was stopped is resumed."""
    if is_queue_empty(state):
        return False
    lock = worker_lock(state)
    try:
        if not lock.acquire(""):
            resume_worker(state)
            return False
    except OSError:
        return False  # No process could; `flows check` says why.
    lock.release()
    return True


def resume_worker(state: str) -> None:
    """Continue a worker that was stopped, as with SIGSTOP: it has not touched its lock for a minute."""
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


def ensure_worker(state: str, is_cron: bool = False) -> None:
    """Start a worker in a new interpreter if runs wait and there is none.

    Unless cron started this process, the worker does not get its environment and output: queued runs were started by
    cron and must not see the environment of a user at a terminal.
    """
    if is_queue_empty(state) or Lock(state, "scheduler", instead=state).holder() is not None or not needs_worker(state):
        return
    import sys

    bare = {name: os.environ[name] for name in INHERITED_VARIABLES if name in os.environ}
    environment = os.environ if is_cron else {"PATH": "/usr/bin:/bin", **bare}
    nothing = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(1 if is_cron else 3)]
    command = command_line(*WORKER_COMMAND, "--state", state)
    try:
        os.posix_spawn(sys.executable, command, environment, file_actions=nothing, setsid=True)
    except OSError:
        pass  # The next command or run starts it.
