"""What a run must have before it starts: the lock of its task or flow, its mutexes, a place."""

from __future__ import annotations

import os
import signal
import time

from scflows.history.task_log import timestamp
from scflows.locks import Lock, holder, is_alive
from scflows.queue.permits import acquire_permit, is_queue_empty, wake_worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.locks import Holder
    from scflows.queue.entries import QueueEntry
    from scflows.queue.files import HeldEntry
    from scflows.queue.permits import Permit

#: How long the processes of a killed run may take to end, in seconds.
DYING_SECONDS = 2.0
LOCK, MUTEX, PLACE = "lock", "mutex", "place"


class Grant:
    """That a run's turn has come, and what is held for it already."""

    # No dataclass: making one costs more than the rest of this module, at every start.
    def __init__(self, run: str, held: HeldEntry, since: float, why: str) -> None:
        self.run = run  #: its id
        self.held = held
        self.since = since  #: from when on it waited, in seconds since the epoch
        self.why = why  #: what it waited for
        self.mutexes: list[Lock] = []
        self.place: Permit | None = None
        self.is_beside = False  #: whether it starts without a place, since none can be looked at
        self.problem = ""  #: what could not be looked at; the run goes on without
        self.given = time.time()  #: when its turn came: it has all that it needs

    def take_mutexes(self, folder: str, names: list[str]) -> bool:
        """Lock the mutexes of the run; False when one is taken by now."""
        for name in names:
            mutex = Lock(folder, name)
            try:
                if not mutex.acquire(self.run):
                    return False
            except OSError as error:
                self.problem = _without_mutex(mutex, error)
                continue
            self.mutexes.append(mutex)
        return True

    def take_place(self, state: str, most: int, above: int) -> bool:
        """Have a place for the run, as `scflows.queue.permits.acquire_permit` does; False when there is none."""
        try:
            self.place = acquire_permit(state, most, above)
        except OSError as error:
            self.problem = _beside(state, error)
            self.is_beside = True
        return self.place is not None or self.is_beside

    def give_up(self) -> None:
        """Give all of it back; the run waits on."""
        self.held.leave()
        for mutex in self.mutexes:
            mutex.release()
        if self.place is not None:
            self.place.release()


class RunResources:
    """What a run holds; all of it, or nothing: a run that waits keeps nobody else from starting."""

    def __init__(self, run: str, lock: Lock, state: str, most: int) -> None:
        self.lock = lock
        self.mutexes: list[Lock] = []
        self.place: Permit | None = None
        self.needs_place = True
        self.must_wait = True  #: whether it starts only when there is a place
        self.ticket: QueueEntry | None = None  #: its turn, where it has to wait for those before it
        self.problem = ""  #: what could not be looked at; the run goes on without
        self.most = most  #: how many places there are
        self._run = run
        self._state = state

    def ask(self, mutexes: list[str]) -> tuple[str, str]:
        """Take all that is needed, or nothing: ("", "") or what is not to be had, and in words."""
        told = self._take_lock()
        if told:
            return LOCK, told
        told = self._take_mutexes(mutexes)
        if told:
            self.give_up()
            return MUTEX, told
        missing, told = self._yield_to_earlier()
        if missing:
            self.give_up()
            return missing, told
        if self.needs_place and self.place is None and not self._take_place() and self.must_wait:
            self.give_up()
            return PLACE, self.place_in_words
        return "", ""

    @property
    def place_in_words(self) -> str:
        return "a place" if self.most == 1 else f"one of {self.most} places"

    def give_up(self) -> None:
        """Give lock and mutexes back; a place that is had stays until `leave`."""
        for mutex in self.mutexes:
            mutex.release()
        self.mutexes = []
        self.lock.release()

    def leave(self) -> None:
        """Give back the place, and say so to those that wait for one."""
        if self.place is not None:
            self.place.release()
            self.place = None
        wake_worker(self._state)

    def other_in_words(self) -> str:
        """That another run holds the lock; empty when none does."""
        other = self._other()
        if other is None:
            return ""
        by = f" (run {other.run}, since {timestamp(other.since)})" if other.run else ""
        return f"it is already running{by}"

    def stop_other(self) -> bool:
        """Tell the run that holds the lock to stop, for this one; False when it cannot be."""
        other = self._other()
        if other is None or not other.pid or not is_alive(other.process):
            return False
        try:
            # Its own process reads this when it was stopped, see `stopped_for`.
            descriptor = os.open(self.lock.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            try:
                os.write(descriptor, f"{self._run}\n".encode())
            finally:
                os.close(descriptor)
            os.kill(other.pid, signal.SIGTERM)
        except OSError:
            return False
        return True

    def stopped_for(self) -> str:
        """The run that asked this one to stop and took its turn; empty when none did."""
        try:
            with open(self.lock.path, encoding="utf-8") as file:
                lines = file.read().splitlines()
        except (OSError, ValueError):
            return ""
        return lines[3] if len(lines) > 3 and lines[0] == self._run else ""

    def _take_lock(self) -> str:
        try:
            if self.lock.acquire(self._run) or self._outlives():
                return ""
        except OSError as error:
            # Without a lock two runs could meet, but a full or read-only disk must not stop the work.
            self.problem = f"lock {self.lock.path}: {error.strerror}; running without it"
            return ""
        return self.other_in_words() or "it is already running"

    def _take_mutexes(self, names: list[str]) -> str:
        if not names or self.mutexes:
            return ""
        from scflows.queue.files import mutex_folder

        for name in names:
            mutex = Lock(mutex_folder(self.lock.folder), name)
            try:
                if not mutex.acquire(self._run):
                    other = holder(mutex.folder, name)
                    by = f" (run {other.run})" if other is not None and other.run else ""
                    return f"the mutex {name}{by}"
            except OSError as error:
                self.problem = _without_mutex(mutex, error)
                continue
            self.mutexes.append(mutex)
        return ""

    def _yield_to_earlier(self) -> tuple[str, str]:
        """What was taken in the moment in which it came free for another, whose turn comes earlier, and in words."""
        if self.ticket is None or not self.must_wait or is_queue_empty(self._state):
            return "", ""
        from scflows.queue.files import earlier_run_that_could_start

        now = time.time()
        mine = [(lock.folder, lock.name) for lock in self.mutexes]
        other = earlier_run_that_could_start(self._state, now, self.ticket, mine) if mine else ""
        if other:
            return MUTEX, f"the mutex {self.mutexes[0].name} (run {other} comes first)"
        own = [(self.lock.folder, self.lock.name)]
        other = earlier_run_that_could_start(self._state, now, self.ticket, [*own, *mine]) if self.lock.is_held else ""
        return (LOCK, f"run {other} of it comes first") if other else ("", "")

    def _take_place(self) -> bool:
        """Whether there is a place that is not for those who wait and whose turn comes earlier."""
        kept = 0
        try:
            if self.ticket is not None and self.must_wait and not is_queue_empty(self._state):
                from scflows.queue.files import permits_reserved_for_earlier

                kept = permits_reserved_for_earlier(self._state, time.time(), self.ticket, self.most)
            self.place = acquire_permit(self._state, self.most, kept)
        except OSError as error:
            self.problem = _beside(self._state, error)
            return True
        return self.place is not None

    def _other(self) -> Holder | None:
        return holder(self.lock.folder, self.lock.name)

    def _outlives(self) -> bool:
        """Whether the lock comes free since its holder is dead: what it started is killed with it, in a moment."""
        ends = time.monotonic() + DYING_SECONDS
        while time.monotonic() < ends:
            other = self._other()
            if other is not None and is_alive(other.process) is not False:
                return False
            if self.lock.acquire(self._run):
                return True
            time.sleep(0.01)
        return False


def _without_mutex(mutex: Lock, error: OSError) -> str:
    return f"mutex {mutex.path}: {error.strerror}; running without it"


def _beside(state: str, error: OSError) -> str:
    return f"{error.filename or state}: {error.strerror}; running beside whatever else runs"
