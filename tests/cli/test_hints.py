"""Hints can be pasted: they name this program and this workspace."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from scflows.cli.hints import pasteable


@pytest.mark.parametrize(
    ("text", "home", "expected"),
    [
        ("7 tasks · flows logs a", None, "7 tasks · flows logs a"),
        ("7 tasks · flows logs a", "my ws", "7 tasks · flows --home 'my ws' logs a"),
        ("list flows: flows list-flows", "ws", "list flows: flows --home ws list-flows"),
        ("see /x/flows run and flows running", "ws", "see /x/flows run and flows running"),
        ("Apply it: flows --home ws auto-schedule", "ws", "Apply it: flows --home ws auto-schedule"),
        ("create it: flows init ws", "ws", "create it: flows init ws"),
    ],
)
def test_a_command_in_a_hint_has_the_home_it_needs(
    monkeypatch: pytest.MonkeyPatch, text: str, home: str | None, expected: str
) -> None:
    monkeypatch.setattr("sys.argv", ["flows"])
    monkeypatch.setattr("shutil.which", lambda name, path=None: None)
    monkeypatch.setattr("os.path.relpath", lambda path: "flows")
    assert pasteable(text, home, {}) == expected


def test_a_program_that_is_not_on_the_path_is_named_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / ".venv" / "bin" / "flows"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [str(program), "list-tasks"])
    assert pasteable("see: flows list-tasks", None, {"PATH": "/usr/bin"}) == "see: .venv/bin/flows list-tasks"
    assert pasteable("Apply it: flows --home a auto-schedule", "a", {"PATH": "/usr/bin"}).startswith(
        "Apply it: .venv/bin/flows --home a"
    )
    on_path = {"PATH": os.pathsep.join([str(program.parent), "/usr/bin"])}
    assert pasteable("see: flows list-tasks", None, on_path) == "see: flows list-tasks"


def test_results_say_what_happened(flows, crontab, workspace: Path) -> None:
    (workspace / "tasks" / "one.yml").write_text(
        "schedule: {every: 3h}\nsteps: [{name: a, type: set_fact, set_fact: {value: 1}}]\n"
    )
    assert "Added 1 task. " in flows("auto-schedule", "--once").out
    again = flows("auto-schedule", "--once").out
    assert again.startswith("No changes; 1 unchanged.")
    crontab.write_text(crontab.read_text().replace(" # one", " # two"))
    assert "Rewrote 1 line; 1 unchanged." in flows("repair").out
    assert "Paused 1 task. " in flows("disable", "one").out
    assert "Enabled 1 task. " in flows("enable", "one").out
    assert "Changed 1 task. " in flows("edit", "one", "--every", "6h").out
    assert "Removed 1 task. " in flows("remove-task", "one").out
    assert flows("enable", "one", "--home", str(workspace)).err.endswith(f"flows --home {workspace} list-tasks\n")
