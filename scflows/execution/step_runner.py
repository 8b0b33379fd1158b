"""Start and run the steps of a flow; store, record and report their results."""

from __future__ import annotations

import time
from _thread import allocate_lock

from scflows.errors import StepError
from scflows.execution.attempt import StepClasses, StepResult, error_texts, perform, run_step
from scflows.flows.model import RESERVED, Flow, StepSpec
from scflows.history.run import CANCELLED, FAILED, RUNNING, SUCCESS, StepRecord
from scflows.secrets.references import secret_names
from scflows.steps import Acknowledgement, ChildResult, Context, Exit
from scflows.steps.cancellation import CancelScope, StepInterrupted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from scflows.execution.journal import Notes, Place
    from scflows.history.run import Listener

    class Shared(Protocol):
        """The state shared by the flows of a run."""

        classes: StepClasses
        force: bool  #: whether steps run even if their target exists

        def report_final(self) -> None: ...

        def child(self, path: str) -> Flow: ...

        def run_flow(
            self,
            ctx: Context,
            path: str,
            payload: Any,
            loop_index: int | None,
            scope: CancelScope,
            notes: Notes | None,
            place: Place | None,
        ) -> ChildResult: ...


#: How long the patterns of `ignore_errors` may take for one error. A regular expression may never end.
PATTERN_SECONDS = 2.0


class StepRunner:
    """The runner of the steps of one flow in one scope."""

    def __init__(
        self,
        flow: Flow,
        ctx: Context,
        shared: Shared,
        listener: Listener | None = None,
        journal: Notes | None = None,
    ) -> None:
        assert ctx.scope is not None
        self.flow = flow
        self.ctx = ctx
        self.shared = shared
        self.scope: CancelScope = ctx.scope
        self.listener = listener
        self.journal = journal
        ctx.host = self
        ctx.flow_env = flow.env
        named = secret_names([flow.env, *(step.options for step in flow.steps)])
        if named:
            # Masked in advance, because data such as the input may show them before a step uses them.
            ctx.secrets.mask_in_advance(sorted(named))
        self.final = next((step for step in flow.steps if step.name == flow.finally_step), None)
        self.sequence = [step for step in flow.steps if step is not self.final]
        self.position = 0
        self.failure_reason = "error"  #: of the last error that was not handled
        self._running: dict[str, StepRecord] = {}
        self._positions = allocate_lock()
        self._indexes = {step.name: index for index, step in reversed(list(enumerate(self.sequence)))}

    def run_flow(
        self, ctx: Context, path: str, payload: Any, loop_index: int | None, scope: CancelScope
    ) -> ChildResult:
        """See `Context.run_flow`."""
        place = None
        if self.journal is not None:
            call = ctx.calls[path, loop_index] = ctx.calls.get((path, loop_index), 0) + 1
            place = (ctx.step_index, ctx.step_name, loop_index, call)
        return self.shared.run_flow(ctx, path, payload, loop_index, scope, self.journal, place)

    def note_progress(self, ctx: Context, text: str) -> None:
        """See `Context.progress`."""
        record = self._running.get(ctx.step_name)
        if self.listener is not None and record is not None:
            record.message = text
            self.listener.step_progress(record)

    def start_part(self, ctx: Context, name: str, kind: str) -> StepRecord:
        """See `Context.start_part`."""
        with self._positions:
            self.position += 1
            record = StepRecord(self.position, name, kind, RUNNING, time.time())
            if self.listener is not None:
                self.listener.step_started(record)
        return record

    def end_part(self, record: StepRecord, status: str, message: str) -> None:
        """See `Context.end_part`."""
        record.status, record.message, record.ended = status, message, time.time()
        if self.listener is not None:
            self.listener.step_ended(record)

    def note_start(self, ctx: Context) -> None:
        """See `Context.note_start`."""
        if self.journal is not None:
            self.journal.note_start(ctx.step_index, ctx.step_name)

    def note_attempt(self, ctx: Context) -> None:
        """See `Context.note_attempt`."""
        if self.journal is not None:
            self.journal.note_attempt(ctx.step_index)

    def check_flow(self, path: str) -> None:
        """See `Context.check_flow`."""
        self.shared.child(path)

    def run_step(self, ctx: Context, written: dict[str, Any]) -> Any:
        """See `Context.run_step`."""
        kind = written["type"]
        options = written.get(kind) or {}
        shape, output = written.get("jq_expression"), written.get("jq_output")
        result, _ = run_step(ctx, self.shared.classes, kind, options, shape, output)
        return result

    def start_step(self, spec: StepSpec) -> StepRecord:
        """Return the record of a step that starts now, after reporting it to the listener."""
        with self._positions:
            self.position += 1
            record = StepRecord(self.position, spec.name, spec.type, RUNNING, time.time())
            self._running[spec.name] = record
            if self.listener is not None:
                self.listener.step_started(record)
        return record

    def perform_step(self, spec: StepSpec, at: int, ctx: Context, evaluate: bool = True) -> StepResult:
        """Run the step at a position; in any thread."""
        start = time.time()
        ctx.start_step(spec.name, at)
        ctx.log.set_step(spec.name)
        if ctx.depth == 0 and ctx.scope is not None:
            ctx.scope.step = spec.name
        result = perform(spec, ctx, self.shared.classes, evaluate, self.shared.force)
        if result.status == SUCCESS:
            ctx.log.info(f"done in {time.time() - start:.2f} s", echo=ctx.depth > 0)
        ctx.log.set_step("")
        return result

    def finish_step(
        self, spec: StepSpec, at: int, record: StepRecord, result: StepResult
    ) -> tuple[Exit | str | None, str]:
        """Store and record the result of a step; return (target of the jump, message of an error not handled)."""
        data = self.ctx.data
        errors: list[dict[str, Any]] = data["__errors__"]
        count = len(errors)
        errors.extend(result.child_errors)
        jump, message = result.jump, ""
        if isinstance(jump, str) and (problem := self._jump_problem(jump)):
            jump, result.status, result.error = None, "", StepError(problem)
        self._running.pop(spec.name, None)
        record.status, record.message, record.output = result.status, result.message, result.output
        if result.error is not None:
            jump, message = self._handle(spec, record, result)
        if result.stores:
            data[spec.key] = result.value
        record.ended = time.time()
        is_kept = False
        if self.journal is not None:
            stored = (spec.key, result.value) if result.stores else None
            following = self.next_index(jump, at)
            # An exit is not noted as done, so that a resumed run ends in the same way.
            is_done = record.status != FAILED and not isinstance(jump, Exit) and jump != "__exit__"
            is_last = following is None or following >= len(self.sequence)
            to = (following, None if is_last or following is None else self.sequence[following].name)
            is_kept = (
                self.journal.note_step(at, spec.name, is_done, to, errors[count:], stored, spec is self.final)
                is not False
            )
        if result.targets is not None:
            if result.error is None:
                result.targets.remove_marks()
            else:
                result.targets.discard()
        for acknowledgement in result.acknowledgements:
            if result.error is None and not is_kept:
                self._postpone(acknowledgement)
            else:
                self._acknowledge(acknowledgement, result.error is None)
        if self.listener is not None:
            self.listener.step_ended(record)
        return jump, message

    def _acknowledge(self, acknowledgement: Acknowledgement, is_stored: bool) -> None:
        try:
            (acknowledgement.commit if is_stored else acknowledgement.release)()
        except Exception as error:  # From a library; the step's result is stored nevertheless.
            self.ctx.log.warning(f"{type(error).__name__}: {error}; the messages will be delivered again")

    def _postpone(self, acknowledgement: Acknowledgement) -> None:
        """Acknowledge at the end of the run: until then, a kill would lose what no journal keeps."""
        from scflows.steps.cancellation import FINAL_SECONDS

        if not self._postponed:
            self.ctx.log.info("the result is not saved, so its messages are acknowledged when the run has succeeded")
        self._postponed.append(acknowledgement)
        remaining = self.ctx.remaining()
        if acknowledgement.hold is not None and remaining is not None:
            try:
                acknowledgement.hold(remaining + FINAL_SECONDS)
            except Exception as error:  # From a library; at worst the messages are delivered again.
                self.ctx.log.warning(f"{type(error).__name__}: {error}")

    @property
    def _postponed(self) -> list[Acknowledgement]:
        found: list[Acknowledgement] = self.ctx.shared.setdefault("acknowledgements", [])
        return found

    def acknowledge_postponed(self, is_stored: bool) -> None:
        """Acknowledge what had to wait for the end of the run, or release it if the run has failed."""
        if self.ctx.depth == 0:
            while self._postponed:
                self._acknowledge(self._postponed.pop(), is_stored)

    def next_index(self, jump: Exit | str | None, index: int) -> int | None:
        """Return the index of the step that follows, with or without a jump; None at an end."""
        if jump is None:
            return index + 1
        if isinstance(jump, Exit):
            return None
        return 0 if jump == "__start__" else self._indexes.get(jump)

    def _jump_problem(self, jump: str) -> str:
        if self.flow.is_graph and jump not in ("__end__", "__exit__"):
            return f"jump to {jump!r}: in a flow with `needs`, jumps can only go to __end__ or __exit__"
        if jump in RESERVED or jump in self._indexes or (self.final is not None and jump == self.final.name):
            return ""
        return f"jump to {jump!r}: there is no such step"

    def _handle(self, spec: StepSpec, record: StepRecord, result: StepResult) -> tuple[str | None, str]:
        """Record an error and apply the step's error handling; return (target of the jump, message if not handled)."""
        message = str(result.error)
        inner = {"message": message, **result.details}
        entry: dict[str, Any] = {"step": spec.name, "error": inner}
        if result.attempts:
            inner["attempts"] = result.attempts
        self.ctx.data["__errors__"].append(entry)
        record.message = message
        if result.error is not None:
            record.output = result.error.output
        log = self.ctx.log
        log.set_step(spec.name)
        try:
            if result.interrupted is None:
                pattern = self._ignored_by(spec, message, result)
                if pattern is not None:
                    entry["ignored"] = pattern
                    record.status = "ignored"
                    log.info(f"error ignored by {pattern!r}: {message}")
                    return None, ""
                # There is nothing to jump to from the final step.
                if spec.on_error_goto is not None and spec is not self.final and result.interrupted is None:
                    record.status = "handled"
                    log.warning(f"{message}; jumping to {spec.on_error_goto}")
                    return spec.on_error_goto, ""
            record.status = FAILED
            self.failure_reason = result.error.reason if result.error is not None else "error"
            log.error(message)
        finally:
            log.set_step("")
        return None, message

    def _ignored_by(self, spec: StepSpec, message: str, result: StepResult) -> str | None:
        """Return the pattern that matches an error; None if none does within `PATTERN_SECONDS`."""
        if not spec.ignore_errors:
            return None
        from scflows.flows.error_patterns import matching

        # The step's own limit no longer applies, and may be the error.
        limit = self.scope.add_limit(PATTERN_SECONDS, "step", spec.name)
        try:
            try:
                self.scope.start_step()
                return matching(spec.ignore_errors, error_texts(message, result.details), result.details)
            finally:
                self.scope.end_step()
        except StepInterrupted as stop:
            self.scope.end_step()
            cause = stop.cause or self.scope.pending_cause() or CANCELLED
            if cause is limit:
                self.ctx.log.warning(f"ignore_errors took longer than {PATTERN_SECONDS:g} s; the error is not ignored")
            else:
                result.interrupted = cause
        finally:
            self.scope.remove_limit(limit)
        return None
