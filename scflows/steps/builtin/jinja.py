"""Render a template file."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.steps import Context, Step, json_value, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@dataclass(frozen=True)
class JinjaStep(Step):
    """Render a template file; the result is its text, or a value parsed from it.

    The template can use the special variables, the keys of the value of `data_key`, and `data` for that value itself.

    - name: report
      type: jinja
      jinja: {path: report.md.j2, data_key: readings}
    """

    path: str = option(help="in TEMPLATES_PATH or in the flow's folder")
    data_key: str = option(".", help="the key of the data for the template")
    parse: str | None = option(None, choices=("json", "yaml"), help="parse the text as a value")

    def intention(self) -> str:
        return f"render {self.path}"

    def run(self, ctx: Context) -> Any:
        text = ctx.expressions.render_file(self.path, ctx.template_names(self.data_key))
        if self.parse is None:
            return text
        from scflows import documents

        parse = documents.parse_json if self.parse == "json" else documents.parse_yaml
        return json_value(parse(text, f"the output of {self.path}"))
