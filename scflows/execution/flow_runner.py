"""Walk a flow to its end: order, jumps, the final step. Knows no step type by name."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.errors import StepError
from scflows.execution.attempt import StepResult
from scflows.execution.step_runner import StepRunner
from scflows.flows.model import StepSpec
from scflows.history.run import CANCELLED, EXIT, FAILED, SUCCESS, StepRecord
from scflows.steps import Exit
from scflows.steps.cancellation import Deadline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.execution.resume import Checkpoint

TIMEOUT = "timeout"


@dataclass
class FlowResult:
    """How a flow ended."""

    status: str
    reason: str = ""
    message: str = ""
    cause: Deadline | str | None = None  #: what interrupted it


class FlowRunner(StepRunner):
    """Runs one flow on one line."""

    def run(self, lost: StepRecord | None = None, position: int = 0) -> FlowResult:
        """Run the flow to its end, the final step included; after the notes of an earlier run, what was left of it.

        `lost` is a step for which an earlier process of this run was killed, `position` that of its last step.
        """
        past: Checkpoint | None = None
        self.position = position
        if self.journal is not None and (self.journal.has_past or lost is not None):
            from scflows.execution.resume import restore

            past = restore(self, lost)
            if past.ended is not None:
                return FlowResult(past.ended[0], "", past.ended[1])
            if past.problem:
                return FlowResult(FAILED, "error", past.problem)
        if self.flow.is_graph:
            outcome = self._walk_graph(past, lost)
        elif lost is not None:
            outcome = self._walk_on(past.following if past is not None else None, lost)
        else:
            outcome = self._walk(past.following if past is not None else 0)
        if self.final is not None and outcome.status != EXIT:
            outcome = self.run_final(outcome)
        if outcome.status == SUCCESS and self.ctx.depth == 0:
            outcome.reason, outcome.message = self.ctx.kept.get("conclusion", ("", ""))
        if self.journal is not None:
            self.journal.note_end(outcome.status, outcome.message)
        return outcome

    def run_final(self, outcome: FlowResult, first_position: int | None = None) -> FlowResult:
        """Run the final step alone after a flow that ended so; the outcome of both."""
        if self.final is None:
            return outcome
        if first_position is not None:
            self.position = first_position
        if self.listener is not None or self.line.due() is not None:
            self.shared.tell_final()
        before = self.line.start_final()
        record = self.started(self.final)
        ended = self.performed(self.final, self.ctx, evaluate=False)
        _, message = self.settled(self.final, len(self.sequence), record, ended)
        self.line.end_final(before)
        if ended.interrupted == CANCELLED and outcome.status == SUCCESS:
            return FlowResult(CANCELLED, "stopped", message, CANCELLED)
        if message and outcome.status == SUCCESS:
            return FlowResult(FAILED, "error", f"{self.final.name}: {message}", outcome.cause)
        return outcome

    def _walk_on(self, index: int | None, lost: StepRecord) -> FlowResult:
        """Settle the step that was lost as the error it is, and go on as its own rules say."""
        if index is None or index >= len(self.sequence) or self.sequence[index].name != lost.name:
            return FlowResult(FAILED, TIMEOUT, f"{lost.name}: {lost.message}")
        spec = self.sequence[index]
        jump, message = self.settled(spec, index, lost, StepResult(error=StepError(lost.message)))
        return self._after(spec, jump, message) or self._walk(self.place(jump, index))

    def _walk(self, index: int | None) -> FlowResult:
        executed = self.position
        while index is not None and index < len(self.sequence):
            spec = self.sequence[index]
            executed += 1
            if executed > self.flow.max_steps:
                message = f"more than max_steps ({self.flow.max_steps}) steps; do the jumps ever end?"
                self.ctx.data["__errors__"].append({"step": spec.name, "error": {"message": message}})
                self.ctx.log.error(message)
                return FlowResult(FAILED, "error", message)
            record = self.started(spec)
            ended = self.performed(spec, self.ctx)
            jump, message = self.settled(spec, index, record, ended)
            if ended.interrupted is not None:
                return _interrupted(ended.interrupted, message)
            outcome = self._after(spec, jump, message)
            if outcome is not None:
                return outcome
            index = self.place(jump, index)
        return FlowResult(SUCCESS)

    def _after(self, spec: StepSpec, jump: Exit | str | None, message: str) -> FlowResult | None:
        """How the flow ended with this step; None when it goes on."""
        if message:
            return FlowResult(FAILED, self.failure_reason, f"{spec.name}: {message}")
        if isinstance(jump, Exit):
            return FlowResult(EXIT, jump.reason, jump.message)
        return FlowResult(EXIT, "", f"jump to __exit__ by {spec.name}") if jump == "__exit__" else None

    def _walk_graph(self, past: Checkpoint | None, lost: StepRecord | None) -> FlowResult:
        from scflows.execution.graph_runner import walk_graph

        end = walk_graph(self, past, lost)
        if end.interrupted is not None:
            return _interrupted(end.interrupted, end.message)
        if end.failure:
            return FlowResult(FAILED, self.failure_reason, end.failure)
        return FlowResult(EXIT, end.reason, end.message) if end.is_exit else FlowResult(SUCCESS)


def _interrupted(cause: Deadline | str, message: str) -> FlowResult:
    if isinstance(cause, Deadline):
        return FlowResult(FAILED, TIMEOUT, message, cause)
    return FlowResult(CANCELLED, "stopped", message, cause)
