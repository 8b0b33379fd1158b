"""What a run must have before it starts: the lock of its task or flow, its mutexes, a permit."""

from __future__ import annotations

import os
import signal
import time

from scflows.history.task_log import timestamp
from scflows.locks import Holder, Lock, RunLock, holder, is_alive
from scflows.queue.permits import Permit, acquire_permit, wake_worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.queue.entries import HeldEntry

#: How long the processes of a killed run may take to end, in seconds.
DYING_SECONDS = 2.0
LOCK, MUTEX, PERMIT = "lock", "mutex", "permit"


# No dataclass: making one costs more than the rest of this module, at every start.
class Grant:
    """The queue worker's leave to start: the run's entry, and what the worker holds for it already."""

    def __init__(
        self, resources: RunResources, held: HeldEntry, overlap: str, since: float, why: str, given: float
    ) -> None:
        self.resources = resources
        self.held = held
        self.overlap = overlap  #: what the entry says
        self.since = since  #: from when on it waited, in seconds since the epoch
        self.why = why  #: what it waited for
        self.given = given  #: when it had all that it needs


class RunResources:
    """What a run holds; all of it, or nothing: a run that waits keeps no other from starting."""

    def __init__(self, run: str, lock: RunLock, state: str, most: int) -> None:
        self.run = run
        self.lock = lock
        self.mutexes: list[Lock] = []
        self.permit: Permit | None = None
        self.needs_permit = True
        self.must_wait = True  #: whether it starts only with a permit
        self.problem = ""  #: what could not be looked at; the run continues without it
        self.most = most  #: how many permits there are
        self.zone = "UTC"  #: the time zone of messages
        self._state = state

    def acquire(self, mutexes: list[str]) -> tuple[str, str]:
        """Take all that is needed, or nothing; return ("", ""), or what is missing and its description."""
        missing, description = LOCK, self._acquire_lock()
        if not description:
            missing, description = MUTEX, self.acquire_mutexes(mutexes)
        if not description and not self.acquire_permit() and self.must_wait:
            missing, description = PERMIT, self.permit_in_words
        if description:
            self.release_locks()
            return missing, description
        return "", ""

    def acquire_mutexes(self, names: list[str]) -> str:
        """Lock the mutexes that are not held yet; return a description of one that another run holds."""
        if not names:
            return ""
        from scflows.queue.entries import mutex_folder

        mine = {mutex.name for mutex in self.mutexes}
        for name in names:
            if name in mine:
                continue
            mutex = Lock(mutex_folder(self.lock.folder), name)
            try:
                if not mutex.acquire(self.run):
                    other = holder(mutex.folder, name)
                    by = f" (run {other.run})" if other is not None and other.run else ""
                    return f"the mutex {name}{by}"
            except OSError as error:
                self.problem = f"mutex {mutex.path}: {error.strerror}; running without it"
                continue
            self.mutexes.append(mutex)
        return ""

    def acquire_permit(self, above: int = 0) -> bool:
        """Take a permit, if the run needs one; False when there is none. The first `above` are for earlier runs."""
        if self.needs_permit and self.permit is None:
            try:
                self.permit = acquire_permit(self._state, self.most, above)
            except OSError as error:
                self.problem = f"{error.filename or self._state}: {error.strerror}; running without a permit"
                self.needs_permit = False
        return self.permit is not None or not self.needs_permit

    @property
    def permit_in_words(self) -> str:
        return "a permit" if self.most == 1 else f"one of {self.most} permits"

    def release_locks(self) -> None:
        """Give lock and mutexes back; a permit is held until `leave`."""
        for mutex in self.mutexes:
            mutex.release()
        self.mutexes = []
        self.lock.release()

    def leave(self) -> None:
        """Release the permit, and wake the queue worker."""
        self.release_permit()
        wake_worker(self._state)

    def release_permit(self) -> None:
        if self.permit is not None:
            self.permit.release()
            self.permit = None

    def disown(self) -> None:
        """Close this process's hold of mutexes and permit, which a child has from here on."""
        for mutex in self.mutexes:
            mutex.disown()
        self.release_permit()

    def others_in_words(self) -> str:
        """Describe the runs that hold the lock; empty if another one may start."""
        others = self.lock.runs()
        if len(others) < self.lock.most:
            return ""
        if len(others) > 1:
            runs = ", ".join(other.run for other in others)
            return f"{len(others)} runs of it are already running ({runs}); max_active_runs is {self.lock.most}"
        by = f" (run {others[0].run}, since {timestamp(others[0].since, self.zone)})" if others[0].run else ""
        return f"it is already running{by}"

    def stop_others(self, count: int = 1) -> bool:
        """Ask the oldest `count` runs that hold the lock to stop for this one; return False if that fails for one."""
        stopped = [self._stop(other) for other in self.lock.runs()[:count]]
        return bool(stopped) and all(stopped)

    def _stop(self, other: Holder) -> bool:
        if not other.pid or not is_alive(other.process):
            return False
        try:
            # Its own process reads this when it was stopped, see `stopped_for`.
            path = Lock(self.lock.folder, other.name).path
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            try:
                os.write(descriptor, f"{self.run}\n".encode())
            finally:
                os.close(descriptor)
            os.kill(other.pid, signal.SIGTERM)
        except OSError:
            return False
        return True

    def stopped_for(self) -> str:
        """Return the run that asked this one to stop and took its place; empty when none did."""
        try:
            with open(self.lock.path, encoding="utf-8") as file:
                lines = file.read().splitlines()
        except (OSError, ValueError):
            return ""
        return lines[3] if len(lines) > 3 and lines[0] == self.run else ""

    def _acquire_lock(self) -> str:
        try:
            if self.lock.acquire(self.run) or self._outlives():
                return ""
        except OSError as error:
            # Without a lock two runs could meet, but a full or read-only disk must not stop the work.
            self.problem = f"lock {self.lock.path}: {error.strerror}; running without it"
            return ""
        return self.others_in_words() or "it is already running"

    def _outlives(self) -> bool:
        """Return whether the lock comes free since its holder is dead: what it started is killed in a moment."""
        ends = time.monotonic() + DYING_SECONDS
        while time.monotonic() < ends:
            others = self.lock.runs()
            if len([other for other in others if is_alive(other.process) is not False]) >= self.lock.most:
                return False
            if self.lock.acquire(self.run):
                return True
            time.sleep(0.01)
        return False
