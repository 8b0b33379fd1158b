"""Wait."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.steps import Context, Step, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

#: About 30 years. System calls refuse much larger values.
MAX_SECONDS = 1e9


@dataclass(frozen=True)
class SleepStep(Step):
    """Wait. A timeout or a stop ends the wait early; a dry run does not wait.

    - name: give the sensor time
      type: sleep
      sleep: {seconds: 1.5}
    """

    seconds: float = option(minimum=0, duration=True, help="how long to wait, for example 1.5 or 5m")

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if not options["seconds"] <= MAX_SECONDS:
            yield "seconds", f"'seconds' is {options['seconds']}; the maximum is {MAX_SECONDS:g}"

    def intention(self) -> str:
        return f"wait {self.seconds:g} s, skipped"

    def run(self, ctx: Context) -> Any:
        if not ctx.dry_run:
            ctx.sleep(self.seconds)
        return {}
