"""Call a function of a Python file."""

from __future__ import annotations

import os
from dataclasses import dataclass

from scflows.errors import StepError
from scflows.steps import Context, Step, option
from scflows.steps.program_environment import as_texts, wrong_variables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

#: What a function sees of the variables, besides those it is given: libraries look for their files in HOME.
VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TZ")


@dataclass(frozen=True)
class PythonStep(Step):
    """Call a function of a Python file with the data as its argument; what it returns is the result.

    It runs in DATA_PATH as a process of its own, by the Python that runs the flow. What it prints goes into the
    log; an exception is the step's error. Whatever it starts ends with it.

    - name: fit
      type: python
      python: {path: scripts/fit.py, function: fit, data_key: readings}
    """

    path: str = option(help="in DATA_PATH; what begins with flow: lies beside the flow file")
    function: str = option(help="its name")
    data_key: str = option(".", help="what it is called with")
    env: dict[str, Any] | None = option(
        None, template=True, secrets=True, help="its variables, besides PATH, HOME, TZ and language"
    )
    max_bytes: int = option(64 * 1024 * 1024, minimum=1, help="the most its answer may have, as JSON")

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if not options["function"].isidentifier():
            yield "function", f"{options['function']!r} is no name of a function"
        for told in wrong_variables(options.get("env")):
            yield "env", told

    def writes(self) -> bool:
        return True

    def intention(self) -> str:
        return f"call {self.function} of {self.path}"

    def run(self, ctx: Context) -> Any:
        import sys

        from scflows import documents
        from scflows.connectors.process import run_program
        from scflows.steps import python_call
        from scflows.steps.allow_list import require

        require("python", ctx.settings, ctx.flow_file)
        file = ctx.readable(self.path)
        if not os.path.isfile(file):
            raise StepError(f"{self.path}: there is no such file")
        # Who may write the file decides what runs, as for the flow's own.
        require("python", ctx.settings, file, self.path)
        words = [sys.executable, "-P", python_call.__file__, file, self.function]
        folder = ctx.settings.data_path
        given = documents.json_bytes(ctx.look(self.data_key))
        try:
            os.makedirs(folder, exist_ok=True)
            ended = run_program(words, folder, self._environment(ctx), given, self.max_bytes)
        except (OSError, ValueError) as error:
            raise StepError(f"{self._shown()}: {error}") from error
        except StepError as error:
            raise StepError(f"{self._shown()}: {error}") from error
        if ended.errors:
            ctx.log.info(ended.errors.decode("utf-8", "replace").rstrip())
        if not ended.output:
            told = f"killed by signal {-ended.code}" if ended.code < 0 else f"ended with exit status {ended.code}"
            raise StepError(f"{self._shown()}: {told} before it answered")
        answer = documents.parse_json(documents.decode(ended.output, self._shown()), self._shown())
        if "error" in answer:
            raise StepError(f"{self._shown()}: {answer['error']}", exception=answer["exception"])
        return answer["result"]

    def _environment(self, ctx: Context) -> dict[str, str]:
        around = ctx.settings.environment
        variables = {"PATH": os.defpath, "PYTHONUTF8": "1"}
        variables |= {name: around[name] for name in VARIABLES if around.get(name)}
        return {**variables, **as_texts(self.env)}

    def _shown(self) -> str:
        return f"{self.function} of {self.path}"
