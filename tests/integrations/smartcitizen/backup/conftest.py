"""A platform with one device of a year long past, and a workspace that backs it up."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from scflows.execution.launch import launch
from scflows.execution.request import RunRequest
from scflows.integrations.smartcitizen.demo.kinds import LAB
from scflows.integrations.smartcitizen.demo.kit import Kit
from scflows.integrations.smartcitizen.demo.platform import Platform
from scflows.integrations.smartcitizen.demo.server import PlatformServer
from scflows.settings import read_settings
from tests.conftest import platform_served

SHIPPED = Path(__file__).parents[4] / "tasks" / "smartcitizen"
DEVICE = 14001
SENSORS = (10, 55, 87)


def at(text: str) -> int:
    """The epoch of a time in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


@pytest.fixture
def kit() -> Kit:
    """Publishes every hour from 2021-01-10 to 2021-03-20, at second 23; one sensor has a hole of five weeks."""
    hole = (at("2021-01-28"), at("2021-03-05"))
    first = at("2021-01-10T00:00:23")
    return Kit(
        DEVICE,
        "plain",
        LAB,
        first,
        at("2021-03-20"),
        interval=3600,
        sensors=SENSORS,
        holes={87: (hole,)},
        is_private=True,
    )


@pytest.fixture
def platform(kit: Kit) -> Platform:
    return Platform([kit], clock=lambda: at("2021-05-01"))


@pytest.fixture
def server(platform: Platform, environment: dict[str, str], workspace: Path) -> Iterator[PlatformServer]:
    folder = workspace / "tasks" / "smartcitizen"
    folder.mkdir()
    for name in ("backup", "restore"):
        shutil.copy(SHIPPED / f"{name}.yml", folder)
    with platform_served(platform, environment, workspace) as running:
        yield running


@pytest.fixture
def run(workspace: Path, environment: dict[str, str], server: PlatformServer) -> Callable[..., dict[str, Any]]:
    """Run one of the shipped flows for the device, given parameters: how the run ended."""
    # So that the processes that runs are forked into need not load it each time.
    import pyarrow.parquet  # noqa: F401

    def go(name: str, dry_run: bool = False, variables: dict[str, str] | None = None, **params: str) -> dict[str, Any]:
        settings = read_settings(str(workspace), {**environment, **(variables or {})})
        request = RunRequest(
            flow=f"smartcitizen/{name}.yml",
            params={"device": DEVICE, **params},
            dry_run=dry_run,
            wants_data=True,
        )
        ended = launch(request, settings)
        run = ended.run
        return {"status": run.status, "reason": run.reason, "message": run.message, "data": ended.data}

    return go
