"""A flow file, parsed and checked whole: every mistake at once, each with its place."""

from __future__ import annotations

from scflows.errors import FlowError, ScflowsError, StepError
from scflows.expression import Expressions
from scflows.flow import MAX_STEPS, RESERVED, Flow, StepSpec
from scflows.located import Located
from scflows.steps import find_step, json_value, options_of, step_types

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from scflows.errors import Mistake
    from scflows.steps import Option, Step

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
STEP_PROPERTIES = (
    "name",
    "type",
    "when",
    "result_key",
    "jq_expression",
    "jq_output",
    "ignore_errors",
    "on_error_goto",
    "timeout",
)
SCHEDULE_PROPERTIES = ("cron", "every", "every_seconds", "timezone", "catch_up", "overlap")
KIND_WORDS = {
    "text": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "list": "a list",
    "mapping": "a mapping",
    "null": "null",
}


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
        self.expressions = Expressions()

    def flow(self, path: str, file: str) -> Flow | None:
        top = self.document.value
        if not isinstance(top, dict):
            self.wrong("a flow is a mapping with a list of `steps`")
            return None
        self._unknown(top, FLOW_PROPERTIES, "property")
        specs = self._steps(top)
        finally_step = self._kind(top, "finally_step", "text", None)
        self._jumps(specs, finally_step)
        return Flow(
            path=path,
            file=file,
            name=self._kind(top, "name", "text", None) or path.rpartition("/")[2].rpartition(".")[0] or path,
            steps=specs,
            finally_step=finally_step,
            max_steps=int(self._kind(top, "max_steps", "integer", MAX_STEPS, least=1)),
            strict=self._kind(top, "strict", "boolean", False),
            timeout=self._kind(top, "timeout", "number", None, least=0.001)
            or self._kind(top, "timeout_seconds", "number", None, least=0.001),
            schedule=self._schedule(top),
            params=self._params(top),
            description=self._kind(top, "description", "text", ""),
        )

    def _steps(self, top: dict[Any, Any]) -> list[StepSpec]:
        if "steps" not in top:
            self.wrong("`steps` is missing: a list of steps, which may be empty")
            return []
        steps = top["steps"]
        if not isinstance(steps, list):
            self.wrong(f"`steps` must be a list, not {_kind_of(steps)}", "steps")
            return []
        return [spec for index, each in enumerate(steps) if (spec := self._step(each, index)) is not None]

    def _step(self, written: Any, index: int) -> StepSpec | None:
        at = ("steps", index)
        if not isinstance(written, dict):
            self.wrong(f"step {index + 1} must be a mapping, not {_kind_of(written)}", *at)
            return None
        name = written.get("name")
        if not isinstance(name, str) or not name:
            told = "has no `name`" if name is None else "needs a text as its `name`"
            self.wrong(f"step {index + 1} {told}", *at, "name")
            name = f"step {index + 1}"
        title = f"step {name!r}"
        kind = written.get("type")
        step_class = self._step_class(kind, title, at)
        if step_class is None:
            return None
        assert isinstance(kind, str)
        self._unknown(written, (*STEP_PROPERTIES, kind), "property", title, at)
        return StepSpec(
            name=name,
            type=kind,
            options=self._options(written, kind, step_class, title, at),
            when=self._when(written, title, at),
            result_key=self._result_key(written, name, title, at),
            jq_expression=self._jq(written, title, at),
            jq_output=self._choice(written, "jq_output", ("auto", "list", "first"), title, at),
            ignore_errors=self._patterns(written, "ignore_errors", title, at),
            on_error_goto=self._kind(written, "on_error_goto", "text", None, title, at),
            timeout=self._kind(written, "timeout", "number", None, title, at, least=0.001),
            line=self.document.place(*at)[0],
        )

    def _step_class(self, kind: Any, title: str, at: tuple[str | int, ...]) -> type[Step] | None:
        if not isinstance(kind, str):
            told = "has no `type`" if kind is None else "needs a text as its `type`"
            self.wrong(f"{title} {told}; there are {', '.join(step_types())}", *at, "type")
            return None
        try:
            found = find_step(kind)
        except ScflowsError as error:
            self.wrong(f"{title}: {error}", *at, "type")
            return None
        if found is None:
            told = _nearest(kind, step_types()) or f"; there are {', '.join(step_types())}"
            self.wrong(f"{title}: unknown step type {kind!r}{told}", *at, "type")
        return found

    def _options(
        self,
        written: dict[Any, Any],
        kind: str,
        step_class: type[Step],
        title: str,
        at: tuple[str | int, ...],
    ) -> dict[str, Any]:
        known = options_of(step_class)
        block = written.get(kind, {} if not any(each.required for each in known.values()) else None)
        if block is None and kind in written and not any(each.required for each in known.values()):
            block = {}
        if not isinstance(block, dict):
            told = f"has no block `{kind}:`" if kind not in written else f"needs a mapping as its `{kind}:`"
            wanted = ", ".join(name for name, each in known.items() if each.required)
            self.wrong(f"{title} {told}" + (f" with {wanted}" if wanted else ""), *at, kind)
            return {}
        before = len(self.document.mistakes)
        for key in block:
            if key not in known:
                told = _nearest(str(key), known) or f"; it has {', '.join(known)}"
                self.wrong(f"{title}: unknown option {key!r}{told}", *at, kind, key)
        for option in known.values():
            if option.name in block:
                self._option(option, block[option.name], title, (*at, kind, option.name))
            elif option.required:
                self.wrong(f"{title}: option {option.name!r} is missing", *at, kind)
        try:
            options: dict[str, Any] = json_value({key: value for key, value in block.items() if key in known})
        except StepError as error:
            self.wrong(f"{title}: {error}", *at, kind)
            return {}
        if len(self.document.mistakes) == before:
            for name, message in step_class.check(options):
                self.wrong(f"{title}: {message}", *at, kind, name)
        return options

    def _option(self, option: Option, value: Any, title: str, at: tuple[str | int, ...]) -> None:
        if option.kinds and not _fits(value, option.kinds):
            wanted = " or ".join(KIND_WORDS[kind] for kind in option.kinds if kind != "null")
            self.wrong(f"{title}: {option.name!r} must be {wanted}, not {_kind_of(value)}", *at)
            return
        if option.choices and value is not None:
            shown = str(value).lower() if option.any_case else value
            allowed = [choice.lower() for choice in option.choices] if option.any_case else option.choices
            if shown not in allowed:
                near = _nearest(str(value), option.choices)
                self.wrong(f"{title}: {option.name!r} is {value!r}; it may be {', '.join(option.choices)}{near}", *at)
        if option.minimum is not None and isinstance(value, int | float) and not value >= option.minimum:
            self.wrong(f"{title}: {option.name!r} is {value}; the least is {option.minimum:g}", *at)
        if option.template:
            for text in _texts(value):
                self._compiles(self.expressions.check_template, text, f"{title}: {option.name!r}", at)

    def _when(self, written: dict[Any, Any], title: str, at: tuple[str | int, ...]) -> list[Any]:
        given = written.get("when", [])
        conditions = given if isinstance(given, list) else [given]
        for condition in conditions:
            if condition is not None and not isinstance(condition, str | bool | int | float):
                self.wrong(f"{title}: a condition is a text, not {_kind_of(condition)}", *at, "when")
                return []
            self._compiles(self.expressions.check_condition, condition, f"{title}: when", (*at, "when"))
        return conditions

    def _result_key(self, written: dict[Any, Any], name: str, title: str, at: tuple[str | int, ...]) -> str:
        key = self._kind(written, "result_key", "text", None, title, at)
        used = name if key is None else key
        if used.startswith("__") and used.endswith("__"):
            self.wrong(
                f"{title}: {used!r} is kept for special variables; choose another result_key",
                *at,
                "result_key",
            )
        if key == "":
            self.wrong(f"{title}: an empty result_key", *at, "result_key")
        return key or ""

    def _jq(self, written: dict[Any, Any], title: str, at: tuple[str | int, ...]) -> str | None:
        expression: str | None = self._kind(written, "jq_expression", "text", None, title, at)
        if expression is not None:
            told = f"{title}: jq_expression"
            self._compiles(self.expressions.check_filter, expression, told, (*at, "jq_expression"))
        return expression

    def _patterns(self, written: dict[Any, Any], key: str, title: str, at: tuple[str | int, ...]) -> list[str]:
        import re

        given = written.get(key)
        if given is None:
            return []
        patterns = given if isinstance(given, list) else [given]
        kept = []
        for pattern in patterns:
            # An unquoted 404 is meant as its text.
            text = str(pattern) if isinstance(pattern, int) and not isinstance(pattern, bool) else pattern
            if not isinstance(text, str):
                self.wrong(f"{title}: {key} takes patterns, not {_kind_of(pattern)}", *at, key)
                continue
            try:
                re.compile(text)
            except (re.error, RecursionError, OverflowError) as error:
                self.wrong(f"{title}: {key}: {text!r} is no regular expression: {error}", *at, key)
            kept.append(text)
        return kept

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
                    told = _nearest(str(key), SCHEDULE_PROPERTIES) or f"; it has {', '.join(SCHEDULE_PROPERTIES)}"
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
        converted: dict[str, Any] = json_value(given)
        return converted

    def _jumps(self, specs: list[StepSpec], finally_step: str | None) -> None:
        names = [spec.name for spec in specs]

        def target(name: str, told: str, at: tuple[str | int, ...], reserved: Iterable[str]) -> None:
            if name in reserved:
                return
            count = names.count(name)
            if count != 1:
                reason = "names two steps" if count else f"names no step{_nearest(name, names)}"
                self.wrong(f"{told} {name!r} {reason}", *at)

        if finally_step is not None:
            target(finally_step, "finally_step", ("finally_step",), ())
        for index, written in enumerate(self.document.value.get("steps") or []):
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

    def _kind(
        self,
        mapping: dict[Any, Any],
        key: str,
        kind: str,
        default: Any,
        title: str = "",
        at: tuple[str | int, ...] = (),
        least: float | None = None,
    ) -> Any:
        value = mapping.get(key)
        if value is None:
            return default
        told = f"{title}: {key}" if title else key
        if not _fits(value, (kind,)):
            self.wrong(f"{told} must be {KIND_WORDS[kind]}, not {_kind_of(value)}", *at, key)
            return default
        if least is not None and value < least:
            self.wrong(f"{told} must be {'more than 0' if least < 1 else f'{least:g} or more'}", *at, key)
            return default
        return value

    def _choice(
        self,
        mapping: dict[Any, Any],
        key: str,
        choices: tuple[str, ...],
        title: str,
        at: tuple[str | int, ...],
    ) -> str | None:
        value = mapping.get(key)
        if value is None or value in choices:
            return value
        self.wrong(f"{title}: {key} is {value!r}; it may be {', '.join(choices)}", *at, key)
        return None

    def _unknown(
        self,
        mapping: dict[Any, Any],
        known: Iterable[str],
        word: str,
        title: str = "",
        at: tuple[str | int, ...] = (),
    ) -> None:
        for key in mapping:
            if key not in known:
                told = f"{title}: " if title else ""
                near = _nearest(str(key), known)
                self.wrong(f"{told}unknown {word} {key!r} is left aside{near}", *at, key, severity="warning")

    def _compiles(self, check: Any, text: Any, told: str, at: tuple[str | int, ...]) -> None:
        try:
            check(text)
        except StepError as error:
            self.wrong(f"{told}: {error}", *at)


def _fits(value: Any, kinds: tuple[str, ...]) -> bool:
    kind = _kind_word(value)
    return kind in kinds or (kind == "integer" and "number" in kinds)


def _kind_word(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    if isinstance(value, list):
        return "list"
    if isinstance(value, dict):
        return "mapping"
    return "text" if isinstance(value, str) else type(value).__name__


def _kind_of(value: Any) -> str:
    word = _kind_word(value)
    shown = repr(value)
    described = KIND_WORDS.get(word, f"a {word}")
    if word == "null":
        return "null"
    if word == "boolean":
        return "true" if value else "false"
    return described + (f" ({shown})" if len(shown) <= 40 and word not in ("list", "mapping") else "")


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _nearest(name: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, list(known), 1)
    return f"; did you mean {near[0]!r}?" if near else ""
