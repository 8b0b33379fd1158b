"""The queue worker: one process that starts what is in the queue, in order and as permits and locks allow.

It starts with the first run that waits and exits after the last. If it dies, the next process that starts or ends a
run, or opens the history, starts another one: the queue is files.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time

from scflows.errors import NotFound, ScflowsError
from scflows.execution.admission import CANCEL, ENQUEUE, FAIR, SKIP, TURN, skip_reason, timed_out
from scflows.execution.enqueue import dequeue, recorder_for, request_of
from scflows.execution.resources import Grant, RunResources
from scflows.history.run import CANCELLED, CRASHED, FAILED, QUEUED, SKIPPED
from scflows.history.task_log import timestamp, warn_in_scheduler_log
from scflows.locks import Lock, RunLock, holder, running
from scflows.queue.entries import (
    QueuedRun,
    QueueEntry,
    claim_entry,
    entry_names,
    entry_of_run,
    parse_entry_name,
    read_queued_run,
    remove_unfinished,
    without_request,
)
from scflows.queue.permits import PIPE, is_queue_empty, wake_worker
from scflows.queue.worker_process import resume_worker, worker_lock
from scflows.settings import bare_settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from scflows.execution.launch import RunOutcome

    #: Reports how a run ended: (task, outcome).
    OnEnd = Callable[[str, RunOutcome], None]

#: Seconds between two looks without a wake-up: a run that is killed sends none when its permit comes free.
LOOK_EVERY = 5.0
#: The same while another process is about to release an entry or a lock.
SOON = 0.05
#: A process that enqueues a run releases its entry within this many seconds.
ENQUEUING = 10.0
#: For this many seconds after the end of a child it looks often, as what the child started ends a moment later.
ENDING = 1.0


def start_worker(state: str, on_end: OnEnd, warn: Callable[[str], None]) -> None:
    """Fork a worker if runs wait and there is none. `warn` is called if the worker's lock cannot be used."""
    if is_queue_empty(state):
        return
    lock = worker_lock(state)
    if not _acquire(lock, warn):
        wake_worker(state)
        resume_worker(state)
        return
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        pid = os.fork()
    except OSError:
        lock.release()  # There are too many processes: the next run or command starts it.
        return
    if pid:
        lock.disown()
        return
    status = 70
    try:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.close(nothing)
        _work(state, lock, on_end, warn)
        status = 0
    finally:
        os._exit(status)


def run_worker(
    state: str, on_end: OnEnd, warn: Callable[[str], None], say: Callable[[str], None] = lambda text: None
) -> None:
    """Be the worker until no run waits. `say` gets a line for each start and end."""
    lock = worker_lock(state)
    if _acquire(lock, warn):
        _work(state, lock, on_end, warn, say)


def _work(
    state: str,
    lock: Lock,
    on_end: OnEnd,
    warn: Callable[[str], None],
    say: Callable[[str], None] = lambda text: None,
) -> None:
    lock.name_holder("")
    while True:
        worker = Worker(state, lock, on_end, warn, say)
        worker.serve()
        lock.release()
        # A run that was enqueued in between found the lock held, and its process left.
        if worker.is_stopped or worker.ignored.issuperset(entry_names(state)) or not _acquire(lock, warn):
            return


#: The signals that the worker handles.
HEARD = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


class _Waiting:
    """A run that waits, as the worker knows it."""

    def __init__(self, entry: QueueEntry, queued: QueuedRun) -> None:
        self.entry = entry
        self.name = entry.name
        #: What it asks for. Two runs of a task that ask for different things do not replace each other.
        self.asks = hash(json.dumps([queued.request.get(key) for key in ("params", "payload")], sort_keys=True))
        self.queued = without_request(queued)
        self.is_met = False  #: whether the overlap of its task was applied
        self.why = ""  #: what kept it from starting at the last look


class Worker:
    def __init__(
        self,
        state: str,
        lock: Lock,
        on_end: OnEnd,
        warn: Callable[[str], None],
        say: Callable[[str], None] = lambda text: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.state = state
        self.is_stopped = False
        self.ignored: set[str] = set()  #: files of the queue that are not entries, cannot be read, or are done
        self._lock = lock
        self._on_end = on_end
        self._warn = warn
        self._say = say
        self._now = now
        self._pipe = -1
        self._children: dict[int, tuple[_Waiting, float]] = {}
        self._soon_until = 0.0  #: until then it looks often
        self._complaint = ""
        self._waiting: dict[str, _Waiting] = {}  #: by the names of their entries
        self._order: list[_Waiting] = []

    def serve(self) -> None:
        """Start what waits until nothing does."""
        self._pipe = self._open_pipe()
        remove_unfinished(self.state, self._now())
        poll = select.poll()
        if self._pipe >= 0:
            poll.register(self._pipe, select.POLLIN)
        before = {number: signal.signal(number, self._hear) for number in HEARD}
        wakeup = signal.set_wakeup_fd(self._pipe, warn_on_full_buffer=False)
        try:
            while True:
                self._lock.say_alive()
                self._reap()
                pause = LOOK_EVERY
                try:
                    pause = self.look()
                except OSError as error:
                    self._report(error)  # The next look may succeed; without one, all would wait forever.
                if not self._children and (self.is_stopped or not self._waiting):
                    return
                if poll.poll((pause if self._pipe >= 0 else SOON) * 1000) and self._pipe >= 0:
                    os.read(self._pipe, 65536)
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)
            if self._pipe >= 0:
                os.close(self._pipe)

    def look(self) -> float:
        """Start what may start; return the seconds until the next look."""
        if self.is_stopped:
            return LOOK_EVERY
        self._refresh()
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

    def start(self, waiting: _Waiting, grant: Grant) -> bool:
        """Start a run in a child, which has what was taken for it; False when there are too many processes."""
        try:
            pid = os.fork()
        except OSError:
            return False
        if pid == 0:
            status = 70
            try:
                self._run(waiting, grant)
                status = 0
            except BaseException:
                sys.excepthook(*sys.exc_info())
                self._give_up(waiting, grant)
            finally:
                sys.stderr.flush()
                os._exit(status)
        self._children[pid] = waiting, self._now()
        grant.held.leave()
        grant.resources.disown()
        return True

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
                self._waiting[name] = _Waiting(entry, queued)
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

    def _apply_overlap(self, due: list[_Waiting], now: float) -> bool:
        """Apply the overlap of their tasks to runs whose time has come; return whether it is to be tried again."""
        new = [each for each in due if not each.is_met and each.queued.overlap]
        if not new:
            return False
        same: dict[tuple[str, str], list[_Waiting]] = {}
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

    def _start_some(self, due: list[_Waiting], now: float) -> float:
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
                if not self._is_ours(each) and now - queued.since < ENQUEUING:
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
                    self._say(f"started {_named(each)}")
                else:
                    held.leave()
                    resources.release_locks()
                    resources.release_permit()
        return pause

    def _resources(self, waiting: _Waiting) -> RunResources:
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

    def _is_free(self, waiting: _Waiting) -> bool:
        """Return whether no process holds an entry."""
        held = claim_entry(self.state, waiting.entry)
        if held is None:
            return False
        held.leave()
        return True

    def _is_ours(self, waiting: _Waiting) -> bool:
        return any(started.name == waiting.name for started, _ in self._children.values())

    def _run(self, waiting: _Waiting, grant: Grant) -> None:
        """Run it in this process, a child of the worker."""
        signal.set_wakeup_fd(-1)
        for number in HEARD:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # A run that outlives the worker would hold its lock, and no other worker could take over.
        self._lock.disown()
        if self._pipe >= 0:
            os.close(self._pipe)
        for mutex in grant.resources.mutexes:
            mutex.name_holder(grant.resources.run)
        run_queued(self.state, waiting.entry, grant, self._on_end)
        # The worker may have been killed meanwhile.
        start_worker(self.state, self._on_end, self._warn)

    def _give_up(self, waiting: _Waiting, grant: Grant) -> None:
        """End a run whose start fails because of a bug, which would fail again at each look. The log has it."""
        from traceback import format_exc

        text = f"a bug of scflows when {waiting.entry.task} was started from the queue: {format_exc()}"
        warn_in_scheduler_log(bare_settings(self.state), text)
        grant.held.leave()
        self._end(waiting, CRASHED, "bug", f"a bug of scflows: {sys.exc_info()[1]!r}; see scheduler.log")

    def _end(self, waiting: _Waiting, status: str, reason: str, message: str) -> bool:
        """End a run that waits; False for one that is about to start."""
        if not _end_entry(self.state, waiting.entry, status, reason, message):
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
            _end_entry(self.state, entry, FAILED, "refused", "its entry in the queue was broken")

    def _reap(self) -> None:
        for pid in list(self._children):
            try:
                ended, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                ended, status = pid, 0
            if ended:
                waiting, begun = self._children.pop(pid)
                # It may wait on, for something else than its entry said.
                self._waiting.pop(waiting.name, None)
                self._soon_until = time.monotonic() + ENDING
                code = os.waitstatus_to_exitcode(status)
                how = f"status {code}" if code >= 0 else f"killed by signal {-code}"
                self._say(f"ended {_named(waiting)}: {how} after {self._now() - begun:.1f} s")

    def _hear(self, number: int, frame: FrameType | None) -> None:
        """On SIGTERM start nothing more; on SIGINT or a second SIGTERM also stop the runs that were started."""
        if number == signal.SIGCHLD:
            return
        if self.is_stopped or number == signal.SIGINT:
            for pid in self._children:
                os.kill(pid, signal.SIGTERM)
        self.is_stopped = True

    def _report(self, error: OSError) -> None:
        """Report once what goes wrong again and again."""
        if str(error) != self._complaint:
            self._complaint = str(error)
            warn_in_scheduler_log(bare_settings(self.state), f"the queue cannot be read: {error}; trying again")

    def _open_pipe(self) -> int:
        """Open the pipe that wakes the worker; -1 where there is none, and it looks now and then."""
        path = os.path.join(self.state, PIPE)
        try:
            try:
                os.mkfifo(path, 0o600)
            except FileExistsError:
                pass
            # For writing too: otherwise it would end each time that no process writes.
            return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return -1


def run_queued(state: str, entry: QueueEntry, grant: Grant, on_end: OnEnd) -> None:
    """Run what an entry asks for in this process, or end the run where it must not start."""
    from dataclasses import replace

    from scflows.execution.launch import launch
    from scflows.scheduler.housekeeping import run_housekeeping

    queued = read_queued_run(state, entry)
    if queued is None:
        grant.held.leave()
        return
    ending = None
    try:
        request, settings = request_of(state, entry, queued)
        if request.task is not None and request.slot is not None and request.task.is_paused(request.slot):
            ending = (SKIPPED, "paused", "the task was paused while it waited")
    except NotFound:
        ending = (SKIPPED, "removed", "the task was removed while it waited")
    except ScflowsError as error:
        ending = (FAILED, "refused", str(error))
    if ending is not None:
        grant.held.leave()
        _end_entry(state, entry, *ending)
        return
    try:
        outcome = launch(replace(request, waits=ENQUEUE, grant=grant), settings)
    finally:
        grant.held.leave()
    if outcome.run.status not in (QUEUED, SKIPPED):
        on_end(entry.task, outcome)
        run_housekeeping(settings)


def _end_entry(state: str, entry: QueueEntry, status: str, reason: str, message: str) -> bool:
    recorder = recorder_for(state, entry, read_queued_run(state, entry))
    try:
        return dequeue(state, entry, recorder, status, reason, message)
    finally:
        recorder.close()


def _why(waiting: _Waiting) -> str:
    """Return what a run waited for: what was seen when it was enqueued, otherwise at the last look."""
    why = waiting.queued.why
    return waiting.why or why if why in ("", TURN) else why


def _named(waiting: _Waiting) -> str:
    slot = waiting.queued.slot
    return waiting.entry.task + (f" (slot {timestamp(slot)})" if slot is not None else "")


def _acquire(lock: Lock, warn: Callable[[str], None]) -> bool:
    try:
        return lock.acquire("")
    except OSError as error:
        _complain(lock.folder, error, "there can be no queue worker, and what waits is not started", warn)
        return False


def _complain(state: str, error: OSError, consequence: str, warn: Callable[[str], None]) -> None:
    text = f"{error.filename or state}: {error.strerror}; {consequence}; what to do: flows check"
    warn(text)
    warn_in_scheduler_log(bare_settings(state), text)
