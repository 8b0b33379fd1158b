"""Shape data with a jq program."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.errors import StepError
from scflows.expressions import Expressions
from scflows.steps import Context, Step, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any


@dataclass(frozen=True)
class JqStep(Step):
    """Shape data with a jq program: null, its one output, or the list of several.

    - name: warm
      type: jq
      jq: {data_key: readings, expression: "[.[] | select(.temp > 20)]"}
    """

    expression: str = option(help="a jq program; write [ … ] where a list is wanted always")
    data_key: str = option(".", help="what it is given")

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        try:
            Expressions().check_filter(options["expression"])
        except StepError as error:
            yield "expression", str(error)

    def intention(self) -> str:
        return "shape all data" if self.data_key == "." else f"shape {self.data_key!r}"

    def run(self, ctx: Context) -> Any:
        return ctx.expressions.filter(self.expression, ctx.look(self.data_key), ctx.jq_output)
