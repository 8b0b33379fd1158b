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

from scflows.history.run import CANCELLED, CRASHED, FAILED, SUCCESS, StepRecord
from scflows.secrets.masking import MaskedOutput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any, Protocol

    from scflows.execution.step_limits import KilledStep, StepLimits
    from scflows.history.recorder import Recorder
    from scflows.history.run import Run
    from scflows.history.task_log import TaskLog

    Tell = Callable[[str, dict[str, Any]], None]

    class Workload(Protocol):
        """What a child does."""

        limit: float  #: seconds, as they are told
        ends: float  #: when they are over, by the monotonic clock
        own_clock: bool  #: whether the child keeps the limit itself, the parent only watching over it

        def run(self, log: TaskLog, send: Tell, dry_run: bool) -> int:
            """In the child: do it, telling the parent by `send`; the exit status."""

        def after(self, run: Run, lost: KilledStep | None) -> Workload | None:
            """In the parent, after a child that was lost, for one of its steps or else: what a new one shall do."""


#: Seconds between asking a child to stop and killing its process group.
GRACE = 5.0
#: Milliseconds between two looks at how much was written to the log, also by what ignores its limit.
LOOK_AT_LOG_EVERY = 2000
#: What asks a run to stop.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
#: Why a child is asked to stop.
STOPPED = "stopped"
TIMEOUT = "timeout"
#: Why it is killed: one of its steps did not heed its limit.
OVERDUE = "overdue"
#: Of what the child tells, that which may hold the text of a secret.
SHOWN = ("data", "message", "line")
#: `fcntl` command that chooses the signal of O_ASYNC (Linux, see fcntl(2)).
F_SETSIG = 10
#: The exit status of a child that met a bug of ours; its traceback is in the log.
BUG = 70


class Supervisor:
    """Forks, watches, and writes into the run's record how the child ended."""

    def __init__(
        self,
        body: Workload,
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
            body: Workload | None = self._body
            while body is not None:
                once = _Watch(self, body)
                body = None if once.run() else body.after(self.run_record, once.lost)
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


class _Watch:
    """One fork and the watch over it."""

    def __init__(self, child: Supervisor, body: Workload) -> None:
        self.child = child
        self.body = body
        self.record = child.run_record
        self.pid = 0
        self._rest = b""
        self._final = False  #: whether it has begun its final step
        self._ended: dict[str, Any] | None = None
        self._asked = ""  #: why it was asked to stop
        self._killed = False
        self._limits: StepLimits | None = None  #: of its steps, once it has told of one
        self.lost: KilledStep | None = None  #: the step for which it was killed

    def run(self) -> bool:
        """True when the child came to its end by itself."""
        messages, messages_in = os.pipe2(os.O_CLOEXEC)
        output, output_in = os.pipe2(os.O_CLOEXEC)
        lifeline, lifeline_in = os.pipe2(os.O_CLOEXEC)
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            status = BUG
            try:
                os.close(messages)
                os.close(output)
                os.close(lifeline_in)
                _bound_memory()
                status = self._in_child(messages_in, output_in, lifeline)
            except BaseException:
                # The one place where everything is caught: a child must never return into its parent's code.
                from traceback import format_exc

                self.child.log.error(format_exc())
            finally:
                _flush()
                os._exit(status)
        os.close(messages_in)
        os.close(output_in)
        os.close(lifeline)
        os.set_blocking(messages, False)
        os.set_blocking(output, False)
        log = self.child.log
        passed_on = MaskedOutput(log.mask, lambda content: _write(log.descriptor, content))
        try:
            os.setpgid(self.pid, self.pid)
        except OSError:
            pass  # The child has done it, or is gone.
        try:
            self._watch(messages, output, passed_on)
            _, status = os.waitpid(self.pid, 0)
        finally:
            self._kill_group()
            while content := _read(output):
                passed_on.feed(content)
            passed_on.close()
            os.close(messages)
            os.close(output)
            os.close(lifeline_in)
        return self._judge(status)

    def _in_child(self, messages: int, output: int, lifeline: int) -> int:
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
        mask = self.child.log.mask

        def send(event: str, values: dict[str, Any]) -> None:
            if event == "end" and not self.child.wants_data:
                values = {**values, "data": {}}
            if mask and event != "secret":
                # What leaves the child is what people see: only here it still knows the secrets' texts.
                values = {key: mask.value(value) if key in SHOWN else value for key, value in values.items()}
            content = json.dumps([event, values]).encode() + b"\n"
            # Steps side by side tell their log lines at the same time; a long one takes several writes.
            with sending:
                while content:
                    content = content[os.write(messages, content) :]

        def learn(texts: list[str]) -> None:
            # The parent masks what libraries and the interpreter itself put out: it outlives every end of this one.
            send("secret", {"texts": texts})
            if target != nothing:
                os.dup2(output, 1)
                os.dup2(output, 2)

        mask.told.append(learn)
        if mask:
            learn(mask.texts())
        follows = self.child.tell is not None
        self.child.log.echo = (lambda line: send("log", {"line": line})) if follows else None
        return self.body.run(self.child.log, send, self.record.dry_run)

    def _watch(self, messages: int, output: int, passed_on: MaskedOutput) -> None:
        """Read what the child tells until it closes its end; ask it to stop, then kill it, when it is time."""
        poll = select.poll()
        for descriptor in (messages, output, self.child.wake):
            poll.register(descriptor, select.POLLIN)
        ends = self.body.ends + (GRACE if self.body.own_clock else 0.0)
        while True:
            overdue = self._limits.next() if self._limits is not None and not self._asked else None
            wait = max(0, int((min(ends, overdue or ends) - time.monotonic()) * 1000) + 1)
            for descriptor, _ in poll.poll(min(wait, LOOK_AT_LOG_EVERY)):
                if descriptor == self.child.wake:
                    os.read(self.child.wake, 64)
                    continue
                content = _read(output) if descriptor == output else b""
                # A secret is told before it can be put out: first the messages, then the output read before them.
                if not self._take_all(messages):
                    passed_on.feed(content or b"")
                    return
                if content:
                    passed_on.feed(content)
                elif descriptor == output and content is not None:
                    poll.unregister(output)
            if self._final:
                from scflows.steps.cancellation import FINAL_SECONDS

                ends = max(ends, time.monotonic() + FINAL_SECONDS + GRACE)
                self._final = False
            self.child.log.enforce_limit()
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
            elif overdue is not None and time.monotonic() >= overdue and not self._asked:
                self.lost = self._limits.lost(time.monotonic()) if self._limits is not None else None
                if self.lost is not None:
                    self._asked = OVERDUE
                    self._killed = True
                    self._kill_group()
                    ends = time.monotonic() + GRACE

    def _ask(self, why: str) -> None:
        self._asked = why
        try:
            os.kill(self.pid, signal.SIGTERM)
        except OSError:
            pass

    def _take_all(self, messages: int) -> bool:
        """Take in all that the child has told; False when it has closed its end."""
        while content := _read(messages):
            self._take(content)
        return content is None

    def _take(self, content: bytes) -> None:
        lines = (self._rest + content).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            event, values = json.loads(line)
            if event == "end":
                self._ended = values
            elif event == "final":
                self._final = True
                if self._limits is not None:
                    from scflows.steps.cancellation import FINAL_SECONDS

                    # Before the limit of that step itself is told.
                    self._limits.not_before(time.monotonic() + FINAL_SECONDS + GRACE)
            elif event in ("bound", "unbound"):
                if self._limits is None:
                    from scflows.execution.step_limits import StepLimits

                    self._limits = StepLimits(GRACE)
                (self._limits.bound if event == "bound" else self._limits.unbound)(values)
            elif event == "secret":
                self._learn(values["texts"])
            elif event == "step_started":
                self.record.steps.append(StepRecord(**values))  # Positions count up by one.
                self.child.recorder.progress(self.record)
            elif event == "step_ended":
                ended = StepRecord(**values)
                self.record.steps[ended.position - 1] = ended
            if self.child.tell is not None and event in ("log", "step_started", "step_ended"):
                self.child.tell(event, values)

    def _learn(self, texts: list[str]) -> None:
        mask = self.child.log.mask
        mask.add(texts)
        self.record.params = mask.value(self.record.params)
        for step in self.record.steps:
            step.message = mask.text(step.message)

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
        if self.lost is not None:
            record.status, record.reason = FAILED, TIMEOUT
            record.message = f"{self.lost.step}: {self.lost.message}"
        elif self._asked == TIMEOUT:
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


def _bound_memory() -> None:
    """Have this process, not the machine, run out of memory: three quarters of it, but a gibibyte at least."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if soft != resource.RLIM_INFINITY:
        return  # Somebody knows better.
    bytes_there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (max(2**30, bytes_there * 3 // 4), hard))
    except (OSError, ValueError):
        pass


def _flush() -> None:
    """Let out what libraries have printed and Python still holds."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass


def _read(descriptor: int) -> bytes | None:
    """What a pipe holds: `b""` when its other end is closed, None when there is nothing yet."""
    try:
        return os.read(descriptor, 1 << 16)
    except BlockingIOError:
        return None


def _write(descriptor: int, content: bytes) -> None:
    """Append to the log, if there is one; no failure of it fails a run."""
    try:
        if descriptor >= 0:
            os.write(descriptor, content)
    except OSError:
        pass
