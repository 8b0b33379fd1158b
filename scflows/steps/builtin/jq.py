"""Transform data with a jq program."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.errors import StepError
from scflows.expressions.templates import Expressions
from scflows.steps import Context, Step, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any


@dataclass(frozen=True)
class JqStep(Step):
    """Transform data with a jq program. The result is null, its single output, or the list of its outputs.

    - name: warm
      type: jq
      jq: {data_key: readings, expression: "[.[] | select(.temp > 20)]"}
    """

    expression: str = option(help="a jq program; wrap it in [ … ] to always get a list")
    data_key: str = option(".", help="the key of its input")

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        try:
            Expressions().check_filter(options["expression"])
        except StepError as error:
            yield "expression", str(error)

    def intention(self) -> str:
        return "transform all data" if self.data_key == "." else f"transform {self.data_key!r}"

    def run(self, ctx: Context) -> Any:
        return ctx.expressions.filter(self.expression, ctx.peek(self.data_key), ctx.jq_output)
