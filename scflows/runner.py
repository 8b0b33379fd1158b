"""Walk a flow to its end: order, jumps, the final step. Knows no step type by name."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.clock import Deadline
from scflows.run import CANCELLED, EXIT, FAILED, SUCCESS
from scflows.stepper import Stepper
from scflows.steps import Exit

TIMEOUT = "timeout"


@dataclass
class Outcome:
    """How a flow ended."""

    status: str
    reason: str = ""
    message: str = ""
    cause: Deadline | str | None = None  #: what interrupted it


class Runner(Stepper):
    """Runs one flow on one line."""

    def run(self) -> Outcome:
        """Run the flow to its end, the final step included; after the notes of an earlier run, what was left of it."""
        start: int | None = 0
        done: set[int] = set()
        is_over = False
        if self.journal is not None and self.journal.has_past:
            from scflows.resume import restore

            past = restore(self)
            if past.ended is not None:
                return Outcome(past.ended[0], "", past.ended[1])
            if past.problem:
                return Outcome(FAILED, "error", past.problem)
            start, done, is_over = past.following, past.done, past.is_over
        outcome = self._walk_graph(done, is_over) if self.flow.is_graph else self._walk(start)
        if self.final is not None and outcome.status != EXIT:
            outcome = self.run_final(outcome)
        if self.journal is not None:
            self.journal.note_end(outcome.status, outcome.message)
        return outcome

    def run_final(self, outcome: Outcome, first_position: int | None = None) -> Outcome:
        """Run the final step alone after a flow that ended so; the outcome of both."""
        if self.final is None:
            return outcome
        if first_position is not None:
            self.position = first_position
        if self.listener is not None or self.line.due() is not None:
            self.shared.tell_final()
        before = self.line.start_final()
        record = self.started(self.final)
        ended = self.performed(self.final, self.ctx, judge=False)
        _, message = self.settled(self.final, len(self.sequence), record, ended)
        self.line.end_final(before)
        if ended.interrupted == CANCELLED and outcome.status == SUCCESS:
            return Outcome(CANCELLED, "stopped", message, CANCELLED)
        if message and outcome.status == SUCCESS:
            return Outcome(FAILED, "error", f"{self.final.name}: {message}", outcome.cause)
        return outcome

    def _walk(self, index: int | None) -> Outcome:
        executed = 0
        while index is not None and index < len(self.sequence):
            spec = self.sequence[index]
            executed += 1
            if executed > self.flow.max_steps:
                message = f"more than max_steps ({self.flow.max_steps}) steps; do the jumps ever end?"
                self.ctx.data["__errors__"].append({"step": spec.name, "error": {"message": message}})
                self.ctx.log.error(message)
                return Outcome(FAILED, "error", message)
            record = self.started(spec)
            ended = self.performed(spec, self.ctx)
            jump, message = self.settled(spec, index, record, ended)
            if ended.interrupted is not None:
                return _interrupted(ended.interrupted, message)
            if message:
                return Outcome(FAILED, "error", f"{spec.name}: {message}")
            if isinstance(jump, Exit):
                return Outcome(EXIT, "", jump.message)
            if jump == "__exit__":
                return Outcome(EXIT, "", f"jump to __exit__ by {spec.name}")
            index = self.place(jump, index)
        return Outcome(SUCCESS)

    def _walk_graph(self, done: set[int], is_over: bool) -> Outcome:
        from scflows.graph_walk import walk_graph

        end = walk_graph(self, done, is_over)
        if end.interrupted is not None:
            return _interrupted(end.interrupted, end.message)
        if end.failure:
            return Outcome(FAILED, "error", end.failure)
        return Outcome(EXIT, "", end.message) if end.is_exit else Outcome(SUCCESS)


def _interrupted(cause: Deadline | str, message: str) -> Outcome:
    if isinstance(cause, Deadline):
        return Outcome(FAILED, TIMEOUT, message, cause)
    return Outcome(CANCELLED, "stopped", message, cause)
