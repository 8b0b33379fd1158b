"""Jump to another step."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.steps import Context, Goto, Step, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any


@dataclass(frozen=True)
class GotoStep(Step):
    """Jump to another step, or to `__start__`, `__end__` or `__exit__`.

    - name: next page
      type: goto
      when: "page.next"
      goto: {step_name: "__start__"}
    """

    step_name: str = option(template=True, help="the name of the step, or one of these")

    @classmethod
    def jumps(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        yield "step_name", options["step_name"]

    def intention(self) -> str:
        return f"jump to {self.step_name!r}"

    def run(self, ctx: Context) -> Goto:
        return Goto(self.step_name)
