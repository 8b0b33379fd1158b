"""The stand-in for the platform, and work on its devices by the real packages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from scflows.integrations.smartcitizen.access import Access, read_access
from scflows.integrations.smartcitizen.demo.kit import Kit
from scflows.integrations.smartcitizen.demo.platform import Platform
from scflows.integrations.smartcitizen.demo.readings import read_time, rolled_up
from scflows.integrations.smartcitizen.demo.server import PlatformServer, serving
from scflows.integrations.smartcitizen.processing.harness import call
from scflows.settings import Settings, read_settings

NOW = 1_790_000_000
WORK = Path(__file__).parent / "work"
#: A channel of the kits, and the sensor that its values are those of.
TEMP_CLEAN, TEMP = 301, 55


@pytest.fixture
def platform() -> Platform:
    """A device of every kind; its clock stands still."""
    return Platform(clock=lambda: NOW)


@pytest.fixture
def server(platform: Platform, environment: dict[str, str]) -> Iterator[PlatformServer]:
    """The platform behind HTTP; the settings lead there. Nothing is waited for."""
    with serving(platform) as running:
        environment |= {**running.settings, "SC_RETRY_SECONDS": "0"}
        yield running


@pytest.fixture
def settings(workspace: Path, environment: dict[str, str], server: PlatformServer) -> Settings:
    return read_settings(str(workspace), environment)


@pytest.fixture
def access(server: PlatformServer, settings: Settings) -> Access:
    return read_access(settings)


@dataclass
class Told:
    """What came of a device's process."""

    answer: Any = None
    lines: list[tuple[str, str]] = field(default_factory=list)

    @property
    def log(self) -> str:
        return "\n".join(f"{level} {line}" for level, line in self.lines)


@pytest.fixture
def work(settings: Settings, access: Access) -> Callable[..., Told]:
    """Have a function of `work/many.py` called in a device's process."""

    def run(name: str, given: dict[str, Any] | None = None, **options: Any) -> Told:
        told = Told()
        variables = {"PYTHONPATH": str(WORK)}
        told.answer = call(
            f"many:{name}",
            given or {},
            settings,
            access,
            lambda level, line: told.lines.append((level, line)),
            variables=variables,
            **options,
        )
        return told

    return run


@pytest.fixture
def kit(platform: Platform) -> Callable[[str], Kit]:
    """The device that is an example of something."""
    return lambda kind: next(kit for kit in platform.kits.values() if kit.kind == kind)


@pytest.fixture
def expected(platform: Platform) -> Callable[..., dict[int, float]]:
    """What ought to be posted of a channel that gives its sensor's values: one value a minute, by time."""

    def values(kit: Kit, begin: int, end: int, sensor: int = TEMP) -> dict[int, float]:
        times = list(kit.series(sensor, platform.now).times(begin, end))
        rolled = rolled_up([(at, kit.value(sensor, at)) for at in times], "1m", "avg")
        return {read_time(at): value for at, value in rolled}

    return values


@pytest.fixture
def posted(platform: Platform) -> Callable[..., list[tuple[int, float]]]:
    """The readings that were posted of a device's channel, in order."""

    def readings(kit: Kit, channel: int = TEMP_CLEAN) -> list[tuple[int, float]]:
        return [
            (each["time"], each["value"])
            for each in platform.posted
            if each["device"] == kit.id and each["sensor"] == channel
        ]

    return readings
