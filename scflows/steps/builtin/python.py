"""Call a function of a Python file."""

from __future__ import annotations

import os
from dataclasses import dataclass

from scflows.config import variable_mistakes
from scflows.errors import StepError
from scflows.steps import Context, Step, option
from scflows.steps.program_environment import program_variables
from scflows.steps.program_files import check_files, note_files
from scflows.steps.program_output import OutputLog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any


@dataclass(frozen=True)
class PythonStep(Step):
    """Call a function of a Python file with the data as its argument; the result is its return value.

    The function runs in DATA_PATH in a process of its own, with the Python that runs the flow. Its output goes to the
    log; an exception fails the step. Processes that the function started are killed when it ends.

    - name: fit
      type: python
      python: {path: scripts/fit.py, function: fit, data_key: readings}
    """

    path: str = option(help="in DATA_PATH; with the prefix `flow:` in the flow's folder")
    function: str = option(help="the name of the function")
    data_key: str = option(".", help="the key of the argument")
    env: dict[str, Any] | None = option(
        None, template=True, secrets=True, help="environment variables, besides PATH, HOME, TZ and the language"
    )
    artifacts: list[Any] | None = option(
        None, template=True, help="the files that it makes, in DATA_PATH; patterns such as `plots/*.png` are allowed"
    )
    max_bytes: int = option(64 * 1024 * 1024, minimum=1, help="maximum size of the return value as JSON")

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if not options["function"].isidentifier():
            yield "function", f"{options['function']!r} is not a valid function name"
        for message in variable_mistakes(options.get("env")):
            yield "env", message

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
            raise StepError(f"{self.path}: file not found")
        # A user who can write this file decides what runs, as with the flow file.
        require("python", ctx.settings, file, self.path)
        folder = ctx.settings.data_path
        argument = documents.json_bytes(ctx.peek(self.data_key))
        output = OutputLog(ctx.log)
        # A file in memory takes the result, so that stdout and stderr are the function's own.
        with os.fdopen(os.memfd_create("result", os.MFD_CLOEXEC), "rb") as answer_file:
            descriptor = answer_file.fileno()
            command = [
                sys.executable,
                "-P",
                python_call.__file__,
                file,
                self.function,
                str(descriptor),
                str(self.max_bytes),
            ]
            try:
                os.makedirs(folder, exist_ok=True)
                note_files(ctx, self.artifacts)
                result = run_program(
                    command,
                    folder,
                    {"PYTHONUTF8": "1", **program_variables(ctx, self.env)},
                    argument,
                    on_output=output.write,
                    keeps_stdout=False,
                    inherited=(descriptor,),
                )
            except (OSError, ValueError) as error:
                raise output.error(f"{self._title()}: {error}") from error
            finally:
                output.close()
            answer_file.seek(0)
            content = answer_file.read()
        if not content:
            end = f"killed by signal {-result.code}" if result.code < 0 else f"exited with status {result.code}"
            raise output.error(f"{self._title()}: {end} before it returned a value")
        answer = documents.parse_json(documents.decode(content, self._title()), self._title())
        if "error" in answer:
            raise output.error(f"{self._title()}: {answer['error']}", exception=answer["exception"])
        check_files(ctx, self.artifacts)
        return answer["result"]

    def _title(self) -> str:
        return f"{self.function} of {self.path}"
