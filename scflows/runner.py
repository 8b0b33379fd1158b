"""Walk a flow: conditions, results, jumps, errors, the final step. Knows no step type by name."""

from __future__ import annotations

import json
import signal
import time
from dataclasses import dataclass

from scflows.errors import StepError
from scflows.flow import Flow, StepSpec
from scflows.run import CANCELLED, EXIT, FAILED, RUNNING, SKIPPED, SUCCESS, StepRecord
from scflows.steps import Context, Exit, Goto, find_step, json_value, options_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType
    from typing import Any

    from scflows.run import Listener
    from scflows.steps import Step

#: How long the final step may take once the run's own time is over or it was told to stop, in seconds.
FINAL_SECONDS = 30.0
TIMEOUT = "timeout"


class Interrupted(BaseException):
    """The step at work is cut short. Not an Exception, so that no step takes it for an error of its own."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Clock:
    """Interrupts the main thread when a limit is passed or the process is told to stop."""

    def __init__(self, limit: float | None) -> None:
        """`limit`: seconds from now for the whole run."""
        self._run_ends = None if limit is None else time.monotonic() + limit
        self._step_ends: float | None = None
        self._blocked = True
        self._pending = ""

    def watch(self) -> None:
        """Take over the signals of this process."""
        signal.signal(signal.SIGALRM, self._alarm)
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._set()

    def start_step(self, limit: float | None) -> None:
        """From here on the step may be interrupted. Raises Interrupted when it is due already."""
        self._step_ends = None if limit is None else time.monotonic() + limit
        self._blocked = False
        self._set()
        if self._pending:
            raise Interrupted(self._pending)

    def end_step(self) -> None:
        """From here on nothing is interrupted until the next step starts."""
        self._blocked = True
        self._step_ends = None

    def start_final(self) -> None:
        """Give the final step a time of its own when the run's is over."""
        left = self.remaining()
        if self._pending or (left is not None and left < FINAL_SECONDS):
            self._run_ends = time.monotonic() + FINAL_SECONDS
        self._pending = ""

    def remaining(self) -> float | None:
        """Seconds until the nearest limit; None without one."""
        ends = [each for each in (self._run_ends, self._step_ends) if each is not None]
        return max(0.0, min(ends) - time.monotonic()) if ends else None

    def _set(self) -> None:
        left = self.remaining()
        if left is not None:
            # Again and again: an interruption can get lost in code that swallows it.
            signal.setitimer(signal.ITIMER_REAL, max(left, 0.001), 1.0)
        else:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _alarm(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._run_ends is not None and now >= self._run_ends:
            self._pending = self._pending or TIMEOUT
            if not self._blocked:
                raise Interrupted(self._pending)
        elif self._step_ends is not None and now >= self._step_ends and not self._blocked:
            raise Interrupted("step")

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._pending = CANCELLED
        if not self._blocked:
            raise Interrupted(CANCELLED)


@dataclass
class Outcome:
    """How a flow ended."""

    status: str
    reason: str = ""
    message: str = ""


class Runner:
    """Runs one flow in this process."""

    def __init__(self, flow: Flow, ctx: Context, clock: Clock, listener: Listener) -> None:
        self.flow = flow
        self.ctx = ctx
        self.clock = clock
        self.listener = listener
        self._final = next((step for step in flow.steps if step.name == flow.finally_step), None)
        self._sequence = [step for step in flow.steps if step is not self._final]
        self._position = 0
        self._classes: dict[str, tuple[type[Step], list[str]]] = {}

    def run(self) -> Outcome:
        """Walk the flow to its end, the final step included."""
        outcome = self._walk()
        if self._final is not None and outcome.status != EXIT:
            outcome = self.run_final(outcome)
        return outcome

    def run_final(self, outcome: Outcome, first_position: int | None = None) -> Outcome:
        """Run the final step alone after a flow that ended so; the outcome of both."""
        if self._final is None:
            return outcome
        if first_position is not None:
            self._position = first_position
        self.clock.start_final()
        _, message, interrupted = self._execute(self._final, judge=False)
        if interrupted == CANCELLED and outcome.status == SUCCESS:
            return Outcome(CANCELLED, "stopped", message)
        if message and outcome.status == SUCCESS:
            return Outcome(FAILED, "error", f"{self._final.name}: {message}")
        return outcome

    def _walk(self) -> Outcome:
        sequence = self._sequence
        places = {step.name: index for index, step in reversed(list(enumerate(sequence)))}
        index = executed = 0
        while index < len(sequence):
            spec = sequence[index]
            executed += 1
            if executed > self.flow.max_steps:
                message = f"more than max_steps ({self.flow.max_steps}) steps; do the jumps ever end?"
                self.ctx.data["__errors__"].append({"step": spec.name, "error": {"message": message}})
                self.ctx.log.error(message)
                return Outcome(FAILED, "error", message)
            jump, message, interrupted = self._execute(spec)
            if interrupted == TIMEOUT:
                return Outcome(FAILED, TIMEOUT, message)
            if interrupted:
                return Outcome(CANCELLED, "stopped", message)
            if isinstance(jump, Exit):
                return Outcome(EXIT, "", jump.message)
            if jump is None:
                if message:
                    return Outcome(FAILED, "error", f"{spec.name}: {message}")
                index += 1
                continue
            if jump == "__exit__":
                return Outcome(EXIT, "", f"jump to __exit__ by {spec.name}")
            if jump == "__end__" or (self._final is not None and jump == self._final.name):
                return Outcome(SUCCESS)
            index = 0 if jump == "__start__" else places[jump]
        return Outcome(SUCCESS)

    def _execute(self, spec: StepSpec, judge: bool = True) -> tuple[Exit | str | None, str, str]:
        """Run one step: (where to jump, what went wrong and was not handled, why it was interrupted)."""
        self._position += 1
        record = StepRecord(self._position, spec.name, spec.type, RUNNING, time.time())
        self.listener.step_started(record)
        self.ctx.log.at_step(spec.name)
        jump: Exit | str | None = None
        message = interrupted = ""
        try:
            try:
                self.clock.start_step(spec.timeout)
                jump = self._attempt(spec, record, judge)
            finally:
                self.clock.end_step()
        except Interrupted as stop:
            if stop.reason == "step":
                jump, message = self._handle(spec, record, StepError(f"took longer than {spec.timeout:g} s"))
            else:
                interrupted = stop.reason
                what = "the run's time is over" if interrupted == TIMEOUT else "the run was told to stop"
                jump, message = self._handle(spec, record, StepError(f"interrupted: {what}"), final=True)
        except StepError as error:
            jump, message = self._handle(spec, record, error)
        except MemoryError:
            jump, message = self._handle(spec, record, StepError("out of memory"))
        except Exception as error:
            from traceback import format_exc

            self.ctx.log.debug(format_exc())
            jump, message = self._handle(spec, record, StepError(f"{type(error).__name__}: {error}"))
        record.ended = time.time()
        if record.status == SUCCESS:
            self.ctx.log.info(f"done in {record.ended - record.started:.2f} s", echo=False)
        self.ctx.log.at_step("")
        self.listener.step_ended(record)
        return jump, message, interrupted

    def _attempt(self, spec: StepSpec, record: StepRecord, judge: bool) -> Exit | str | None:
        ctx = self.ctx
        if judge and spec.when:
            for condition in spec.when:
                if not ctx.expressions.judge(condition, ctx.data):
                    record.status = SKIPPED
                    record.message = f"does not hold: {condition}"
                    ctx.log.info(f"skipped, since this does not hold: {condition}", echo=False)
                    return None
        ctx.jq_output = spec.jq_output if spec.jq_expression is None else None
        step = self._build(spec)
        if ctx.dry_run and step.writes():
            intention = f"would {step.intention()}"
            ctx.log.info(intention)
            record.message = intention
            result = step.dry_result()
        else:
            record.message = step.intention() if ctx.dry_run else ""
            result = step.run(ctx)
        record.status = SUCCESS
        if isinstance(result, Goto):
            if result.step_name not in ("__start__", "__end__", "__exit__") and not any(
                step.name == result.step_name for step in self.flow.steps
            ):
                raise StepError(f"there is no step {result.step_name!r} to go to")
            return result.step_name
        if isinstance(result, Exit):
            ctx.data[spec.key] = {"message": result.message}
            return result
        value = json_value(result)
        if spec.jq_expression is not None:
            value = ctx.expressions.filter(spec.jq_expression, value, spec.jq_output)
        ctx.data[spec.key] = value
        return None

    def _build(self, spec: StepSpec) -> Step:
        known = self._classes.get(spec.type)
        if known is None:
            found = find_step(spec.type)
            if found is None:
                raise StepError(f"step type {spec.type!r} is not installed any more")
            templates = [option.name for option in options_of(found).values() if option.template]
            known = self._classes[spec.type] = (found, templates)
        step_class, templates = known
        options = dict(spec.options)
        for name in templates:
            if name in options:
                options[name] = self.ctx.expressions.render_all(options[name], self.ctx.data)
        return step_class(**options)

    def _handle(
        self, spec: StepSpec, record: StepRecord, error: StepError, final: bool = False
    ) -> tuple[str | None, str]:
        """List an error and decide by the step's own rules: (where to jump, the message if nothing handled it)."""
        message = str(error)
        details = _details(error.details)
        entry: dict[str, Any] = {"step": spec.name, "error": {"message": message, **details}}
        self.ctx.data["__errors__"].append(entry)
        record.message = message
        if not final:
            pattern = _ignored_by(spec.ignore_errors, message, details)
            if pattern is not None:
                entry["ignored"] = pattern
                record.status = "ignored"
                self.ctx.log.info(f"error ignored by {pattern!r}: {message}")
                return None, ""
            if spec.on_error_goto is not None:
                record.status = "handled"
                self.ctx.log.warning(f"{message}; going to {spec.on_error_goto}")
                return spec.on_error_goto, ""
        record.status = FAILED
        self.ctx.log.error(message)
        return None, message


def _details(details: Mapping[str, Any]) -> dict[str, Any]:
    try:
        kept: dict[str, Any] = json_value(dict(details))
    except StepError:
        kept = {name: str(value) for name, value in details.items()}
    return kept


def _ignored_by(patterns: list[str], message: str, details: dict[str, Any]) -> str | None:
    if not patterns:
        return None
    import re

    # Patterns of older flows were written for the mapping as Python shows it.
    texts = [f"{message} {json.dumps(details, ensure_ascii=False)}", f"{message} {details}"]
    texts = [" ".join(text.splitlines()) for text in texts]
    for pattern in patterns:
        if any(re.search(pattern, text) for text in texts):
            return pattern
    return None
