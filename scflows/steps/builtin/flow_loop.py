"""Run another flow for each item of a list."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from scflows.errors import StepError
from scflows.steps import ChildEnd, Context, Step, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: How many items are handed to the threads ahead of time, for each thread.
AHEAD = 2


@dataclass(frozen=True)
class FlowLoopStep(Step):
    """Run another flow for each item of a list, several side by side. The result is the list of their data.

    Each is given its item as `__input__` and its place, from 1, as `__loop_index__`. One that fails neither stops
    the others nor fails the step, unless `on_item_error` says so: with `fail` the step fails after all items, with
    `stop` no further item is started and the step fails.

    - name: stations
      type: flow_loop
      flow_loop: {path: stations/one.yml, data_key: wanted, max_parallel: 4}
    """

    path: str = option(help="in the flows folder")
    data_key: str = option(help="the list")
    max_parallel: int | None = option(None, minimum=1, help="how many side by side; else FLOW_MAX_WORKERS")
    on_item_error: str = option("continue", choices=("continue", "fail", "stop"))
    max_items: int = option(100_000, minimum=0, help="the most items the list may have")

    def intention(self) -> str:
        return f"run {self.path} for each item of {self.data_key!r}"

    def run(self, ctx: Context) -> Any:
        items = ctx.look(self.data_key)
        if not isinstance(items, list):
            raise StepError(f"{self.data_key!r} must be a list to loop over")
        if len(items) > self.max_items:
            raise StepError(f"{self.data_key!r} has {len(items)} items; the most is {self.max_items} (max_items)")
        ctx.check_flow(self.path)
        ends: list[ChildEnd | None] = [None] * len(items)
        try:
            self._run_items(ctx, list(items), ends)
        finally:
            for end in ends:
                if end is not None:
                    ctx.errors.extend(end.errors)
        failed = sum(end is not None and end.status == "failed" for end in ends)
        if failed and self.on_item_error != "continue":
            left = sum(end is None for end in ends)
            told = f"; {left} were not started" if left else ""
            raise StepError(f"{failed} of {len(items)} items failed{told}", failed=failed)
        return [end.data for end in ends if end is not None]

    def _run_items(self, ctx: Context, items: list[Any], ends: list[ChildEnd | None]) -> None:
        """Run the flow for the items; how it ended for each that was run goes into `ends`, at its place."""
        most = min(self.max_parallel or ctx.settings.max_workers, len(items))
        handed = ended = 0
        with ctx.crew(most) as crew:
            while ended < len(items):
                # Not all at once: a long list would lie in memory a second time.
                while handed < len(items) and handed < ended + AHEAD * most:
                    crew.hand_in(handed, partial(_run_item, ctx, self.path, items[handed], handed + 1))
                    handed += 1
                for place, end in crew.ended():
                    if isinstance(end, BaseException):
                        raise end
                    ends[place] = end
                    ended += 1
                    if end.status == "failed" and self.on_item_error == "stop":
                        handed -= crew.drop()
                        items = items[:handed]


def _run_item(ctx: Context, path: str, item: Any, index: int, line: Any) -> ChildEnd:
    return ctx.run_flow(path, item, index, line)
