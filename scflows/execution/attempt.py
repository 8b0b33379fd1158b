"""One step, performed: its conditions, its target, its attempts, what it gives. Stores and lists nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from scflows.errors import ChildFailed, StepError
from scflows.flows.model import StepSpec
from scflows.history.run import CANCELLED, SKIPPED, SUCCESS
from scflows.steps import Exit, Goto, Nothing, json_value, options_of
from scflows.steps.cancellation import Deadline, StepInterrupted
from scflows.steps.context import once
from scflows.steps.registry import find_step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from scflows.execution.targets import Targets
    from scflows.steps import Context, Promise, Step


@dataclass
class StepResult:
    """What became of a step."""

    status: str = ""  #: `success` or `skipped`; empty for one that failed
    jump: Exit | str | None = None
    stores: bool = False  #: whether `value` is stored
    value: Any = None
    error: StepError | None = None
    details: dict[str, Any] = field(default_factory=dict)  #: of the error, as JSON values
    attempts: int = 0  #: how many were made, where more than one was allowed
    child_errors: list[dict[str, Any]] = field(default_factory=list)
    interrupted: Deadline | str | None = None  #: why it was cut short, unless by its own limit
    message: str = ""  #: for the step's record
    targets: Targets | None = None
    promises: list[Promise] = field(default_factory=list)


class StepClasses:
    """The classes of step types, with the names of the options that are templates; looked up once in a run."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[type[Step], list[tuple[str, bool]]]] = {}

    def built(self, ctx: Context, kind: str, written: dict[str, Any]) -> Step:
        """A step with its templates rendered. Raises StepError."""
        known = self._known.get(kind)
        if known is None:
            found = find_step(kind)
            if found is None:
                raise StepError(f"step type {kind!r} is not installed any more")
            templates = [(option.name, option.secrets) for option in options_of(found).values() if option.template]
            known = self._known[kind] = (found, templates)
        step_class, templates = known
        options = dict(written)
        for name, secrets in templates:
            if name in options:
                options[name] = ctx.rendered(options[name], secrets)
        return step_class(**options)


def perform(
    spec: StepSpec, ctx: Context, classes: StepClasses, evaluate: bool = True, force: bool = False
) -> StepResult:
    """What becomes of a step. `evaluate` looks at its conditions, `force` runs it though its target is there."""
    line = ctx.line
    assert line is not None
    ended = StepResult()
    limit = line.bound(spec.timeout, "step", spec.name)
    try:
        try:
            line.start_step()
            _attempts(spec, ctx, classes, ended, evaluate, force)
        finally:
            line.end_step()
    except StepInterrupted as stop:
        # Once more: in a thread it may have been raised while the line was at its end already.
        line.end_step()
        cause = stop.cause or line.due() or CANCELLED
        if limit is not None and cause is limit:
            _fail(ended, StepError(f"took longer than {limit.seconds:g} s"))
        else:
            ended.interrupted = cause
            _fail(ended, StepError(f"interrupted: {_told(cause)}"))
    except StepError as error:
        _fail(ended, error)
    except MemoryError:
        _fail(ended, StepError("out of memory"))
    except Exception as error:
        from traceback import format_exc

        ctx.log.debug(format_exc())
        _fail(ended, StepError(f"{type(error).__name__}: {error}"))
    finally:
        line.unbound(limit)
    ended.child_errors, ctx.errors = ctx.errors, []
    ended.promises, ctx.promises = ctx.promises, []
    return ended


def result_of(
    ctx: Context,
    classes: StepClasses,
    kind: str,
    options: dict[str, Any],
    jq_expression: str | None,
    jq_output: str | None,
) -> tuple[Any, str]:
    """A step's result, shaped, as a JSON value, `Goto`, `Exit` or `Nothing`; and what a dry run says of it."""
    before = ctx.jq_output
    # How many outputs there may be is said of what comes last.
    ctx.jq_output = jq_output if jq_expression is None else None
    told = ""
    try:
        step = classes.built(ctx, kind, options)
        if ctx.dry_run and step.writes():
            told = f"would {step.intention()}"
            ctx.log.info(told)
            result = step.dry_result()
        else:
            told = step.intention() if ctx.dry_run else ""
            result = step.run(ctx)
    finally:
        ctx.jq_output = before
    if isinstance(result, Goto | Exit | Nothing):
        return result, told
    value = json_value(result)
    if jq_expression is not None:
        value = ctx.expressions.filter(jq_expression, value, jq_output)
    return value, told


def error_texts(message: str, details: Mapping[str, Any]) -> list[str]:
    """The texts in which patterns of `ignore_errors` and `on` are searched."""
    # Patterns of older flows were written for the mapping as Python shows it.
    texts = [f"{message} {json.dumps(details, ensure_ascii=False)}", f"{message} {details}"]
    return [" ".join(text.splitlines()) for text in texts]


def _attempts(
    spec: StepSpec, ctx: Context, classes: StepClasses, ended: StepResult, evaluate: bool, force: bool
) -> None:
    if evaluate and spec.when:
        for condition in spec.when:
            if not ctx.expressions.evaluate(condition, ctx.data):
                ended.status = SKIPPED
                ended.message = f"does not hold: {condition}"
                ctx.log.info(f"skipped, since this does not hold: {condition}", echo=False)
                return
    if spec.target:
        from scflows.execution.targets import Targets

        target, sources = (ctx.expressions.render_all(each, ctx.data) for each in (spec.target, spec.sources))
        targets = Targets(ctx, target, sources)
        if not force and targets.are_done():
            ended.status = SKIPPED
            ended.message = "its target is there"
            ctx.log.info("skipped, since its target is there", echo=False)
            ended.stores, ended.value = True, {"target": target, "skipped": True}
            return
        if not ctx.dry_run:
            targets.begin()
            ended.targets = targets
    ctx.tried = lambda call: _tried(spec.retry, ctx, ended, call)
    try:
        ctx.tried(lambda: _once(spec, ctx, classes, ended))
    finally:
        ctx.tried = once


def _tried(retry: dict[str, Any] | None, ctx: Context, ended: StepResult, call: Callable[[], Any]) -> Any:
    """What a call gives, tried as often as the step says."""
    attempt = 0
    while True:
        attempt += 1
        try:
            return call()
        except StepError as error:
            if retry is None or error.is_tried:
                raise
            ended.attempts = attempt
            wait = _wait(retry, attempt, error)
            if wait is None:
                # Nobody around this one tries again what was tried in here.
                error.is_tried = True
                raise
            ctx.log.warning(f"{error}; attempt {attempt} failed, the next one in {wait:.3g} s")
        ctx.errors.clear()
        ctx.break_promises()
        ctx.sleep(wait)


def _once(spec: StepSpec, ctx: Context, classes: StepClasses, ended: StepResult) -> None:
    result, told = result_of(ctx, classes, spec.type, spec.options, spec.jq_expression, spec.jq_output)
    if ended.targets is not None:
        ended.targets.check_made()
    ended.message = told
    ended.status = SUCCESS
    if isinstance(result, Goto):
        ended.jump = result.step_name
    elif isinstance(result, Exit):
        ended.jump = result
        ended.stores, ended.value = True, {"message": result.message}
    elif not isinstance(result, Nothing):
        ended.stores, ended.value = True, result


def _wait(retry: dict[str, Any], attempt: int, error: StepError) -> float | None:
    from random import random

    from scflows.flows.retry import wait_before

    return wait_before(retry, attempt, error, error_texts(str(error), _details(error.details)), random())


def _fail(ended: StepResult, error: StepError) -> None:
    ended.status = ""
    ended.jump = None
    ended.error = error
    ended.details = _details(error.details)
    ended.stores = isinstance(error, ChildFailed)
    if isinstance(error, ChildFailed):
        ended.value = error.result


def _details(details: Mapping[str, Any]) -> dict[str, Any]:
    try:
        kept: dict[str, Any] = json_value(dict(details))
    except StepError:
        kept = {name: str(value) for name, value in details.items()}
    return kept


def _told(cause: Deadline | str) -> str:
    if not isinstance(cause, Deadline):
        return "the run was told to stop"
    if cause.what == "run":
        return "the run's time is over"
    if cause.what == "final":
        return "the time for final steps is over"
    return f"the time of the {cause.what} around it is over ({cause.seconds:g} s)"
