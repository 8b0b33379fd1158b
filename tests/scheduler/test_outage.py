"""Cron is stopped for three hours under an hourly task: what the history, the hooks and `flows health` say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scflows.scheduler.boot import start_after_boot
from scflows.scheduler.process_host import ProcessHost

LIBRARIES = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/local/lib/faketime/libfaketime.so.1",
)
LIBRARY = next((path for path in LIBRARIES if os.path.exists(path)), None)
TELL = "steps: [{name: tell, type: file, file: {path: told.json, mode: append, type: json, data_key: __input__}}]\n"

pytestmark = [
    pytest.mark.service,
    pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed"),
]


@pytest.fixture
def at(flows: Callable[..., Any]) -> Callable[..., Any]:
    """A command at a time of 2027-03-01, UTC."""

    def at(moment: str, *arguments: str) -> Any:
        assert LIBRARY is not None
        return flows(*arguments, LD_PRELOAD=LIBRARY, FAKETIME=f"@2027-03-01 {moment}", TZ="UTC")

    return at


@pytest.fixture
def hourly(workspace: Path, at: Callable[..., Any]) -> Callable[[str], None]:
    """Schedule an hourly task at 08:30, which has run at nine and ten."""
    (workspace / "tasks/tell.yml").write_text(TELL)
    (workspace / "data").mkdir()
    (workspace / "data/config.yml").write_text("on_failure: tell.yml\non_recovery: tell.yml\n")

    def schedule(catch_up: str) -> None:
        text = f'schedule: {{cron: "0 * * * *", catch_up: {catch_up}}}\nsteps: []\n'
        (workspace / "tasks/hourly.yml").write_text(text)
        assert at("08:30:00", "manual-schedule", "hourly.yml").code == 0
        for hour in ("09", "10"):
            assert at(f"{hour}:00:01", "run", "--task", "hourly").code == 0

    return schedule


def told(workspace: Path, at_least: int = 0) -> list[str]:
    """The hooks that were called; some are called aside, and may take a moment."""
    path = workspace / "data/told.json"
    ends = time.monotonic() + 60
    while True:
        lines = path.read_text().splitlines() if path.exists() else []
        if len(lines) >= at_least or time.monotonic() > ends:
            return [json.loads(line)["hook"] for line in lines]
        time.sleep(0.02)


def slots(at: Callable[..., Any], moment: str) -> dict[str, list[str]]:
    """How each slot was answered."""
    answer = at(moment, "history", "hourly", "--json")
    assert answer.code == 0, answer.err
    found: dict[str, list[str]] = {}
    for item in json.loads(answer.out)["items"]:
        found.setdefault(item["slot"][11:16], []).append(item["reason"] or item["status"])
    return dict(sorted(found.items()))


@pytest.mark.parametrize("asked", [(), ("11:40:00", "12:20:00", "13:20:00")], ids=["nobody looks", "somebody looks"])
def test_three_slots_are_missed_and_there_is_one_alert_and_one_recovery(at, hourly, workspace, asked):
    hourly("none")
    for moment in asked:
        answer = at(moment, "health")
        assert answer.code == 1
        assert answer.out.startswith("hourly\t")
        assert told(workspace, at_least=1) == ["on_failure"]
    for hour in ("14", "15"):
        assert at(f"{hour}:00:01", "run", "--task", "hourly").code == 0
    assert at("15:30:00", "health").out == "No problems: 1 task.\n"
    assert slots(at, "15:31:00") == {
        "09:00": ["success"],
        "10:00": ["success"],
        "11:00": ["missed"],
        "12:00": ["missed"],
        "13:00": ["missed"],
        "14:00": ["success"],
        "15:00": ["success"],
    }
    assert told(workspace, at_least=2) == ["on_failure", "on_recovery"]


def test_three_slots_are_caught_up_and_there_is_one_alert_and_one_recovery(at, hourly, workspace, settings):
    hourly("all")
    assert at("14:00:01", "run", "--task", "hourly").code == 0
    log = Path(settings.tasks_path) / "hourly/hourly.log"
    ends = time.monotonic() + 60
    while log.read_text().count(" success after ") < 6 and time.monotonic() < ends:
        time.sleep(0.05)
    assert at("15:00:01", "run", "--task", "hourly").code == 0
    assert at("15:30:00", "health").out == "No problems: 1 task.\n"
    answers = slots(at, "15:31:00")
    assert Counter(status for each in answers.values() for status in each) == {"success": 7}
    assert list(answers) == [f"{hour:02}:00" for hour in range(9, 16)]
    assert told(workspace, at_least=2) == ["on_failure", "on_recovery"]


def test_at_boot_what_is_owed_is_made_up_and_what_was_missed_is_told(at, hourly, workspace, settings):
    hourly("all")
    (workspace / "tasks/other.yml").write_text('schedule: {cron: "10 * * * *"}\nsteps: []\n')
    assert at("10:20:00", "manual-schedule", "other.yml").code == 0
    answer = at("13:30:00", "cron", "boot", "--after", "0s", "--state", settings.state_path)
    assert (answer.code, answer.out, answer.err) == (0, "Caught up 3 missed slots.\n", "")
    answers = slots(at, "13:31:00")
    assert answers == {f"{hour:02}:00": ["success"] for hour in range(9, 14)}
    missed = [item["reason"] for item in json.loads(at("13:31:00", "history", "other", "--json").out)["items"]]
    assert missed == ["missed"] * 3
    told(workspace, at_least=1)
    calls = [json.loads(line) for line in (workspace / "data/told.json").read_text().splitlines()]
    assert [call["hook"] for call in calls if call["task"] == "other"] == ["on_failure"]
    again = at("13:32:00", "cron", "boot", "--after", "0s", "--state", settings.state_path)
    assert again.out == "Caught up 0 missed slots.\n"


def test_at_boot_a_state_folder_that_is_away_is_told(flows, tmp_path):
    answer = flows("cron", "boot", "--after", "0s", "--state", str(tmp_path / "gone"))
    assert answer.code == 5
    assert f"the state folder {tmp_path}/gone does not exist" in answer.err


def test_at_boot_a_state_folder_may_come_within_the_time_that_is_waited(settings, monkeypatch):
    class World(ProcessHost):
        def wait(self, seconds: float) -> None:
            # As that of a disk that is mounted meanwhile.
            os.makedirs(settings.state_path, exist_ok=True)

    monkeypatch.setattr("scflows.scheduler.boot.ProcessHost", World)
    assert start_after_boot(settings.state_path, 60.0) == 0


def test_told_to_stop_nothing_is_made_up_at_boot(at, hourly, environment, workspace, settings):
    hourly("all")
    arguments = ["cron", "boot", "--after", "60s", "--state", settings.state_path]
    later = {"LD_PRELOAD": str(LIBRARY), "FAKETIME": "@2027-03-01 13:30:00", "TZ": "UTC"}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "scflows", *arguments],
        env={**environment, **later},
        cwd=workspace,
        stdout=subprocess.PIPE,
        text=True,
    )
    heard = Path(f"/proc/{process.pid}/status")
    ends = time.monotonic() + 60
    # Once it hears: signal 15 is among those caught.
    while not int(heard.read_text().partition("SigCgt:")[2].split()[0], 16) & 1 << 14 and time.monotonic() < ends:
        time.sleep(0.02)
    process.terminate()
    assert process.communicate(timeout=30)[0] == "Caught up 0 missed slots.\n"
    assert set(slots(at, "10:01:00")) == {"09:00", "10:00"}
