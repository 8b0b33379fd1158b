"""The queue worker: one process that starts what is in the queue, in order and as permits and locks allow.

It starts with the first run that waits and exits after the last. If it dies, the next process that starts or ends a
run, or opens the history, starts another one: the queue is files.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

from scflows import command_line
from scflows.execution.resources import Grant
from scflows.history.run import CRASHED
from scflows.history.task_log import warn_in_scheduler_log
from scflows.locks import Lock
from scflows.queue.entries import entry_names, remove_unfinished
from scflows.queue.permits import PIPE, QUEUE_FOLDER, is_queue_empty, wake_worker
from scflows.queue.worker_process import WORKER_COMMAND, ensure_worker, resume_worker, worker_lock
from scflows.scheduler.dispatcher import LOOK_EVERY, SOON, Dispatcher, WaitingRun, name_of
from scflows.scheduler.loaded_code import LoadedCode, is_outdated
from scflows.scheduler.queued_run import run_queued
from scflows.settings import bare_settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    from scflows.scheduler.queued_run import OnEnd

#: For this many seconds after the end of a child it looks often, as what the child started ends a moment later.
ENDING = 1.0
#: Seconds between two looks while an upgrade is at work.
UPGRADING = 0.5
#: The exit status of a child that could not remove the entry of its run, and that of a bug.
NOT_REMOVED, BUG = 74, 70


def start_worker(state: str, on_end: OnEnd, warn: Callable[[str], None]) -> None:
    """Start a worker if runs wait and there is none. `warn` is called if the worker's lock cannot be used."""
    if is_queue_empty(state):
        return
    if is_outdated():
        wake_worker(state)
        ensure_worker(state, is_cron=True)
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
    state: str,
    on_end: OnEnd,
    warn: Callable[[str], None],
    say: Callable[[str], None] | None = None,
    adopted: Sequence[int] = (),
) -> None:
    """Be the worker until no run waits. `say` gets a line for each start and end; for `adopted` see `Worker`."""
    lock = worker_lock(state)
    if _acquire(lock, warn):
        _work(state, lock, on_end, warn, say, adopted)


def _work(
    state: str,
    lock: Lock,
    on_end: OnEnd,
    warn: Callable[[str], None],
    say: Callable[[str], None] | None = None,
    adopted: Sequence[int] = (),
) -> None:
    lock.name_holder("")
    while True:
        worker = Worker(state, lock, on_end, warn, say, adopted=adopted)
        adopted = ()
        worker.serve()
        lock.release()
        # A run that was enqueued in between found the lock held, and its process left.
        if worker.is_stopped or worker.ignored.issuperset(entry_names(state)) or not _acquire(lock, warn):
            return


#: The signals that the worker handles.
HEARD = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


class Worker(Dispatcher):
    """The process: starts runs in children, waits for wake-ups and signals."""

    def __init__(
        self,
        state: str,
        lock: Lock,
        on_end: OnEnd,
        warn: Callable[[str], None],
        say: Callable[[str], None] | None = None,
        now: Callable[[], float] = time.time,
        adopted: Sequence[int] = (),
    ) -> None:
        """`adopted` are the children that this process had before it replaced itself after an upgrade."""
        super().__init__(state, say or (lambda text: None), now)
        self._options = [] if say is None else ["--say"]
        self._lock = lock
        self._on_end = on_end
        self._warn = warn
        self._pipe = -1
        self._children: dict[int, tuple[WaitingRun | None, float]] = dict.fromkeys(adopted, (None, self._now()))
        self._code = LoadedCode()
        self._complaint = ""

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
                    pause = self._replace_itself() if self._code.has_changed() else self.look()
                    self._complaint = ""
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

    def start(self, waiting: WaitingRun, grant: Grant) -> bool:
        """Start a run in a child, which has what was taken for it; False when there are too many processes."""
        try:
            pid = os.fork()
        except OSError:
            return False
        if pid == 0:
            status = BUG
            try:
                self._run(waiting, grant)
                status = NOT_REMOVED if grant.held.is_stuck else 0
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

    def is_starting(self, waiting: WaitingRun) -> bool:
        return any(started is not None and started.name == waiting.name for started, _ in self._children.values())

    def _replace_itself(self) -> float:
        """Continue in this process with the new code once an upgrade is complete. Raises OSError.

        The children stay; another process may become the worker meanwhile. Returns the seconds until the next look.
        """
        if self.is_stopped or not self._code.is_complete():
            return UPGRADING
        children = [f"--child={pid}" for pid in self._children]
        sys.stdout.flush()
        sys.stderr.flush()
        os.execv(sys.executable, command_line(*WORKER_COMMAND, "--state", self.state, *self._options, *children))

    def _run(self, waiting: WaitingRun, grant: Grant) -> None:
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

    def _give_up(self, waiting: WaitingRun, grant: Grant) -> None:
        """End a run whose start fails because of a bug, which would fail again at each look. The log has it."""
        from traceback import format_exc

        text = f"a bug of scflows when {waiting.entry.task} was started from the queue: {format_exc()}"
        warn_in_scheduler_log(bare_settings(self.state), text)
        grant.held.leave()
        self._end(waiting, CRASHED, "bug", f"a bug of scflows: {sys.exc_info()[1]!r}; see scheduler.log")

    def _reap(self) -> None:
        for pid in list(self._children):
            try:
                ended, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                ended, status = pid, 0
            if ended:
                waiting, begun = self._children.pop(pid)
                self._soon_until = time.monotonic() + ENDING
                if waiting is None:
                    continue
                # It may wait on, for something else than its entry said.
                self._waiting.pop(waiting.name, None)
                code = os.waitstatus_to_exitcode(status)
                if code == NOT_REMOVED:
                    # It would be started again and again.
                    self.ignored.add(waiting.name)
                    path = os.path.join(self.state, QUEUE_FOLDER, waiting.name)
                    self._complain(f"{path}: cannot be removed from the queue; its run was started, and is not again")
                how = f"status {code}" if code >= 0 else f"killed by signal {-code}"
                self._say(f"ended {name_of(waiting)}: {how} after {self._now() - begun:.1f} s")

    def _hear(self, number: int, frame: FrameType | None) -> None:
        """On SIGTERM start nothing more; on SIGINT or a second SIGTERM also stop the runs that were started."""
        if number == signal.SIGCHLD:
            return
        if self.is_stopped or number == signal.SIGINT:
            for pid in self._children:
                os.kill(pid, signal.SIGTERM)
        self.is_stopped = True

    def _report(self, error: OSError) -> None:
        """Report once what fails again and again."""
        if str(error) != self._complaint:
            self._complaint = str(error)
            self._complain(f"the queue cannot be used: {error}; queued runs are not started; trying again")

    def _complain(self, text: str) -> None:
        self._warn(text)
        warn_in_scheduler_log(bare_settings(self.state), text)

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


def _acquire(lock: Lock, warn: Callable[[str], None]) -> bool:
    try:
        return lock.acquire("")
    except OSError as error:
        where = error.filename or lock.folder
        text = f"{where}: {error.strerror}; the queue worker cannot run, and queued runs are not started: flows check"
        warn(text)
        warn_in_scheduler_log(bare_settings(lock.folder), text)
        return False
