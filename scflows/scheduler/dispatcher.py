"""Which runs of the queue start now: in order, as permits and locks allow, and by the `overlap` of their tasks."""

from __future__ import annotations

import json
import time

from scflows.execution.admission import CANCEL, FAIR, SKIP, TURN, skip_reason, timed_out
from scflows.execution.resources import Grant, RunResources
from scflows.history.run import CANCELLED, FAILED, SKIPPED
from scflows.history.task_log import timestamp
from scflows.locks import RunLock, holder, running
from scflows.queue.entries import (
    QueuedRun,
    QueueEntry,
    check_writable,
    claim_entry,
    entry_names,
    entry_of_run,
    parse_entry_name,
    read_queued_run,
    without_request,
)
from scflows.scheduler.queued_run import end_entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds between two looks without a wake-up: a run that is killed sends none when its permit comes free.
LOOK_EVERY = 5.0
#: The same while another process is about to release an entry or a lock.
SOON = 0.05
#: A process that enqueues a run releases its entry within this many seconds.
ENQUEUING = 10.0


class WaitingRun:
    """A run that waits, as the dispatcher knows it."""

    def __init__(self, entry: QueueEntry, queued: QueuedRun) -> None:
        self.entry = entry
        self.name = entry.name
        #: What it asks for. Two runs of a task that ask for different things do not replace each other.
        self.asks = hash(json.dumps([queued.request.get(key) for key in ("params", "payload")], sort_keys=True))
        self.queued = without_request(queued)
        self.is_met = False  #: whether the overlap of its task was applied
        self.why = ""  #: what kept it from starting at the last look


class Dispatcher:
    """The queue in memory, and the decision which of its runs start. Its user starts them in `start`."""

    def __init__(self, state: str, say: Callable[[str], None], now: Callable[[], float] = time.time) -> None:
        self.state = state
        self.is_stopped = False
        self.ignored: set[str] = set()  #: files of the queue that are not entries, cannot be read, or are done
        self._say = say
        self._now = now
        self._soon_until = 0.0  #: until then it looks often
        self._waiting: dict[str, WaitingRun] = {}  #: by the names of their entries
        self._order: list[WaitingRun] = []

    def start(self, waiting: WaitingRun, grant: Grant) -> bool:
        """Start a run, which has what was taken for it; return False if it cannot be started now."""
        raise NotImplementedError

    def is_starting(self, waiting: WaitingRun) -> bool:
        """Return whether `start` was called for a run whose entry is still there."""
        raise NotImplementedError

    def look(self) -> float:
        """Start what may start; return the seconds until the next look. Raises OSError if the queue cannot be used."""
        if self.is_stopped:
            return LOOK_EVERY
        self._refresh()
        if self._waiting:
            check_writable(self.state)
        now = self._now()
        self._expire(now)
        due, pause = [], LOOK_EVERY
        for each in self._order:
            if each.entry.is_due(now):
                due.append(each)
            else:
                pause = min(pause, each.entry.at - now)
        if self._apply_overlap(due, now) or time.monotonic() < self._soon_until:
            pause = min(pause, SOON)
        return min(pause, self._start_some([each for each in due if each.name in self._waiting], now))

    def _refresh(self) -> None:
        """Take in new entries, and forget those that are gone."""
        names = set(entry_names(self.state)) - self.ignored
        gone, come = self._waiting.keys() - names, names - self._waiting.keys()
        if not gone and not come and len(self._order) == len(self._waiting):
            return
        for name in gone:
            del self._waiting[name]
        for name in come:
            entry = parse_entry_name(name)
            queued = None if entry is None else read_queued_run(self.state, entry)
            if entry is not None and queued is not None:
                self._waiting[name] = WaitingRun(entry, queued)
                continue
            if entry is not None:
                self._discard(entry)
            # Otherwise the worker would come back to it again and again.
            self.ignored.add(name)
        self._order = sorted(self._waiting.values(), key=lambda each: each.entry.key)

    def _expire(self, now: float) -> None:
        """End the runs that have waited for too long."""
        for each in [each for each in self._order if now >= each.queued.until]:
            queued = each.queued
            self._end(each, SKIPPED, "queue_timeout", timed_out(_why(each), queued.until - queued.since))

    def _apply_overlap(self, due: list[WaitingRun], now: float) -> bool:
        """Apply the overlap of their tasks to runs whose time has come; return whether it is to be tried again."""
        new = [each for each in due if not each.is_met and each.queued.overlap]
        if not new:
            return False
        same: dict[tuple[str, str], list[WaitingRun]] = {}
        for each in due:
            if each.queued.overlap:
                same.setdefault(each.queued.locks[0], []).append(each)
        again = False
        for each in sorted(new, key=lambda each: (each.entry.at, each.entry.run)):
            queued = each.queued
            before = [
                other
                for other in same[queued.locks[0]]
                if (other.entry.at, other.entry.run) < (each.entry.at, each.entry.run) and other.name in self._waiting
            ]
            resources = self._resources(each)
            # How many of the earlier runs, the oldest first, are too many besides this one.
            active = len(resources.lock.runs())
            excess = active + len(before) + 1 - queued.active
            if queued.overlap == CANCEL:
                message = f"run {each.entry.run} replaced it (overlap: cancel)"
                for other in before[: max(0, excess - active)]:
                    self._end(other, CANCELLED, "overlap", message)
            before = [other for other in before if entry_of_run(self.state, other.entry.run) is not None]
            if queued.overlap != SKIP and any(not self._is_free(other) for other in before):
                again = True  # One of them is about to start; the next look finds it running.
                continue
            if excess > 0 and queued.overlap == CANCEL:
                resources.stop_others(excess)
            elif excess > 0:
                alike = [other for other in before if queued.overlap == SKIP or other.asks == each.asks]
                waiting = [other.entry.run for other in alike]
                reason = skip_reason(queued.overlap, resources.others_in_words(), waiting)
                if reason:
                    self._end(each, SKIPPED, "locked", reason)
                    continue
            each.is_met = True
        return again

    def _start_some(self, due: list[WaitingRun], now: float) -> float:
        """Start the runs that may, in order; return the seconds until the next look."""
        pause = LOOK_EVERY
        full = 0  # As many permits are held or reserved: a run that may have more of them may start all the same.
        most = max((each.queued.most for each in due), default=0)
        is_permit_needed = all(each.queued.most for each in due)
        # Locks that an earlier run could not have, or is about to take: a later one must not be quicker.
        behind: set[tuple[str, str]] = set()
        starting: dict[tuple[str, str], set[str]] = {}  # runs that are about to take the lock of their task
        for each in due:
            queued = each.queued
            if 0 < queued.most <= full:
                if full >= most and is_permit_needed:
                    break
                each.why = self._resources(each).permit_in_words
                continue
            needed = queued.locks
            own, *mutexes = needed
            about = starting.setdefault(own, set())
            missing = [lock for lock in mutexes if lock in behind or holder(*lock) is not None]
            if own in behind or len(about | {other.run for other in running(*own)}) >= queued.active:
                missing.insert(0, own)
            if missing:
                is_met = missing[0] != own or own in behind or bool(about)
                active = "" if is_met else self._resources(each).others_in_words()
                reason = skip_reason(queued.overlap, active, ())
                if reason and self._end(each, SKIPPED, "locked", reason):
                    continue
                each.why = self._lock_in_words(missing[0], queued)
                behind.update(needed if now - queued.since > FAIR else missing)
                continue
            held = claim_entry(self.state, each.entry)
            behind.update(mutexes)
            about.add(each.entry.run)
            if held is None:
                if not self.is_starting(each) and now - queued.since < ENQUEUING:
                    # It is enqueued just now: a later run must not be quicker.
                    pause = min(pause, SOON)
                    full = max(full, queued.most)
                continue
            resources = self._resources(each)
            if resources.acquire_mutexes(queued.mutexes):
                held.leave()
                resources.release_locks()
                pause = min(pause, SOON)
            elif not resources.acquire_permit(full):
                held.leave()
                resources.release_locks()
                each.why = resources.permit_in_words
                full = max(full, queued.most)
                about.discard(each.entry.run)
                behind.difference_update(mutexes)
            else:
                # Only now: the run that gave up the permit has ended before, by the record too.
                grant = Grant(resources, held, queued.overlap, queued.since, _why(each), self._now())
                if self.start(each, grant):
                    self._say(f"started {name_of(each)}")
                else:
                    held.leave()
                    resources.release_locks()
                    resources.release_permit()
        return pause

    def _resources(self, waiting: WaitingRun) -> RunResources:
        queued = waiting.queued
        lock = RunLock(queued.lock_path, queued.lock, queued.active)
        resources = RunResources(waiting.entry.run, lock, self.state, queued.most)
        resources.needs_permit = queued.most > 0
        return resources

    def _lock_in_words(self, lock: tuple[str, str], queued: QueuedRun) -> str:
        if lock == queued.locks[0]:
            return "an earlier run of it"
        other = holder(*lock)
        return f"the mutex {lock[1]}" + (f" (run {other.run})" if other is not None and other.run else "")

    def _is_free(self, waiting: WaitingRun) -> bool:
        """Return whether no process holds an entry."""
        held = claim_entry(self.state, waiting.entry)
        if held is None:
            return False
        held.leave()
        return True

    def _end(self, waiting: WaitingRun, status: str, reason: str, message: str) -> bool:
        """End a run that waits; False for one that is about to start."""
        if not end_entry(self.state, waiting.entry, status, reason, message):
            return False
        self._waiting.pop(waiting.name, None)
        self.ignored.add(waiting.name)
        return True

    def _discard(self, entry: QueueEntry) -> None:
        """End a run whose entry is broken, as after a power cut: it would wait forever, and its task with it."""
        held = claim_entry(self.state, entry)
        if held is None:
            return
        is_broken = read_queued_run(self.state, entry) is None
        held.leave()
        if is_broken:
            end_entry(self.state, entry, FAILED, "refused", "its entry in the queue was broken")


def _why(waiting: WaitingRun) -> str:
    """Return what a run waited for: what was seen when it was enqueued, otherwise at the last look."""
    why = waiting.queued.why
    return waiting.why or why if why in ("", TURN) else why


def name_of(waiting: WaitingRun) -> str:
    """Return the task of a run and its slot, for messages."""
    slot = waiting.queued.slot
    return waiting.entry.task + (f" (slot {timestamp(slot, 'UTC')})" if slot is not None else "")
