"""Write a value into the log."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.errors import StepError
from scflows.steps import Context, Step, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: More of a value than this many characters is not logged: it would push everything else out of sight.
SHOWN_CHARACTERS = 100_000


@dataclass(frozen=True)
class DebugStep(Step):
    """Write a value, or all data, into the log.

    - name: look
      type: debug
      debug: {data_key: readings, type: json}
    """

    data_key: str = option(".", help="what to show; null is shown for a key that is not there")
    type: str = option("yaml", choices=("yaml", "json", "text"), help="the form it is shown in")

    def intention(self) -> str:
        return "show all data" if self.data_key == "." else f"show {self.data_key!r}"

    def run(self, ctx: Context) -> Any:
        value = ctx.data if self.data_key == "." else ctx.data.get(self.data_key)
        # Masked before it is cut: half of a secret would not be found any more.
        text = ctx.masked(self._text(value))
        left_out = len(text) - SHOWN_CHARACTERS
        if left_out > 0:
            text = f"{text[:SHOWN_CHARACTERS]}\n… {left_out} characters more"
        ctx.log.info(text)
        return {} if self.data_key == "." else value

    def _text(self, value: Any) -> str:
        from scflows import documents

        if self.type == "text" and isinstance(value, str):
            return value
        if self.type == "yaml":
            try:
                return documents.yaml_text(value)
            except StepError:
                # Half a surrogate pair is beyond YAML, not beyond JSON.
                return documents.json_text(value)
        return documents.json_text(value)
