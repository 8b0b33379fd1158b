"""Run another flow for each item of a list."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial

from scflows.errors import StepError
from scflows.steps import ChildResult, Context, Step, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

#: How many items per thread are submitted ahead of time.
PREFETCH = 2
#: How many failed items are listed in the step's record, and how many characters of each.
MAX_LISTED = 20
MAX_ITEM = 60


@dataclass(frozen=True)
class FlowLoopStep(Step):
    """Run another flow for each item of a list, several in parallel. The result is the list of their data.

    Each run gets its item as `__input__` and its number, from 1, as `__loop_index__`. By default a failed item neither
    stops the others nor fails the step. With `on_item_error: fail` the step fails after all items; with `stop` it fails
    and no further items are started.

    - name: stations
      type: flow_loop
      flow_loop: {path: stations/one.yml, data_key: wanted, max_parallel: 4}
    """

    path: str = option(help="a flow file in the flows folder")
    data_key: str = option(help="the key of the list")
    max_parallel: int | None = option(
        None, minimum=1, help="maximum number of parallel runs (default: FLOW_MAX_WORKERS)"
    )
    on_item_error: str = option("continue", choices=("continue", "fail", "stop"))
    max_items: int = option(100_000, minimum=0, help="maximum length of the list")

    def intention(self) -> str:
        return f"run {self.path} for each item of {self.data_key!r}"

    def run(self, ctx: Context) -> Any:
        items = ctx.peek(self.data_key)
        if not isinstance(items, list):
            raise StepError(f"{self.data_key!r} must be a list")
        if len(items) > self.max_items:
            raise StepError(f"{self.data_key!r} has {len(items)} items, more than max_items ({self.max_items})")
        ctx.check_flow(self.path)
        results: list[ChildResult | None] = [None] * len(items)
        try:
            self._run_all(ctx, list(items), results)
        finally:
            for result in results:
                if result is not None:
                    ctx.errors.extend(result.errors)
        failed = [index for index, result in enumerate(results) if result is not None and result.status == "failed"]
        if failed:
            output = ctx.masked("\n".join(_failures(items, results, failed)))
            if self.on_item_error != "continue":
                left = sum(result is None for result in results)
                not_started = f"; {left} were not started" if left else ""
                error = StepError(f"{len(failed)} of {len(items)} items failed{not_started}", failed=len(failed))
                error.output = output
                raise error
            message = f"{len(items) - len(failed)} of {len(items)} items succeeded"
            ctx.remark = message, output
            ctx.log.warning(f"{message}; failed: {_numbers(failed)}")
            ctx.conclude("", f"{ctx.step_name}: {message}")
        return [result.data for result in results if result is not None]

    def _run_all(self, ctx: Context, items: list[Any], results: list[ChildResult | None]) -> None:
        """Run the flow for all items and put each result into `results`."""
        max_threads = min(self.max_parallel or ctx.settings.max_workers, len(items))
        submitted = completed = 0
        with ctx.thread_pool(max_threads) as pool:
            while completed < len(items):
                # Not the whole list, because that would keep it in memory twice.
                while submitted < len(items) and submitted < completed + PREFETCH * max_threads:
                    pool.submit(submitted, partial(_run_item, ctx, self.path, items[submitted], submitted + 1))
                    submitted += 1
                for index, result in pool.completed():
                    if isinstance(result, BaseException):
                        raise result
                    results[index] = result
                    completed += 1
                    if result.status == "failed" and self.on_item_error == "stop":
                        submitted -= pool.drop_pending()
                        items = items[:submitted]


def _run_item(ctx: Context, path: str, item: Any, index: int, scope: Any) -> ChildResult:
    return ctx.run_flow(path, item, index, scope)


def _failures(items: list[Any], results: list[ChildResult | None], failed: list[int]) -> Iterator[str]:
    """Yield a line for each failed item: its number, the item, and why it failed."""
    for index in failed[:MAX_LISTED]:
        result = results[index]
        item = json.dumps(items[index], ensure_ascii=False)
        shown = item if len(item) <= MAX_ITEM else f"{item[:MAX_ITEM]}…"
        message = " ".join((result.message if result is not None else "").split())
        yield f"item {index + 1} ({shown}): {message}"
    if len(failed) > MAX_LISTED:
        yield f"… and {len(failed) - MAX_LISTED} more"


def _numbers(failed: list[int]) -> str:
    text = ", ".join(str(index + 1) for index in failed[:MAX_LISTED])
    return f"{text}, …" if len(failed) > MAX_LISTED else text
