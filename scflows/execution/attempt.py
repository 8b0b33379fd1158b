"""Run one step: check its conditions and target, make its attempts, return its result. Nothing is stored here."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from scflows.errors import ChildFailed, ScflowsError, StepError
from scflows.flows.model import StepSpec
from scflows.history.run import CANCELLED, SKIPPED, SUCCESS
from scflows.steps import Acknowledgement, Context, Exit, Goto, Nothing, Step, json_value, options_of
from scflows.steps.cancellation import Deadline, StepInterrupted
from scflows.steps.context import once
from scflows.steps.options import in_seconds
from scflows.steps.registry import find_step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from scflows.execution.targets import Targets


@dataclass
class StepResult:
    """The result of a step."""

    status: str = ""  #: `success` or `skipped`; empty after a failure
    jump: Exit | str | None = None
    stores: bool = False  #: whether `value` is stored
    value: Any = None
    error: StepError | None = None
    details: dict[str, Any] = field(default_factory=dict)  #: of the error, as JSON values
    attempts: int = 0  #: the number of attempts, if more than one was allowed
    child_errors: list[dict[str, Any]] = field(default_factory=list)
    interrupted: Deadline | str | None = None  #: why it was interrupted, unless by its own limit
    message: str = ""  #: for the step's record
    output: str = ""  #: for the step's record, if it succeeded
    targets: Targets | None = None
    acknowledgements: list[Acknowledgement] = field(default_factory=list)


class StepClasses:
    """A cache of the step classes of one run, with the names of the options that are templates."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[type[Step], list[tuple[str, bool]], list[str]]] = {}

    def create(self, ctx: Context, kind: str, written: dict[str, Any]) -> Step:
        """Return a step with its templates rendered. Raises StepError."""
        known = self._known.get(kind)
        if known is None:
            found = find_step(kind)
            if found is None:
                raise StepError(f"step type {kind!r} is no longer installed")
            declared = options_of(found).values()
            templates = [(option.name, option.secrets) for option in declared if option.template]
            durations = [option.name for option in declared if option.duration]
            known = self._known[kind] = (found, templates, durations)
        step_class, templates, durations = known
        options = in_seconds(written, durations)
        for name, secrets in templates:
            if name in options:
                options[name] = ctx.rendered(options[name], secrets)
        return step_class(**options)


def perform(
    spec: StepSpec, ctx: Context, classes: StepClasses, evaluate: bool = True, force: bool = False
) -> StepResult:
    """Run a step. `evaluate`: check its conditions; `force`: run it even if its target exists."""
    scope = ctx.scope
    assert scope is not None
    result = StepResult()
    limit = scope.add_limit(spec.timeout, "step", spec.name)
    try:
        try:
            scope.start_step()
            _attempts(spec, ctx, classes, result, evaluate, force)
        finally:
            scope.end_step()
    except StepInterrupted as stop:
        # Again, because a worker thread may be interrupted while `end_step` is running.
        scope.end_step()
        cause = stop.cause or scope.pending_cause() or CANCELLED
        if limit is not None and cause is limit:
            _fail(result, StepError(f"took longer than {limit.seconds:g} s"))
        else:
            result.interrupted = cause
            _fail(result, StepError(f"interrupted: {_reason(cause)}"))
    except StepError as error:
        _fail(result, error)
    except MemoryError:
        _fail(result, StepError("out of memory"))
    except Exception as error:
        from traceback import format_exc

        ctx.log.debug(format_exc())
        _fail(result, StepError(f"{type(error).__name__}: {error}"))
    finally:
        scope.remove_limit(limit)
    if ctx.files and (result.error is None or result.targets is None):
        _record_files(ctx)
    result.child_errors, ctx.errors = ctx.errors, []
    result.acknowledgements, ctx.acknowledgements = ctx.acknowledgements, []
    return result


def _record_files(ctx: Context) -> None:
    """Record the files that a step made as artifacts of the run."""
    run, made = ctx.shared.get("run"), ctx.made_files()
    ctx.files = {}
    if not run or not made:
        return
    from scflows.history.artifacts import artifacts_path, record_artifacts

    path = artifacts_path(ctx.settings, run)
    try:
        record_artifacts(path, ctx.settings.data_path, ctx.step_name, made)
    except OSError as error:
        ctx.log.warning(f"the files that the step made cannot be recorded: {path}: {error.strerror}")


def run_step(
    ctx: Context,
    classes: StepClasses,
    kind: str,
    options: dict[str, Any],
    jq_expression: str | None,
    jq_output: str | None,
) -> tuple[Any, str]:
    """Run a step; return its transformed result (a JSON value, `Goto`, `Exit` or `Nothing`) and its dry-run message."""
    before = ctx.jq_output
    # `jq_output` applies to the last jq program only.
    ctx.jq_output = jq_output if jq_expression is None else None
    message = ""
    try:
        step = classes.create(ctx, kind, options)
        writes = step.writes()
        if writes and not ctx.dry_run:
            ctx.note_start()
        if ctx.dry_run and writes:
            message = f"would {step.intention()}"
            ctx.log.info(message)
            value = step.dry_result()
        else:
            message = step.intention() if ctx.dry_run else ""
            try:
                value = step.run(ctx)
            except StepError:
                raise
            except ScflowsError as error:
                raise StepError(str(error)) from error
    finally:
        ctx.jq_output = before
    if isinstance(value, Goto | Exit | Nothing):
        return value, message
    value = json_value(value)
    if jq_expression is not None:
        value = ctx.expressions.filter(jq_expression, value, jq_output)
    return value, message


def error_texts(message: str, details: Mapping[str, Any]) -> list[str]:
    """Return the texts in which patterns of `ignore_errors` and `on` are searched."""
    # Patterns in older flows were written for Python's representation of the mapping.
    texts = [f"{message} {json.dumps(details, ensure_ascii=False)}", f"{message} {details}"]
    return [" ".join(text.splitlines()) for text in texts]


def _attempts(
    spec: StepSpec, ctx: Context, classes: StepClasses, result: StepResult, evaluate: bool, force: bool
) -> None:
    if evaluate and spec.when:
        for condition in spec.when:
            if not ctx.expressions.evaluate(condition, ctx.data):
                result.status = SKIPPED
                result.message = f"skipped: condition is false ({condition})"
                ctx.log.info(result.message, echo=False)
                return
    if spec.target:
        from scflows.execution.targets import Targets

        target, sources = (ctx.expressions.render_all(each, ctx.data) for each in (spec.target, spec.sources))
        targets = Targets(ctx, target, sources)
        if not force and targets.are_done():
            result.status = SKIPPED
            result.message = "skipped: its target exists"
            ctx.log.info(result.message, echo=False)
            result.stores, result.value = True, {"target": target, "skipped": True}
            return
        if not ctx.dry_run:
            targets.begin()
            result.targets = targets
    ctx.with_retry = lambda call: _retry(spec.retry, ctx, result, call)
    try:
        ctx.with_retry(lambda: _run_once(spec, ctx, classes, result))
    finally:
        ctx.with_retry = once


def _retry(retry: dict[str, Any] | None, ctx: Context, result: StepResult, call: Callable[[], Any]) -> Any:
    """Call a function until it succeeds or the step allows no further attempt."""
    attempt = 0
    while True:
        attempt += 1
        try:
            return call()
        except StepError as error:
            if retry is None or error.is_tried:
                raise
            result.attempts = attempt
            wait = _wait_before_next(retry, attempt, error)
            if wait is None:
                # An outer retry must not repeat the attempts that were made here.
                error.is_tried = True
                raise
            ctx.log.warning(f"{error}; attempt {attempt} failed, the next follows in {wait:.3g} s")
        ctx.errors.clear()
        ctx.note_attempt()
        ctx.release_messages()
        ctx.sleep(wait)


def _run_once(spec: StepSpec, ctx: Context, classes: StepClasses, result: StepResult) -> None:
    value, message = run_step(ctx, classes, spec.type, spec.options, spec.jq_expression, spec.jq_output)
    if result.targets is not None:
        result.targets.check_made()
    result.message, result.output = ctx.remark
    result.message = result.message or message
    result.status = SUCCESS
    if isinstance(value, Goto):
        result.jump = value.step_name
    elif isinstance(value, Exit):
        result.jump = value
        result.stores, result.value = True, {"message": value.message}
    elif not isinstance(value, Nothing):
        result.stores, result.value = True, value


def _wait_before_next(retry: dict[str, Any], attempt: int, error: StepError) -> float | None:
    from random import random

    from scflows.flows.retry import wait_before

    return wait_before(retry, attempt, error, error_texts(str(error), _details(error.details)), random())


def _fail(result: StepResult, error: StepError) -> None:
    result.status = ""
    result.jump = None
    result.error = error
    result.details = _details(error.details)
    result.stores = isinstance(error, ChildFailed)
    if isinstance(error, ChildFailed):
        result.value = error.result


def _details(details: Mapping[str, Any]) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json_value(dict(details))
    except StepError:
        values = {name: str(value) for name, value in details.items()}
    return values


def _reason(cause: Deadline | str) -> str:
    if not isinstance(cause, Deadline):
        return "the run was asked to stop"
    if cause.kind == "run":
        return "the run has timed out"
    if cause.kind == "final":
        return "the time limit for final steps has passed"
    return f"the enclosing {cause.kind} has timed out after {cause.seconds:g} s"
