"""The shipped flows in a workspace of their own, run for a slot as cron would have them run."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from scflows.execution.launch import launch
from scflows.execution.request import RunRequest
from scflows.settings import Settings
from tests.conftest import FlowRun

SHIPPED = Path(__file__).parents[2] / "tasks"


@pytest.fixture(scope="session")
def shipped() -> Path:
    return SHIPPED


@pytest.fixture
def tasks(workspace: Path) -> Path:
    """A copy of the shipped flows, nobody else's to write."""
    folder = workspace / "tasks"
    shutil.copytree(SHIPPED, folder, dirs_exist_ok=True)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


@pytest.fixture
def data(workspace: Path) -> Path:
    """The folder of the results."""
    return workspace / "data"


@pytest.fixture
def run_task(tasks: Path, settings: Settings) -> Callable[..., FlowRun]:
    """Run a shipped flow for a slot such as `2026-11-21T05:00`, a time in the workspace's zone."""

    def run(flow: str, slot: str | None = None, used: Settings = settings, dry: bool = False, **params: Any) -> FlowRun:
        due = slot and datetime.fromisoformat(slot).replace(tzinfo=ZoneInfo(used.timezone)).timestamp()
        request = RunRequest(flow=flow, slot=due, again=True, params=params, dry_run=dry, wants_data=True)
        outcome = launch(request, used)
        return FlowRun(outcome, Path(outcome.run.log).read_text(encoding="utf-8"))

    return run


@pytest.fixture
def table() -> Callable[[Path], list[dict[str, str]]]:
    """The rows of a CSV file, as texts."""

    def read(path: Path) -> list[dict[str, str]]:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    return read
