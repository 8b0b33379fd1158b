"""A flow file, parsed and checked whole: every mistake at once, each with its place."""

from __future__ import annotations

from scflows.errors import FlowError, ScflowsError
from scflows.flow import MAX_STEPS, RESERVED, Flow, StepSpec
from scflows.kind import described, nearest
from scflows.located import Located
from scflows.step_file import StepReader
from scflows.steps import json_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from scflows.errors import Mistake

FLOW_PROPERTIES = (
    "name",
    "description",
    "steps",
    "finally_step",
    "max_steps",
    "strict",
    "timeout",
    "schedule",
    "cron",
    "every_seconds",
    "timeout_seconds",
    "params",
)
SCHEDULE_PROPERTIES = ("cron", "every", "every_seconds", "timezone", "catch_up", "overlap")


def parse_flow(content: bytes, path: str, file: str, shown: str | None = None) -> tuple[Flow, list[Mistake]]:
    """The flow that a file's content says, and the warnings found in it.

    `path` is the flow's path as written, `file` its absolute one, `shown` the name that messages begin with.
    Raises FlowError with every mistake of the file.
    """
    reader = _Reader(Located(content, shown or path))
    flow = reader.flow(path, file)
    mistakes = sorted(reader.document.mistakes, key=lambda mistake: (mistake.line, mistake.column))
    if any(mistake.severity == "error" for mistake in mistakes):
        raise FlowError(mistakes)
    assert flow is not None
    return flow, mistakes


class _Reader:
    def __init__(self, document: Located) -> None:
        self.document = document
        self.wrong = document.mistake
        self.step_reader = StepReader(document)

    def flow(self, path: str, file: str) -> Flow | None:
        top = self.document.value
        if not isinstance(top, dict):
            self.wrong("a flow is a mapping with a list of `steps`")
            return None
        self.document.left_aside(top, FLOW_PROPERTIES)
        specs = self._steps(top)
        finally_step = self.document.typed(top, "finally_step", "text", None)
        self._jumps(top, specs, finally_step)
        return Flow(
            path=path,
            file=file,
            name=self.document.typed(top, "name", "text", None) or path.rpartition("/")[2].rpartition(".")[0] or path,
            steps=specs,
            finally_step=finally_step,
            max_steps=int(self.document.typed(top, "max_steps", "integer", MAX_STEPS, least=1)),
            strict=self.document.typed(top, "strict", "boolean", False),
            timeout=self.document.typed(top, "timeout", "number", None, least=0.001)
            or self.document.typed(top, "timeout_seconds", "number", None, least=0.001),
            schedule=self._schedule(top),
            params=self._params(top),
            description=self.document.typed(top, "description", "text", ""),
        )

    def _steps(self, top: dict[Any, Any]) -> list[StepSpec]:
        if "steps" not in top:
            self.wrong("`steps` is missing: a list of steps, which may be empty")
            return []
        steps = top["steps"]
        if not isinstance(steps, list):
            self.wrong(f"`steps` must be a list, not {described(steps)}", "steps")
            return []
        return [spec for index, each in enumerate(steps) if (spec := self.step_reader.step(each, index)) is not None]

    def _schedule(self, top: dict[Any, Any]) -> dict[str, Any] | None:
        from scflows.cron.schedule import asked

        given = top.get("schedule")
        if given is None:
            given = {key: top[key] for key in ("cron", "every_seconds") if top.get(key) is not None}
            at: tuple[str | int, ...] = tuple(given)[:1]
            if not given:
                return None
        else:
            at = ("schedule",)
            if not isinstance(given, dict):
                self.wrong("schedule must be a mapping, such as {every: 3h}", "schedule")
                return None
            for key in given:
                if key not in SCHEDULE_PROPERTIES:
                    told = nearest(str(key), SCHEDULE_PROPERTIES) or f"; it has {', '.join(SCHEDULE_PROPERTIES)}"
                    self.wrong(f"schedule: unknown property {key!r}{told}", "schedule", key)
                    return None
        try:
            asked(given)
        except ScflowsError as error:
            self.wrong(f"schedule: {error}", *at)
        return dict(given)

    def _params(self, top: dict[Any, Any]) -> dict[str, Any]:
        from scflows.parameter import declaration_mistakes

        given = top.get("params")
        if given is None:
            return {}
        before = len(self.document.mistakes)
        for keys, message in declaration_mistakes(given):
            self.wrong(message, "params", *keys)
        if len(self.document.mistakes) > before:
            return {}
        try:
            converted: dict[str, Any] = json_value(given)
        except ScflowsError as error:
            self.wrong(f"params: {error}", "params")
            return {}
        return converted

    def _jumps(self, top: dict[Any, Any], specs: list[StepSpec], finally_step: str | None) -> None:
        names = [spec.name for spec in specs]

        def target(name: str, told: str, at: tuple[str | int, ...], reserved: Iterable[str]) -> None:
            if name in reserved:
                return
            count = names.count(name)
            if count != 1:
                reason = "names two steps" if count else f"names no step{nearest(name, names)}"
                self.wrong(f"{told} {name!r} {reason}", *at)

        if finally_step is not None:
            target(finally_step, "finally_step", ("finally_step",), ())
        for index, written in enumerate(top["steps"] if isinstance(top.get("steps"), list) else []):
            if not isinstance(written, dict):
                continue
            at: tuple[str | int, ...] = ("steps", index)
            title = f"step {written.get('name')!r}:"
            jump = written.get("on_error_goto")
            if isinstance(jump, str):
                target(jump, f"{title} on_error_goto", (*at, "on_error_goto"), RESERVED)
            block = written.get("goto")
            name = block.get("step_name") if isinstance(block, dict) else None
            if written.get("type") == "goto" and isinstance(name, str) and "{" not in name:
                target(name, f"{title} step_name", (*at, "goto", "step_name"), RESERVED)
