"""Wait."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.steps import Context, Step, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

#: Some 30 years. What is far beyond it the system's clocks refuse.
MAX_SECONDS = 1e9


@dataclass(frozen=True)
class SleepStep(Step):
    """Wait; a timeout or a stop cuts it short. A dry run does not wait.

    - name: give the sensor time
      type: sleep
      sleep: {seconds: 1.5}
    """

    seconds: float = option(minimum=0, help="how long")

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if not options["seconds"] <= MAX_SECONDS:
            yield "seconds", f"'seconds' is {options['seconds']}; the most is {MAX_SECONDS:g}"

    def intention(self) -> str:
        return f"wait {self.seconds:g} s, left out"

    def run(self, ctx: Context) -> Any:
        if not ctx.dry_run:
            ctx.sleep(self.seconds)
        return {}
