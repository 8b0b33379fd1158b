"""The supervisor of the child process that runs a flow's steps."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time

from scflows.execution.child import STOP_SIGNALS, flush_output, work_in_child
from scflows.history.run import CANCELLED, CRASHED, FAILED, SUCCESS, Run, StepRecord
from scflows.secrets.masking import MaskedOutput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

    from scflows.execution.child import EventCallback, Workload
    from scflows.execution.step_limits import KilledStep, StepLimits
    from scflows.history.recorder import Recorder
    from scflows.history.task_log import TaskLog

#: Seconds between asking a child to stop and killing its process group.
GRACE = 5.0
#: Milliseconds between two looks at what no message reports: the log's size, which processes may exceed that do not use
#: our logger, and steps that are not in the history yet.
LOOK_INTERVAL = 2000
#: The reasons to ask a child to stop.
STOPPED = "stopped"
TIMEOUT = "timeout"
#: The reason to kill it: one of its steps has exceeded its limit.
OVERDUE = "overdue"
#: The exit status of a child after a bug in scflows; the traceback is in the log.
BUG = 70


class Supervisor:
    """The parent of the child processes of a run: forks them, enforces limits and records how they ended."""

    def __init__(
        self,
        workload: Workload,
        run: Run,
        log: TaskLog,
        recorder: Recorder,
        on_event: EventCallback | None,
        wants_data: bool,
        data: dict[str, Any],
    ) -> None:
        self.run_record = run
        self.log = log
        self.recorder = recorder
        self.on_event = on_event
        self.wants_data = wants_data
        self.data = data  #: filled with the run's data when `wants_data`
        self._workload = workload
        self.stop_signal = 0
        self.has_begun = False  #: whether the child of a quiet workload has found work, and logged its start
        self.wake, self._wake_write = -1, -1

    def run(self) -> None:
        """Run the workload to its end and set status, reason, message and steps of the record."""
        self.wake, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        before = {number: signal.signal(number, self._on_signal) for number in STOP_SIGNALS}
        wakeup = signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        # `launch` blocks the signals until this handler is installed.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        try:
            workload: Workload | None = self._workload
            while workload is not None:
                watch = _Watch(self, workload)
                workload = None if watch.run() else workload.next_workload(self.run_record, watch.killed)
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
    """One child process and its supervision."""

    def __init__(self, supervisor: Supervisor, workload: Workload) -> None:
        self.supervisor = supervisor
        self.workload = workload
        self.record = supervisor.run_record
        self.pid = 0
        self._buffer = b""
        self._final = False  #: whether it has started its final step
        self._has_progress = False  #: whether steps have started or ended that are not in the history yet
        self._end: dict[str, Any] | None = None  #: the child's last message
        self._stop_reason = ""  #: why it was asked to stop
        self._killed = False
        self._limits: StepLimits | None = None  #: of its steps; None until one is reported
        self.killed: KilledStep | None = None  #: the step for which it was killed

    def run(self) -> bool:
        """Run the child; return True if it ended by itself."""
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
                wants_data, has_listener = self.supervisor.wants_data, self.supervisor.on_event is not None
                pipes = (messages_in, output_in, lifeline)
                status = work_in_child(
                    self.workload, self.supervisor.log, *pipes, self.record.dry_run, wants_data, has_listener
                )
            except BaseException:
                # The only place that catches everything: a child must never return into its parent's code.
                from traceback import format_exc

                self.supervisor.log.error(format_exc())
            finally:
                flush_output()
                os._exit(status)
        os.close(messages_in)
        os.close(output_in)
        os.close(lifeline)
        os.set_blocking(messages, False)
        os.set_blocking(output, False)
        log = self.supervisor.log
        masked_output = MaskedOutput(log.mask, lambda content: _write(log.descriptor, content))
        try:
            os.setpgid(self.pid, self.pid)
        except OSError:
            pass  # The child has done it already, or has ended.
        try:
            self._watch(messages, output, masked_output)
            _, status = os.waitpid(self.pid, 0)
        finally:
            self._kill_group()
            while content := _read(output):
                masked_output.feed(content)
            masked_output.close()
            os.close(messages)
            os.close(output)
            os.close(lifeline_in)
        return self._record_end(status)

    def _watch(self, messages: int, output: int, masked_output: MaskedOutput) -> None:
        """Read the child's messages until it closes the pipe; ask it to stop, then kill it, when a limit passes."""
        poll = select.poll()
        for descriptor in (messages, output, self.supervisor.wake):
            poll.register(descriptor, select.POLLIN)
        ends = self.workload.ends + (GRACE if self.workload.has_watchdog else 0.0)
        while True:
            overdue = self._limits.next() if self._limits is not None and not self._stop_reason else None
            wait = max(0, int((min(ends, overdue or ends) - time.monotonic()) * 1000) + 1)
            for descriptor, _ in poll.poll(min(wait, LOOK_INTERVAL)):
                if descriptor == self.supervisor.wake:
                    os.read(self.supervisor.wake, 64)
                    continue
                content = _read(output) if descriptor == output else b""
                # A secret is reported before it can appear in the output, so handle the messages first.
                if not self._handle_messages(messages):
                    masked_output.feed(content or b"")
                    return
                if content:
                    masked_output.feed(content)
                elif descriptor == output and content is not None:
                    poll.unregister(output)
            if self._final:
                from scflows.steps.cancellation import FINAL_SECONDS

                ends = max(ends, time.monotonic() + FINAL_SECONDS + GRACE)
                self._final = False
            self.supervisor.log.enforce_limit()
            if self._has_progress and self.supervisor.recorder.progress(self.record):
                self._has_progress = False
            if self.supervisor.stop_signal and self._stop_reason != STOPPED:
                self._ask_to_stop(STOPPED)
                ends = time.monotonic() + GRACE
            elif time.monotonic() >= ends:
                if self._killed:
                    return
                if self.workload.has_watchdog or self._stop_reason:
                    # It was interrupted, by its watchdog or by us, but is still running.
                    self._stop_reason = self._stop_reason or TIMEOUT
                    self._killed = True
                    self._kill_group()
                else:
                    self._ask_to_stop(TIMEOUT)
                ends = time.monotonic() + GRACE
            elif overdue is not None and time.monotonic() >= overdue and not self._stop_reason:
                self.killed = self._limits.exceeded(time.monotonic()) if self._limits is not None else None
                if self.killed is not None:
                    self._stop_reason = OVERDUE
                    self._killed = True
                    self._kill_group()
                    ends = time.monotonic() + GRACE

    def _ask_to_stop(self, why: str) -> None:
        self._stop_reason = why
        try:
            os.kill(self.pid, signal.SIGTERM)
        except OSError:
            pass

    def _handle_messages(self, messages: int) -> bool:
        """Handle all messages of the child; return False once it has closed the pipe."""
        while content := _read(messages):
            self._handle(content)
        return content is None

    def _handle(self, content: bytes) -> None:
        lines = (self._buffer + content).split(b"\n")
        self._buffer = lines.pop()
        for line in lines:
            event, values = json.loads(line)
            if event == "end":
                self._end = values
            elif event == "final":
                self._final = True
                if self._limits is not None:
                    from scflows.steps.cancellation import FINAL_SECONDS

                    # Before the limit of the final step itself is reported.
                    self._limits.extend_to(time.monotonic() + FINAL_SECONDS + GRACE)
            elif event in ("limit_set", "limit_removed"):
                if self._limits is None:
                    from scflows.execution.step_limits import StepLimits

                    self._limits = StepLimits(GRACE)
                (self._limits.add if event == "limit_set" else self._limits.remove)(values)
            elif event == "begun":
                self.supervisor.has_begun = True
            elif event == "secret":
                self._learn(values["texts"])
            elif event == "step_started":
                self.record.steps.append(StepRecord(**values))  # Positions increase by one.
                self._has_progress = True
            elif event == "step_progress":
                self.record.steps[values["position"] - 1].message = values["message"]
                self._has_progress = True
            elif event == "step_ended":
                ended = StepRecord(**values)
                self.record.steps[ended.position - 1] = ended
                self._has_progress = True
            if self.supervisor.on_event is not None and event in ("log", "step_started", "step_ended"):
                self.supervisor.on_event(event, values)

    def _learn(self, texts: list[str]) -> None:
        mask = self.supervisor.log.mask
        mask.add(texts)
        self.record.params = mask.value(self.record.params)
        for step in self.record.steps:
            step.message = mask.text(step.message)

    def _record_end(self, status: int) -> bool:
        record = self.record
        code = os.waitstatus_to_exitcode(status)
        if self._end is not None:
            if record.status not in (FAILED, CRASHED, CANCELLED):
                record.status = self._end["status"]
                record.reason = self._end["reason"]
                record.message = self._end["message"]
            self.supervisor.data.update(self._end["data"])
            return True
        at = next((f" in step {step.name!r}" for step in record.steps if step.ended is None), "")
        if self.killed is not None:
            record.status, record.reason = FAILED, TIMEOUT
            record.message = f"{self.killed.step}: {self.killed.message}"
        elif self._stop_reason == TIMEOUT:
            record.status, record.reason = FAILED, TIMEOUT
            record.message = f"took longer than {self.workload.limit:g} s and was killed{at}"
        elif self._stop_reason == STOPPED:
            record.status, record.reason = CANCELLED, STOPPED
            record.message = f"asked to stop, then killed{at}" if self._killed else f"asked to stop{at}"
        elif code < 0:
            name = signal.Signals(-code).name if -code in signal.Signals.__members__.values() else str(-code)
            record.status, record.reason = CRASHED, name.lower()
            hint = "; out of memory?" if -code == signal.SIGKILL else ""
            record.message = f"its process was killed by {name}{at}{hint}"
        elif code == BUG:
            record.status, record.reason = CRASHED, "bug"
            record.message = f"failed because of a bug in scflows{at}; the log has the traceback"
        else:
            record.status = SUCCESS if code == 0 else FAILED
            record.reason = "" if code == 0 else "error"
            record.message = "" if code == 0 else f"exited with status {code}"
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


def _read(descriptor: int) -> bytes | None:
    """Read from a pipe: `b""` if its other end is closed, None if there is nothing yet."""
    try:
        return os.read(descriptor, 1 << 16)
    except BlockingIOError:
        return None


def _write(descriptor: int, content: bytes) -> None:
    """Append to the log, if there is one; ignore errors, which must not fail a run."""
    try:
        if descriptor >= 0:
            os.write(descriptor, content)
    except OSError:
        pass
