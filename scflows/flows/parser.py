"""Parse and validate a flow file, and collect every mistake with its position."""

from __future__ import annotations

from scflows.config import env_of, hooks_of, pings_of
from scflows.errors import FlowError, Mistake, ScflowsError
from scflows.flows.model import MAX_STEPS, MOST_PRIORITY, RESERVED, Flow, StepSpec
from scflows.flows.properties import FLOW_PROPERTIES, SCHEDULE_PROPERTIES
from scflows.flows.step_parser import StepReader
from scflows.flows.surprises import surprises
from scflows.steps import json_value
from scflows.steps.registry import find_step
from scflows.validation import Located, described, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any


def parse_flow(content: bytes, path: str, file: str, shown: str | None = None) -> tuple[Flow, list[Mistake]]:
    """Return the flow in a file's content, and warnings.

    `path` is the flow's path as written, `file` its absolute path, `shown` its name in messages. Raises FlowError with
    every mistake.
    """
    reader = _Reader(Located(content, shown or path))
    reader.uses_run_folder = b"__run_folder__" in content
    flow = reader.flow(path, file)
    mistakes = sorted(reader.document.mistakes, key=lambda mistake: (mistake.line, mistake.column))
    if any(mistake.severity == "error" for mistake in mistakes):
        raise FlowError(mistakes)
    assert flow is not None
    return flow, mistakes


class _Reader:
    def __init__(self, document: Located) -> None:
        self.document = document
        self.uses_run_folder = False
        self.wrong = document.mistake
        self.step_reader = StepReader(document)

    def flow(self, path: str, file: str) -> Flow | None:
        top = self.document.value
        if not isinstance(top, dict):
            self.wrong("a flow must be a mapping with a list of `steps`")
            return None
        if "jobs" in top and "steps" not in top:
            from scflows.flows.working_folder import folder_flow

            return folder_flow(self.document, self.step_reader, path, file)
        self.document.warn_unknown(top, FLOW_PROPERTIES)
        specs = self._steps(top)
        finally_step = self._typed(top, "finally_step")
        self._jumps(top, specs, finally_step)
        if any(spec.needs is not None for spec in specs):
            self._graph(specs, finally_step)
        params = self._params(top)
        strict = self._typed(top, "strict", False)
        self.step_reader.names.report([spec.key for spec in specs], params, strict)
        self.document.mistakes.extend(surprises(self.document))
        return Flow(
            path=path,
            file=file,
            name=self._typed(top, "name") or path.rpartition("/")[2].rpartition(".")[0] or path,
            steps=specs,
            finally_step=finally_step,
            max_steps=int(self._typed(top, "max_steps", MAX_STEPS)),
            max_parallel=self._typed(top, "max_parallel"),
            strict=strict,
            timeout=self._typed(top, "timeout") or self._typed(top, "timeout_seconds"),
            priority=self._priority(top),
            mutex=self._mutex(top),
            uses_run_folder=self.uses_run_folder,
            max_active_runs=int(self._typed(top, "max_active_runs", 1)),
            schedule=self._schedule(top),
            params=params,
            description=self._typed(top, "description", ""),
            env=env_of(self.document, top),
            hooks=hooks_of(self.document, top),
            ping=pings_of(self.document, top),
        )

    def _typed(self, top: dict[Any, Any], name: str, default: Any = None) -> Any:
        """Return the value of a property, or `default`."""
        known = FLOW_PROPERTIES[name]
        return self.document.typed(top, name, known.kinds[0], default, least=known.minimum)

    def _steps(self, top: dict[Any, Any]) -> list[StepSpec]:
        if "steps" not in top:
            self.wrong("`steps` is missing; it must be a list of steps, which may be empty")
            return []
        steps = top["steps"]
        if not isinstance(steps, list):
            self.wrong(f"`steps` must be a list, not {described(steps)}", "steps")
            return []
        return [spec for index, each in enumerate(steps) if (spec := self.step_reader.step(each, index)) is not None]

    def _priority(self, top: dict[Any, Any]) -> int:
        priority = int(self.document.typed(top, "priority", "integer", 0))
        if abs(priority) > MOST_PRIORITY:
            self.wrong(f"priority must be from -{MOST_PRIORITY} to {MOST_PRIORITY}", "priority")
        return priority

    def _mutex(self, top: dict[Any, Any]) -> list[str]:
        from scflows.cron.task import check_name

        given = top.get("mutex")
        names = given if isinstance(given, list) else [] if given is None else [given]
        for at, name in enumerate(names):
            location = ("mutex", at) if isinstance(given, list) else ("mutex",)
            if not isinstance(name, str):
                self.wrong(f"mutex must be a name or a list of names, not {described(name)}", *location)
                return []
            try:
                check_name(name)
            except ScflowsError:
                message = f"mutex {name[:100]!r}: use letters, digits and . _ -, beginning with a letter or digit"
                self.wrong(message, *location)
                return []
        return sorted(set(names))

    def _schedule(self, top: dict[Any, Any]) -> dict[str, Any] | None:
        from scflows.cron.schedule.spec import mistakes

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
        for key, error in mistakes(given):
            if key != "" and key not in SCHEDULE_PROPERTIES:
                hint = nearest(str(key), SCHEDULE_PROPERTIES) or f"; use {', '.join(SCHEDULE_PROPERTIES)}"
                self.wrong(f"schedule: unknown property {key!r}{hint}", "schedule", key)
            else:
                help = f"; {error.help}" if key == "cron" and error.help else ""
                self.wrong(
                    f"schedule: {error}{help}", *(at if key == "" else (*at, key) if at == ("schedule",) else (key,))
                )
        if given.get("timezone") is not None and given.get("cron") is None:
            message = "schedule: `timezone` has no effect on an interval (only on `cron`, or with --no-balance)"
            self.document.mistake(message, "schedule", "timezone", severity="warning")
        return dict(given)

    def _params(self, top: dict[Any, Any]) -> dict[str, Any]:
        from scflows.flows.parameters import declaration_mistakes

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

        def check_target(name: str, title: str, at: tuple[str | int, ...], reserved: Iterable[str]) -> None:
            if name in reserved:
                return
            count = names.count(name)
            if count != 1:
                problem = "is the name of two steps" if count else f"is not a step{nearest(name, names)}"
                self.wrong(f"{title} {name!r} {problem}", *at)

        if finally_step is not None:
            check_target(finally_step, "finally_step", ("finally_step",), ())
        is_graph = any(spec.needs is not None for spec in specs)
        allowed = ("__end__", "__exit__") if is_graph else RESERVED
        for index, written in enumerate(top["steps"] if isinstance(top.get("steps"), list) else []):
            if not isinstance(written, dict):
                continue
            at: tuple[str | int, ...] = ("steps", index)
            title = f"step {written.get('name')!r}:"
            found: list[tuple[Any, tuple[str | int, ...], str]] = []
            if isinstance(written.get("on_error_goto"), str):
                found.append((written["on_error_goto"], (*at, "on_error_goto"), "on_error_goto"))
            found.extend((name, (*at, *keys), str(keys[-1])) for name, keys in _written_jumps(written))
            for name, keys, key in found:
                if is_graph and name not in allowed:
                    problem = "in a flow with `needs`, jumps can only go to __end__ or __exit__"
                    self.wrong(f"{title} {key} {name!r}: {problem}", *keys)
                else:
                    check_target(name, f"{title} {key}", keys, allowed)

    def _graph(self, specs: list[StepSpec], finally_step: str | None) -> None:
        """Check the order by `needs`: no unknown names, no cycles, no key shared by two unrelated steps."""
        from scflows.flows.graph import cycle, unrelated

        names = [spec.name for spec in specs]
        needs: list[list[int]] = []
        for spec in specs:
            needs.append([])
            for name in spec.needs or ():
                count = names.count(name)
                if name == finally_step:
                    self._wrong_need(spec, f"{name!r} is the final step, which runs last")
                elif count != 1:
                    reason = "is the name of two steps" if count else f"is not a step{nearest(name, names)}"
                    self._wrong_need(spec, f"{name!r} {reason}")
                else:
                    needs[-1].append(names.index(name))
        found = cycle(needs)
        if found:
            path = ", ".join(f"{names[at]!r} needs {names[to]!r}" for at, to in _pairs(found))
            self._wrong_need(specs[found[0]], f"cycle: {path}")
            return
        keys: dict[str, list[int]] = {}
        for at, spec in enumerate(specs):
            if spec.name != finally_step:
                keys.setdefault(spec.key, []).append(at)
        for key, places in keys.items():
            pair = unrelated(needs, places)
            if pair is not None:
                one, other = names[pair[0]], names[pair[1]]
                reason = f"{one!r} and {other!r} both store under {key!r}, and neither needs the other"
                self._wrong_need(specs[pair[1]], reason, "result_key")

    def _wrong_need(self, spec: StepSpec, reason: str, key: str = "needs") -> None:
        top: Any = self.document.value
        place = next(at for at, each in enumerate(top["steps"]) if each.get("name") == spec.name)
        self.wrong(f"step {spec.name!r}: {key}: {reason}", "steps", place, key)


def _pairs(numbers: list[int]) -> list[tuple[int, int]]:
    return list(zip(numbers, [*numbers[1:], numbers[0]], strict=True))


def _written_jumps(written: dict[Any, Any]) -> Iterator[tuple[str, tuple[str | int, ...]]]:
    """Yield the literal jumps of a step and of nested steps, as (name, path of keys)."""
    kind = written.get("type")
    block = written.get(kind) if isinstance(kind, str) else None
    if not isinstance(kind, str) or not isinstance(block, dict):
        return
    try:
        step_class = find_step(kind)
    except ScflowsError:
        return
    if step_class is None:
        return
    try:
        jumps = list(step_class.jumps(block))
    except (KeyError, TypeError):
        jumps = []  # The options are invalid, which is reported elsewhere.
    for option, name in jumps:
        if isinstance(name, str) and "{" not in name:
            yield name, (kind, option)
    for keys, step in step_class.nested(block):
        if isinstance(step, dict):
            for name, inner in _written_jumps(step):
                yield name, (kind, *keys, *inner)
