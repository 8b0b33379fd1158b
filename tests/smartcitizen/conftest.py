"""The stand-in for the platform, and a workspace that asks it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scflows.demo.kinds import OPERATOR
from scflows.demo.platform import Platform
from scflows.demo.server import PlatformServer, serving

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
    with serving(platform) as running:
        environment |= {**running.settings, "SC_RETRY_SECONDS": "0"}
        del environment["SC_BEARER"]
        env = workspace / ".env"
        env.write_text(f"SC_BEARER={OPERATOR.token}\n")
        env.chmod(0o600)
        yield running


@pytest.fixture
def crontab(tmp_path: Path, environment: dict[str, str]) -> Path:
    """A stand-in for the program `crontab`; the tab it keeps."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "crontab"
    program.write_bytes((Path(__file__).parent.parent / "cron" / "crontab").read_bytes())
    program.chmod(0o755)
    environment["CRONTAB_PROGRAM"] = str(program)
    return folder / "tab"


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
