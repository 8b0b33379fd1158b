"""A flow's steps, one by one: begun, performed, then stored, listed, noted and told."""

from __future__ import annotations

import time

from scflows.errors import StepError
from scflows.execution.attempt import StepClasses, StepResult, error_texts, perform, result_of
from scflows.flows.model import RESERVED, Flow, StepSpec
from scflows.history.run import FAILED, RUNNING, SUCCESS, StepRecord
from scflows.secrets.references import named_in
from scflows.steps import Exit
from scflows.steps.cancellation import CancelScope

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from scflows.execution.journal import Journal
    from scflows.history.run import Listener
    from scflows.steps import ChildEnd, Context, Promise

    class Shared(Protocol):
        """What the flows of a run share."""

        classes: StepClasses
        force: bool  #: whether steps run though their target is there

        def tell_final(self) -> None: ...

        def child(self, path: str) -> Flow: ...

        def run_flow(
            self, ctx: Context, path: str, given: Any, loop_index: int | None, line: CancelScope
        ) -> ChildEnd: ...


class StepRunner:
    """Runs steps of one flow on one line."""

    def __init__(
        self,
        flow: Flow,
        ctx: Context,
        shared: Shared,
        listener: Listener | None = None,
        journal: Journal | None = None,
    ) -> None:
        assert ctx.line is not None
        self.flow = flow
        self.ctx = ctx
        self.shared = shared
        self.line: CancelScope = ctx.line
        self.listener = listener
        self.journal = journal
        ctx.host = self
        named = named_in([step.options for step in flow.steps])
        if named:
            # What shows them before they are asked for, such as the input, is masked, too.
            ctx.secrets.foresee(sorted(named))
        self.final = next((step for step in flow.steps if step.name == flow.finally_step), None)
        self.sequence = [step for step in flow.steps if step is not self.final]
        self.position = 0
        self.failure_reason = "error"  #: of the last error that nothing handled
        self._places = {step.name: place for place, step in reversed(list(enumerate(self.sequence)))}

    def run_flow(self, ctx: Context, path: str, given: Any, loop_index: int | None, line: CancelScope) -> ChildEnd:
        """See `Context.run_flow`."""
        return self.shared.run_flow(ctx, path, given, loop_index, line)

    def check_flow(self, path: str) -> None:
        """See `Context.check_flow`."""
        self.shared.child(path)

    def run_step(self, ctx: Context, written: dict[str, Any]) -> Any:
        """See `Context.run_step`."""
        kind = written["type"]
        options = written.get(kind) or {}
        shape, output = written.get("jq_expression"), written.get("jq_output")
        result, _ = result_of(ctx, self.shared.classes, kind, options, shape, output)
        return result

    def started(self, spec: StepSpec) -> StepRecord:
        """A step begins: its record, of which the listener has heard."""
        self.position += 1
        record = StepRecord(self.position, spec.name, spec.type, RUNNING, time.time())
        if self.listener is not None:
            self.listener.step_started(record)
        return record

    def performed(self, spec: StepSpec, ctx: Context, evaluate: bool = True) -> StepResult:
        """What becomes of a step; may be called in any thread."""
        begun = time.time()
        ctx.log.set_step(spec.name)
        if ctx.depth == 0 and ctx.line is not None:
            ctx.line.step = spec.name
        ended = perform(spec, ctx, self.shared.classes, evaluate, self.shared.force)
        if ended.status == SUCCESS:
            ctx.log.info(f"done in {time.time() - begun:.2f} s", echo=ctx.depth > 0)
        ctx.log.set_step("")
        return ended

    def settled(self, spec: StepSpec, at: int, record: StepRecord, ended: StepResult) -> tuple[Exit | str | None, str]:
        """Store, list, record how a step ended: (where to jump, what went wrong and was not handled)."""
        data = self.ctx.data
        errors: list[dict[str, Any]] = data["__errors__"]
        count = len(errors)
        errors.extend(ended.child_errors)
        jump, message = ended.jump, ""
        if isinstance(jump, str) and (told := self._wrong_jump(jump)):
            jump, ended.status, ended.error = None, "", StepError(told)
        record.status, record.message = ended.status, ended.message
        if ended.error is not None:
            jump, message = self._handle(spec, record, ended)
        if ended.stores:
            data[spec.key] = ended.value
        record.ended = time.time()
        if self.journal is not None:
            stored = (spec.key, ended.value) if ended.stores else None
            following = self.place(jump, at)
            # An exit is not noted as done: who goes on from here has to come to the same end again.
            is_done = record.status != FAILED and not isinstance(jump, Exit) and jump != "__exit__"
            is_last = following is None or following >= len(self.sequence)
            to = (following, None if is_last or following is None else self.sequence[following].name)
            self.journal.note_step(at, spec.name, is_done, to, errors[count:], stored, spec is self.final)
        if ended.targets is not None:
            if ended.error is None:
                ended.targets.settle()
            else:
                ended.targets.discard()
        for promise in ended.promises:
            self._redeem(promise, ended.error is None)
        if self.listener is not None:
            self.listener.step_ended(record)
        return jump, message

    def _redeem(self, promise: Promise, is_stored: bool) -> None:
        try:
            (promise.keep if is_stored else promise.drop)()
        except Exception as error:  # Of some library; the step's result is stored all the same.
            self.ctx.log.warning(f"{type(error).__name__}: {error}; what was taken will come again")

    def place(self, jump: Exit | str | None, index: int) -> int | None:
        """Where the order of the file goes on after a step that jumps, or does not; None at its end."""
        if jump is None:
            return index + 1
        if isinstance(jump, Exit):
            return None
        return 0 if jump == "__start__" else self._places.get(jump)

    def _wrong_jump(self, jump: str) -> str:
        if self.flow.is_graph and jump not in ("__end__", "__exit__"):
            return f"a jump to {jump!r}: where `needs` gives the order, only __end__ and __exit__ can be jumped to"
        if jump in RESERVED or jump in self._places or (self.final is not None and jump == self.final.name):
            return ""
        return f"there is no step {jump!r} to go to"

    def _handle(self, spec: StepSpec, record: StepRecord, ended: StepResult) -> tuple[str | None, str]:
        """List an error and decide by the step's own rules: (where to jump, the message if nothing handled it)."""
        message = str(ended.error)
        inner = {"message": message, **ended.details}
        entry: dict[str, Any] = {"step": spec.name, "error": inner}
        if ended.attempts:
            inner["attempts"] = ended.attempts
        self.ctx.data["__errors__"].append(entry)
        record.message = message
        log = self.ctx.log
        log.set_step(spec.name)
        try:
            if ended.interrupted is None:
                pattern = _ignored_by(spec.ignore_errors, message, ended.details)
                if pattern is not None:
                    entry["ignored"] = pattern
                    record.status = "ignored"
                    log.info(f"error ignored by {pattern!r}: {message}")
                    return None, ""
                # From the final step there is nowhere to go on.
                if spec.on_error_goto is not None and spec is not self.final:
                    record.status = "handled"
                    log.warning(f"{message}; going to {spec.on_error_goto}")
                    return spec.on_error_goto, ""
            record.status = FAILED
            self.failure_reason = ended.error.reason if ended.error is not None else "error"
            log.error(message)
        finally:
            log.set_step("")
        return None, message


def _ignored_by(patterns: list[str], message: str, details: dict[str, Any]) -> str | None:
    if not patterns:
        return None
    import re

    texts = error_texts(message, details)
    for pattern in patterns:
        if any(re.search(pattern, text) for text in texts):
            return pattern
    return None
