"""Run a Luigi task with everything that it requires."""

from __future__ import annotations

import json
from dataclasses import dataclass

from scflows.config import variable_mistakes
from scflows.steps import Context, Step, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

RUNNER = "luigi_runner.py"


@dataclass(frozen=True)
class LuigiStep(Step):
    """Run a Luigi task with everything that it requires, in a process that ends with the step.

    Each of its tasks that runs becomes a step in the run's record. Tasks whose output exists are not run again, so the
    next run continues after a failure or a kill. The result is `{status: TEXT, done: N, failed: N}`.

    - name: summary
      type: luigi
      luigi: {module: summarize, task: RunFlow, params: {term: "{{ params.term }}", count: 100}}
    - name: shared
      type: luigi
      luigi: {module: summarize, task: RunFlow, scheduler: "http://localhost:8082", workers: 4}
    """

    module: str = option(help="the Python module with the task; it may lie in DATA_PATH")
    task: str = option(help="the name of the task")
    params: dict[str, Any] | None = option(None, template=True, help="the task's parameters")
    scheduler: str = option("local", template=True, help="local, or the address of a central scheduler (luigid)")
    workers: int = option(1, minimum=1, help="how many tasks run at the same time")
    python: str | None = option(None, help="the Python that has Luigi (default: that of scflows)")
    env: dict[str, Any] | None = option(
        None, template=True, secrets=True, help="environment variables, for example PYTHONPATH"
    )

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        scheduler = options.get("scheduler", "local")
        is_address = isinstance(scheduler, str) and scheduler.startswith(("http://", "https://"))
        if isinstance(scheduler, str) and scheduler != "local" and not is_address and "{" not in scheduler:
            yield "scheduler", "'scheduler' must be local or an address, for example http://localhost:8082"
        for message in variable_mistakes(options.get("env")):
            yield "env", message

    def writes(self) -> bool:
        return True

    def intention(self) -> str:
        return f"run the Luigi task {self.task}"

    def dry_result(self) -> Any:
        return {"status": "", "done": 0, "failed": 0}

    def run(self, ctx: Context) -> Any:
        from scflows.steps.allow_list import require
        from scflows.steps.outside_parts import OutsideParts

        require("python", ctx.settings, ctx.flow_file)
        parts = OutsideParts(ctx, "luigi")
        given = {
            "module": self.module,
            "task": self.task,
            "params": {name: _text(value) for name, value in (self.params or {}).items()},
            "scheduler": self.scheduler,
            "workers": self.workers,
        }
        result = parts.run(self.python, RUNNER, given, self.env)
        if result.code != 0:
            reason = "; ".join(parts.failures[:3]) or parts.message or f"exit status {result.code}"
            raise parts.output.error(f"{self.task}: {reason}", status=parts.status, failed=len(parts.failures))
        return {"status": parts.status, "done": parts.done, "failed": len(parts.failures)}


def _text(value: Any) -> str:
    """Return a parameter as the text that Luigi parses."""
    return value if isinstance(value, str) else json.dumps(value)
