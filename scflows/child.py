"""The process that runs a flow's steps, and the parent's watch over it."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import sys
import time
from _thread import allocate_lock

from scflows.run import CANCELLED, CRASHED, EXIT, FAILED, SUCCESS, StepRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any, Protocol

    from scflows.flow import Flow
    from scflows.history.recorder import Recorder
    from scflows.journal import Journal
    from scflows.logfile import TaskLog
    from scflows.run import Run
    from scflows.settings import Settings

    Tell = Callable[[str, dict[str, Any]], None]

    class Body(Protocol):
        """What a child does."""

        limit: float  #: seconds
        own_clock: bool  #: whether the child keeps the limit itself, the parent only watching over it

        def run(self, log: TaskLog, send: Tell, dry_run: bool) -> int:
            """In the child: do it, telling the parent by `send`; the exit status."""

        def after(self, run: Run) -> Body | None:
            """In the parent, after a child that was lost: what is still to be done, in a new one."""


#: Seconds between asking a child to stop and killing its process group.
GRACE = 5.0
#: What asks a run to stop.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
#: Why a child is asked to stop.
STOPPED = "stopped"
TIMEOUT = "timeout"
#: `fcntl` command that chooses the signal of O_ASYNC (Linux, see fcntl(2)).
F_SETSIG = 10
#: The exit status of a child that met a bug of ours; its traceback is in the log.
BUG = 70


class Child:
    """Forks, watches, and writes into the run's record how the child ended."""

    def __init__(
        self,
        body: Body,
        run: Run,
        log: TaskLog,
        recorder: Recorder,
        tell: Tell | None,
        wants_data: bool,
        data: dict[str, Any],
    ) -> None:
        self.run_record = run
        self.log = log
        self.recorder = recorder
        self.tell = tell
        self.wants_data = wants_data
        self.data = data  #: filled with the run's data when `wants_data`
        self._body = body
        self.stop_signal = 0
        self.wake, self._wake_write = -1, -1

    def run(self) -> None:
        """Run the body to its end; afterwards the record holds status, reason, message and steps."""
        self.wake, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        before = {number: signal.signal(number, self._on_signal) for number in STOP_SIGNALS}
        wakeup = signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        # `launch` holds them back until somebody listens.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        try:
            body: Body | None = self._body
            while body is not None:
                whole = _Once(self, body).run()
                body = None if whole else body.after(self.run_record)
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)
            for descriptor in (self.wake, self._wake_write):
                os.close(descriptor)
        self.run_record.ended = time.time()
        if self.run_record.status == CANCELLED:
            self.run_record.reason = "interrupted" if self.stop_signal == signal.SIGINT else "terminated"

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.stop_signal = self.stop_signal or number


class _Once:
    """One fork and the watch over it."""

    def __init__(self, child: Child, body: Body) -> None:
        self.child = child
        self.body = body
        self.record = child.run_record
        self.pid = 0
        self._rest = b""
        self._ended: dict[str, Any] | None = None
        self._asked = ""  #: why it was asked to stop
        self._killed = False

    def run(self) -> bool:
        """True when the child came to its end by itself."""
        messages, messages_in = os.pipe2(os.O_CLOEXEC)
        lifeline, lifeline_in = os.pipe2(os.O_CLOEXEC)
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            status = BUG
            try:
                os.close(messages)
                os.close(lifeline_in)
                status = self._in_child(messages_in, lifeline)
            except BaseException:
                # The one place where everything is caught: a child must never return into its parent's code.
                from traceback import format_exc

                self.child.log.error(format_exc())
            finally:
                os._exit(status)
        os.close(messages_in)
        os.close(lifeline)
        try:
            os.setpgid(self.pid, self.pid)
        except OSError:
            pass  # The child has done it, or is gone.
        try:
            self._watch(messages)
            _, status = os.waitpid(self.pid, 0)
        finally:
            self._kill_group()
            os.close(messages)
            os.close(lifeline_in)
        return self._judge(status)

    def _in_child(self, messages: int, lifeline: int) -> int:
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        # When the parent dies its end of this pipe closes, and the kernel kills the whole process group.
        os.set_inheritable(lifeline, True)
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgid(0))
        fcntl.fcntl(lifeline, F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        # Whatever a library prints belongs into the task's log; under cron it would become a mail.
        target = self.child.log.descriptor if self.child.log.descriptor >= 0 else nothing
        os.dup2(target, 1)
        os.dup2(target, 2)

        sending = allocate_lock()

        def send(event: str, values: dict[str, Any]) -> None:
            if event == "end" and not self.child.wants_data:
                values = {**values, "data": {}}
            content = json.dumps([event, values]).encode() + b"\n"
            # Steps side by side tell their log lines at the same time; a long one takes several writes.
            with sending:
                while content:
                    content = content[os.write(messages, content) :]

        follows = self.child.tell is not None
        self.child.log.echo = (lambda line: send("log", {"line": line})) if follows else None
        return self.body.run(self.child.log, send, self.record.dry_run)

    def _watch(self, messages: int) -> None:
        """Read what the child tells until it closes its end; ask it to stop, then kill it, when it is time."""
        poll = select.poll()
        poll.register(messages, select.POLLIN)
        poll.register(self.child.wake, select.POLLIN)
        ends = time.monotonic() + self.body.limit + (GRACE if self.body.own_clock else 0.0)
        while True:
            for descriptor, _ in poll.poll(max(0, int((ends - time.monotonic()) * 1000) + 1)):
                if descriptor == messages:
                    content = os.read(messages, 1 << 16)
                    if not content:
                        return
                    if self._take(content):
                        from scflows.clock import FINAL_SECONDS

                        ends = max(ends, time.monotonic() + FINAL_SECONDS + GRACE)
                else:
                    os.read(self.child.wake, 64)
            if self.child.stop_signal and self._asked != STOPPED:
                self._ask(STOPPED)
                ends = time.monotonic() + GRACE
            elif time.monotonic() >= ends:
                if self._killed:
                    return
                if self.body.own_clock or self._asked:
                    # It was interrupted, by its own clock or by us, and goes on all the same.
                    self._asked = self._asked or TIMEOUT
                    self._killed = True
                    self._kill_group()
                else:
                    self._ask(TIMEOUT)
                ends = time.monotonic() + GRACE

    def _ask(self, why: str) -> None:
        self._asked = why
        try:
            os.kill(self.pid, signal.SIGTERM)
        except OSError:
            pass

    def _take(self, content: bytes) -> bool:
        """Take in what the child tells; True when it has begun its final step."""
        final = False
        lines = (self._rest + content).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            event, values = json.loads(line)
            if event == "end":
                self._ended = values
            elif event == "final":
                final = True
            elif event == "step_started":
                self.record.steps.append(StepRecord(**values))  # Positions count up by one.
                self.child.recorder.progress(self.record)
            elif event == "step_ended":
                ended = StepRecord(**values)
                self.record.steps[ended.position - 1] = ended
            if self.child.tell is not None and event in ("log", "step_started", "step_ended"):
                self.child.tell(event, values)
        return final

    def _judge(self, status: int) -> bool:
        record = self.record
        code = os.waitstatus_to_exitcode(status)
        if self._ended is not None:
            if record.status not in (FAILED, CRASHED, CANCELLED):
                record.status = self._ended["status"]
                record.reason = self._ended["reason"]
                record.message = self._ended["message"]
            self.child.data.update(self._ended["data"])
            return True
        at = next((f" in step {step.name!r}" for step in record.steps if step.ended is None), "")
        if self._asked == TIMEOUT:
            record.status, record.reason = FAILED, TIMEOUT
            record.message = f"took longer than {self.body.limit:g} s and was killed{at}"
        elif self._asked == STOPPED:
            record.status, record.reason = CANCELLED, STOPPED
            record.message = f"told to stop, and killed{at}" if self._killed else f"told to stop{at}"
        elif code < 0:
            name = signal.Signals(-code).name if -code in signal.Signals.__members__.values() else str(-code)
            record.status, record.reason = CRASHED, name.lower()
            hint = "; out of memory?" if -code == signal.SIGKILL else ""
            record.message = f"its process was killed by {name}{at}{hint}"
        elif code == BUG:
            record.status, record.reason = CRASHED, "bug"
            record.message = f"ended by a bug of scflows{at}; the log has the traceback"
        else:
            record.status = SUCCESS if code == 0 else FAILED
            record.reason = "" if code == 0 else "error"
            record.message = "" if code == 0 else f"ended with exit status {code}"
            return True
        now = time.time()
        for step in record.steps:
            if step.ended is None:
                step.ended, step.status, step.message = now, FAILED, record.message
        return False

    def _kill_group(self) -> None:
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except OSError:
            pass


class FlowBody:
    """Runs a flow's steps."""

    own_clock = True

    def __init__(
        self,
        flow: Flow,
        data: dict[str, Any],
        settings: Settings,
        limit: float,
        journal: Journal,
        folder: str = "",
        force: bool = False,
    ) -> None:
        """`folder` is where child flows are found; `force` runs steps though their target is there."""
        self.flow = flow
        self.data = data
        self.settings = settings
        self.limit = limit
        self.journal = journal
        self.folder = folder or os.path.dirname(flow.file)
        self.force = force
        self._final_only: tuple[str, str, str, int] | None = None

    def run(self, log: TaskLog, send: Tell, dry_run: bool) -> int:
        from scflows.clock import Clock
        from scflows.loader import load_child
        from scflows.runner import Outcome, Runner
        from scflows.session import Session
        from scflows.steps import Context

        clock = Clock(None if self._final_only else self.limit)
        session = Session(
            self.settings,
            lambda path: load_child(path, self.folder, self.settings),
            lambda: send("final", {}),
            self.force,
        )
        expressions = session.expressions(self.flow)
        ctx = Context(self.settings, self.data, expressions, log, self.flow.file, dry_run, clock.line.remaining)
        ctx.line = clock.line
        runner = Runner(self.flow, ctx, session, _Teller(send), self.journal)
        clock.watch()
        if self._final_only:
            status, reason, message, position = self._final_only
            outcome = runner.run_final(Outcome(status, reason, message), position)
        else:
            outcome = runner.run()
        if self.journal.problem:
            log.warning(self.journal.problem)
        values = {"status": outcome.status, "reason": outcome.reason, "message": outcome.message}
        send("end", {**values, "data": self.data})
        return 0

    def after(self, run: Run) -> Body | None:
        if self.flow.finally_step is None or run.status == EXIT or self._final_only:
            return None
        if any(step.name == self.flow.finally_step for step in run.steps):
            return None
        from scflows.journal import restored

        data = restored(self.journal.past(), self.data)
        data["__errors__"].append({"step": run.steps[-1].name if run.steps else "", "error": {"message": run.message}})
        rest = FlowBody(self.flow, data, self.settings, 2 * GRACE, self.journal, self.folder, self.force)
        rest._final_only = (run.status, run.reason, run.message, len(run.steps))
        return rest


class CommandBody:
    """Runs a `flows` command in the child's place."""

    own_clock = False

    def __init__(self, command: tuple[str, ...], settings: Settings, limit: float) -> None:
        self.command = command
        self.settings = settings
        self.limit = limit

    def run(self, log: TaskLog, send: Tell, dry_run: bool) -> int:
        arguments = [sys.executable, "-P", "-m", "scflows", *self.command, "--home", self.settings.home]
        if dry_run:
            arguments.append("--dry-run")
        os.execve(sys.executable, arguments, dict(self.settings.environment))

    def after(self, run: Run) -> Body | None:
        return None


class _Teller:
    """The runner's listener: tells the parent."""

    def __init__(self, send: Tell) -> None:
        self.send = send

    def step_started(self, record: StepRecord) -> None:
        self.send("step_started", record.__dict__)

    def step_ended(self, record: StepRecord) -> None:
        self.send("step_ended", record.__dict__)
