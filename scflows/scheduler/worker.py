"""Who hands out turns: one process of ours starts what waits as soon as there is a place, in order.

It comes into being when a run has to wait, and ends with the last that waited. Dies it, then whoever starts or ends a
run next, or looks at the history, sees to a new one: what waits lies in files.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

from scflows.errors import ScflowsError
from scflows.execution.admission import dequeue, timed_out
from scflows.execution.resources import Grant
from scflows.history.recorder import Recorder
from scflows.history.run import CRASHED, FAILED, SKIPPED
from scflows.history.task_log import warn_in_scheduler_log
from scflows.locks import holder
from scflows.queue import files as backlog
from scflows.queue.permits import PIPE, has_free_permit, is_queue_empty, wake_worker
from scflows.scheduler import queued_run as overlap
from scflows.scheduler.queued_run import recorder_for, run_queued, task_of
from scflows.settings import bare_settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from scflows.locks import Lock
    from scflows.queue.entries import QueuedRun, QueueEntry
    from scflows.scheduler.queued_run import Tell

#: Seconds between two looks where nobody says that something changed: a run that is killed says nothing.
LOOK_EVERY = 0.25
#: The same while it is the turn of a process that waits itself.
SOON = 0.05


def start_worker(state: str, tell: Tell, warn: Callable[[str], None]) -> None:
    """Have what waits started by a process of its own, unless one does so already.

    `warn` is told that the lock of whoever does so cannot be used.
    """
    if is_queue_empty(state):
        return
    lock = backlog.worker_lock(state)
    if not _taken(lock, warn):
        wake_worker(state)
        backlog.resume_worker(state)
        return
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        pid = os.fork()
    except OSError:
        lock.release()  # There are too many processes: whoever comes next does it.
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
        work_until_empty(state, lock, tell, warn)
        status = 0
    finally:
        os._exit(status)


def run_worker(state: str, tell: Tell, warn: Callable[[str], None]) -> None:
    """The same in this process, until nothing waits."""
    lock = backlog.worker_lock(state)
    if _taken(lock, warn):
        work_until_empty(state, lock, tell, warn)


def work_until_empty(state: str, lock: Lock, tell: Tell, warn: Callable[[str], None]) -> None:
    """Start what waits until nothing does."""
    lock.name_holder("")
    server = Worker(state, lock, tell, warn)
    while True:
        server.serve()
        lock.release()
        if server.is_stopped:
            return
        # Who came in between saw that somebody hands out turns, and left.
        if not backlog.entries(state) or not _taken(lock, warn):
            return


class Worker:
    def __init__(self, state: str, lock: Lock, tell: Tell, warn: Callable[[str], None]) -> None:
        self.state = state
        self._lock = lock
        self._tell = tell
        self._warn = warn
        self._children: dict[int, str] = {}  #: by process, what it was started for
        self.is_stopped = False
        self._known: dict[str, QueuedRun] = {}
        self._said = ""
        self._met: set[str] = set()  #: those whose second has come, and that were answered by their `overlap`

    def serve(self) -> None:
        pipe = self._open_pipe()
        poll = select.poll()
        if pipe >= 0:
            poll.register(pipe, select.POLLIN)
        before = signal.signal(signal.SIGTERM, self._stop)
        try:
            while True:
                self._lock.say_alive()
                self._reap()
                backlog.remove_dead_entries(self.state)
                waiting = [] if self.is_stopped else backlog.entries(self.state)
                if not waiting and not self._children:
                    return
                pause = LOOK_EVERY
                try:
                    self._expire(waiting)
                    pause = self._start_some(self._come_due(waiting), pipe)
                except OSError as error:
                    self._say(error)  # The next look may fare better; without one, all would wait for ever.
                if poll.poll(pause * 1000) and pipe >= 0:
                    os.read(pipe, 65536)
        finally:
            signal.signal(signal.SIGTERM, before)
            if pipe >= 0:
                os.close(pipe)

    def _say(self, error: OSError) -> None:
        """Say once what goes wrong again and again."""
        if str(error) != self._said:
            self._said = str(error)
            warn_in_scheduler_log(bare_settings(self.state), f"what waits cannot be looked at: {error}; trying again")

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Start nothing more; told so again, have those end that were started."""
        if self.is_stopped:
            for pid in self._children:
                os.kill(pid, signal.SIGTERM)
        self.is_stopped = True

    def _come_due(self, waiting: list[QueueEntry]) -> list[QueueEntry]:
        """Those that may start, once the ones whose second has come were answered by the `overlap` of their task."""
        now = time.time()
        due = [ticket for ticket in waiting if ticket.at <= now]
        ended: set[str] = set()
        for ticket in due:
            what = self._known.get(ticket.name)
            if what is None or ticket.name in self._met or not overlap.is_untried(ticket, what):
                continue
            try:
                task, settings = task_of(self.state, ticket.task)
            except ScflowsError:
                continue  # Its run says so.
            before = overlap.earlier(ticket, self._known, due)
            recorder = Recorder(settings)
            answer = overlap.meet(self.state, ticket, what, before, task.overlap, recorder)
            recorder.close()
            if answer == overlap.STAYS:
                self._met.add(ticket.name)
            else:
                ended.add(ticket.name)
        return [ticket for ticket in waiting if ticket.name not in ended]

    def _start_some(self, waiting: list[QueueEntry], pipe: int) -> float:
        """Start those whose turn it is; the seconds until it is to be looked again."""
        now = time.time()
        pause = LOOK_EVERY
        full = 0  # so many places are taken, or for others: who may have more of them may start all the same
        # Locks that one of those before could not have, or is about to take: who comes after it must not be quicker.
        behind: set[tuple[str, str]] = set()
        for ticket in waiting:
            if ticket.at > now:
                pause = min(pause, ticket.at - now)
                continue
            known = self._known.get(ticket.name)
            if known is None or 0 < known.most <= full:
                continue
            needed = backlog.required_locks(known)
            missing = [each for each in needed if each in behind or holder(*each) is not None]
            is_at_rest = backlog.is_suspended(self.state, ticket)
            behind.update(needed if now - known.since > backlog.FAIR and not is_at_rest else missing)
            if missing or is_at_rest:
                continue
            if ticket.is_own:
                # A place is for it, and its locks with that; it looks by itself.
                pause = min(pause, SOON)
                if has_free_permit(self.state, known.most, full):
                    behind.update(needed)
                full = max(full, known.most)
                continue
            held = backlog.claim(self.state, ticket)
            what = backlog.read_queued_run(self.state, ticket) if held is not None else None
            if held is None or what is None:
                behind.update(needed)
                if ticket.name not in self._children.values() and now - known.since < backlog.SILENT:
                    # Whoever came with it is about to let go of it: nobody after it must be quicker.
                    pause = min(pause, SOON)
                    full = max(full, known.most)
                continue
            turn = Grant(ticket.run, held, what.since, what.why)
            if not turn.take_mutexes(backlog.mutex_folder(what.lock_path), what.mutexes):
                turn.give_up()
            elif what.most and not turn.take_place(self.state, what.most, full):
                turn.give_up()
                full = max(full, what.most)
                continue
            else:
                # Only now: who gives up a place has ended before, by the record too.
                turn.given = time.time()
                self._fork(ticket, what, turn, pipe)
            behind.update(needed)
        return pause

    def _fork(self, ticket: QueueEntry, what: QueuedRun, turn: Grant, pipe: int) -> None:
        """Run it in a child, which has what was taken for it; this process keeps nothing of it."""
        try:
            pid = os.fork()
        except OSError:
            turn.give_up()  # There are too many processes: it waits on.
            return
        if pid == 0:
            status = 70
            try:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                # Else a run that outlives this process would hold its lock, and no other could take over.
                self._lock.disown()
                if pipe >= 0:
                    os.close(pipe)
                for mutex in turn.mutexes:
                    mutex.name_holder(turn.run)
                status = run_queued(self.state, ticket, what, turn, self._tell)
                # Whoever handed out this turn may have been killed meanwhile.
                start_worker(self.state, self._tell, self._warn)
            except BaseException:
                sys.excepthook(*sys.exc_info())
                self._give_up(ticket, turn)
            finally:
                sys.stderr.flush()
                os._exit(status)
        self._children[pid] = ticket.name
        turn.held.leave()
        for mutex in turn.mutexes:
            mutex.disown()
        if turn.place is not None:
            turn.place.release()

    def _give_up(self, ticket: QueueEntry, turn: Grant) -> None:
        """End a run whose start is a bug of ours: it would be one again at each look. The log has it."""
        from traceback import format_exc

        warn_in_scheduler_log(
            bare_settings(self.state), f"a bug of scflows, as {ticket.task} had its turn: {format_exc()}"
        )
        turn.held.leave()
        told = f"a bug of scflows: {sys.exc_info()[1]!r}; see scheduler.log"
        dequeue(self.state, ticket, recorder_for(self.state, ticket.task), CRASHED, "bug", told)

    def _expire(self, waiting: list[QueueEntry]) -> None:
        """Give up those that have waited for too long."""
        now = time.time()
        names = {ticket.name for ticket in waiting}
        self._known = {name: what for name, what in self._known.items() if name in names}
        self._met &= names
        for ticket in waiting:
            what = self._known.get(ticket.name)
            if what is None:
                what = backlog.read_queued_run(self.state, ticket)
                if what is None:
                    self._set_aside(ticket)
                    continue
                self._known[ticket.name] = what
            if now >= what.until and not ticket.is_own:
                recorder = recorder_for(self.state, ticket.task)
                dequeue(self.state, ticket, recorder, SKIPPED, "queue_timeout", timed_out(what))
                recorder.close()

    def _set_aside(self, ticket: QueueEntry) -> None:
        """End a run whose file is broken, as a power cut leaves it: else it would wait for ever, its task with it."""
        held = None if ticket.is_own else backlog.claim(self.state, ticket)
        if held is None:
            return
        is_broken = backlog.read_queued_run(self.state, ticket) is None
        held.leave()
        if is_broken:
            recorder = recorder_for(self.state, ticket.task)
            dequeue(self.state, ticket, recorder, FAILED, "refused", "its file in the backlog was broken")
            recorder.close()

    def _reap(self) -> None:
        for pid in list(self._children):
            try:
                ended, _ = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                ended = pid
            if ended:
                del self._children[pid]

    def _open_pipe(self) -> int:
        """Where others tell that something has changed; -1 where there is none, and it is looked now and then."""
        path = os.path.join(self.state, PIPE)
        try:
            try:
                os.mkfifo(path, 0o600)
            except FileExistsError:
                pass
            # For writing too: else it would end each time that nobody writes.
            return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return -1


def _taken(lock: Lock, warn: Callable[[str], None]) -> bool:
    try:
        return lock.acquire("")
    except OSError as error:
        _complain(lock.folder, error, "nobody can hand out turns, and what waits is not started", warn)
        return False


def _complain(state: str, error: OSError, told: str, warn: Callable[[str], None]) -> None:
    text = f"{error.filename or state}: {error.strerror}; {told}; what to do: flows check"
    warn(text)
    warn_in_scheduler_log(bare_settings(state), text)
