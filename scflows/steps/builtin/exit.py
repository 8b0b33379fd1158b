"""End the flow here, on purpose."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.steps import Context, Exit, Step, option


@dataclass(frozen=True)
class ExitStep(Step):
    """End the flow here, on purpose: status `exit`, without its final step.

    - name: nothing to do
      type: exit
      when: "not readings"
      exit: {message: "no readings at {{ __timestamp__ }}"}
    """

    message: str = option(template=True, help="why")

    def intention(self) -> str:
        return f"end the flow: {self.message}"

    def run(self, ctx: Context) -> Exit:
        return Exit(self.message)
