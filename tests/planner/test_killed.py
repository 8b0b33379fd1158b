"""A command that is killed in the middle of a write leaves nothing that the next one could not put right."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scflows.cron.crontab.block import split
from scflows.cron.crontab.line import TICK, line, parse_line
from scflows.cron.crontab.tabfile import Tabfile
from scflows.cron.task import Task
from scflows.settings import Settings
from tests.conftest import FAKE_CRONTAB, Answer

FOREIGN = "SHELL=/bin/bash\n# set A=1 first\n5 4 * * * $HOME/x % y\n"
KILLER = Path(__file__).with_name("killed.py")
KILL = -9

Rounds = Callable[..., list[dict[str, Any]]]


def flow(workspace: Path, name: str, every: str) -> None:
    (workspace / "tasks" / f"{name}.yml").write_text(f"schedule: {{every: {every}}}\nsteps: []\n")


@pytest.fixture
def rounds(workspace: Path, environment: dict[str, str], flows: Callable[..., Answer], tmp_path: Path) -> Rounds:
    """Kill a command at each of its steps, from three tasks on; what each round came to."""
    folder = tmp_path / "bin"
    folder.mkdir()
    shutil.copy(FAKE_CRONTAB, folder / "crontab")
    (folder / "tab").write_text(FOREIGN)
    given = {**environment, "CRONTAB_PROGRAM": str(folder / "crontab")}
    for name in ("changed", "gone", "same"):
        flow(workspace, name, "1h")
    (workspace / "extra.yml").write_text("steps: []\n")
    answer = flows("auto-schedule", "--once", CRONTAB_PROGRAM=given["CRONTAB_PROGRAM"])
    assert answer.code == 0, answer.err
    assert parse_all((folder / "tab").read_text()) == {"changed", "gone", "same"}

    def kill(*command: str, then: list[list[str]]) -> list[dict[str, Any]]:
        words = [json.dumps(command), *(json.dumps(each) for each in then)]
        done = subprocess.run(
            [sys.executable, "-P", str(KILLER), str(tmp_path), *words], env=given, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        told = [json.loads(each) for each in done.stdout.splitlines()]
        # Each kill but the last, where nothing was left to be killed before.
        assert [each["code"] for each in told] == [KILL] * (len(told) - 1) + [0]
        assert len(told) > 8
        return told

    return kill


def parse_all(text: str) -> set[str]:
    entries = (parse_line(each) for each in text.splitlines())
    return {entry.name for entry in entries if entry is not None}


def check_is_sound(told: dict[str, Any]) -> None:
    """Crontab, tabfile and task files say the same, and all else is as it was."""
    assert set(told["codes"]) == {0}
    parts = split(told["tab"].encode())
    assert parts.foreign.decode() == FOREIGN
    assert split(told["killed"].encode()).foreign.decode() == FOREIGN
    tabfile = Tabfile.parse(told["tabfile"])
    assert (parts.lines or []) == tabfile.lines
    if tabfile.tick:
        assert tabfile.lines == [tabfile.tick.text]
        return
    assert {entry.name for entry in tabfile.entries} == set(told["tasks"])
    for entry in tabfile.entries:
        assert entry.text == line(Task.from_dict(told["tasks"][entry.name]), entry.python, entry.state)


def test_a_plan_that_was_cut_off_is_finished_by_the_next(rounds: Rounds, workspace: Path) -> None:
    flow(workspace, "changed", "3h")
    flow(workspace, "new", "1h")
    (workspace / "tasks/gone.yml").unlink()

    told = rounds("auto-schedule", "--once", "--overwrite", then=[["manual-schedule", "extra.yml", "--every", "1d"]])

    for each in told:
        check_is_sound(each)
        assert {"changed", "same", "extra"} <= set(each["tasks"])
        if "gone" not in parse_all(each["killed"]):
            assert "gone" not in each["tasks"]
    assert any("gone" not in parse_all(each["killed"]) for each in told[:-1])
    assert set(told[0]["tasks"]) == {"changed", "same", "gone", "extra"}
    assert set(told[-1]["tasks"]) == {"changed", "same", "new", "extra"}


def test_repair_is_enough_after_a_removal_that_was_cut_off(rounds: Rounds) -> None:
    for told in rounds("clear-tasks", "--yes", then=[["repair"]]):
        check_is_sound(told)
        assert set(told["tasks"]) in ({"changed", "gone", "same"}, set())
        if not parse_all(told["killed"]):
            assert told["tasks"] == {}


def test_a_change_to_one_line_that_was_cut_off_is_one_form_or_the_other(rounds: Rounds) -> None:
    for told in rounds("repair", "--one-line", then=[["repair"]]):
        check_is_sound(told)
        assert set(told["tasks"]) == {"changed", "gone", "same"}
        assert parse_all(told["tab"]) in ({"changed", "gone", "same"}, {TICK})


def test_a_plan_that_was_cut_off_takes_no_line_of_a_task_that_cannot_be_read(
    flows: Callable[..., Answer], settings: Settings, workspace: Path, tmp_path: Path
) -> None:
    shutil.copy(FAKE_CRONTAB, tmp_path / "crontab")
    given = {"CRONTAB_PROGRAM": str(tmp_path / "crontab")}
    for name in ("broken", "fine"):
        flow(workspace, name, "1h")
    assert flows("auto-schedule", "--once", **given).code == 0
    state = Path(settings.state_path)
    (state / "tasks" / "broken.json").write_text("")
    (state / "write-intent").write_text(json.dumps({"written": ["broken", "fine"], "removed": []}))
    answer = flows("repair", **given)
    assert "broken.json" in answer.out + answer.err
    assert parse_all((tmp_path / "tab").read_text()) == {"broken", "fine"}
