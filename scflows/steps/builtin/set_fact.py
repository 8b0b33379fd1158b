"""Set a value in the data."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.steps import Context, Step, json_value, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any


@dataclass(frozen=True)
class SetFactStep(Step):
    """Set a value in the data; text in it is rendered and stays text unless it is parsed.

    - name: limits
      type: set_fact
      set_fact: {value: {low: 2, high: 30, source: "{{ __flow_path__ }}"}}
    - name: count
      type: set_fact
      set_fact: {value: "{{ limits | length }}", parse: json}
    """

    value: Any = option(template=True, help="any value; lists and mappings keep their structure")
    parse: str | None = option(None, choices=("json", "yaml"), help="parse the rendered text as a value")

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if options.get("parse") is not None and not isinstance(options["value"], str):
            yield "parse", "'parse' needs a text as value"

    def intention(self) -> str:
        return "set a value"

    def run(self, ctx: Context) -> Any:
        if self.parse is None:
            return self.value
        from scflows import documents

        parse = documents.parse_json if self.parse == "json" else documents.parse_yaml
        return json_value(parse(self.value, "the value"))
