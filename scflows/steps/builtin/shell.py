"""Run a program."""

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

#: How much of the end of stderr is kept.
END_CHARACTERS = 4000


@dataclass(frozen=True)
class ShellStep(Step):
    """Run a program in DATA_PATH: a list directly, a text with `/bin/sh -c`.

    The environment is that of a cron job (HOME, LOGNAME, PATH, SHELL, …) with the variables of `env` in config.yml, at
    the top of the flow and here. The command is not a template; pass values in `env` or `stdin_key`. Processes it has
    started are killed when it ends.

    - name: names
      type: shell
      shell: {command: [sort, -u], stdin_key: readings, parse: lines}
    - name: free space
      type: shell
      shell:
        command: df --output=avail -k "$FOLDER" | tail -n 1
        env: {FOLDER: "{{ params.folder }}"}
        parse: json
    """

    command: list[Any] | str = option(help="a list with program and arguments, or a text for /bin/sh")
    stdin_key: str | None = option(None, help="the key of its stdin: text unchanged, other values as JSON")
    env: dict[str, Any] | None = option(
        None, template=True, secrets=True, help="environment variables; `$PATH` in PATH is the earlier value"
    )
    parse: str = option("text", choices=("text", "lines", "json"), help="how to parse the output")
    artifacts: list[Any] | None = option(
        None, template=True, help="the files that it makes, in DATA_PATH; patterns such as `plots/*.png` are allowed"
    )
    max_bytes: int = option(16 * 1024 * 1024, minimum=1, help="maximum size of the output")

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        command = options["command"]
        words = command if isinstance(command, list) else [command]
        if not words or not str(words[0] or "").strip():
            yield "command", "the command is empty"
        elif any(word is None or isinstance(word, bool | list | dict) for word in words):
            yield "command", "a command consists of texts and numbers; put other values in quotes"
        for message in variable_mistakes(options.get("env")):
            yield "env", message

    def writes(self) -> bool:
        return True

    def intention(self) -> str:
        return f"run {self._title()}"

    def run(self, ctx: Context) -> Any:
        from scflows.connectors.process import run_program
        from scflows.steps.allow_list import require

        require("shell", ctx.settings, ctx.flow_file)
        stdin = None if self.stdin_key is None else _stdin(ctx.peek(self.stdin_key))
        folder = ctx.settings.data_path
        words = [str(word) for word in self.command] if isinstance(self.command, list) else None
        output = OutputLog(ctx.log)
        try:
            os.makedirs(folder, exist_ok=True)
            note_files(ctx, self.artifacts)
            result = run_program(
                words or ["/bin/sh", "-c", str(self.command)],
                folder,
                program_variables(ctx, self.env),
                stdin,
                self.max_bytes,
                output.write,
            )
        except FileNotFoundError as error:
            raise StepError(f"{self._title()}: program not found", exit_code=127, stderr="", stdout="") from error
        except OSError as error:
            raise StepError(f"{self._title()}: {error.strerror}", exit_code=126, stderr="", stdout="") from error
        except (StepError, ValueError) as error:
            raise output.error(f"{self._title()}: {error}") from error
        finally:
            output.close()
        stderr = ctx.masked(result.errors.decode("utf-8", "replace"))[-END_CHARACTERS:]
        if result.code != 0:
            end = f"killed by signal {-result.code}" if result.code < 0 else f"exit status {result.code}"
            # The exit code that a shell reports for a program killed by a signal.
            code = 128 - result.code if result.code < 0 else result.code
            stdout = ctx.masked(result.output.decode("utf-8", "replace"))[-END_CHARACTERS:]
            message = f"{self._title()}: {end}{_last_line(stderr) or _last_line(stdout)}"
            raise output.error(message, exit_code=code, stderr=stderr, stdout=stdout)
        try:
            check_files(ctx, self.artifacts)
            return self._parsed(result.output)
        except StepError as error:
            raise output.error(str(error)) from error

    def _parsed(self, output: bytes) -> Any:
        from scflows import documents

        source = f"the output of {self._title()}"
        if self.parse == "json":
            return documents.parse_json(documents.decode(output, source), source)
        try:
            text = output.decode()
        except UnicodeDecodeError:
            raise StepError(f"{source}: not UTF-8") from None
        if self.parse == "text":
            return text
        lines = text.split("\n")
        return lines if lines[-1] else lines[:-1]

    def _title(self) -> str:
        import shlex

        words = self.command
        text = words if isinstance(words, str) else shlex.join(str(word) for word in words)
        line = " ".join(text.split())
        return line if len(line) <= 60 else line[:59] + "…"


def _stdin(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace")
    from scflows import documents

    return documents.json_bytes(value)


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return f": {lines[-1][:200]}" if lines else ""
