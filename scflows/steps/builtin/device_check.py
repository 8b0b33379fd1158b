"""Check whether Smart Citizen devices publish as expected."""

from __future__ import annotations

import time
from dataclasses import dataclass

from scflows.errors import StepError
from scflows.steps import Context, Step, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@dataclass(frozen=True)
class DeviceCheckStep(Step):
    """Check whether Smart Citizen devices publish as expected.

    The step fails once for each new problem. While there are only known problems it succeeds with the reason
    `unchanged`, which calls no hooks. The result is `{devices, news, recovered, open, unknown}`: the devices with their
    problems, the new problems, the problems that are over, the number of devices with a problem, and the number that
    could not be checked.

    - name: check
      type: device_check
      device_check: {id: "{{ params.device }}", thresholds: "flow:check.thresholds.yml"}
    """

    thresholds: str = option(template=True, help="a YAML file in DATA_PATH, or with `flow:` in the flow's folder")
    id: int | str | None = option(
        None, template=True, help="device numbers, separated by spaces or commas (default: all devices with tasks)"
    )
    readings: bool = option(True, help="whether to fetch readings, to find gaps and stuck values")

    def intention(self) -> str:
        return f"check {self.id or 'all devices with tasks'}"

    def run(self, ctx: Context) -> Any:
        from scflows.integrations.smartcitizen.access import read_access
        from scflows.integrations.smartcitizen.checks.check_round import run_checks, scheduled_devices
        from scflows.integrations.smartcitizen.checks.last_results import Memory
        from scflows.integrations.smartcitizen.checks.thresholds import read_thresholds
        from scflows.integrations.smartcitizen.client import Client
        from scflows.integrations.smartcitizen.device import device_number

        limits = read_thresholds(ctx.readable(self.thresholds), self.thresholds)
        words = str("" if self.id is None else self.id).replace(",", " ").split()
        numbers = [device_number(word) for word in words] or scheduled_devices(ctx.settings)
        memory = Memory(ctx.settings.state_path, numbers, not words)
        if memory.problem:
            ctx.log.warning(memory.problem)
        access = read_access(ctx.settings, ctx.secrets.remember)
        client = Client(access, lambda text, done, count: None if count else ctx.log.info(text), ctx.sleep)
        found = run_checks(numbers, client, limits, time.time(), memory, self.readings)
        if not ctx.dry_run:
            try:
                memory.write()
            except OSError as error:
                raise StepError(f"{memory.path}: {error.strerror}") from error
        return self._report(ctx, found)

    def _report(self, ctx: Context, found: list[Any]) -> Any:
        from scflows.history.run import UNCHANGED
        from scflows.integrations.smartcitizen.checks.check_round import STALE, UNKNOWN, summary

        for each in found:
            new = {problem.key for problem in each.news}
            for problem in each.problems:
                log = ctx.log.warning if problem.key in new else ctx.log.info
                log(f"{each.device}: {problem.check}: {problem.message}")
            for message in each.recovered:
                ctx.log.info(f"{each.device}: resolved: {message}")
            for note in each.notes:
                ctx.log.warning(f"{each.device}: not checked: {note}")
        news = [{"device": each.device, "message": problem.message} for each in found for problem in each.news]
        unknown = [each for each in found if each.state == UNKNOWN]
        is_open = sum(1 for each in found if each.problems)
        result = {
            "devices": [each.item() for each in found],
            "news": news,
            "recovered": [{"device": each.device, "message": message} for each in found for message in each.recovered],
            "open": is_open,
            "unknown": len(unknown),
        }
        error: StepError | None = None
        if news:
            are_stale = all(each.state == STALE for each in found if each.news)
            error = StepError(summary(found, only_news=True), **result)
            error.reason = "STALE" if are_stale else "PROBLEMS"
        elif unknown:
            notes = "; ".join(f"{each.device}: {each.notes[0]}" for each in unknown[:5])
            error = StepError(f"{len(unknown)} of {len(found)} devices could not be checked: {notes}", **result)
            error.reason = "NOT_CHECKED"
        if error is not None:
            # Another attempt would have the same result.
            error.is_tried = True
            raise error
        message = f"{len(found)} devices, {is_open} with problems" + (", unchanged" if is_open else "")
        ctx.conclude(UNCHANGED if is_open else "", message)
        ctx.log.info(message)
        return result
