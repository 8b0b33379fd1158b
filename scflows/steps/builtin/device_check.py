"""Check whether devices of the Smart Citizen platform publish as they should."""

from __future__ import annotations

import time
from dataclasses import dataclass

from scflows.errors import ScflowsError, StepError
from scflows.steps import Context, Step, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@dataclass(frozen=True)
class DeviceCheckStep(Step):
    """Check whether devices of the Smart Citizen platform publish as they should.

    It fails when something is wrong that was not wrong before, and once only: while nothing else goes wrong it
    succeeds, the run's reason being `unchanged`, which calls no hooks. It gives `{devices, news, recovered, open,
    unknown}`: the devices with their problems, what is new of those, what is over, how many have a problem, how many
    could not be checked.

    - name: check
      type: device_check
      device_check: {id: "{{ params.device }}", thresholds: "flow:check.thresholds.yml"}
    """

    thresholds: str = option(template=True, help="a YAML file in DATA_PATH, or `flow:` beside the flow file")
    id: int | str | None = option(
        None, template=True, help="numbers, with blanks or commas between; else all that have tasks"
    )
    readings: bool = option(True, help="whether to ask for readings, to find gaps and stuck values")

    def intention(self) -> str:
        return f"check {self.id or 'every device that has a task'}"

    def run(self, ctx: Context) -> Any:
        from scflows.integrations.smartcitizen.access import read_access
        from scflows.integrations.smartcitizen.checks.check_round import go_round
        from scflows.integrations.smartcitizen.checks.fetch import scheduled_devices
        from scflows.integrations.smartcitizen.checks.last_results import Memory
        from scflows.integrations.smartcitizen.checks.thresholds import read_thresholds
        from scflows.integrations.smartcitizen.client import Client
        from scflows.integrations.smartcitizen.device import device_number

        try:
            limits = read_thresholds(ctx.readable(self.thresholds), self.thresholds)
            words = str("" if self.id is None else self.id).replace(",", " ").split()
            numbers = [device_number(word) for word in words] or scheduled_devices(ctx.settings)
            memory = Memory(ctx.settings.state_path, numbers, not words)
            if memory.problem:
                ctx.log.warning(memory.problem)
            access = read_access(ctx.settings)
            if access.token:
                ctx.secrets.remember(access.token)
            client = Client(access, lambda text, done, count: None if count else ctx.log.info(text), ctx.sleep)
            found = go_round(numbers, client, limits, time.time(), memory, self.readings)
        except StepError:
            raise
        except ScflowsError as error:
            raise StepError(str(error)) from error
        if not ctx.dry_run:
            try:
                memory.write()
            except OSError as error:
                raise StepError(f"{memory.path}: {error.strerror}") from error
        return self._told(ctx, found)

    def _told(self, ctx: Context, found: list[Any]) -> Any:
        from scflows.history.run import UNCHANGED
        from scflows.integrations.smartcitizen.checks.check_round import STALE, UNKNOWN, summary

        for each in found:
            new = {problem.key for problem in each.news}
            for problem in each.problems:
                told = ctx.log.warning if problem.key in new else ctx.log.info
                told(f"{each.device}: {problem.check}: {problem.message}")
            for message in each.recovered:
                ctx.log.info(f"{each.device}: over: {message}")
            for note in each.notes:
                ctx.log.warning(f"{each.device}: not checked: {note}")
        news = [{"device": each.device, "message": problem.message} for each in found for problem in each.news]
        unknown = [each for each in found if each.state == UNKNOWN]
        is_open = sum(1 for each in found if each.problems)
        result = {
            "devices": [each.item() for each in found],
            "news": news,
            "recovered": [{"device": each.device, "message": told} for each in found for told in each.recovered],
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
            # Another attempt would find nothing new.
            error.is_tried = True
            raise error
        message = f"{len(found)} devices, {is_open} with something wrong" + (", as before" if is_open else "")
        ctx.conclude(UNCHANGED if is_open else "", message)
        ctx.log.info(message)
        return result
