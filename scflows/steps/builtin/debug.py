"""Write a value to the log."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.errors import StepError
from scflows.steps import Context, Step, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Longer texts are cut, because they would hide the rest of the log.
MAX_CHARACTERS = 100_000


@dataclass(frozen=True)
class DebugStep(Step):
    """Write a value, or all data, to the log.

    - name: look
      type: debug
      debug: {data_key: readings, type: json}
    """

    data_key: str = option(".", help="the key to show; null if it does not exist")
    type: str = option("yaml", choices=("yaml", "json", "text"), help="the output format")

    def intention(self) -> str:
        return "show all data" if self.data_key == "." else f"show {self.data_key!r}"

    def run(self, ctx: Context) -> Any:
        value = ctx.data if self.data_key == "." else ctx.data.get(self.data_key)
        # Mask before cutting: the mask would not recognise half of a secret.
        text = ctx.masked(self._text(value))
        excess = len(text) - MAX_CHARACTERS
        if excess > 0:
            text = f"{text[:MAX_CHARACTERS]}\n… {excess} more characters"
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
                # YAML cannot represent half a surrogate pair, JSON can.
                return documents.json_text(value)
        return documents.json_text(value)
