"""The stand-in for the platform, and a workspace that asks it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scflows.integrations.smartcitizen.demo.platform import Platform
from scflows.integrations.smartcitizen.demo.server import PlatformServer
from tests.conftest import platform_served

NOW = 1_790_000_000
FLOW = "params: {device: {type: integer, required: true}}\nsteps: [{name: s, type: set_fact, set_fact: {value: 1}}]\n"


@pytest.fixture
def platform() -> Platform:
    """A device of every kind; its clock stands still."""
    return Platform(clock=lambda: NOW)


@pytest.fixture
def server(platform: Platform, environment: dict[str, str], workspace: Path) -> Iterator[PlatformServer]:
    """The platform behind HTTP; the workspace's settings lead there. Nothing is asked again."""
    folder = workspace / "tasks" / "smartcitizen"
    folder.mkdir()
    for name in ("process", "backup", "check"):
        (folder / f"{name}.yml").write_text(FLOW)
    with platform_served(platform, environment, workspace) as running:
        yield running


@pytest.fixture
def search(flows: Callable[..., Any], server: PlatformServer, crontab: Path) -> Callable[..., Any]:
    """Search for devices, once."""

    def run(*options: str, **variables: str) -> Any:
        return flows("auto-schedule", "--source", "smartcitizen", "--once", *options, **variables)

    return run


@pytest.fixture
def names(flows: Callable[..., Any]) -> Callable[[], set[str]]:
    """The names of the tasks that there are."""
    return lambda: {line.split("\t")[0] for line in flows("list-tasks").out.splitlines()}
