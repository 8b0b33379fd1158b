"""Run a program."""

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

#: How much of what a failed program said at its end is kept.
STDERR_CHARACTERS = 4000


@dataclass(frozen=True)
class ShellStep(Step):
    """Run a program in DATA_PATH: a list without a shell, a text by `/bin/sh -c`.

    It sees only PATH and the given `env`; the command is never a template, so values go in by `env` or
    `stdin_key`. Whatever it starts ends with it.

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

    command: list[Any] | str = option(help="a list of program and arguments, or a text for /bin/sh")
    stdin_key: str | None = option(None, help="what it reads: text as it is, other values as JSON")
    env: dict[str, Any] | None = option(None, template=True, secrets=True, help="its variables, besides PATH")
    parse: str = option("text", choices=("text", "lines", "json"), help="what to make of its output")
    max_bytes: int = option(16 * 1024 * 1024, minimum=1, help="the most it may put out")

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        command = options["command"]
        words = command if isinstance(command, list) else [command]
        if not words or not str(words[0] or "").strip():
            yield "command", "an empty command"
        elif any(word is None or isinstance(word, bool | list | dict) for word in words):
            yield "command", "a command's words are texts or numbers; put others in quotes"
        for told in wrong_variables(options.get("env")):
            yield "env", told

    def writes(self) -> bool:
        return True

    def intention(self) -> str:
        return f"run {self._shown()}"

    def run(self, ctx: Context) -> Any:
        from scflows.connectors.process import run_program
        from scflows.steps.allow_list import require

        require("shell", ctx.settings, ctx.flow_file)
        given = None if self.stdin_key is None else _stdin(ctx.look(self.stdin_key))
        folder = ctx.settings.data_path
        words = [str(word) for word in self.command] if isinstance(self.command, list) else None
        try:
            os.makedirs(folder, exist_ok=True)
            ended = run_program(
                words or ["/bin/sh", "-c", str(self.command)],
                folder,
                self._environment(ctx),
                given,
                self.max_bytes,
            )
        except FileNotFoundError as error:
            raise StepError(f"{self._shown()}: no such program", exit_code=127, stderr="") from error
        except OSError as error:
            raise StepError(f"{self._shown()}: {error.strerror}", exit_code=126, stderr="") from error
        except (StepError, ValueError) as error:
            raise StepError(f"{self._shown()}: {error}") from error
        said = ctx.masked(ended.errors.decode("utf-8", "replace"))[-STDERR_CHARACTERS:]
        if ended.code != 0:
            told = f"killed by signal {-ended.code}" if ended.code < 0 else f"exit status {ended.code}"
            # A program that a signal ended has the exit code that a shell gives it.
            code = 128 - ended.code if ended.code < 0 else ended.code
            raise StepError(f"{self._shown()}: {told}{_last_line(said)}", exit_code=code, stderr=said)
        if said:
            ctx.log.info(said)
        return self._parsed(ended.output)

    def _parsed(self, output: bytes) -> Any:
        from scflows import documents

        where = f"the output of {self._shown()}"
        if self.parse == "json":
            return documents.parse_json(documents.decode(output, where), where)
        try:
            text = output.decode()
        except UnicodeDecodeError:
            raise StepError(f"{where}: not UTF-8") from None
        if self.parse == "text":
            return text
        lines = text.split("\n")
        return lines if lines[-1] else lines[:-1]

    def _environment(self, ctx: Context) -> dict[str, str]:
        return {"PATH": ctx.settings.environment.get("PATH") or os.defpath, **as_texts(self.env)}

    def _shown(self) -> str:
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


def _last_line(said: str) -> str:
    lines = said.strip().splitlines()
    return f": {lines[-1][:200]}" if lines else ""
