"""Run a flow to its end: order, jumps, the final step. It knows no step type by name."""

from __future__ import annotations

import os
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
    """The result of a flow."""

    status: str
    reason: str = ""
    message: str = ""
    cause: Deadline | str | None = None  #: what interrupted it


class FlowRunner(StepRunner):
    """The runner of one flow in one scope."""

    def run(self, killed: StepRecord | None = None, position: int = 0) -> FlowResult:
        """Run the flow to its end, including the final step; with the journal of an earlier run, run the rest of it.

        `killed` is a step for which an earlier process of this run was killed, `position` that of its last step.
        """
        checkpoint: Checkpoint | None = None
        self.position = position
        if self.flow.uses_run_folder and not self.ctx.dry_run and (problem := self._make_run_folder()):
            return FlowResult(FAILED, "error", problem)
        if self.journal is not None and (self.journal.is_resumed or killed is not None):
            from scflows.execution.resume import restore

            checkpoint = restore(self, killed)
            if checkpoint.ended is not None:
                return FlowResult(checkpoint.ended[0], "", checkpoint.ended[1])
            if checkpoint.problem:
                return FlowResult(FAILED, "error", checkpoint.problem)
        if self.flow.is_graph:
            outcome = self._walk_graph(checkpoint, killed)
        elif killed is not None:
            outcome = self._continue_after(checkpoint.following if checkpoint is not None else None, killed)
        else:
            outcome = self._walk(checkpoint.following if checkpoint is not None else 0)
        if self.final is not None and outcome.status != EXIT:
            outcome = self.run_final(outcome)
        if outcome.status == SUCCESS and self.ctx.depth == 0:
            outcome.reason, outcome.message = self.ctx.shared.get("conclusion", ("", ""))
        if self.journal is not None:
            self.journal.note_end(outcome.status, outcome.message)
        self.acknowledge_postponed(outcome.status in (SUCCESS, EXIT))
        return outcome

    def _make_run_folder(self) -> str:
        """Create the folder of the run; return why that fails."""
        name = self.ctx.data["__run_folder__"]
        try:
            os.makedirs(os.path.join(self.ctx.settings.data_path, name), exist_ok=True)
        except OSError as error:
            return f"the folder of the run, {name}, cannot be created: {error.strerror}"
        return ""

    def run_final(self, outcome: FlowResult, first_position: int | None = None) -> FlowResult:
        """Run only the final step after a flow with this outcome; return the combined outcome."""
        if self.final is None:
            return outcome
        if first_position is not None:
            self.position = first_position
        if self.listener is not None or self.scope.pending_cause() is not None:
            self.shared.report_final()
        before = self.scope.start_final()
        record = self.start_step(self.final)
        result = self.perform_step(self.final, len(self.sequence), self.ctx, evaluate=False)
        _, message = self.finish_step(self.final, len(self.sequence), record, result)
        self.scope.end_final(before)
        if result.interrupted == CANCELLED and outcome.status == SUCCESS:
            return FlowResult(CANCELLED, "stopped", message, CANCELLED)
        if message and outcome.status == SUCCESS:
            return FlowResult(FAILED, "error", f"{self.final.name}: {message}", outcome.cause)
        return outcome

    def _continue_after(self, index: int | None, killed: StepRecord) -> FlowResult:
        """Record the killed step as failed and continue according to its error handling."""
        if index is None or index >= len(self.sequence) or self.sequence[index].name != killed.name:
            return FlowResult(FAILED, TIMEOUT, f"{killed.name}: {killed.message}")
        spec = self.sequence[index]
        jump, message = self.finish_step(spec, index, killed, StepResult(error=StepError(killed.message)))
        outcome = self._after(spec, jump, message)
        if outcome is None or not self.flow.is_folder:
            return outcome or self._walk(self.next_index(jump, index))
        rest = self._walk(index + 1)
        return rest if rest.status not in (SUCCESS, FAILED) else _failed_too(outcome, rest)

    def _walk(self, index: int | None) -> FlowResult:
        executed = self.position
        failures: list[str] = []
        while index is not None and index < len(self.sequence):
            spec = self.sequence[index]
            executed += 1
            if executed > self.flow.max_steps:
                message = f"more than max_steps ({self.flow.max_steps}) steps; is there an endless loop of jumps?"
                self.ctx.data["__errors__"].append({"step": spec.name, "error": {"message": message}})
                self.ctx.log.error(message)
                return FlowResult(FAILED, "error", message)
            record = self.start_step(spec)
            result = self.perform_step(spec, index, self.ctx)
            jump, message = self.finish_step(spec, index, record, result)
            if result.interrupted is not None:
                return _interrupted(result.interrupted, message)
            outcome = self._after(spec, jump, message)
            if outcome is not None and outcome.status == FAILED and self.flow.is_folder:
                failures.append(outcome.message)
            elif outcome is not None:
                return outcome
            index = self.next_index(jump, index)
        return FlowResult(FAILED, self.failure_reason, "; ".join(failures)) if failures else FlowResult(SUCCESS)

    def _after(self, spec: StepSpec, jump: Exit | str | None, message: str) -> FlowResult | None:
        """Return the outcome of the flow if it ends with this step, otherwise None."""
        if message:
            return FlowResult(FAILED, self.failure_reason, f"{spec.name}: {message}")
        if isinstance(jump, Exit):
            return FlowResult(EXIT, jump.reason, jump.message)
        return FlowResult(EXIT, "", f"jump to __exit__ by {spec.name}") if jump == "__exit__" else None

    def _walk_graph(self, checkpoint: Checkpoint | None, killed: StepRecord | None) -> FlowResult:
        from scflows.execution.graph_runner import walk_graph

        end = walk_graph(self, checkpoint, killed)
        if end.interrupted is not None:
            return _interrupted(end.interrupted, end.message)
        if end.failure:
            return FlowResult(FAILED, self.failure_reason, end.failure)
        return FlowResult(EXIT, end.reason, end.message) if end.is_exit else FlowResult(SUCCESS)


def _failed_too(outcome: FlowResult, rest: FlowResult) -> FlowResult:
    """Return the outcome of a folder of which one job was killed, and that of the rest."""
    return FlowResult(FAILED, outcome.reason, "; ".join(filter(None, (outcome.message, rest.message))), rest.cause)


def _interrupted(cause: Deadline | str, message: str) -> FlowResult:
    if isinstance(cause, Deadline):
        return FlowResult(FAILED, TIMEOUT, message, cause)
    return FlowResult(CANCELLED, "stopped", message, cause)
