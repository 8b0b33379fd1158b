"""Fill in a template file."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.steps import Context, Step, json_value, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@dataclass(frozen=True)
class JinjaStep(Step):
    """Fill in a template file; the result is the text, or the value it says.

    In the template, the names are the special variables, the keys of the value under `data_key`, and `data`
    for that value itself.

    - name: report
      type: jinja
      jinja: {path: report.md.j2, data_key: readings}
    """

    path: str = option(help="in TEMPLATES_PATH, or beside the flow file")
    data_key: str = option(".", help="what the template is given")
    parse: str | None = option(None, choices=("json", "yaml"), help="read the text as a value")

    def intention(self) -> str:
        return f"fill in {self.path}"

    def run(self, ctx: Context) -> Any:
        text = ctx.expressions.render_file(self.path, self._names(ctx))
        if self.parse is None:
            return text
        from scflows import documents

        read = documents.parse_json if self.parse == "json" else documents.parse_yaml
        return json_value(read(text, f"what {self.path} gives"))

    def _names(self, ctx: Context) -> dict[str, Any]:
        value = ctx.look(self.data_key)
        names = {"data": value}
        if isinstance(value, dict):
            names.update(value)
        for name, special in ctx.data.items():
            if name.startswith("__") and name.endswith("__"):
                names[name] = special
        return names
