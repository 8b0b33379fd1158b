"""Run a Snakemake workflow."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

from scflows.config import variable_mistakes
from scflows.steps import Context, Step, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

RUNNER = "snakemake_runner.py"
#: Beside Snakemake's own locks in DATA_PATH: the lock files of a run of this step.
LOCK_NOTE = ".snakemake-scflows.json"


@dataclass(frozen=True)
class SnakemakeStep(Step):
    """Run a Snakemake workflow in DATA_PATH, in a process that ends with the step.

    Each of its jobs that runs becomes a step in the run's record (Snakemake 9 and later). Jobs whose output is up to
    date are not run again, so the next run continues after a failure or a kill. The result is `{done: N}`.

    - name: analysis
      type: snakemake
      snakemake: {snakefile: workflow/Snakefile, targets: [report.html], cores: 2, config: {day: "{{ params.day }}"}}
    """

    snakefile: str = option("Snakefile", template=True, help="the Snakefile, in DATA_PATH")
    targets: list[Any] | None = option(None, template=True, help="files or rules to make (default: the first rule)")
    cores: int = option(1, minimum=1, help="how many cores its jobs use")
    config: dict[str, Any] | None = option(None, template=True, help="values of the workflow's configuration")
    logger: list[Any] | None = option(None, help="further logger plug-ins of Snakemake, for example panoptes")
    python: str | None = option(None, help="the Python that has Snakemake (default: that of scflows)")
    env: dict[str, Any] | None = option(None, template=True, secrets=True, help="environment variables")

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        for message in variable_mistakes(options.get("env")):
            yield "env", message

    def writes(self) -> bool:
        return True

    def intention(self) -> str:
        return f"run {self.snakefile}" + (f" for {', '.join(map(str, self.targets))}" if self.targets else "")

    def dry_result(self) -> Any:
        return {"done": 0}

    def run(self, ctx: Context) -> Any:
        from scflows.steps.allow_list import require
        from scflows.steps.outside_parts import OutsideParts

        require("python", ctx.settings, ctx.flow_file)
        parts = OutsideParts(ctx, "snakemake")
        folder = ctx.settings.data_path
        snakefile = ctx.readable(self.snakefile)
        given = {
            "snakefile": snakefile,
            "targets": [str(each) for each in self.targets or ()],
            "cores": self.cores,
            "config": {name: _text(value) for name, value in (self.config or {}).items()},
            "loggers": [str(each) for each in self.logger or ()],
            "lock_note": os.path.join(folder, LOCK_NOTE),
        }
        result = parts.run(self.python, RUNNER, given, self.env)
        if result.code != 0:
            reason = "; ".join(parts.failures[:3]) or parts.message or _reason(result.errors, result.code)
            raise parts.output.error(f"{self.snakefile}: {ctx.masked(reason)}", failed=len(parts.failures))
        return {"done": parts.done}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _reason(errors: bytes, code: int) -> str:
    """Return what Snakemake says last about why it stopped."""
    lines = [line.strip() for line in errors.decode("utf-8", "replace").splitlines() if line.strip()]
    for number, line in enumerate(lines):
        if "Exception" in line or line.startswith("Error:"):
            return " ".join(lines[number : number + 3])[:300]
    return " ".join(lines[-2:])[:300] or f"exit status {code}"
