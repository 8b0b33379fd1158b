"""Go on at another step."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.steps import Context, Goto, Step, option


@dataclass(frozen=True)
class GotoStep(Step):
    """Go on at another step, or at `__start__`, `__end__`, `__exit__`.

    - name: next page
      type: goto
      when: "page.next"
      goto: {step_name: "__start__"}
    """

    step_name: str = option(template=True, help="where to go on")

    def intention(self) -> str:
        return f"go on at {self.step_name!r}"

    def run(self, ctx: Context) -> Goto:
        return Goto(self.step_name)
