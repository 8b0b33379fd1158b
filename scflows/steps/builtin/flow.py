"""Run another flow."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.errors import ChildFailed
from scflows.steps import Context, Step, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@dataclass(frozen=True)
class FlowStep(Step):
    """Run another flow as a part of this run. The result is its data, with `__status__`.

    It sees what it is given as `__input__`, and nothing else of this flow's data. If it fails so does the step,
    and its data is stored all the same.

    - name: station
      type: flow
      flow: {path: stations/one.yml, data_key: wanted}
    """

    path: str = option(help="in the flows folder")
    data_key: str | None = option(None, help="what it is given; else an empty mapping")

    def intention(self) -> str:
        return f"run {self.path}"

    def run(self, ctx: Context) -> Any:
        given = {} if self.data_key is None else ctx.value(self.data_key)
        end = ctx.run_flow(self.path, given)
        ctx.errors.extend(end.errors)
        if end.status == "failed":
            raise ChildFailed(f"flow {self.path!r} failed: {end.message}", end.data)
        return end.data
