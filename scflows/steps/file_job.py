"""Make one file from others: with a program, a Python file, a step or a flow."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field

from scflows.errors import StepError
from scflows.steps.context import BESIDE_FLOW
from scflows.steps.program_environment import program_variables
from scflows.steps.program_output import OutputLog
from scflows.storage import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from scflows.steps.context import Context

PYTHON = ".py"
#: The step types that a job may name instead of a script.
STEP_TYPES = ("table", "database")


@dataclass(frozen=True)
class FileJob:
    """What makes a target: one of `script`, `step` and `flow`."""

    script: tuple[str, ...] = ()  #: a command, or one Python file
    function: str | None = None  #: of the Python file, over tables
    step: dict[str, Any] | None = None  #: as written in a flow, with options that all files share
    flow: str | None = None
    env: dict[str, Any] | None = None
    mark: bool = False  #: the target is a note of the result instead of a file that the job writes
    keys: tuple[str, ...] = field(default=("source",))  #: the names of the sources

    def run(self, ctx: Context, sources: Mapping[str, str], target: str) -> None:
        """Make `target` from `sources`, paths below `DATA_PATH`. Raises StepError, OSError."""
        if self.script:
            self._run_program(ctx, sources, target)
            result: Any = {}
        elif self.flow is not None:
            result = self._run_flow(ctx, sources, target)
        else:
            result = self._run_step(ctx, sources, target)
        if self.mark:
            content = json.dumps({"sources": list(sources.values()), "result": result}, default=str) + "\n"
            replace(os.path.join(ctx.settings.data_path, target), content.encode(), durable=False)

    def _run_flow(self, ctx: Context, sources: Mapping[str, str], target: str) -> Any:
        assert self.flow is not None
        payload = {"source": next(iter(sources.values())), **sources, "sources": dict(sources), "target": target}
        child = ctx.run_flow(self.flow, payload)
        if child.status == "failed":
            ctx.errors.extend(child.errors)
            raise StepError(child.message)
        return {"status": child.status, "message": child.message}

    def _run_step(self, ctx: Context, sources: Mapping[str, str], target: str) -> Any:
        from scflows.steps.registry import find_step

        assert self.step is not None
        kind = self.step["type"]
        step_class = find_step(kind)
        if step_class is None:
            raise StepError(f"step type {kind!r} is no longer installed")
        return ctx.run_step({"type": kind, kind: step_class.for_files(self.step[kind], sources, target)})

    def _run_program(self, ctx: Context, sources: Mapping[str, str], target: str) -> None:
        from scflows.connectors.process import run_program

        root = ctx.settings.data_path
        paths = {name: os.path.join(root, path) for name, path in sources.items()}
        command = self._command(ctx, paths, os.path.join(root, target))
        title = os.path.basename(self.script[0])
        output = OutputLog(ctx.log)
        try:
            variables = {"PYTHONUTF8": "1", **program_variables(ctx, self.env)}
            result = run_program(command, root, variables, None, on_output=output.write, keeps_stdout=False)
        except FileNotFoundError as error:
            raise StepError(f"{title}: program not found") from error
        except (OSError, ValueError) as error:
            raise output.error(f"{title}: {getattr(error, 'strerror', None) or error}") from error
        finally:
            output.close()
        if result.code:
            end = f"killed by signal {-result.code}" if result.code < 0 else f"exit status {result.code}"
            lines = ctx.masked(result.errors.decode("utf-8", "replace")).strip().splitlines()
            raise output.error(f"{title}: {end}" + (f": {lines[-1][:300]}" if lines else ""), exit_code=result.code)

    def _command(self, ctx: Context, paths: Mapping[str, str], target: str) -> list[str]:
        from scflows.steps.allow_list import require

        first = self.script[0]
        if len(self.script) == 1 and first.endswith(PYTHON):
            file = ctx.readable(first)
            if not os.path.isfile(file):
                raise StepError(f"{first}: file not found")
            require("python", ctx.settings, ctx.flow_file)
            require("python", ctx.settings, file, first)
            if self.function is None:
                return [sys.executable, file, *paths.values(), target]
            from scflows.steps import frame_call

            return [sys.executable, "-P", frame_call.__file__, file, self.function, target, *paths.values()]
        require("shell", ctx.settings, ctx.flow_file)
        places = {"{source}": next(iter(paths.values())), "{target}": target}
        places |= {f"{{{name}}}": path for name, path in paths.items()}
        words = [_filled(word, places) for word in self.script]
        if words == list(self.script):
            words += [*paths.values(), target]
        # A program in the working folder is named like any other file in it.
        if "/" in words[0] and not words[0].startswith(("/", BESIDE_FLOW)):
            words[0] = os.path.join(ctx.settings.data_path, words[0])
        return words


def _filled(word: str, places: Mapping[str, str]) -> str:
    for name, path in places.items():
        word = word.replace(name, path)
    return word
