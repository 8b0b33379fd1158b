"""Setup as a user does it: make a workspace, look at settings, find what is wrong, try it as cron would."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

SOUND = "steps: [{name: one, type: set_fact, set_fact: {value: 1}}]\n"


@pytest.fixture
def scheduled(workspace: Path, flows: Callable) -> Path:
    """A workspace with a scheduled flow."""
    (workspace / "tasks" / "report.yml").write_text("schedule: {every: 1h}\n" + SOUND)
    answer = flows("auto-schedule", "--once")
    assert answer.code == 0, answer.err
    return workspace


def test_init_makes_a_workspace_that_can_be_used_at_once(flows, tmp_path) -> None:
    answer = flows("init", str(tmp_path / "mine"))
    assert answer.code == 0, answer.err
    assert "made\t.env\n" in answer.out
    home = str(tmp_path / "mine")
    assert flows("list-flows", "--home", home).out
    again = json.loads(flows("init", home, "--json").out)
    assert again["workspace"] == home
    assert {item["what"] for item in again["items"]} == {"kept"}


def test_init_lies_in_the_workspace_that_home_names(flows, tmp_path) -> None:
    answer = flows("init", "below", "--home", str(tmp_path))
    assert answer.code == 0, answer.err
    assert (tmp_path / "below" / ".env").is_file()


def test_init_says_on_a_terminal_what_to_do_next(terminal, tmp_path) -> None:
    shown = terminal.run("init", str(tmp_path / "mine"))
    assert shown.code == 0
    assert "flows auto-schedule --dry-run" in shown.text


def test_init_refuses_a_file(flows, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    answer = flows("init", str(tmp_path / "file"))
    assert answer.code == 2
    assert "is not a folder" in answer.err


def test_config_shows_settings_and_no_secret(flows, workspace) -> None:
    (workspace / ".env").write_text("API_TOKEN=hidden-word\n")
    answer = flows("config", TIMEZONE="Europe/Madrid")
    assert answer.code == 0, answer.err
    assert "TIMEZONE\tEurope/Madrid\tenvironment\n" in answer.out
    assert "API_TOKEN\t***\t.env\n" in answer.out
    assert "hidden-word" not in answer.out + flows("config", "--json").out
    assert flows("config", "TIMEZONE").out == "UTC\n"
    assert json.loads(flows("config", "TIMEZONE", "--json").out) == {
        "name": "TIMEZONE",
        "value": "UTC",
        "source": "default",
    }


def test_config_of_an_unknown_key_names_the_nearest(flows) -> None:
    answer = flows("config", "TIMEZON")
    assert (answer.code, answer.out) == (4, "")
    assert "did you mean 'TIMEZONE'?" in answer.err


def test_check_ends_with_1_when_something_fails(flows, scheduled) -> None:
    (scheduled / "tasks" / "report.yml").unlink()
    answer = flows("check")
    assert answer.code == 1
    rows = [row.split("\t") for row in answer.out.splitlines()]
    assert all(len(row) == 4 for row in rows)
    assert [row[:2] for row in rows if row[0] == "FAIL"][-1] == ["FAIL", "flows"]
    found = json.loads(flows("doctor", "--json").out)
    assert found["failures"] >= 1
    assert [item["level"] for item in found["items"]] == [row[0] for row in rows]


def test_check_tells_of_an_env_file_that_cannot_be_read(flows, workspace) -> None:
    (workspace / ".env").write_bytes(b"A=\xff\n")
    answer = flows("check")
    assert answer.code == 1
    assert answer.out.startswith("FAIL\tsettings\t")
    assert ".env" in answer.out


def test_check_shows_on_a_terminal_what_to_do(terminal, scheduled) -> None:
    shown = terminal.run("check")
    assert "help: " in shown.text
    assert any("warning" in line for line in shown.text.splitlines()[-2:])


def test_check_with_a_name_says_which_option_is_meant(flows) -> None:
    answer = flows("check", "report")
    assert answer.code == 2
    assert "flows check --as-cron report" in answer.err


def test_as_cron_runs_a_task_and_shows_its_log(flows, scheduled) -> None:
    answer = flows("check", "--as-cron", "report")
    assert answer.code == 0, answer
    assert " started: flow report.yml" in answer.out
    last = answer.out.splitlines()[-1]
    assert last.startswith("success · run ")
    assert last.endswith(" · exit code 0")
    assert len(flows("history", "report").out.splitlines()) == 1


def test_as_cron_tells_as_json_what_cron_would_have_seen(flows, workspace) -> None:
    (workspace / "tasks" / "fail.yml").write_text(
        "steps: [{name: one, type: shell, shell: {command: [no-such-tool]}}]\n"
    )
    answer = flows("check", "--as-cron", "fail.yml", "--json")
    assert answer.code == 1
    found = json.loads(answer.out)
    assert (found["status"], found["exit_code"]) == ("failed", 1)
    assert "cron does not find the program 'no-such-tool'" in found["missing"][0]


def test_as_cron_without_a_name_runs_nothing(flows, scheduled, tmp_path) -> None:
    answer = flows("check", "--as-cron")
    assert answer.code == 0, answer
    assert "can start 1 task" in answer.out
    assert flows("history").out == ""


@pytest.mark.parametrize("name", ["nothing", "nothing.yml"])
def test_as_cron_of_what_is_not_there_is_wrong_usage(flows, scheduled, name) -> None:
    answer = flows("check", "--as-cron", name)
    assert answer.code == 2
    assert "flow file not found" in answer.err


def test_status_ends_with_1_when_nobody_starts_the_tasks(flows, scheduled) -> None:
    answer = flows("cron", "status")
    assert answer.code == 1
    assert "driver\tnone: no tasks are started\n" in answer.out
    found = json.loads(flows("cron", "status", "--json").out)
    assert found["driver"] is None
    assert found["tabfile"] == {"entries": 1}


def test_status_names_the_scheduler_that_runs(flows, scheduled, started) -> None:
    process = started("cron", "run")
    try:
        assert process.stdout
        assert "started" in process.stdout.readline()
        answer = flows("cron", "status")
        assert answer.code == 0
        assert f"cron run\tprocess {process.pid}" in answer.out
        assert flows("cron", "run").code == 6
    finally:
        process.terminate()
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err


def test_a_scheduler_outlives_its_reader(flows, scheduled, started) -> None:
    process = started("cron", "run")
    assert process.stdout
    process.stdout.readline()
    process.stdout.close()
    os.kill(process.pid, 1)
    os.kill(process.pid, 1)
    process.terminate()
    assert process.wait(timeout=60) == 0
    process.stderr.close()
