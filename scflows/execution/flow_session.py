"""What the flows of one run share, and the way from a step to another flow."""

from __future__ import annotations

import os
from _thread import allocate_lock

from scflows.errors import ScflowsError, StepError, UsageError
from scflows.execution.attempt import StepClasses
from scflows.execution.flow_runner import FlowRunner
from scflows.expressions import Expressions
from scflows.flows.model import Flow
from scflows.steps import ChildEnd, Context
from scflows.steps.cancellation import CancelScope, StepInterrupted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from scflows.settings import Settings

#: How many flows may stand inside each other.
MOST_DEPTH = 20
#: What a child flow has in common with its parent.
SHARED = ("__timestamp__", "__job_id__", "__slot__")


class FlowSession:
    """Loads child flows once, runs them, and keeps what is compiled."""

    def __init__(
        self,
        settings: Settings,
        load: Callable[[str], Flow],
        tell_final: Callable[[], None] = lambda: None,
        force: bool = False,
    ) -> None:
        """`load` gives the flow of a path in the flows folder, or raises ScflowsError."""
        self.classes = StepClasses()
        self.force = force
        self.tell_final = tell_final
        self._settings = settings
        self._load = load
        self._loading = allocate_lock()
        self._flows: dict[str, Flow] = {}
        self._expressions: dict[tuple[str, bool], Expressions] = {}

    def expressions(self, flow: Flow) -> Expressions:
        """The expressions of a flow; those with the same folders and strictness are one."""
        folder = os.path.dirname(flow.file)
        key = (folder, flow.strict)
        with self._loading:
            found = self._expressions.get(key)
            if found is None:
                settings = self._settings
                private = (settings.secrets_path, settings.config_file, settings.env_file)
                found = Expressions((settings.templates_path, folder), flow.strict, private)
                self._expressions[key] = found
        return found

    def child(self, path: str) -> Flow:
        """A flow of the flows folder; the same throughout the run. Raises StepError."""
        with self._loading:
            found = self._flows.get(path)
            if found is None:
                try:
                    found = self._flows[path] = self._load(path)
                except StepError:
                    raise
                except ScflowsError as error:
                    raise StepError(f"flow {path!r} is refused: {error}") from error
        return found

    def run_flow(self, ctx: Context, path: str, given: Any, loop_index: int | None, line: CancelScope) -> ChildEnd:
        """See `Context.run_flow`."""
        line.check()
        flow = self.child(path)
        if ctx.depth >= MOST_DEPTH:
            raise StepError(f"flow {path!r}: more than {MOST_DEPTH} flows inside each other; do they ever end?")
        data = {
            "__input__": given,
            "__errors__": [],
            "__flow_path__": flow.path,
            "__loop_index__": loop_index,
            **{name: ctx.data[name] for name in SHARED if name in ctx.data},
        }
        if flow.params:
            data["params"] = _params(flow, given)
        log = ctx.log.branch()
        log.add_prefix(flow.name if loop_index is None else f"{flow.name} {loop_index}")
        child = Context(self._settings, data, self.expressions(flow), log, flow.file, ctx.dry_run, line.remaining)
        child.line, child.depth, child.kept = line, ctx.depth + 1, ctx.kept
        was_blocked, line.blocked = line.blocked, True
        limit = line.bound(flow.timeout, "flow", flow.path)
        try:
            outcome = FlowRunner(flow, child, self).run()
        finally:
            line.unbound(limit)
            line.blocked = was_blocked
        if outcome.cause is not None and outcome.cause is not limit:
            # What is around this flow is over, too.
            ctx.errors.extend(_passed_up(data["__errors__"], flow.path, loop_index))
            raise StepInterrupted(outcome.cause)
        data["__status__"] = {"type": outcome.status, "message": outcome.message}
        return ChildEnd(outcome.status, outcome.message, data, _passed_up(data["__errors__"], flow.path, loop_index))


def _params(flow: Flow, given: Any) -> dict[str, Any]:
    from scflows.flows.parameters import convert

    named = {name: given[name] for name in flow.params if name in given} if isinstance(given, dict) else {}
    try:
        return convert(flow.params, named)
    except UsageError as error:
        raise StepError(f"flow {flow.path!r} is refused: {error}") from error


def _passed_up(errors: list[dict[str, Any]], path: str, loop_index: int | None) -> list[dict[str, Any]]:
    """A child's errors for its parent's list; what came from further down keeps its place."""
    told: dict[str, Any] = {"flow": path} if loop_index is None else {"flow": path, "loop_index": loop_index}
    return [{**told, **entry} for entry in errors]
