"""The command as a person at a terminal has it, and flows to try it on."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest

FLOWS = {
    "greet.yml": """
        name: Greet
        description: says hello
        schedule: {every: 3h}
        params:
          who: {type: text, default: world}
          device: {type: integer}
        steps:
          - {name: hello, type: set_fact, set_fact: {value: "hello {{ params.who }}"}}
          - {name: given, type: set_fact, set_fact: {value: "{{ __input__ | tojson }} {{ __slot__ }}"}}
        """,
    "fail.yml": """
        steps:
          - {name: first, type: set_fact, set_fact: {value: 1}}
          - {name: second, type: jq, jq: {data_key: nothing, expression: .}}
        """,
    "nap.yml": """
        steps:
          - {name: nap, type: sleep, sleep: {seconds: 60}}
        """,
    "write.yml": """
        steps:
          - {name: save, type: file, file: {path: out.json, mode: write, type: json, data_key: .}}
        """,
}


@pytest.fixture
def shipped(workspace: Path) -> Path:
    """The workspace with some flows in it."""
    for name, text in FLOWS.items():
        (workspace / "tasks" / name).write_text(dedent(text), encoding="utf-8")
    return workspace


@dataclass
class Shown:
    """What stood on a terminal, and how the command ended."""

    code: int
    text: str


class Terminal:
    """Runs the command on a terminal of its own."""

    def __init__(self, workspace: Path, environment: dict[str, str]) -> None:
        self.workspace = workspace
        self.environment = {**environment, "TERM": "xterm", "COLUMNS": "100"}

    def run(self, *arguments: str, answers: dict[str, str] | None = None, **variables: str) -> Shown:
        """`answers`: what to type once a text has appeared; `^C` interrupts."""
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "scflows", *arguments],
            cwd=self.workspace,
            env={**self.environment, **variables},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        text = ""
        waiting = dict(answers or {})
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if not select.select([ours], [], [], 1)[0]:
                continue
            try:
                content = os.read(ours, 65536)
            except OSError:
                break  # Linux says so when the other end is closed.
            if not content:
                break
            text += content.decode()
            for expected in [each for each in waiting if each in text]:
                answer = waiting.pop(expected)
                if answer == "^C":
                    process.send_signal(signal.SIGINT)
                else:
                    os.write(ours, answer.encode() + b"\n")
        os.close(ours)
        return Shown(process.wait(60), text.replace("\r\n", "\n"))


@pytest.fixture
def terminal(workspace: Path, environment: dict[str, str]) -> Terminal:
    return Terminal(workspace, environment)


@pytest.fixture
def started(workspace: Path, environment: dict[str, str]) -> Callable[..., subprocess.Popen[str]]:
    """Start the command and do not wait for it."""

    def start(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "scflows", *arguments],
            cwd=workspace,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture
def running(
    shipped: Path, started: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> tuple[subprocess.Popen[str], str]:
    """A run that goes on for as long as the test wants: its process and its id."""
    process = started("run", "nap.yml")
    log = tmp_path / "cache/scdata/tasks/nap/nap.log"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        text = log.read_text() if log.exists() else ""
        if " started:" in text and text.endswith("\n"):
            return process, text.split("run ")[1].split(" ")[0]
        time.sleep(0.02)
    raise AssertionError(f"the run did not start: {process.communicate(timeout=10)}")
