"""How a run gets in: it starts now, it is enqueued, its process waits, or it does not run at all."""

from __future__ import annotations

import signal
import time

from scflows.execution.resources import LOCK, MUTEX, Grant, RunResources
from scflows.history.run import CANCELLED, CATCH_UP, QUEUED, RUNNING, SKIPPED, Run
from scflows.queue.permits import has_free_permit, is_queue_empty, wake_worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from scflows.history.recorder import Recorder
    from scflows.locks import RunLock
    from scflows.queue.entries import QueuedRun, QueueEntry

#: What becomes of a run that cannot start now: it goes into the queue, as under cron, or its process waits.
ENQUEUE, BLOCK = "enqueue", "block"
SKIP, WAIT, CANCEL = "skip", "wait", "cancel"
#: Seconds between two looks of a process that waits.
LOOK_EVERY = 0.1
#: A run that had its permit after this many seconds did not wait.
NOTICED = 0.1
#: After this many seconds all mutexes of a waiting run are reserved for it, and not only those that are held: a run
#: that needs two would wait forever while others alternate.
FAIR = 300.0
#: What a run waits for if that was not looked at.
TURN = "its turn"


class AdmissionControl:
    """The way in for one run; afterwards its record says that it is running, queued, or why it is neither."""

    def __init__(self, run: Run, resources: RunResources, recorder: Recorder, state: str, longest: float) -> None:
        self.run = run
        self.resources = resources
        self.recorder = recorder
        self.mutexes: list[str] = []
        self.overlap = SKIP
        self.priority = 0
        self.waits = (
            ""  #: ENQUEUE or BLOCK; without it, it takes a permit if there is one, and starts without otherwise
        )
        self.begins = 0.0  #: its time in the queue, in seconds since the epoch; 0: now
        self.again = False  #: also for a slot that has its run
        self.report: Callable[[str], None] = lambda text: None
        self.request: Callable[[], dict[str, Any]] = dict  #: what the entry keeps of what was asked for
        self._state = state
        self.limit = "MAX_WAIT_SECONDS"  #: what says how long it waits, for messages
        self._longest = longest  #: how long it waits, in seconds

    def enter(self, signals: tuple[signal.Signals, ...], grant: Grant | None = None) -> bool:
        """Return whether the run may start, and is recorded as running. The blocked `signals` end a wait."""
        if grant is not None:
            return self._start_from_queue(grant)
        self.resources.must_wait = bool(self.waits)
        if self.waits == ENQUEUE and has_due_entries(self._state):
            # Only the queue worker decides who starts next.
            return self._enqueue(self._missing())
        missing, description = self._acquire()
        if not missing:
            return self._claim()
        reason = "" if missing != LOCK or self.waits == BLOCK else skip_reason(self.overlap, description, ())
        if reason:
            return self._skip("locked", reason if self.waits else f"{reason}; to wait for it: flows run --wait")
        if missing == MUTEX and not self.waits:
            return self._skip("mutex", f"{description} is held; to wait for it: flows run --wait")
        why = "an earlier run of it" if missing == LOCK else description
        if self.waits == ENQUEUE:
            return self._enqueue(why)
        return self._block(why, signals)

    def _acquire(self) -> tuple[str, str]:
        """Take what the run needs; a process that waits leaves it to earlier runs of the queue."""
        if self.waits == BLOCK and not is_queue_empty(self._state):
            mine = self._entry(time.time())
            locks = [(self.resources.lock.folder, self.resources.lock.name), *self._mutex_locks()]
            if not has_free_permit(self._state, self.resources.most if self.resources.needs_permit else 0):
                return "permit", self.resources.permit_in_words
            run = earlier_run(self._state, mine, locks)
            if run:
                return "permit", f"run {run}, which comes first"
        return self.resources.acquire(self.mutexes)

    def _claim(self) -> bool:
        # From now on it has its permit: two runs that are recorded as simultaneous were.
        self.run.started = time.time()
        taken = self.recorder.claim(self.run, self.again)
        return True if taken is None else self._skip("slot", already_run(taken))

    def _start_from_queue(self, grant: Grant) -> bool:
        self.run.started = grant.given
        waited = max(0.0, grant.given - grant.since)
        self.run.waited, self.run.waited_for = (waited, grant.why) if waited >= NOTICED else (0.0, "")
        missing, description = self.resources.acquire(self.mutexes)
        if missing == LOCK and (reason := skip_reason(grant.overlap, description, ())):
            self._end(SKIPPED, "locked", reason)
            grant.held.remove()
            return False
        if missing:
            # Another was quicker, or the flow needs a mutex that the entry does not name: it waits on.
            self.run.status = QUEUED
            self._update_entry(grant)
            return False
        why = self.recorder.begin(self.run)
        grant.held.remove()
        if why is not None:
            self.run.status, self.run.reason, self.run.message, self.run.ended = SKIPPED, "slot", why, time.time()
            self.report(f"skipped: {why}")
        return why is None

    def _update_entry(self, grant: Grant) -> None:
        from dataclasses import replace

        from scflows.queue.entries import parse_entry_name, read_queued_run

        entry = parse_entry_name(grant.held.path.rpartition("/")[2])
        queued = None if entry is None else read_queued_run(self._state, entry)
        if queued is not None and queued.mutexes != self.mutexes:
            try:
                grant.held.rewrite(replace(queued, mutexes=list(self.mutexes)))
            except OSError:
                pass  # It is tried again.

    def _enqueue(self, why: str) -> bool:
        self._wait_for(why)
        try:
            taken = put_into_queue(self._state, self._entry(time.time()), self._queued(why), self.run, self.recorder)
        except OSError as error:
            return self._start_without(error)
        if taken is not None:
            return self._skip("slot", already_run(taken))
        wake_worker(self._state)
        return False

    def _block(self, why: str, signals: tuple[signal.Signals, ...]) -> bool:
        """Wait in this process until the run can start, or a signal says to stop."""
        self._wait_for(why)
        since = time.time()
        until = since + self._longest
        self.begins = since
        taken = self.recorder.claim(self.run, self.again)
        self.recorder.close()
        if taken is not None:
            return self._skip("slot", already_run(taken))
        is_other_asked = False
        while True:
            now = time.time()
            self.run.waited, self.run.waited_for = now - since, why
            missing, _ = self._acquire()
            if not missing:
                break
            if missing == LOCK and self.overlap == CANCEL and not is_other_asked:
                is_other_asked = self.resources.stop_others()
            if now >= until:
                return self._end(SKIPPED, "queue_timeout", timed_out(why, self._longest, self.limit))
            # Not sigtimedwait: if a process was stopped and is continued after that time, Python reports a signal
            # that never came, with whatever was in memory.
            if not signal.sigpending().isdisjoint(signals):
                reason = "interrupted" if signal.sigwait(signals) == signal.SIGINT else "terminated"
                return self._end(CANCELLED, reason, "stopped while it waited for its turn")
            time.sleep(LOOK_EVERY)
        # Only now: the run that had what this one waited for has ended before, by the record too.
        self.run.status, self.run.message, self.run.started = RUNNING, "", time.time()
        why_not = self.recorder.begin(self.run)
        return True if why_not is None else self._end(SKIPPED, "slot", why_not)

    def _start_without(self, error: OSError) -> bool:
        """Start although the queue cannot be written, unless the run must not meet another one."""
        self.resources.problem = f"{error.filename or self._state}: {error.strerror}; running without a permit"
        self.resources.must_wait = False
        self.run.status, self.run.message = RUNNING, ""
        missing, description = self.resources.acquire(self.mutexes)
        if missing:
            return self._skip("locked" if missing == LOCK else "mutex", description)
        return self._claim()

    def _missing(self) -> str:
        """Describe what the run waits for, without taking anything."""
        from scflows.locks import holder

        if self.resources.others_in_words():
            return "an earlier run of it"
        for folder, name in self._mutex_locks():
            other = holder(folder, name)
            if other is not None:
                return f"the mutex {name}" + (f" (run {other.run})" if other.run else "")
        most = self.resources.most if self.resources.needs_permit else 0
        return TURN if has_free_permit(self._state, most) else self.resources.permit_in_words

    def _mutex_locks(self) -> list[tuple[str, str]]:
        if not self.mutexes:
            return []
        from scflows.queue.entries import mutex_folder

        return [(mutex_folder(self.resources.lock.folder), name) for name in self.mutexes]

    def _wait_for(self, why: str) -> None:
        self.run.status = QUEUED
        self.run.message = f"waits for {why}"
        self.report(self.run.message)

    def _entry(self, now: float) -> QueueEntry:
        from scflows.queue.entries import LAST_RANK, QueueEntry

        rank = LAST_RANK if self.run.trigger == CATCH_UP else -self.priority
        return QueueEntry(rank, round(self.begins or now, 3), self.run.task, self.run.id)

    def _queued(self, why: str) -> QueuedRun:
        most = self.resources.most if self.resources.needs_permit else 0
        lock, waited = self.resources.lock, self._longest
        overlap = "" if self.run.trigger == CATCH_UP else self.overlap
        place = (self.run, self.begins, lock, most, self.mutexes, overlap)
        return queued_run(*place, waited, why, self.request())

    def _skip(self, reason: str, message: str) -> bool:
        self._ended(SKIPPED, reason, message)
        self.recorder.skip(self.run)
        return False

    def _end(self, status: str, reason: str, message: str) -> bool:
        """End a run that is recorded as queued."""
        self._ended(status, reason, message)
        self.recorder.finish(self.run)
        return False

    def _ended(self, status: str, reason: str, message: str) -> None:
        self.run.status, self.run.reason, self.run.message, self.run.ended = status, reason, message, time.time()
        self.report(f"{status}: {message}")


def put_into_queue(
    state: str, entry: QueueEntry, queued: QueuedRun, run: Run, recorder: Recorder, again: bool = False
) -> str | None:
    """Write an entry and record its run as queued; return the run that has the slot, if one has. Raises OSError."""
    from scflows.queue.entries import write_entry

    held = write_entry(state, entry, queued)
    # The record names no process: the one that enqueues it may live on, and the run be lost all the same.
    run.holder = ""
    try:
        taken = recorder.claim(run, again)
        if taken is not None:
            held.remove()
        return taken
    finally:
        held.leave()


def queued_run(
    run: Run,
    begins: float,
    lock: RunLock,
    most: int,
    mutexes: list[str],
    overlap: str,
    longest: float,
    why: str,
    request: dict[str, Any],
    now: float | None = None,
) -> QueuedRun:
    """Return the content of an entry for a run; `longest` is how many seconds it waits at most."""
    from scflows.queue.entries import QueuedRun

    since = max(time.time() if now is None else now, begins)
    place = (most, lock.folder, lock.name, mutexes, overlap)
    return QueuedRun(run.trigger, run.slot, since, since + longest, *place, why, request, lock.most)


def already_run(run: str) -> str:
    """Describe a slot that has its run."""
    return f"this slot was already run ({run})"


def skip_reason(overlap: str, running: str, waiting: Sequence[str]) -> str:
    """Return why a run is skipped, by the `overlap` of its task; empty if it starts or waits.

    `running` describes the active runs of the task if no further one may start. `waiting` are the ids of those that
    wait and came before; with `wait`, of those that ask for the same. With `cancel` these give way, and with an empty
    `overlap`, as that of catch-up runs, all wait for each other.
    """
    if running and overlap == SKIP:
        return running
    if waiting and overlap in (SKIP, WAIT):
        return f"run {waiting[0]} of it already waits for its turn"
    return ""


def has_due_entries(state: str) -> bool:
    """Return whether a run waits in the queue whose time has come."""
    if is_queue_empty(state):
        return False
    from scflows.queue.entries import entries

    now = time.time()
    return any(entry.is_due(now) for entry in entries(state))


def earlier_run(state: str, mine: QueueEntry, locks: Sequence[tuple[str, str]]) -> str:
    """Return a run of the queue that comes before `mine` and could start now, or has waited long for one of `locks`.

    Locks are given as folder and name. Empty when there is none.
    """
    from scflows.queue.entries import entries, read_queued_run

    now = time.time()
    for entry in entries(state):
        if entry.key >= mine.key:
            break
        queued = read_queued_run(state, entry) if entry.is_due(now) else None
        if queued is None:
            continue
        if now - queued.since > FAIR and any(each in locks for each in queued.locks):
            return entry.run
        if has_free_permit(state, queued.most) and queued.is_startable:
            return entry.run
    return ""


def timed_out(why: str, longest: float, limit: str = "MAX_WAIT_SECONDS") -> str:
    """Describe a run that waited for too long."""
    return f"it waited{f' for {why}' if why else ''} for {longest:.0f} s, longer than {limit}"
