"""A platform whose devices do something wrong each, with the time of now, and a workspace that checks them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
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
HOUR = 3600
NUMBERS = {
    kind: 15001 + number
    for number, kind in enumerate(
        (
            "fine",
            "stale",
            "low-battery",
            "implausible",
            "stuck",
            "ahead",
            "gap",
            "sensor-gap",
            "silent",
            "missing",
            "never",
            "several",
        )
    )
}


def kits(now: int) -> Iterator[Kit]:
    """One of each kind; each publishes every five minutes."""
    for kind, number in NUMBERS.items():
        last = {"stale": now - 30 * HOUR, "ahead": now + 24 * HOUR}.get(kind, now - 60)
        # So that its last reading is that of `last`.
        kit = Kit(number, kind, LAB, last - 60 * HOUR, last, interval=300, sensors=(10, 55, 56, 87))
        kit.postprocessing = {"id": number, "device_id": number, "hardware_url": "demo-kit", "blueprint_url": None}
        if kind in ("stuck", "implausible", "low-battery"):
            kit.quirk = kind
        if kind in ("fine", "missing"):
            kit.sensors = (10, 53, 55, 56, 87) if kind == "fine" else (10, 53, 56, 87)
        else:
            kit.postprocessing = None
        if kind == "gap":
            kit.holes = dict.fromkeys(kit.sensors, ((now - 10 * HOUR, now - 7 * HOUR),))
        if kind == "sensor-gap":
            kit.holes = {87: ((now - 10 * HOUR, now - 7 * HOUR),)}
        if kind == "silent":
            kit.holes = {87: ((now - 60 * HOUR, now + HOUR),)}
        if kind == "never":
            kit.has_published = False
        yield kit


@pytest.fixture
def platform() -> Platform:
    now = int(time.time())
    platform = Platform(kits(now), clock=lambda: now)
    silent = platform.kits[NUMBERS["silent"]]
    shown = silent.shown(now, True)["data"]["sensors"]
    for each in shown:
        if each["id"] == 87:
            each["last_reading_at"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now - 60 * HOUR))
    silent.shown_as = {"data": {"sensors": shown}}
    return platform


@pytest.fixture
def server(platform: Platform, environment: dict[str, str], workspace: Path) -> Iterator[PlatformServer]:
    shutil.copytree(SHIPPED, workspace / "tasks" / "smartcitizen")
    with platform_served(platform, environment, workspace) as running:
        yield running


@pytest.fixture
def check(workspace: Path, environment: dict[str, str], server: PlatformServer) -> Callable[..., Any]:
    """Run the shipped flow for a device of a kind, or for all that have tasks: how the run ended."""

    def go(kind: str = "", **request: Any) -> Any:
        settings = read_settings(str(workspace), environment)
        params = {"device": NUMBERS[kind]} if kind else {}
        return launch(RunRequest(flow="smartcitizen/check.yml", params=params, wants_data=True, **request), settings)

    return go
