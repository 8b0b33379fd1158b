"""What a child process does: the steps of a flow, or a command in its place."""

from __future__ import annotations

import os
import sys

from scflows.run import EXIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scflows.child import Body, Tell
    from scflows.flow import Flow
    from scflows.journal import Journal
    from scflows.logfile import TaskLog
    from scflows.run import Run, StepRecord
    from scflows.settings import Settings

#: How long a child that only runs the final step may take to begin it, in seconds; then its own clock counts.
FINAL_LIMIT = 10.0


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
        self.journal.mask = log.mask
        log.mask.told.append(lambda texts: self.journal.conceal())
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
        rest = FlowBody(self.flow, data, self.settings, FINAL_LIMIT, self.journal, self.folder, self.force)
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
