"""Parse and validate one step of a flow file: its properties, and the options of its type."""

from __future__ import annotations

from scflows.errors import ScflowsError, StepError
from scflows.expressions.templates import Expressions
from scflows.flows.model import StepSpec
from scflows.flows.names import CONDITION, KEY, LITERAL, TEMPLATE, NameCheck
from scflows.flows.properties import INNER_PROPERTIES, STEP_PROPERTIES
from scflows.steps import Option, Step, json_value, options_of
from scflows.steps.options import in_seconds
from scflows.steps.registry import find_step, step_types
from scflows.validation import KIND_WORDS, Located, described, duration_seconds, fits, nearest, texts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    At = tuple[str | int, ...]


#: The option that names a key of the data, in every step type.
DATA_KEY = "data_key"


class StepReader:
    """A parser for the steps of one document, which collects the mistakes."""

    def __init__(self, document: Located) -> None:
        self.document = document
        self.wrong = document.mistake
        self.expressions = Expressions()
        self.names = NameCheck(document, self.expressions)

    def step(self, written: Any, index: int) -> StepSpec | None:
        """Parse the step at an index of the list; return None if it is not usable at all."""
        at = ("steps", index)
        if not isinstance(written, dict):
            self.wrong(f"step {index + 1} must be a mapping, not {described(written)}", *at)
            return None
        name = written.get("name")
        if not isinstance(name, str) or not name:
            problem = "has no `name`" if name is None else "needs a text as `name`"
            self.wrong(f"step {index + 1} {problem}", *at, "name")
            name = f"step {index + 1}"
        title = f"step {name!r}"
        kind = written.get("type")
        step_class = self._step_class(kind, title, at)
        if step_class is None:
            return None
        assert isinstance(kind, str)
        self._unknown(written, kind, step_class, title, at)
        return StepSpec(
            name=name,
            type=kind,
            options=self._options(written, kind, step_class, title, at),
            when=self._when(written, title, at),
            result_key=self._result_key(written, name, title, at),
            jq_expression=self._jq(written, title, at),
            jq_output=self._choice(written, "jq_output", title, at),
            ignore_errors=self._patterns(written, "ignore_errors", title, at),
            on_error_goto=self._typed(written, "on_error_goto", title, at),
            timeout=self._typed(written, "timeout", title, at),
            retry=self._retry(written, title, at),
            needs=self._needs(written, title, at),
            target=self._paths(written, "target", title, at),
            sources=self._paths(written, "sources", title, at),
            line=self.document.place(*at)[0],
        )

    def inner(self, written: Any, title: str, at: At) -> None:
        """Check a step inside the options of another step."""
        if not isinstance(written, dict):
            self.wrong(f"{title}: the inner step must be a mapping, not {described(written)}", *at)
            return
        title = f"{title}, inner step"
        kind = written.get("type")
        step_class = self._step_class(kind, title, at)
        if step_class is None:
            return
        assert isinstance(kind, str)
        for key in STEP_PROPERTIES:
            if key in written and key not in INNER_PROPERTIES:
                self.wrong(f"{title}: {key} is allowed only on the outer step", *at, key)
        self._unknown(written, kind, step_class, title, at)
        self._options(written, kind, step_class, title, at)
        self._jq(written, title, at)
        self._choice(written, "jq_output", title, at)

    def _unknown(self, written: dict[Any, Any], kind: str, step_class: type[Step], title: str, at: At) -> None:
        """Warn about properties that the language does not know; an option of the type belongs elsewhere."""
        options = options_of(step_class)
        for key in written:
            if key in options and key not in STEP_PROPERTIES and key != kind:
                message = f"{title}: {key!r} is ignored here: it is an option, write it below `{kind}:`"
                self.document.mistake(message, *at, key, severity="warning")
        self.document.warn_unknown(written, (*STEP_PROPERTIES, *options, kind), title, at)

    def _step_class(self, kind: Any, title: str, at: At) -> type[Step] | None:
        if not isinstance(kind, str):
            problem = "has no `type`" if kind is None else "needs a text as `type`"
            self.wrong(f"{title} {problem}; use one of {', '.join(step_types())}", *at, "type")
            return None
        try:
            found = find_step(kind)
            if found is not None:
                options_of(found)
        except ScflowsError as error:
            self.wrong(f"{title}: {error}", *at, "type")
            return None
        if found is None:
            hint = nearest(kind, step_types()) or f"; use one of {', '.join(step_types())}"
            self.wrong(f"{title}: unknown step type {kind!r}{hint}", *at, "type")
        return found

    def _options(
        self,
        written: dict[Any, Any],
        kind: str,
        step_class: type[Step],
        title: str,
        at: At,
    ) -> dict[str, Any]:
        known = options_of(step_class)
        block = written.get(kind)
        if block is None and kind in written and not any(each.required for each in known.values()):
            block = {}
        if not isinstance(block, dict):
            problem = f"has no `{kind}:`" if kind not in written else f"needs a mapping as `{kind}:`"
            wanted = ", ".join(name for name, each in known.items() if each.required)
            self.wrong(f"{title} {problem}" + (f" with {wanted}" if wanted else ""), *at, kind)
            return {}
        return self.options_in(block, step_class, title, (*at, kind))

    def options_in(self, block: dict[Any, Any], step_class: type[Step], title: str, at: At) -> dict[str, Any]:
        """Check the options of a step type in the mapping at a place, and return them."""
        known = options_of(step_class)
        before = len(self.document.mistakes)
        for key in block:
            if key not in known:
                hint = nearest(str(key), known) or f"; use {', '.join(known)}"
                self.wrong(f"{title}: unknown option {key!r}{hint}", *at, key)
        for option in known.values():
            if option.name in block:
                self._option(option, block[option.name], title, (*at, option.name))
            elif option.required:
                self.wrong(f"{title}: option {option.name!r} is missing", *at)
        try:
            options: dict[str, Any] = json_value({key: value for key, value in block.items() if key in known})
        except StepError as error:
            self.wrong(f"{title}: {error}", *at)
            return {}
        if len(self.document.mistakes) == before:
            durations = [each.name for each in known.values() if each.duration]
            for name, message in step_class.check(in_seconds(options, durations)):
                self.wrong(f"{title}: {message}", *at, name)
            for keys, step in step_class.nested(block):
                self.inner(step, title, (*at, *keys))
        return options

    def _option(self, option: Option, value: Any, title: str, at: At) -> None:
        if option.kinds and not fits(value, option.kinds):
            wanted = " or ".join(KIND_WORDS[kind] for kind in option.kinds if kind != "null")
            hint = "; it is not a template" if isinstance(value, str) and "{{" in value else ""
            self.wrong(f"{title}: {option.name!r} must be {wanted}, not {described(value)}{hint}", *at)
            return
        if option.choices and value is not None:
            shown = str(value).lower() if option.any_case else value
            allowed = [choice.lower() for choice in option.choices] if option.any_case else option.choices
            if shown not in allowed:
                near = nearest(str(value), option.choices)
                self.wrong(
                    f"{title}: {option.name!r} must be one of {', '.join(option.choices)}, not {value!r}{near}", *at
                )
        number = duration_seconds(value) if "duration" in option.kinds else value
        if option.minimum is not None and isinstance(number, int | float) and not number >= option.minimum:
            self.wrong(f"{title}: {option.name!r} must be at least {option.minimum:g}, not {value}", *at)
        label = f"{title}: {option.name!r}"
        if option.name == DATA_KEY:
            self.names.add(KEY, value, f"{title}: {option.name}", at)
        elif not option.template:
            for text in texts(value):
                self.names.add(LITERAL, text, label, at)
        if option.template:
            for text in texts(value):
                self.names.add(TEMPLATE, text, label, at)
                self._compiles(
                    lambda each: self.expressions.check_template(each, option.secrets),
                    text,
                    label,
                    at,
                )

    def _when(self, written: dict[Any, Any], title: str, at: At) -> list[Any]:
        given = written.get("when", [])
        conditions = given if isinstance(given, list) else [given]
        for condition in conditions:
            if condition is not None and not isinstance(condition, str | bool | int | float):
                self.wrong(f"{title}: a condition must be text, not {described(condition)}", *at, "when")
                return []
            if self._compiles(self.expressions.check_condition, condition, f"{title}: when", (*at, "when")):
                self.names.add(CONDITION, condition, f"{title}: when", (*at, "when"))
                doubt = self.expressions.doubt_condition(condition)
                if doubt:
                    self.document.mistake(f"{title}: when: {condition!r} {doubt}", *at, "when", severity="warning")
        return conditions

    def _result_key(self, written: dict[Any, Any], name: str, title: str, at: At) -> str:
        key = self._typed(written, "result_key", title, at)
        used = name if key is None else key
        if used.startswith("__") and used.endswith("__"):
            self.wrong(
                f"{title}: {used!r} is reserved for special variables; choose another result_key",
                *at,
                "result_key",
            )
        if key == "":
            self.wrong(f"{title}: result_key is empty", *at, "result_key")
        self.names.add(LITERAL, key, f"{title}: result_key", (*at, "result_key"))
        return key or ""

    def _jq(self, written: dict[Any, Any], title: str, at: At) -> str | None:
        expression: str | None = self._typed(written, "jq_expression", title, at)
        if expression is not None:
            label = f"{title}: jq_expression"
            self._compiles(self.expressions.check_filter, expression, label, (*at, "jq_expression"))
        return expression

    def _patterns(self, written: dict[Any, Any], key: str, title: str, at: At) -> list[Any]:
        from scflows.flows.error_patterns import pattern_mistakes

        given = written.get(key)
        if given is None:
            return []
        for problem in pattern_mistakes(given):
            self.wrong(
                f"{title}: {key} {problem}" if problem.startswith("must") else f"{title}: {key}: {problem}", *at, key
            )
        return given if isinstance(given, list) else [given]

    def _retry(self, written: dict[Any, Any], title: str, at: At) -> dict[str, Any] | None:
        from scflows.flows.retry import retry_mistakes, with_seconds

        given = written.get("retry")
        if given is None:
            return None
        found = list(retry_mistakes(given))
        for key, message in found:
            self.wrong(f"{title}: {message}", *at, "retry", *([key] if key else []))
        return None if found else with_seconds(given)

    def _needs(self, written: dict[Any, Any], title: str, at: At) -> list[str] | None:
        given = written.get("needs")
        if given is None:
            return None
        names = given if isinstance(given, list) else [given]
        for name in names:
            if not isinstance(name, str):
                self.wrong(f"{title}: needs must be names of steps, not {described(name)}", *at, "needs")
                return None
        return list(names)

    def _paths(self, written: dict[Any, Any], key: str, title: str, at: At) -> list[str]:
        given = written.get(key)
        if given is None:
            return []
        paths = given if isinstance(given, list) else [given]
        for path in paths:
            if not isinstance(path, str) or not path:
                self.wrong(f"{title}: {key} must be paths, not {described(path)}", *at, key)
                return []
            self._compiles(self.expressions.check_template, path, f"{title}: {key}", (*at, key))
            self.names.add(TEMPLATE, path, f"{title}: {key}", (*at, key))
        if key == "sources" and written.get("target") is None:
            self.wrong(f"{title}: sources have no effect without a target", *at, key)
        return list(paths)

    def _typed(self, written: dict[Any, Any], key: str, title: str, at: At) -> Any:
        """Return the value of a property, or None."""
        known = STEP_PROPERTIES[key]
        return self.document.typed(written, key, known.kinds[0], None, title, at, least=known.minimum)

    def _choice(self, mapping: dict[Any, Any], key: str, title: str, at: At) -> str | None:
        value, choices = mapping.get(key), STEP_PROPERTIES[key].choices
        if value is None or value in choices:
            return value
        self.wrong(f"{title}: {key} must be one of {', '.join(choices)}, not {value!r}", *at, key)
        return None

    def _compiles(self, check: Callable[[Any], None], text: Any, label: str, at: At) -> bool:
        try:
            check(text)
        except StepError as error:
            self.wrong(f"{label}: {error}", *at)
            return False
        return True
