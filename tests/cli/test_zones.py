"""Every time that people read is in TIMEZONE, one zone for each column, whatever zones tasks and cron have."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from scflows.history.task_log import timestamp
from scflows.settings import Settings

TOKYO = "schedule: {cron: '30 9 * * *', timezone: Asia/Tokyo}\nsteps: []\n"
KOLKATA = "schedule: {cron: '*/30 * * * *', timezone: Asia/Kolkata}\nsteps: []\n"
HERE = "schedule: {cron: '5 4 * * *'}\nsteps: [{name: a, type: debug, debug: {data_key: __slot__}}]\n"
ZONES = {"CRON_TIMEZONE": "America/New_York", "TIMEZONE": "Europe/Madrid"}


@pytest.fixture
def tasks(flows: Callable[..., Any], workspace: Path) -> None:
    for name, text in (("tokyo", TOKYO), ("kolkata", KOLKATA), ("here", HERE)):
        (workspace / f"tasks/{name}.yml").write_text(text)
    assert flows("auto-schedule", "--once", **ZONES).code == 0


@pytest.mark.usefixtures("tasks")
@pytest.mark.parametrize("zone", ["Europe/Madrid", "Asia/Kathmandu", "UTC"])
def test_a_column_of_times_in_a_pipe_sorts_by_time(flows: Callable[..., Any], zone: str) -> None:
    rows = [line.split("\t") for line in flows("next", "--hours", "48", TIMEZONE=zone).out.splitlines()]
    times = [row[0] for row in rows]
    assert len(times) > 90
    assert times == sorted(times)
    moments = [datetime.fromisoformat(time) for time in times]
    assert moments == sorted(moments)
    assert len({moment.utcoffset() for moment in moments}) == 1
    shown = json.loads(flows("list-tasks", "--json", TIMEZONE=zone).out)["items"]
    assert len({datetime.fromisoformat(each["next"]).utcoffset() for each in shown}) == 1


@pytest.mark.usefixtures("tasks")
def test_a_task_shows_its_next_slots_in_the_zone_that_is_named(flows: Callable[..., Any]) -> None:
    shown = flows("show", "tokyo", TIMEZONE="UTC").out
    (line,) = [each for each in shown.splitlines() if each.startswith("next\t")]
    assert "00:30" in line
    assert "(UTC; in " in line
    assert "schedule\tdaily at 09:30 (Asia/Tokyo)" in shown
    assert "schedule\tdaily at 04:05 (America/New_York)" in flows("show", "here", TIMEZONE="UTC").out
    assert "schedule\tdaily at 04:05\n" in flows("show", "here", TIMEZONE="America/New_York").out


@pytest.mark.usefixtures("tasks")
def test_a_log_is_in_the_zone_of_people(flows: Callable[..., Any], workspace: Path, settings: Settings) -> None:
    assert flows("run", str(workspace / "tasks/here.yml"), "--task", "here", TZ="Asia/Tokyo").code == 0
    lines = Path(settings.tasks_path, "here/here.log").read_text().splitlines()
    offset = datetime.fromisoformat(timestamp(datetime.now().timestamp(), "Europe/Madrid")).utcoffset()
    assert {datetime.fromisoformat(line.split(" ")[0]).utcoffset() for line in lines} == {offset}
    assert ", slot 20" in lines[0]
    assert datetime.fromisoformat(lines[0].split(", slot ")[1]).utcoffset() == offset


@pytest.mark.parametrize(
    ("zone", "text"),
    [
        ("UTC", "2026-07-01T12:00:00+00:00"),
        ("Europe/Madrid", "2026-07-01T14:00:00+02:00"),
        ("Asia/Kolkata", "2026-07-01T17:30:00+05:30"),
        ("America/St_Johns", "2026-07-01T09:30:00-02:30"),
        ("no/zone", "2026-07-01T12:00:00+00:00"),
    ],
)
@pytest.mark.parametrize("system", ["UTC", "Europe/Madrid", "America/St_Johns"])
def test_a_time_has_the_offset_of_its_zone(
    zone: str, text: str, system: str, system_zone: Callable[[str], None]
) -> None:
    system_zone(system)
    assert timestamp(1782907200.9, zone) == text
