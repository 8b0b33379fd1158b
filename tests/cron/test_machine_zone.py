"""Tasks have the zone of the machine's cron, whatever `TZ` the process has that looks at them."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from scflows.cron.machine_zone import FILE, GIVEN, find_zone, is_same_zone, keep_zone, kept_zone, local_zone
from scflows.settings import Settings

DAILY = "schedule: {cron: '5 4 * * *'}\nsteps: [{name: s, type: set_fact, set_fact: {value: 1}}]\n"
TOKYO = "schedule: {cron: '30 9 * * *', timezone: Asia/Tokyo}\nsteps: []\n"


@pytest.fixture
def in_madrid(flows: Any, workspace: Path) -> None:
    """A daily task of a machine whose cron is in Madrid."""
    (workspace / "tasks/daily.yml").write_text(DAILY)
    (workspace / "tasks/tokyo.yml").write_text(TOKYO)
    assert flows("auto-schedule", "--once", CRON_TIMEZONE="Europe/Madrid").code == 0


def items(answer: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(answer.out)["items"]
    return found


@pytest.mark.usefixtures("in_madrid")
@pytest.mark.parametrize("shell", [{"TZ": "America/New_York"}, {"TZ": ""}, {}])
def test_the_zone_of_a_shell_changes_no_slot(flows: Any, shell: dict[str, str]) -> None:
    shown = items(flows("next", "--hours", "30", "--json", **shell))
    starts = [datetime.fromisoformat(each["at"]).astimezone(ZoneInfo("Europe/Madrid")) for each in shown]
    assert {f"{start:%H:%M}" for start, each in zip(starts, shown, strict=True) if each["name"] == "daily"} == {"04:05"}
    assert flows("auto-schedule", "--once", "--dry-run", "--exit-code", **shell).code == 0


@pytest.mark.usefixtures("in_madrid")
def test_the_zone_of_a_job_changes_no_slot(flows: Any, workspace: Path, settings: Settings) -> None:
    done = flows("run", str(workspace / "tasks/daily.yml"), "--task", "daily", TZ="Pacific/Auckland")
    assert (done.code, done.err) == (0, "")
    (run,) = items(flows("history", "daily", "--json"))
    slot = datetime.fromisoformat(run["slot"]).astimezone(ZoneInfo("Europe/Madrid"))
    assert f"{slot:%H:%M}" == "04:05"


@pytest.mark.usefixtures("in_madrid")
def test_another_zone_of_the_machine_is_reported_and_adopted(flows: Any, workspace: Path, settings: Settings) -> None:
    line = next(each for each in Path(settings.tabfile).read_text().splitlines() if each.endswith("# tokyo"))
    assert line.split()[1] in ("1", "2", "1,2")
    moved = {"CRON_TIMEZONE": "Asia/Tokyo"}
    told = flows("check", "--json", **moved)
    (finding,) = [each for each in items(told) if "machine's cron" in each["text"]]
    assert finding["level"] == "FAIL"
    assert "Europe/Madrid, but the machine's cron is in Asia/Tokyo" in finding["text"]
    planned = flows("repair", "--dry-run", **moved)
    assert "the time zone of the tasks: Europe/Madrid → Asia/Tokyo" in planned.err
    assert kept_zone(settings.state_path) == "Europe/Madrid"
    assert flows("repair", **moved).code == 0
    assert kept_zone(settings.state_path) == "Asia/Tokyo"
    line = next(each for each in Path(settings.tabfile).read_text().splitlines() if each.endswith("# tokyo"))
    assert line.split()[:2] == ["30", "9"]
    told = flows("check", "--json", **moved)
    assert [each["level"] for each in items(told) if "machine's cron" in each["text"]] == ["ok"]


@pytest.mark.usefixtures("in_madrid")
@pytest.mark.parametrize(("given", "seen"), [({"TZ": "Asia/Tokyo"}, "Asia/Tokyo"), ({}, "none")])
def test_programs_get_the_zone_that_the_job_was_given(
    flows: Any, workspace: Path, given: dict[str, str], seen: str
) -> None:
    (workspace / "tasks/zone.yml").write_text('steps: [{name: s, type: shell, shell: {command: "echo ${TZ-none}"}}]')
    assert f" {seen}\n" in flows("run", "zone.yml", "--follow", **given).out


@pytest.mark.usefixtures("in_madrid")
@pytest.mark.parametrize("content", [b"", b"Europe/Madrid", b"\xff\xfe\n", b"\n", b"x" * 300 + b"\n"])
def test_a_damaged_zone_is_none(flows: Any, settings: Settings, content: bytes) -> None:
    path = Path(settings.state_path, FILE)
    path.write_bytes(content)
    assert kept_zone(settings.state_path) == ""
    assert flows("next", "--hours", "30").code == 0
    path.unlink()
    os.mkfifo(path)
    assert kept_zone(settings.state_path) == ""


def test_a_zone_that_does_not_exist_is_refused(flows: Any, workspace: Path) -> None:
    (workspace / "tasks/daily.yml").write_text(DAILY)
    told = flows("auto-schedule", "--once", CRON_TIMEZONE="Europe/Madird")
    assert told.code == 2
    assert "CRON_TIMEZONE must be a time zone, not 'Europe/Madird'" in told.err
    assert "did you mean 'Europe/Madrid'?" in told.err


def test_the_zone_is_that_of_the_cron_daemon(settings: Settings, tmp_path: Path) -> None:
    proc = tmp_path / "proc"
    assert find_zone(settings, str(proc)) == local_zone()
    for pid, name, variables in ((7, "bash", b"TZ=Asia/Kolkata\0"), (12, "cron", b"A=b\0TZ=:Asia/Tokyo\0")):
        (proc / str(pid)).mkdir(parents=True)
        (proc / str(pid) / "comm").write_text(f"{name}\n")
        (proc / str(pid) / "environ").write_bytes(variables)
    assert find_zone(settings, str(proc)) == "Asia/Tokyo"
    (proc / "12/environ").unlink()
    assert find_zone(settings, str(proc)) == local_zone()


def test_the_zone_of_the_foreground_scheduler_is_its_own(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(GIVEN, "Asia/Tokyo")
    assert find_zone(settings, pid=os.getpid()) == "Asia/Tokyo"
    keep_zone(settings, "Asia/Tokyo")
    keep_zone(settings)
    assert kept_zone(settings.state_path) == "Asia/Tokyo"


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("UTC", "Etc/UTC", True),
        ("Europe/Madrid", "Europe/Paris", True),
        ("Europe/Madrid", "Europe/London", False),
        ("CET-1CEST", "CET-1CEST", True),
        ("CET-1CEST", "Europe/Madrid", False),
    ],
)
def test_zones_are_the_same_if_their_clocks_are(one: str, other: str, is_same: bool) -> None:
    assert is_same_zone(one, other) is is_same
