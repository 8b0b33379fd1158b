"""Read the history of runs."""

from __future__ import annotations

import time
from dataclasses import dataclass

from scflows.errors import StepError
from scflows.steps import Context, Step, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any


@dataclass(frozen=True)
class RunsStep(Step):
    """List runs of the history, newest first, each with its task, status, message and failed step.

    Times are ISO 8601 text in the zone of TIMEZONE.

    - name: failures
      type: runs
      runs: {status: [failed, crashed], since: 1d}
    """

    status: list[Any] | str | None = option(None, help="only runs with this status, or one of a list")
    since: str | None = option(None, template=True, help="only runs started within this time: 90s, 30m, 12h, 1d, 2w")
    task: str | None = option(None, template=True, help="only runs of this task")
    limit: int = option(1000, minimum=1, help="maximum number of runs")

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        from scflows.history.run import STATUSES
        from scflows.validation import nearest

        for status in _listed(options.get("status")):
            if status not in STATUSES:
                hint = nearest(str(status), STATUSES) or f"; use one of {', '.join(STATUSES)}"
                yield "status", f"unknown status {status!r}{hint}"
        since = options.get("since")
        if since is not None and "{" not in since and _seconds(since) is None:
            yield "since", f"{since!r} is not a valid duration; use for example 12h or 1d"

    def run(self, ctx: Context) -> Any:
        from scflows.history.contract import Query
        from scflows.history.run import latest_start
        from scflows.history.store import ask

        age = None if not self.since else _seconds(self.since)
        if self.since and age is None:
            raise StepError(f"since: {self.since!r} is not a valid duration; use for example 12h or 1d")
        query = Query(
            task=self.task or None,
            statuses=tuple(_listed(self.status)),
            since=None if age is None else time.time() - age,
            until=latest_start(time.time()),
            limit=self.limit,
        )
        problems: list[str] = []
        found = ask(
            ctx.settings,
            lambda store: [store.run(run.id) or run for run in store.find(query)],
            [],
            report=problems.append,
        )
        if problems:
            raise StepError(f"the history cannot be read: {problems[0]}")
        from scflows.history.run_values import run_values

        return [run_values(run, ctx.settings.timezone) for run in found]


def _listed(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _seconds(text: str) -> float | None:
    from scflows.validation import UNITS, duration_seconds

    return duration_seconds(text) if text.strip()[-1:] in UNITS else None
