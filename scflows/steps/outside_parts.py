"""The tasks and jobs of other tools, which a runner reports on its stdout, as records of steps of the run."""

from __future__ import annotations

import json
import os
import sys
from uuid import uuid4

from scflows.errors import StepError
from scflows.history.run import FAILED, SUCCESS
from scflows.steps.program_output import OutputLog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from scflows.connectors.process import ProcessResult
    from scflows.history.run import StepRecord
    from scflows.steps.context import Context

#: More parts than this are counted, but have no record of their own.
MAX_PARTS = 1000


class OutsideParts:
    """Takes the output of a runner: its events become records, everything else goes to the task's log."""

    def __init__(self, ctx: Context, kind: str) -> None:
        #: What a line with an event starts with. Random, so that no output of the tasks is taken for one.
        self.mark = f"scflows-{uuid4().hex} "
        self.output = OutputLog(ctx.log)
        self.message = ""  #: why the tool refused, or its last word
        self.failures: list[str] = []
        self.done = 0
        self.status = ""
        self._ctx, self._kind = ctx, kind
        self._partial = b""
        self._running: dict[str, StepRecord | None] = {}
        self._ended: set[str] = set()
        self._count = 0

    def run(
        self, python: str | None, runner: str, given: dict[str, Any], env: Mapping[str, Any] | None
    ) -> ProcessResult:
        """Run a runner of `scflows.connectors` in DATA_PATH, with `given` as its input, until it ends.

        `python`: the Python that has the tool; None: the one of scflows. Raises StepError.
        """
        from scflows import connectors
        from scflows.connectors.process import run_program
        from scflows.steps.program_environment import program_variables

        program, folder = python or sys.executable, self._ctx.settings.data_path
        command = [program, "-P", os.path.join(os.path.dirname(connectors.__file__), runner)]
        content = json.dumps({**given, "mark": self.mark}).encode()
        try:
            os.makedirs(folder, exist_ok=True)
            variables = program_variables(self._ctx, env)
            return run_program(command, folder, variables, content, 0, self.write, keeps_stdout=False)
        except FileNotFoundError as error:
            raise StepError(f"{program}: program not found") from error
        except OSError as error:
            raise StepError(f"{program}: {error.strerror}") from error
        finally:
            self.close()

    def write(self, stream: str, part: bytes) -> None:
        """Take a part of the output."""
        if stream != "stdout":
            self.output.write(stream, part)
            return
        *lines, self._partial = (self._partial + part).split(b"\n")
        for line in lines:
            if line.startswith(self.mark.encode()):
                self._event(json.loads(line[len(self.mark) :]))
            else:
                self.output.write(stream, line + b"\n")

    def close(self) -> None:
        """End with the tool: what runs still, has failed."""
        if self._partial:
            self.output.write("stdout", self._partial)
        self.output.close()
        for record in self._running.values():
            self._ctx.end_part(record, FAILED, "ended with the step")
        self._running.clear()

    def _event(self, given: dict[str, Any]) -> None:
        event, task, message = given["event"], str(given.get("task", "")), str(given.get("message", ""))
        if event == "start":
            if task not in self._running:
                self._start(task, str(given.get("title") or task))
        elif event == "success":
            self._end(task, SUCCESS, message)
            self.done += 1
        elif event in ("failure", "missing"):
            if task in self._ended:
                return
            if task not in self._running:
                self._start(task, str(given.get("title") or task))
            text = message or ("its output is missing, and no task makes it" if event == "missing" else "failed")
            self.failures.append(f"{given.get('title') or task}: {text}")
            self._end(task, FAILED, text)
            self._ended.add(task)
        elif event == "note":
            self._ctx.log.info(message)
        else:
            self.message, self.status = message, str(given.get("status", ""))

    def _start(self, task: str, title: str) -> None:
        self._count += 1
        title = " ".join(title.split())
        title = title if len(title) <= 100 else title[:99] + "…"
        is_recorded = self._count <= MAX_PARTS
        self._running[task] = self._ctx.start_part(title, self._kind) if is_recorded else None

    def _end(self, task: str, status: str, message: str) -> None:
        if task in self._running:
            self._ctx.end_part(self._running.pop(task), status, message)
