"""The state shared by the flows of one run, and the start of child flows."""

from __future__ import annotations

import os
from _thread import allocate_lock

from scflows.errors import ScflowsError, StepError, UsageError
from scflows.execution.attempt import StepClasses
from scflows.execution.flow_runner import FlowRunner
from scflows.expressions.templates import Expressions
from scflows.flows.model import Flow
from scflows.history.run import FAILED
from scflows.steps import ChildResult, Context
from scflows.steps.cancellation import CancelScope, StepInterrupted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from scflows.execution.journal import Notes, Place
    from scflows.settings import Settings

#: The maximum depth of nested flows.
MAX_DEPTH = 20
#: The variables that a child flow inherits.
INHERITED = ("__timestamp__", "__job_id__", "__run_folder__", "__slot__")


class FlowSession:
    """The child flows and compiled expressions of one run."""

    def __init__(
        self,
        settings: Settings,
        load: Callable[[str], Flow],
        report_final: Callable[[], None] = lambda: None,
        force: bool = False,
    ) -> None:
        """Use `load` to load the flow of a path in the flows folder; it may raise ScflowsError."""
        self.classes = StepClasses()
        self.force = force
        self.report_final = report_final
        self._settings = settings
        self._load = load
        self._lock = allocate_lock()
        self._flows: dict[str, Flow] = {}
        self._contents: dict[str, int] = {}  #: checksums of the files of child flows
        self._expressions: dict[tuple[str, bool], Expressions] = {}

    def expressions(self, flow: Flow) -> Expressions:
        """Return the expressions of a flow, shared by flows with the same folder and strictness."""
        folder = os.path.dirname(flow.file)
        key = (folder, flow.strict)
        with self._lock:
            found = self._expressions.get(key)
            if found is None:
                settings = self._settings
                private = (settings.secrets_path, settings.config_file, settings.env_file)
                found = Expressions((settings.templates_path, folder), flow.strict, private)
                self._expressions[key] = found
        return found

    def child(self, path: str) -> Flow:
        """Return a flow of the flows folder, loaded once per run. Raises StepError."""
        with self._lock:
            found = self._flows.get(path)
            if found is None:
                try:
                    found = self._flows[path] = self._load(path)
                except StepError:
                    raise
                except ScflowsError as error:
                    raise StepError(f"flow {path!r} is invalid: {error}") from error
        return found

    def run_flow(
        self,
        ctx: Context,
        path: str,
        payload: Any,
        loop_index: int | None,
        scope: CancelScope,
        notes: Notes | None = None,
        place: Place | None = None,
    ) -> ChildResult:
        """See `Context.run_flow`. `notes` are those of the calling flow, `place` is where in it the child runs."""
        scope.check()
        flow = self.child(path)
        if ctx.depth >= MAX_DEPTH:
            raise StepError(f"flow {path!r}: more than {MAX_DEPTH} nested flows; is there an endless loop?")
        data = {
            "__input__": payload,
            "__errors__": [],
            "__flow_path__": flow.path,
            "__loop_index__": loop_index,
            **{name: ctx.data[name] for name in INHERITED if name in ctx.data},
        }
        log = ctx.log.branch()
        log.add_prefix(flow.name if loop_index is None else f"{flow.name} {loop_index}")
        if flow.params:
            try:
                data["params"] = _params(flow, payload)
            except StepError as error:
                if loop_index is None:
                    raise
                # One unfit item of a loop must not stop the others.
                log.error(str(error))
                return _refused(str(error), data, flow.path, loop_index)
        child = Context(self._settings, data, self.expressions(flow), log, flow.file, ctx.dry_run, scope.remaining)
        child.scope, child.depth, child.shared = scope, ctx.depth + 1, ctx.shared
        was_blocked, scope.blocked = scope.blocked, True
        limit = scope.add_limit(flow.timeout, "flow", flow.path)
        try:
            child_notes = None
            if notes is not None and place is not None:
                child_notes = notes.child(place, path, payload, self._content(flow), self.force)
            outcome = FlowRunner(flow, child, self, None, child_notes).run()
        finally:
            scope.remove_limit(limit)
            scope.blocked = was_blocked
        if outcome.cause is not None and outcome.cause is not limit:
            # The limit belongs to an outer flow or the run, so that ends as well.
            ctx.errors.extend(_with_origin(data["__errors__"], flow.path, loop_index))
            raise StepInterrupted(outcome.cause)
        data["__status__"] = {"type": outcome.status, "message": outcome.message}
        return ChildResult(
            outcome.status, outcome.message, data, _with_origin(data["__errors__"], flow.path, loop_index)
        )

    def _content(self, flow: Flow) -> int:
        """Return a checksum of a flow's file, computed once per run."""
        found = self._contents.get(flow.file)
        if found is None:
            from binascii import crc32

            try:
                with open(flow.file, "rb") as file:
                    found = crc32(file.read())
            except OSError:
                found = -1
            self._contents[flow.file] = found
        return found


def _refused(message: str, data: dict[str, Any], path: str, loop_index: int) -> ChildResult:
    """Return the result of an item for which the flow cannot run."""
    data["__errors__"].append({"step": "", "error": {"message": message}})
    data["__status__"] = {"type": FAILED, "message": message}
    return ChildResult(FAILED, message, data, _with_origin(data["__errors__"], path, loop_index))


def _params(flow: Flow, payload: Any) -> dict[str, Any]:
    from scflows.flows.parameters import convert

    named = {name: payload[name] for name in flow.params if name in payload} if isinstance(payload, dict) else {}
    try:
        return convert(flow.params, named)
    except UsageError as error:
        raise StepError(f"flow {flow.path!r} is invalid: {error}") from error


def _with_origin(errors: list[dict[str, Any]], path: str, loop_index: int | None) -> list[dict[str, Any]]:
    """Return a child's errors for its parent's list; errors of nested flows keep their own origin."""
    origin: dict[str, Any] = {"flow": path} if loop_index is None else {"flow": path, "loop_index": loop_index}
    return [{**origin, **entry} for entry in errors]
