"""Go on at another step."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.steps import Context, Goto, Step, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any


@dataclass(frozen=True)
class GotoStep(Step):
    """Go on at another step, or at `__start__`, `__end__`, `__exit__`.

    - name: next page
      type: goto
      when: "page.next"
      goto: {step_name: "__start__"}
    """

    step_name: str = option(template=True, help="where to go on")

    @classmethod
    def jumps(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        yield "step_name", options["step_name"]

    def intention(self) -> str:
        return f"go on at {self.step_name!r}"

    def run(self, ctx: Context) -> Goto:
        return Goto(self.step_name)
