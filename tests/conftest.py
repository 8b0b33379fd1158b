"""Fixtures: everything a test touches lies under its own folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from scflows.launch import Outcome, Request, launch
from scflows.settings import Settings, read_settings

#: What a process of ours may see of the environment that the tests run in.
KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "TMPDIR", "COVERAGE_PROCESS_START", "PYTHONPATH")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment whose home, cache and state are the test's own."""
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    home = tmp_path / "home"
    home.mkdir()
    return {
        **kept,
        "HOME": str(home),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        # No test may come near a real crontab.
        "CRONTAB_PROGRAM": "none",
        # What the system's own cron starts here shall not choose between slots.
        "SYSTEM_CRON_PATH": str(tmp_path / "etc"),
    }


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A workspace with an empty `tasks/`."""
    folder = tmp_path / "workspace"
    (folder / "tasks").mkdir(parents=True)
    return folder


@pytest.fixture
def settings(workspace: Path, environment: dict[str, str]) -> Settings:
    return read_settings(str(workspace), environment)


@dataclass
class FlowRun:
    """What became of a flow that a test ran."""

    outcome: Outcome
    log: str

    @property
    def status(self) -> str:
        return self.outcome.run.status

    @property
    def reason(self) -> str:
        return self.outcome.run.reason

    @property
    def message(self) -> str:
        return self.outcome.run.message

    @property
    def result(self) -> dict[str, Any]:
        """The run's data."""
        return self.outcome.data

    @property
    def errors(self) -> list[dict[str, Any]]:
        errors: list[dict[str, Any]] = self.outcome.data.get("__errors__", [])
        return errors

    @property
    def steps(self) -> list[tuple[str, str]]:
        """(name, status) of each step that was looked at, in order."""
        return [(step.name, step.status) for step in self.outcome.run.steps]


@pytest.fixture
def run_flow(workspace: Path, settings: Settings) -> Callable[..., FlowRun]:
    """Write a flow into the workspace and run it through `launch`, as every user of it does."""

    def run(text: str, payload: Any = None, name: str = "flow.yml", **request: Any) -> FlowRun:
        (workspace / "tasks" / name).write_text(dedent(text), encoding="utf-8")
        given = {} if payload is None else payload
        used = request.pop("settings", settings)
        outcome = launch(Request(flow=name, payload=given, wants_data=True, **request), used)
        log = Path(outcome.run.log).read_text(encoding="utf-8") if outcome.run.log else ""
        return FlowRun(outcome, log)

    return run


@dataclass
class Answer:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def flows(workspace: Path, environment: dict[str, str]) -> Callable[..., Answer]:
    """The command `flows` in the test's workspace, as a process of its own."""

    def run(*arguments: str, stdin: str = "", cwd: Path | None = None, **variables: str) -> Answer:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "scflows", *arguments],
            cwd=cwd or workspace,
            env={**environment, **variables},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    return run
