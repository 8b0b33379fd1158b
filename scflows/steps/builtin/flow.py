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
    """Run another flow as part of this run. The result is its data, with `__status__`.

    The child flow gets the value of `data_key` as `__input__` and nothing else of this flow's data. If it fails, the
    step fails, but its data is still stored.

    - name: station
      type: flow
      flow: {path: stations/one.yml, data_key: wanted}
    """

    path: str = option(help="a flow file in the flows folder")
    data_key: str | None = option(None, help="the key of its input (default: an empty mapping)")

    def intention(self) -> str:
        return f"run {self.path}"

    def run(self, ctx: Context) -> Any:
        payload = {} if self.data_key is None else ctx.value(self.data_key)
        result = ctx.run_flow(self.path, payload)
        ctx.errors.extend(result.errors)
        if result.status == "failed":
            raise ChildFailed(f"flow {self.path!r} failed: {result.message}", result.data)
        return result.data
