"""How the tasks do, as a person or a monitoring asks; and that whoever asks anything is one who notices."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scflows.cron.task import TaskStore
from scflows.history.run import FAILED, QUEUED, RUNNING, SUCCESS, Run, new_run_id
from scflows.history.store import open_store
from scflows.locks import current_process
from scflows.settings import Settings

HOUR = 3600.0
FLOW = "schedule: {every: 1h}\nsteps: [{name: fine, type: set_fact, set_fact: {value: 1}}]\n"
TELL = "steps: [{name: tell, type: file, file: {path: told.json, mode: append, type: json, data_key: __input__}}]\n"


@pytest.fixture
def scheduled(flows, workspace: Path, settings: Settings) -> Callable[..., None]:
    """Schedule a flow, some hours ago."""

    def scheduled(*names: str, hours: float = 5, options: tuple[str, ...] = ()) -> None:
        for name in names:
            (workspace / "tasks" / f"{name}.yml").write_text(FLOW)
            answer = flows("manual-schedule", f"{name}.yml", *options)
            assert answer.code == 0, answer.err
        then = time.time() - hours * HOUR
        for name in names:
            path = Path(TaskStore(settings).path(name))
            values = json.loads(path.read_text())
            values["created"] = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(then))
            path.write_text(json.dumps(values))
            os.utime(path, (then, then))
        # The command kept house itself, just now.
        (Path(settings.state_path) / "housekeeping").unlink(missing_ok=True)

    return scheduled


@pytest.fixture
def ran(settings: Settings) -> Callable[..., Run]:
    def ran(status: str = SUCCESS, ago: float = 0.0, name: str = "hourly", **given: Any) -> Run:
        schedule = TaskStore(settings).read(name).schedule
        slot = schedule.latest_epoch(time.time() - ago)
        assert slot is not None
        started = float(slot + 1)
        ended = None if status in (RUNNING, QUEUED) else started + 1
        run = Run(new_run_id(started), f"{name}.yml", name, "cron", given.pop("slot", slot), status, **given)
        run.started, run.ended, run.holder = started, ended, current_process()
        store = open_store(settings)
        assert store.claim(run) is None
        store.close()
        return run

    return ran


def told(workspace: Path, at_least: int = 0) -> list[str]:
    """The kinds that the hook was told; it runs aside, so it may take a moment."""
    path = workspace / "data/told.json"
    ends = time.monotonic() + 60
    while True:
        lines = path.read_text().splitlines() if path.exists() else []
        if len(lines) >= at_least or time.monotonic() > ends:
            return [json.loads(line)["incident"]["kind"] for line in lines]
        time.sleep(0.02)


@pytest.fixture
def hook(workspace: Path) -> None:
    (workspace / "tasks/tell.yml").write_text(TELL)
    (workspace / "data").mkdir()
    (workspace / "data/config.yml").write_text("on_failure: tell.yml\n")


def test_tasks_that_do_well_are_told_in_a_line(flows, scheduled, ran):
    assert flows("health").out == "No problems: 0 tasks.\n"
    scheduled("new", hours=0)
    scheduled("hourly")
    ran()
    answer = flows("health")
    assert (answer.code, answer.out) == (0, "No problems: 2 tasks.\n")
    answer = flows("health", "--json")
    assert json.loads(answer.out) == {
        "schema": 1,
        "items": [],
        "tasks": 2,
        "paused": 0,
        "running": 0,
        "waiting": 0,
        "problems": 0,
    }


def test_a_slot_without_a_run_makes_the_exit_code_1_and_is_told_aside(flows, scheduled, ran, workspace, hook):
    scheduled("hourly")
    ran(ago=3 * HOUR)
    answer = flows("health", "--json")
    assert answer.code == 1
    found = json.loads(answer.out)
    assert found["problems"] == 1
    assert found["items"][0]["task"] == "hourly"
    assert found["items"][0]["problem"] in ("late", "missed")
    assert len(told(workspace, at_least=1)) == 1
    assert flows("health").code == 1
    # What was told is marked after it was told.
    ends = time.monotonic() + 60
    while (
        not (told_now := json.loads(flows("health", "--json").out)["items"][0]["delivered"]) and time.monotonic() < ends
    ):
        time.sleep(0.05)
    assert told_now is True
    assert len(told(workspace)) == 1


@pytest.mark.parametrize(
    "command",
    [("list-tasks",), ("history",), ("show", "hourly"), ("next",), ("disable", "other"), ("logs", "--path", "hourly")],
    ids=" ".join,
)
def test_every_command_notices_what_goes_wrong(flows, scheduled, ran, workspace, hook, command):
    scheduled("other", hours=0)
    scheduled("hourly")
    ran(ago=3 * HOUR)
    assert flows("list-tasks", "--help").code == 0
    assert flows("remove-task", "hourly", "--dry-run").code == 0
    assert not (workspace.parent / "state/scflows/incidents").exists()
    answer = flows(*command)
    assert answer.code == 0, answer.err
    assert len(told(workspace, at_least=1)) == 1


def test_a_hook_that_takes_long_delays_no_command(flows, scheduled, ran, workspace, hook):
    scheduled("hourly")
    ran(ago=3 * HOUR)
    slow = TELL.replace("steps: [", "steps: [{name: wait, type: sleep, sleep: {seconds: 3}}, ")
    (workspace / "tasks/tell.yml").write_text(slow)
    assert flows("list-tasks").code == 0
    assert told(workspace) == []
    assert len(told(workspace, at_least=1)) == 1


def test_failing_crashed_long_and_waiting_runs_are_shown(flows, scheduled, ran):
    scheduled("fails", "crashes", "long", "waits", options=("--end-within", "10m"))
    ran(FAILED, 2 * HOUR, "fails", message="first", slot=None)
    last = ran(FAILED, 100, "fails", message="no such\nhost")
    ran("crashed", 100, "crashes", reason="died", message="its process died")
    long = ran(RUNNING, 700, "long")
    ran(QUEUED, 1000, "waits")
    answer = flows("health", "--json")
    assert answer.code == 1
    items = {each["task"]: each for each in json.loads(answer.out)["items"]}
    assert {name: each["problem"] for name, each in items.items() if name != "waits"} == {
        "fails": "failing",
        "crashes": "crashed",
        "long": "too_long",
    }
    assert (items["fails"]["run"], items["fails"]["why"]) == (last.id, "2 times: no such host")
    assert items["long"]["run"] == long.id
    assert items["waits"]["problem"] in ("waiting", "late")
    rows = [line.split("\t") for line in flows("health").out.splitlines()]
    assert [row[0] for row in rows] == list(items)


def test_a_task_file_that_is_broken_is_a_problem(flows, scheduled, ran, settings):
    scheduled("hourly")
    ran()
    (Path(settings.state_path) / "tasks/odd.json").write_text("{")
    answer = flows("health")
    assert answer.code == 1
    assert "broken" in answer.out


def test_a_history_that_cannot_be_read_is_no_health(flows, scheduled, settings):
    scheduled("hourly")
    (Path(settings.state_path) / "history.sqlite").write_bytes(
        b"no database at all, and long enough to be looked at" * 9
    )
    answer = flows("health")
    assert answer.code == 7
    assert "history" in answer.err


def test_what_is_expected_is_set_by_options_and_by_the_flow(flows, workspace, settings):
    (workspace / "tasks/own.yml").write_text("schedule: {every: 1h, start_within: 20m, end_within: 90s}\nsteps: []\n")
    assert flows("manual-schedule", "own.yml").code == 0
    assert flows("manual-schedule", "own.yml", "--name", "other", "--every", "2h", "--start-within", "1h").code == 0
    shown = [json.loads(flows("show", name, "--json").out) for name in ("own", "other")]
    assert [(each["start_within"], each["end_within"]) for each in shown] == [(1200.0, 90.0), (3600.0, 90.0)]
    answer = flows("edit", "own", "--end-within", "2h")
    assert "end_within 90 s → 7200 s" in answer.out
    assert "expected\tstarts within 20 min of its slot, ends within 2 h" in flows("show", "own").out
    assert flows("auto-schedule", "--once").code in (0, 6)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("start_within: 10", "start_within: 10 has no unit"),
        ("end_within: soon", "end_within: 'soon' is not a valid duration"),
        ("end_within: 0m", "end_within: '0m' is not a valid duration"),
        ("start_within: 9999d", "start_within: '9999d' is longer than a year"),
    ],
)
def test_an_expectation_that_is_none_is_a_mistake_with_its_place(flows, workspace, written, told):
    (workspace / "tasks/own.yml").write_text(f"schedule:\n  every: 1h\n  {written}\nsteps: []\n")
    answer = flows("validate", "own.yml")
    assert answer.code == 1
    assert "own.yml:3:" in answer.out + answer.err
    assert told in answer.out + answer.err


@pytest.mark.parametrize("made", ["yesterday", "0001-01-01T00:00:00", "9999-12-31T23:59:59"])
def test_a_task_file_without_a_time_takes_the_news_from_no_other(flows, scheduled, settings, workspace, hook, made):
    scheduled("odd", "hourly")
    path = Path(TaskStore(settings).path("odd"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "created": made}))
    os.utime(path, (0, 0))
    assert flows("run", "--task", "odd").code == 0
    assert "late" in told(workspace, 1)
    answer = flows("health")
    assert (answer.code, answer.err) == (1, "")
    assert "hourly" in answer.out
