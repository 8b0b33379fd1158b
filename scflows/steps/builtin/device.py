"""Process what a device of the Smart Citizen platform has sent."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.errors import StepError
from scflows.expressions import is_template
from scflows.steps import Context, Exit, Step, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

#: The least that each number may be.
LEAST = {"id": 1, "limit": 1, "pieces": 1, "retries": 1, "memory": 256}
#: Seconds that are kept for what comes after the last piece.
RESERVE = 10.0


@dataclass(frozen=True)
class DeviceStep(Step):
    """Process what a device of the Smart Citizen platform has sent since the last time, with `scdata`.

    In a process of its own, piece by piece: load what the channels need, compute them, post them, move the date. The
    run's reason is one of the known outcome codes; a device with nothing to do ends the flow, as `exit` does. A dry
    run loads and computes, and posts nothing.

    - name: process
      type: device
      device: {id: "{{ params.device }}"}
    """

    id: int | str = option(template=True, help="the number of the device")
    limit: int | str = option(500, template=True, help="the most minutes of readings in a piece")
    pieces: int | str = option(20, template=True, help="the most pieces in one run; what is left waits for the next")
    retries: int | str = option(3, template=True, help="how often readings are posted until they are taken")
    dry_run: bool | str = option(False, template=True, help="post nothing, though the run is no dry one")
    memory: int | str = option(1024, template=True, help="the most that its process may take for its data, in MiB")

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        for name in LEAST:
            value = options.get(name)
            if value is None or (isinstance(value, str) and is_template(value)):
                continue
            try:
                _number(name, value)
            except StepError as error:
                yield name, str(error)

    # It reads in a dry run, too: what it would post is known after that.

    def intention(self) -> str:
        return f"process device {self.id}"

    def run(self, ctx: Context) -> Any:
        from scflows.errors import ScflowsError
        from scflows.integrations.smartcitizen.access import read_access
        from scflows.integrations.smartcitizen.processing.harness import call
        from scflows.integrations.smartcitizen.processing.outcome import EMPTY_DATA, PROCESSED

        device, limit, pieces, retries, memory = (
            _number(name, getattr(self, name)) for name in ("id", "limit", "pieces", "retries", "memory")
        )
        try:
            access = read_access(ctx.settings)
        except StepError:
            raise
        except ScflowsError as error:
            raise StepError(str(error)) from error
        if access.token:
            ctx.secrets.remember(access.token)
        left = ctx.remaining()
        given = {
            "device": device,
            "limit": limit,
            "pieces": pieces,
            "retries": retries,
            "seconds": None if left is None else max(0.0, left - RESERVE),
        }
        told = call(
            "scflows.integrations.smartcitizen.processing.process:process",
            given,
            ctx.settings,
            access,
            lambda level, line: getattr(ctx.log, level)(line),
            is_dry=ctx.dry_run or _is_true(self.dry_run),
            memory=memory,
        )
        outcome, message = told["outcome"], f"device {device}: {told['message']}"
        if outcome == PROCESSED:
            ctx.conclude(outcome, message)
            ctx.log.info(message)
            return told
        if outcome == EMPTY_DATA:
            return Exit(message, outcome)
        failed = StepError(message, **{name: value for name, value in told.items() if name != "message"})
        failed.reason = outcome
        raise failed


def _number(name: str, value: Any) -> int:
    text = str(value).strip()
    if isinstance(value, bool) or not (text.isascii() and text.isdigit()) or not LEAST[name] <= int(text) < 10**12:
        raise StepError(f"{name!r} must be a number from {LEAST[name]} on, not {text[:40]!r}")
    return int(text)


def _is_true(value: bool | str) -> bool:
    return value if isinstance(value, bool) else value.strip().lower() in ("true", "1", "yes")
