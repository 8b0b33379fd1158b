"""What cron starts leaves a trace however early it fails; trying a task by hand does not change its state."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scflows.cron.schedule.schedule import Schedule
from scflows.cron.task import Task, TaskStore
from scflows.history.contract import Query
from scflows.history.store import open_store
from scflows.settings import Settings
from tests.conftest import Answer

SOUND = "steps: [{name: one, type: set_fact, set_fact: {value: 1}}]\n"
FAILING = "steps: [{name: one, type: jq, jq: {data_key: nothing, expression: .}}]\n"
START = ("run", "--task", "one", "--slot", "1790000000")
Flows = Callable[..., Answer]


@pytest.fixture
def task(settings: Settings, workspace: Path) -> Task:
    path = workspace / "tasks" / "one.yml"
    path.write_text(SOUND)
    # No slot of it comes while a test goes on.
    task = Task("one", Schedule("0 0 29 2 *"), str(path), workspace=str(workspace), settings=settings.remembered())
    TaskStore(settings).write(task)
    return task


def newest(flows: Flows) -> dict[str, Any]:
    item: dict[str, Any] = json.loads(flows("history", "one", "--json", "--home", "/").out)["items"][0]
    return item


def test_a_start_under_a_bad_env_file_is_recorded(flows: Flows, workspace: Path, task: Task, tmp_path: Path) -> None:
    (workspace / ".env").write_text("no setting\n")

    answer = flows(*START)

    assert answer.code == 2
    assert (newest(flows)["status"], newest(flows)["reason"]) == ("failed", "refused")
    assert ".env:1" in (tmp_path / "cache/scdata/tasks/one/one.log").read_text()


def test_a_start_of_a_broken_task_file_is_recorded(flows: Flows, settings: Settings, task: Task) -> None:
    path = Path(TaskStore(settings).path("one"))
    path.write_text(path.read_text().replace('"params": {}', '"params": [1]'))

    answer = flows(*START)

    assert answer.code == 2
    assert "invalid task file" in answer.err
    assert newest(flows)["reason"] == "refused"


def test_a_start_with_a_bad_remembered_level_is_recorded(flows: Flows, settings: Settings, task: Task) -> None:
    path = Path(TaskStore(settings).path("one"))
    values = json.loads(path.read_text())
    values["settings"]["LOG_LEVEL"] = "LOUD"
    path.write_text(json.dumps(values))

    assert flows(*START).code == 2
    assert "LOG_LEVEL" in newest(flows)["message"]


def test_what_fails_says_one_line_and_what_succeeds_nothing(flows: Flows, workspace: Path, task: Task) -> None:
    sound = flows(*START)
    (workspace / "tasks" / "one.yml").write_text(FAILING)
    failed = flows("run", "--task", "one", "--slot", "1790003600")

    assert (sound.code, sound.out, sound.err) == (0, "", "")
    assert failed.code == 1
    assert failed.out == ""
    assert failed.err.startswith("error: one: ")
    assert len(failed.err.splitlines()) == 1


def test_the_mail_of_cron_has_no_control_characters_of_data(flows: Flows, workspace: Path, task: Task) -> None:
    (workspace / "tasks" / "one.yml").write_text(
        r"""steps: [{name: m, type: set_fact, set_fact: {value: "\x1b[2J\x9b2Jcleared\x7f"}},"""
        " {name: one, type: jq, jq: {data_key: m, expression: error}}]\n"
    )
    answer = flows(*START)
    assert answer.code == 1
    assert "cleared" in answer.err
    assert answer.err.replace("\n", "").isprintable()


@pytest.mark.parametrize("change", [{"workspace": 5}, {"params": [1]}, {"settings": None}, {"command": [1]}])
def test_a_task_file_of_the_wrong_kinds_is_broken(
    flows: Flows, settings: Settings, task: Task, change: dict[str, Any]
) -> None:
    path = Path(TaskStore(settings).path("one"))
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))

    answer = flows("show", "one")

    assert answer.code == 2
    assert f"{path}: invalid task file" in answer.err


def test_trying_a_task_by_hand_does_not_change_its_state(flows: Flows, task: Task) -> None:
    assert flows(*START).code == 0
    assert flows("run", "one", "-p", "typo=1").code == 2
    assert flows("run", "one", "--dry-run").code == 0

    item = json.loads(flows("list-tasks", "--json").out)["items"][0]
    runs = flows("history", "one").out

    assert (item["status"], item["failures"]) == ("success", 0)
    assert len(runs.splitlines()) == 3
    assert "dry run" in runs


def test_the_history_is_listed_whole_with_a_limit_of_zero(flows: Flows, task: Task) -> None:
    for _ in range(3):
        assert flows("run", "one").code == 0

    assert len(flows("history", "--limit", "2").out.splitlines()) == 2
    assert len(flows("history", "--limit", "0").out.splitlines()) == 3
    assert flows("history", "--limit", "9" * 20).code == 2


@pytest.mark.parametrize(
    "change",
    [
        "params = 'x'",
        "started = 'soon'",
        "started = 1e300",
        "started = -5",
        "ended = 9e999",
        "slot = 1e20",
        "params = x'ff'",
    ],
)
def test_a_damaged_record_is_a_damaged_history(flows: Flows, task: Task, tmp_path: Path, change: str) -> None:
    assert flows("run", "one").code == 0
    connection = sqlite3.connect(tmp_path / "state/scflows/history.sqlite")
    connection.execute(f"UPDATE runs SET {change}")
    connection.commit()
    connection.close()

    answer = flows("history")

    assert answer.code == 7
    assert "is damaged" in answer.err
    assert "mv " in answer.err


def test_a_history_whose_schema_is_not_text_stops_no_run(flows: Flows, task: Task, tmp_path: Path) -> None:
    assert flows("run", "one").code == 0
    path = tmp_path / "state/scflows/history.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    content = path.read_bytes()
    assert b"CREATE TABLE runs (" in content
    path.write_bytes(content.replace(b"CREATE TABLE runs (", b"CREATE TABLE runs \xe4"))

    for command in (("run", "one"), ("list-tasks",), ("auto-schedule", "--dry-run")):
        assert flows(*command).code == 0
    for command, code in ((("history",), 7), (("health",), 7), (("check",), 1)):
        answer = flows(*command)
        assert answer.code == code
        assert "not UTF-8" in answer.out + answer.err
        assert "move it away, a new one will be created" in answer.out + answer.err


def test_a_history_that_cannot_be_written_is_read(flows: Flows, task: Task, tmp_path: Path) -> None:
    assert flows("run", "one").code == 0
    folder = tmp_path / "state/scflows"
    (folder / "history.sqlite").chmod(0o400)
    folder.chmod(0o500)
    try:
        answer = flows("history")
    finally:
        folder.chmod(0o700)

    assert answer.code == 0
    assert "success" in answer.out


def test_a_log_of_an_id_that_several_runs_have_says_so(flows: Flows, task: Task) -> None:
    for _ in range(2):
        flows("run", "one")

    answer = flows("logs", "01")

    assert answer.code == 4
    assert "more than one run starts with '01'" in answer.err


@pytest.mark.parametrize(
    ("name", "value"), [("FLOW_TIMEOUT_SECONDS", "x"), ("TIMEZONE", "Mars/Base"), ("LOG_LEVEL", "LOUD")]
)
def test_a_setting_no_run_could_use_is_not_remembered(flows: Flows, workspace: Path, name: str, value: str) -> None:
    (workspace / "tasks" / "one.yml").write_text("schedule: {every: 1h}\n" + SOUND)

    answer = flows("auto-schedule", "--dry-run", **{name: value})

    assert answer.code == 2
    assert name in answer.err


def test_the_next_slots_are_all_there_in_a_pipe(flows: Flows, settings: Settings, task: Task) -> None:
    TaskStore(settings).write(Task(**{**task.__dict__, "schedule": Schedule("* * * * *")}))

    assert len(flows("next", "--hours", "2").out.splitlines()) in (119, 120, 121)


def test_a_history_is_read_without_writing_to_it(flows: Flows, task: Task, settings: Settings) -> None:
    assert flows("run", "one").code == 0
    store = open_store(settings, read_only=True)

    assert [run.task for run in store.find(Query())] == ["one"]
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        store.remove(store.excess("one", keep=0))
    store.close()


def test_a_task_whose_file_is_broken_is_listed(flows: Flows, settings: Settings, task: Task) -> None:
    TaskStore(settings).write(Task(**{**task.__dict__, "name": "two"}))
    Path(TaskStore(settings).path("one")).write_text("{")

    answer = flows("list-tasks")
    items = json.loads(flows("list-tasks", "--state", "broken", "--json").out)["items"]

    assert len(answer.out.splitlines()) == 2
    assert "one.json: invalid task file" in answer.err
    assert [(item["name"], item["state"]) for item in items] == [("one", "broken")]


@pytest.mark.parametrize("name", ["CRONTAB_PROGRAM", "XDG_STATE_HOME", "XDG_CACHE_HOME", "SQLALCHEMY_DATABASE_URI"])
def test_every_documented_setting_can_be_asked_for(flows: Flows, name: str) -> None:
    answer = flows("config", name, **{name: "/x"} if name.startswith("SQL") else {})

    assert answer.code in (0, 2)
    assert "not found" not in answer.err


def test_paths_that_follow_from_another_setting_come_from_there(flows: Flows) -> None:
    items = {each["name"]: each["source"] for each in json.loads(flows("config", "--json").out)["items"]}

    assert (items["STATE_PATH"], items["TASKS_PATH"], items["DATA_PATH"]) == ("environment", "environment", "default")
