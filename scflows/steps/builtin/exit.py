"""End the flow on purpose."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.steps import Context, Exit, Step, option


@dataclass(frozen=True)
class ExitStep(Step):
    """End the flow on purpose, with the status `exit` and without the final step.

    - name: nothing to do
      type: exit
      when: "not readings"
      exit: {message: "no readings at {{ __timestamp__ }}"}
    """

    message: str = option(template=True, help="the reason, for the run's record")

    def intention(self) -> str:
        return f"end the flow: {self.message}"

    def run(self, ctx: Context) -> Exit:
        return Exit(self.message)
