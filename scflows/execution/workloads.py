"""The work of a child process: the steps of a flow, or a command."""

from __future__ import annotations

import os
import sys
import time

from scflows import command_line
from scflows.history.run import EXIT, RUNNING, SUCCESS, Run, StepRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scflows.execution.child import EventCallback, Workload
    from scflows.execution.journal import Journal
    from scflows.execution.step_limits import KilledStep
    from scflows.flows.model import Flow
    from scflows.history.task_log import TaskLog
    from scflows.settings import Settings

#: The statuses of steps that the journal lists as done.
DONE = (SUCCESS, "ignored", "handled")
#: Seconds within which a child that only runs the final step must start it; then the child's watchdog applies.
FINAL_LIMIT = 10.0


class FlowWorkload:
    """The steps of a flow."""

    has_watchdog = True

    def __init__(
        self,
        flow: Flow,
        data: dict[str, Any],
        settings: Settings,
        limit: float,
        journal: Journal,
        folder: str = "",
        force: bool = False,
        run_id: str = "",
    ) -> None:
        """`folder` contains the child flows; `force` runs steps even if their target exists."""
        self.run_id = run_id
        self.flow = flow
        self.data = data
        self.settings = settings
        self.limit = limit
        self.ends = time.monotonic() + limit
        self.journal = journal
        self.folder = folder or os.path.dirname(flow.file)
        self.force = force
        self._final_only: tuple[str, str, str, int] | None = None
        self._killed: StepRecord | None = None
        self._position = 0  #: of the last step so far

    def run(self, log: TaskLog, send: EventCallback, dry_run: bool) -> int:
        from scflows.execution.flow_runner import FlowResult, FlowRunner
        from scflows.execution.flow_session import FlowSession
        from scflows.flows.loader import load_child
        from scflows.steps import Context
        from scflows.steps.cancellation import Watchdog

        watchdog = Watchdog(None if self._final_only else max(0.0, self.ends - time.monotonic()), send)
        session = FlowSession(
            self.settings,
            lambda path: load_child(path, self.folder, self.settings),
            lambda: send("final", {}),
            self.force,
        )
        expressions = session.expressions(self.flow)
        ctx = Context(
            self.settings, self.data, expressions, log, self.flow.file, dry_run, watchdog.main_scope.remaining
        )
        ctx.scope = watchdog.main_scope
        if not dry_run:
            ctx.shared["run"] = self.run_id
        self.journal.mask = log.mask.private
        self.journal.mask.listeners.append(lambda texts: self.journal.mask_notes())
        runner = FlowRunner(self.flow, ctx, session, _StepReporter(send, self.journal), self.journal)
        watchdog.start()
        if self._final_only:
            status, reason, message, position = self._final_only
            outcome = runner.run_final(FlowResult(status, reason, message), position)
        else:
            outcome = runner.run(self._killed, self._position)
        if self.journal.problem:
            log.warning(self.journal.problem)
        values = {"status": outcome.status, "reason": outcome.reason, "message": outcome.message}
        send("end", {**values, "data": self.data})
        return 0

    def next_workload(self, run: Run, killed: KilledStep | None) -> Workload | None:
        if killed is not None and (rest := self._rest_after(killed, run)) is not None:
            return rest
        if self.flow.finally_step is None or run.status == EXIT or self._final_only:
            return None
        if any(step.name == self.flow.finally_step for step in run.steps):
            return None
        from scflows.execution.journal import restore_data

        data = restore_data(self.journal.notes(), self.data)
        data["__errors__"].append({"step": run.steps[-1].name if run.steps else "", "error": {"message": run.message}})
        rest = FlowWorkload(
            self.flow, data, self.settings, FINAL_LIMIT, self.journal, self.folder, self.force, self.run_id
        )
        rest._final_only = (run.status, run.reason, run.message, len(run.steps))
        return rest

    def _rest_after(self, killed: KilledStep, run: Run) -> FlowWorkload | None:
        """Return the rest of the flow after a killed step, from the journal; None if it was the final step."""
        if self._final_only or killed.step == self.flow.finally_step:
            return None
        cut = [step for step in run.steps if step.message == run.message]
        record = next((step for step in cut if step.name == killed.step), None)
        noted = [note.get("step") for note in self.journal.notes()]
        done = [step.name for step in run.steps if step not in cut and step.status in DONE]
        if record is None or any(noted.count(name) < done.count(name) for name in set(done)):
            return None  # The journal is incomplete, so the results of the steps are unknown.
        for step in cut:
            step.status = "handled"
            step.message = f"interrupted: the process was killed because of {killed.step!r}; run again"
        record.message = killed.message
        run.status, run.reason, run.message = RUNNING, "", ""
        rest = FlowWorkload(
            self.flow, self.data, self.settings, self.limit, self.journal, self.folder, self.force, self.run_id
        )
        rest.ends = self.ends
        rest._killed, rest._position = record, len(run.steps)
        return rest


class CommandWorkload:
    """A `flows` command that replaces the child process."""

    has_watchdog = False

    def __init__(self, command: tuple[str, ...], settings: Settings, limit: float) -> None:
        self.command = command
        self.settings = settings
        self.limit = limit
        self.ends = time.monotonic() + limit

    def run(self, log: TaskLog, send: EventCallback, dry_run: bool) -> int:
        arguments = command_line(*self.command, "--home", self.settings.home)
        if dry_run:
            arguments.append("--dry-run")
        os.execve(sys.executable, arguments, dict(self.settings.environment))

    def next_workload(self, run: Run, killed: KilledStep | None) -> Workload | None:
        return None


class _StepReporter:
    """The listener that reports steps to the parent process, and to the journal in case both processes are killed."""

    def __init__(self, send: EventCallback, journal: Journal) -> None:
        self.send = send
        self.journal = journal

    def step_started(self, record: StepRecord) -> None:
        self.send("step_started", record.__dict__)
        self.journal.note_record(record)

    def step_progress(self, record: StepRecord) -> None:
        self.send("step_progress", {"position": record.position, "message": record.message})

    def step_ended(self, record: StepRecord) -> None:
        self.send("step_ended", record.__dict__)
        self.journal.note_record(record)
