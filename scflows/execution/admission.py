"""How a run gets in: at once, in its turn, or not at all."""

from __future__ import annotations

import signal
import time

from scflows.execution.resources import LOCK, MUTEX
from scflows.history.run import CANCELLED, CATCH_UP, QUEUED, RUNNING, SKIPPED, Run
from scflows.queue.permits import wake_worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scflows.execution.resources import Grant, RunResources
    from scflows.history.recorder import Recorder
    from scflows.queue.entries import QueuedRun, QueueEntry

#: What a run does that cannot start at once: it is left to others, as under cron, or its process waits here.
ENQUEUE, BLOCK = "left", "here"
SKIP, WAIT, CANCEL = "skip", "wait", "cancel"
#: Nothing is due later within its minute than this many seconds.
MINUTE = 60.0
#: Seconds between two looks of a process that waits.
LOOK_EVERY = 0.05
#: Seconds between two times that it says that it does so.
SAY_EVERY = 0.5
#: A place that took no longer than this many seconds was there at once.
NOTICED = 0.1


class AdmissionControl:
    """The way in for one run; afterwards its record says that it is running, queued, or why it is neither."""

    def __init__(self, run: Run, admission: RunResources, recorder: Recorder, state: str, longest: float) -> None:
        self.run = run
        self.admission = admission
        self.recorder = recorder
        self.mutexes: list[str] = []
        self.overlap = SKIP
        self.priority = 0
        self.waits = ""  #: LEFT or HERE; without it, it takes a place where there is one, and goes on else
        self.begins = 0.0  #: not before this time, in seconds since the epoch
        self.again = False  #: also for a slot that has its run
        self.tell: Callable[[str], None] = lambda text: None
        self._state = state
        self._longest = longest  #: how long it waits, in seconds

    def enter(self, signals: tuple[signal.Signals, ...], turn: Grant | None = None) -> bool:
        """Whether the run may start, and is recorded as running. The `signals`, which are blocked, end a wait here."""
        if turn is not None:
            return self._take_turn(turn)
        now = time.time()
        self.admission.must_wait = bool(self.waits)
        if self.waits == ENQUEUE and self.admission.place is None and now < self.begins < now + MINUTE:
            return self._queue_up("")
        if self.waits:
            self.admission.ticket = self._ticket(now)
        missing, told = self.admission.ask(self.mutexes)
        if not missing:
            return self._claimed()
        if missing == LOCK and self.overlap == SKIP and self.waits != BLOCK:
            return self._skip("locked", told if self.waits else f"{told}; to wait for it: flows run --wait")
        if missing == MUTEX and not self.waits:
            return self._skip("mutex", f"{told} is held; to wait for it: flows run --wait")
        if missing == LOCK and self.overlap == CANCEL:
            self.admission.stop_other()
        why = "an earlier run of it" if missing == LOCK else told
        # What makes up for a slot is not answered by another one's.
        earlier = "" if self.run.trigger == CATCH_UP else self._earlier(now)
        if earlier:
            return self._skip("locked", f"run {earlier} of it waits for its turn already")
        return self._queue_up(why) if self.waits == ENQUEUE else self._wait_here(why, signals)

    def _claimed(self) -> bool:
        # From now on it has its place: two runs that are recorded as side by side were.
        self.run.started = time.time()
        place = self.admission.place
        if place is not None and place.waited >= NOTICED:
            self.run.waited, self.run.waited_for = place.waited, self.admission.place_in_words
        taken = self.recorder.claim(self.run, self.again)
        if taken is not None:
            return self._skip("slot", f"run {taken} has answered for this slot")
        return True

    def _take_turn(self, turn: Grant) -> bool:
        self.run.started = turn.given
        self.run.waited, self.run.waited_for = max(0.0, turn.given - turn.since), turn.why
        missing, told = self.admission.ask(self.mutexes)
        if missing == LOCK and self.overlap == SKIP:
            self._end(SKIPPED, "locked", told)
            turn.held.remove()
            return False
        if missing:
            # Another was quicker; it waits on.
            self.run.status = QUEUED
            return False
        why = self.recorder.begin(self.run)
        turn.held.remove()
        if why is not None:
            self.run.status, self.run.reason, self.run.message, self.run.ended = SKIPPED, "slot", why, time.time()
            self.tell(f"skipped: {why}")
        return why is None

    def _earlier(self, now: float) -> str:
        """The run of the same task that waits already; with `overlap: cancel` it gives way."""
        from scflows.queue.files import entries_of_task

        for ticket in entries_of_task(self._state, self.run.task):
            if ticket.at > now or (self.overlap == CANCEL and self._supplant(ticket)):
                continue
            return ticket.run
        return ""

    def _supplant(self, ticket: QueueEntry) -> bool:
        told = f"run {self.run.id} came in its stead"
        return dequeue(self._state, ticket, self.recorder, CANCELLED, "overlap", told)

    def _queue_up(self, why: str) -> bool:
        """Leave the run to whoever hands out turns."""
        from scflows.queue.files import enqueue

        self._wait_for(why)
        try:
            held = enqueue(self._state, self._ticket(time.time()), self._waiting(why))
        except OSError as error:
            return self._beside(error)
        taken = self.recorder.claim(self.run, self.again)
        if taken is not None:
            held.remove()
            return self._skip("slot", f"run {taken} has answered for this slot")
        held.leave()
        wake_worker(self._state)
        return False

    def _wait_here(self, why: str, signals: tuple[signal.Signals, ...]) -> bool:
        """Wait in this process until it is its turn, or somebody stops it."""
        from scflows.queue.files import enqueue

        self._wait_for(why)
        waiting = self._waiting(why)
        try:
            held = enqueue(self._state, self._ticket(waiting.since, is_own=True), waiting)
        except OSError as error:
            return self._beside(error)
        try:
            taken = self.recorder.claim(self.run, self.again)
            self.recorder.close()
            if taken is not None:
                return self._skip("slot", f"run {taken} has answered for this slot")
            said = time.monotonic()
            while True:
                now = time.time()
                if time.monotonic() - said >= SAY_EVERY:
                    said = time.monotonic()
                    held.say_alive()
                self.run.waited, self.run.waited_for = now - waiting.since, why
                missing, _ = self.admission.ask(self.mutexes)
                if not missing:
                    break
                if now >= waiting.until:
                    return self._end(SKIPPED, "queue_timeout", timed_out(waiting))
                # Not sigtimedwait: where a process was stopped and goes on after that time, Python tells of a signal
                # that never came, with whatever was in memory.
                if not signal.sigpending().isdisjoint(signals):
                    reason = "interrupted" if signal.sigwait(signals) == signal.SIGINT else "terminated"
                    return self._end(CANCELLED, reason, "told to stop while it waited for its turn")
                time.sleep(LOOK_EVERY)
            # Only now: who had what it waited for has ended before, by the record too.
            self.run.status, self.run.message, self.run.started = RUNNING, "", time.time()
            why_not = self.recorder.begin(self.run)
            return True if why_not is None else self._end(SKIPPED, "slot", why_not)
        finally:
            held.remove()

    def _beside(self, error: OSError) -> bool:
        """Nobody can be told that it waits: it starts all the same, unless it must not meet another run."""
        self.admission.problem = f"{error.filename or self._state}: {error.strerror}; running beside whatever else runs"
        self.admission.must_wait = False
        self.run.status, self.run.message = RUNNING, ""
        missing, told = self.admission.ask(self.mutexes)
        if missing:
            return self._skip("locked" if missing == LOCK else "mutex", told)
        return self._claimed()

    def _wait_for(self, why: str) -> None:
        self.run.status = QUEUED
        self.run.message = f"waits for {why}" if why else "waits for its second, and for its turn then"
        self.tell(self.run.message)

    def _ticket(self, now: float, is_own: bool = False) -> QueueEntry:
        from scflows.queue.entries import QueueEntry

        at = round(self.begins or now, 3)
        return QueueEntry(-self.priority, at, self.run.task, self.run.id, is_own)

    def _waiting(self, why: str) -> QueuedRun:
        from scflows.queue.entries import QueuedRun

        since = max(time.time(), self.begins)
        return QueuedRun(
            trigger=self.run.trigger,
            slot=self.run.slot,
            since=since,
            until=since + self._longest,
            most=self.admission.most if self.admission.needs_place else 0,
            lock_path=self.admission.lock.folder,
            lock=self.admission.lock.name,
            mutexes=self.mutexes,
            patient=self.overlap != SKIP or self.waits == BLOCK,
            why=why,
        )

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
        self.tell(f"{status}: {message}")


def dequeue(state: str, ticket: QueueEntry, recorder: Recorder, status: str, reason: str, message: str) -> bool:
    """End a run that waits; False for one whose own process waits, and for one that is about to start."""
    from scflows.queue.files import claim, read_queued_run

    held = claim(state, ticket)
    if held is None:
        return False
    waiting = read_queued_run(state, ticket)
    now = time.time()
    run = Run(ticket.run, "", ticket.task, status=status, reason=reason, message=message, started=now, ended=now)
    if waiting is not None:
        run.trigger, run.slot, run.waited_for = waiting.trigger, waiting.slot, waiting.why
        run.waited = max(0.0, now - waiting.since)
    recorder.finish(run)
    held.remove()
    return True


def timed_out(waiting: QueuedRun) -> str:
    """What is said of a run that waited for too long."""
    told = f" for {waiting.why}" if waiting.why else ""
    return f"it waited{told} for {waiting.until - waiting.since:.0f} s, longer than MAX_WAIT_SECONDS"
