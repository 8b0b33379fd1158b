"""Tasks with `cron: "@reboot"`: once per boot, from the crontab's line for the boot or when `flows cron run` starts."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scflows.cron.crontab.line import BOOT, TICK

pytestmark = pytest.mark.usefixtures("interruptible")


@pytest.fixture
def booting(workspace: Path) -> Path:
    """A boot task that appends a line to `data/boots`."""
    file = workspace / "tasks/warm.yml"
    file.write_text(
        'schedule: {cron: "@reboot"}\n'
        "steps:\n"
        "  - {name: run, type: set_fact, set_fact: {value: [{trigger: boot, slot: '{{ __slot__ }}'}]}}\n"
        "  - {name: write, type: table, table: {mode: append, path: boots.csv, data_key: run}}\n"
    )
    return workspace / "data/boots.csv"


def boots(file: Path, count: int) -> list[str]:
    """Return the runs of the boot task, after waiting for as many."""
    ends = time.monotonic() + 30
    while time.monotonic() < ends:
        found = file.read_text().splitlines()[1:] if file.exists() else []
        if len(found) >= count:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{file} has not {count} runs")


def reboot(settings) -> None:
    """Have the machine look as if it had been booted again since."""
    file = Path(settings.state_path, "boot.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), "boot": "another"}))


def boot_now(flows, settings) -> None:
    assert flows("cron", "boot", "--after", "0s", "--state", settings.state_path).code == 0


def test_a_boot_task_is_started_once_per_boot(flows, booting, settings):
    scheduled = flows("auto-schedule", "--once")
    assert "added warm: at boot" in scheduled.out
    assert scheduled.code == 0
    boot_now(flows, settings)
    boots(booting, 1)
    boot_now(flows, settings)
    reboot(settings)
    boot_now(flows, settings)
    assert len(boots(booting, 2)) == 2
    ends = time.monotonic() + 20
    while time.monotonic() < ends:
        runs = json.loads(flows("history", "--json").out)["items"]
        if [run["status"] for run in runs] == ["success"] * 2:
            break
    assert [(run["trigger"], run["slot"]) for run in runs] == [("boot", None)] * 2


def test_a_paused_boot_task_is_not_started(flows, booting, settings):
    assert flows("auto-schedule", "--once").code == 0
    assert flows("disable", "warm").code == 0
    boot_now(flows, settings)
    assert json.loads(flows("history", "--json").out)["items"] == []


@pytest.mark.waits
def test_the_loop_starts_boot_tasks_once_however_often_it_is_started(flows, booting, environment, workspace):
    assert flows("auto-schedule", "--once").code == 0
    for _ in range(2):
        loop = subprocess.Popen(
            [sys.executable, "-P", "-m", "scflows", "cron", "run"],
            env=environment,
            cwd=workspace,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert loop.stdout is not None
        first = [loop.stdout.readline() for _ in range(2)]
        boots(booting, 1)
        loop.send_signal(signal.SIGTERM)
        told = "".join(first) + loop.communicate(timeout=60)[0]
        assert loop.returncode == 0
    assert "1 task started for this boot" not in told
    assert len(boots(booting, 1)) == 1


def test_a_boot_task_has_no_slot_is_never_missed_and_does_not_count_as_load(flows, booting, settings):
    assert flows("manual-schedule", "warm.yml", "--cron", "@reboot", "--name", "warm").code == 0
    listed = json.loads(flows("list-tasks", "--json").out)["items"][0]
    assert (listed["schedule"], listed["cron"], listed["next"]) == ("at boot", "@reboot", None)
    shown = flows("show", "warm").out
    assert "schedule\tat boot\n" in shown
    assert "of its slot" not in shown
    assert BOOT in shown
    assert flows("next", "--hours", "9000").out == ""
    assert {row.split("\t")[1] for row in flows("load").out.splitlines()} == {"0.0"}
    assert flows("rebalance", "--yes").code == 0
    refused = flows("run", "warm", "--slot", "2026-06-01T12:00:00+00:00")
    assert (refused.code, "is not a slot of task 'warm' (at boot)" in refused.err) == (2, True)
    assert [row.split("\t")[2] for row in flows("list-flows").out.splitlines()] == ["at boot"]
    assert flows("validate").code == 0
    assert flows("health").code == 0


@pytest.mark.parametrize("option", ["timezone: Europe/Madrid", "catch_up: last", "start_within: 5m"])
def test_options_that_need_a_time_are_refused(flows, workspace, option):
    (workspace / "tasks/warm.yml").write_text(f'schedule: {{cron: "@reboot", {option}}}\nsteps: []\n')
    refused = flows("validate")
    assert refused.code == 1
    assert f"{option.partition(':')[0]} has no effect with cron '@reboot'" in refused.out


def test_the_crontab_has_the_boot_line_while_there_is_a_boot_task(flows, crontab, booting, workspace):
    (workspace / "tasks/hourly.yml").write_text("schedule: {every: 1h, catch_up: last}\nsteps: []\n")

    def names() -> list[str]:
        return [line.rpartition(" ")[2] for line in crontab.read_text().splitlines() if "scflows" in line][1:-1]

    assert flows("manual-schedule", "warm.yml").code == 0
    assert names() == [BOOT]
    checked = flows("check").out
    assert "1 task, same as the tabfile" in checked
    assert "nothing starts it" not in checked
    assert json.loads(flows("cron", "status", "--json").out)["cron"]["entries"] == 1
    # With one line for all tasks, too, and without it once no task needs it.
    assert flows("repair", "--one-line").code == 0
    assert sorted(names()) == [BOOT, TICK]
    assert flows("edit", "warm", "--every", "1h").code == 0
    assert names() == [TICK]
    assert flows("edit", "warm", "--cron", "@reboot").code == 0
    assert sorted(names()) == [BOOT, TICK]
    assert flows("repair", "--no-one-line").code == 0
    assert names() == [BOOT]
    assert flows("disable", "warm").code == 0
    assert names() == []
    assert flows("enable", "warm").code == 0
    # A flow's own options are for its own schedule.
    assert flows("manual-schedule", "hourly.yml", "--cron", "@reboot").code == 0
    assert names() == [BOOT]
    crontab.write_text("")
    assert "FAIL" in flows("check").out


def test_a_cron_without_the_boot_line_is_told(flows, crontab, booting, environment):
    environment["CRONTAB_PROGRAM"] = str(crontab.parent / "busybox")
    Path(environment["CRONTAB_PROGRAM"]).symlink_to(crontab.parent / "crontab")
    (crontab.parent / "busybox").unlink()
    (crontab.parent / "busybox").write_bytes((crontab.parent / "crontab").read_bytes())
    (crontab.parent / "busybox").chmod(0o755)
    told = flows("auto-schedule", "--once")
    assert told.code == 0
    assert "warm: this cron does not support @reboot, so the task only starts with: flows cron run" in told.err
    checked = flows("check").out
    assert "1 task to start at boot, e.g. warm, but the @reboot line is missing" in checked
    assert "use: flows cron run" in checked
