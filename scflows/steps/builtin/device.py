"""Process the readings of a Smart Citizen device."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.errors import StepError
from scflows.expressions.templates import is_template
from scflows.steps import Context, Exit, Step, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

#: The smallest value of each number.
MINIMUM = {"id": 1, "limit": 1, "pieces": 1, "retries": 1, "memory": 256}
#: Seconds reserved for the work after the last piece.
RESERVED_SECONDS = 10.0


@dataclass(frozen=True)
class DeviceStep(Step):
    """Process the new readings of a Smart Citizen device with `scdata`.

    A separate process works piece by piece: it loads the readings that the channels need, computes the channels, posts
    the results and moves the device's date forward. The run's reason is one of the known outcome codes. A device
    without new readings ends the flow, like `exit`. A dry run loads and computes but posts nothing.

    - name: process
      type: device
      device: {id: "{{ params.device }}"}
    """

    id: int | str = option(template=True, help="the device number")
    limit: int | str = option(500, template=True, help="maximum length of a piece, in minutes of readings")
    pieces: int | str = option(20, template=True, help="maximum number of pieces per run; the next run continues")
    retries: int | str = option(3, template=True, help="how often to try to post readings")
    dry_run: bool | str = option(False, template=True, help="post nothing, even if the run is not a dry run")
    memory: int | str = option(1024, template=True, help="memory limit of the process for data, in MiB")

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        for name in MINIMUM:
            value = options.get(name)
            if value is None or (isinstance(value, str) and is_template(value)):
                continue
            try:
                _number(name, value)
            except StepError as error:
                yield name, str(error)

    # A dry run reads as well, to show what would be posted.

    def intention(self) -> str:
        return f"process device {self.id}"

    def run(self, ctx: Context) -> Any:
        from scflows.integrations.smartcitizen.access import read_access
        from scflows.integrations.smartcitizen.processing.harness import call
        from scflows.integrations.smartcitizen.processing.process import EMPTY_DATA, PROCESSED

        device, limit, pieces, retries, memory = (
            _number(name, getattr(self, name)) for name in ("id", "limit", "pieces", "retries", "memory")
        )
        access = read_access(ctx.settings, ctx.secrets.remember)
        remaining = ctx.remaining()
        arguments = {
            "device": device,
            "limit": limit,
            "pieces": pieces,
            "retries": retries,
            "seconds": None if remaining is None else max(0.0, remaining - RESERVED_SECONDS),
        }
        result = call(
            "scflows.integrations.smartcitizen.processing.process:process",
            arguments,
            ctx.settings,
            access,
            lambda level, line: getattr(ctx.log, level)(line),
            is_dry=ctx.dry_run or _is_true(self.dry_run),
            memory=memory,
        )
        outcome, message = result["outcome"], f"device {device}: {result['message']}"
        if outcome == PROCESSED:
            ctx.conclude(outcome, message)
            ctx.log.info(message)
            return result
        if outcome == EMPTY_DATA:
            return Exit(message, outcome)
        failure = StepError(message, **{name: value for name, value in result.items() if name != "message"})
        failure.reason = outcome
        raise failure


def _number(name: str, value: Any) -> int:
    text = str(value).strip()
    if isinstance(value, bool) or not (text.isascii() and text.isdigit()) or not MINIMUM[name] <= int(text) < 10**12:
        raise StepError(f"{name!r} must be an integer of at least {MINIMUM[name]}, not {text[:40]!r}")
    return int(text)


def _is_true(value: bool | str) -> bool:
    return value if isinstance(value, bool) else value.strip().lower() in ("true", "1", "yes")
