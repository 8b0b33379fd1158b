"""Run one of several steps."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from scflows.steps import Context, Nothing, Step, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

#: The older spelling of values that are not text, matched in addition to their JSON text.
OLDER_SPELLING = {True: "True", False: "False", None: "None"}


@dataclass(frozen=True)
class SwitchStep(Step):
    """Run one of several steps: the first whose pattern matches the start of the value, otherwise `default`.

    A value that is not text is matched as JSON text. The inner step needs no name; its result is this step's result.

    - name: by kind
      type: switch
      switch:
        data_key: kind
        cases:
          - {when: "temp|hum", step: {type: jq, jq: {data_key: readings, expression: "map(.value) | add"}}}
          - {when: "none$", step: {type: goto, goto: {step_name: __end__}}}
        default: {type: exit, exit: {message: "unknown kind {{ kind }}"}}
    """

    data_key: str = option(help="the key of the value")
    cases: list[dict[str, Any]] = option(help="mappings with `when`, a regular expression, and `step`")
    default: dict[str, Any] | None = option(None, help="the step to run when no case matches")

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        for number, case in enumerate(options["cases"], 1):
            if not isinstance(case, dict):
                yield "cases", f"case {number} must be a mapping with `when` and `step`"
                continue
            for key in case:
                if key not in ("when", "step"):
                    yield "cases", f"case {number}: unknown property {key!r}; use when, step"
            if "step" not in case:
                yield "cases", f"case {number} has no `step`"
            pattern = case.get("when")
            if pattern is None or isinstance(pattern, list | dict):
                yield "cases", f"case {number} needs a regular expression as `when`"
                continue
            try:
                re.compile(_pattern(pattern))
            except (re.error, RecursionError, OverflowError) as error:
                yield "cases", f"case {number}: when: {pattern!r} is not a valid regular expression: {error}"

    @classmethod
    def nested(cls, options: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
        cases = options.get("cases")
        for number, case in enumerate(cases if isinstance(cases, list) else ()):
            if isinstance(case, dict) and "step" in case:
                yield ("cases", number, "step"), case["step"]
        if options.get("default") is not None:
            yield ("default",), options["default"]

    def intention(self) -> str:
        return f"run the step that matches {self.data_key!r}"

    def run(self, ctx: Context) -> Any:
        texts = _texts(ctx.peek(self.data_key))
        for case in self.cases:
            pattern = _pattern(case["when"])
            if any(re.match(pattern, text) for text in texts):
                return ctx.run_step(case["step"])
        return Nothing() if self.default is None else ctx.run_step(self.default)


def _pattern(written: Any) -> str:
    return written if isinstance(written, str) else json.dumps(written)


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    text = json.dumps(value, ensure_ascii=False)
    return [text, OLDER_SPELLING[value]] if value is None or isinstance(value, bool) else [text]
