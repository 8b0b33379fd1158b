"""Odd files, names and numbers: refused at once, and the rest goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Answer

SOUND = "steps: [{name: one, type: set_fact, set_fact: {value: 1}}]\n"
Flows = Callable[..., Answer]


def test_a_fifo_or_device_among_the_flows_is_one_mistake(flows: Flows, workspace: Path) -> None:
    (workspace / "tasks" / "sound.yml").write_text(SOUND)
    os.mkfifo(workspace / "tasks" / "pipe.yml")
    (workspace / "tasks" / "zero.yml").symlink_to("/dev/zero")

    answer = flows("validate")

    assert answer.code == 1
    assert answer.out.count("not a regular file") == 2
    assert "3 files, 2 errors" in answer.out


def test_a_fifo_or_device_is_no_flow_to_run(flows: Flows, workspace: Path) -> None:
    os.mkfifo(workspace / "tasks" / "pipe.yml")

    assert flows("run", "pipe.yml").code == 2
    assert flows("validate", "/dev/zero").code == 1


def test_a_device_is_no_input(flows: Flows, workspace: Path) -> None:
    (workspace / "tasks" / "sound.yml").write_text(SOUND)

    answer = flows("run", "sound.yml", "--data", "/dev/zero")

    assert answer.code == 2
    assert "not a regular file" in answer.err


def test_standard_input_may_be_named_as_a_file(flows: Flows, workspace: Path) -> None:
    text = "steps: [{name: one, type: set_fact, set_fact: {value: '{{ __input__.a }}'}}]\n"
    (workspace / "tasks" / "given.yml").write_text(text)

    answer = flows("run", "given.yml", "--data", "/dev/stdin", "--json", stdin='{"a": 7}')

    assert answer.code == 0
    assert '"one": "7"' in answer.out


def test_a_run_whose_log_is_a_fifo_goes_on_without_it(flows: Flows, workspace: Path, tmp_path: Path) -> None:
    (workspace / "tasks" / "sound.yml").write_text(SOUND)
    folder = tmp_path / "cache/scdata/tasks/sound"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "sound.log")

    answer = flows("run", "sound.yml")

    assert answer.code == 0
    assert "sound.log" in answer.err
    assert "not a regular file" in flows("logs", "sound").err


def test_a_flow_whose_name_is_not_utf8_is_one_mistake(flows: Flows, workspace: Path) -> None:
    (workspace / "tasks" / "sound.yml").write_text(SOUND)
    Path(os.fsdecode(os.fsencode(workspace) + b"/tasks/odd\xff.yml")).write_text(SOUND)

    validated, listed = flows("validate"), flows("list-flows")

    assert validated.code == 1
    assert "its path is not UTF-8" in validated.out
    assert listed.code == 0
    assert len(listed.out.splitlines()) == 2


@pytest.mark.parametrize("command", [("history",), ("run",), ("logs",), ("validate",), ("runs", "show")])
def test_an_argument_that_is_not_utf8_is_refused(flows: Flows, command: tuple[str, ...]) -> None:
    answer = flows(*command, os.fsdecode(b"\xff\xfe"))

    assert answer.code == 2
    assert "is not UTF-8" in answer.err


@pytest.mark.parametrize(
    ("name", "text"), [("n.json", '{"a": NaN}'), ("n.json", "[1e999]"), ("n.yml", "a: .nan"), ("n.yml", "a: -.inf")]
)
def test_input_that_json_has_no_word_for_is_refused(flows: Flows, workspace: Path, name: str, text: str) -> None:
    (workspace / "tasks" / "sound.yml").write_text(SOUND)
    (workspace / name).write_text(text)

    answer = flows("run", "sound.yml", "--data", name)

    assert answer.code == 2
    assert name in answer.err
    assert "did you mean" not in answer.err


@pytest.mark.parametrize("more", ["", "params: {p: {type: number, default: .nan}}\n"])
def test_a_flow_that_holds_nan_is_refused(flows: Flows, workspace: Path, more: str) -> None:
    text = SOUND if more else SOUND.replace("value: 1", "value: .nan")
    (workspace / "tasks" / "nan.yml").write_text(text + more)

    answer = flows("validate", "tasks/nan.yml")

    assert answer.code == 1
    assert "nan" in answer.out.lower()


def test_mistakes_of_the_input_get_no_advice_on_the_flow(flows: Flows, workspace: Path) -> None:
    (workspace / "tasks" / "sound.yml").write_text(SOUND)
    (workspace / "n.json").write_text("{")

    answer = flows("run", "sound", "--data", "n.json")

    assert answer.code == 2
    assert "n.json:1:" in answer.err
    assert "help" not in answer.err


def test_a_folder_that_is_gone_is_told(environment: dict[str, str], tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f"cd {gone} && rmdir {gone} && exec {sys.executable} -P -m scflows list-tasks"
    done = subprocess.run(["/bin/sh", "-c", script], env=environment, capture_output=True, text=True, timeout=60)

    assert done.returncode == 2
    assert "the current folder no longer exists" in done.stderr


def test_a_new_workspace_is_told_without_an_empty_column(flows: Flows, tmp_path: Path) -> None:
    answer = flows("init", str(tmp_path / "new"))

    assert answer.code == 0
    assert all(len(line.split("\t")) == 2 for line in answer.out.splitlines())


def test_a_time_that_is_none_is_told_with_what_may_stand_there(flows: Flows) -> None:
    assert "7d" in flows("history", "--since", "7x").err
    assert "queued" in flows("history", "--status", "none").err


@pytest.mark.parametrize("name", ["tasks/one.json", "history.sqlite", "crontab-block", "write-intent", "heartbeat"])
def test_no_command_waits_for_a_fifo_in_the_state(flows: Flows, workspace: Path, tmp_path: Path, name: str) -> None:
    (workspace / "tasks" / "one.yml").write_text(SOUND)
    assert flows("manual-schedule", "one.yml").code == 0
    path = tmp_path / "state/scflows" / name
    path.unlink(missing_ok=True)
    os.mkfifo(path)

    for command in (["list-tasks"], ["check"], ["manual-schedule", "one.yml", "--name", "two"]):
        answer = flows(*command)
        assert answer.code in (0, 1), (command, answer)
        assert "a bug" not in answer.err
    assert flows("run", "tasks/one.yml", "--task", "one").code in (0, 2)


def test_no_command_waits_for_an_env_file_that_is_a_fifo(flows: Flows, workspace: Path) -> None:
    os.mkfifo(workspace / ".env")

    answer = flows("list-tasks")

    assert answer.code == 2
    assert "not a regular file" in answer.err
