"""What stands on a terminal: it fits 80 columns, and what it says has a colour."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from scflows.cli.colors import color_of, log_parts
from tests.conftest import Answer

Flows = Callable[..., Answer]
COLOR = re.compile(r"\x1b\[[0-9;]*m")
RED, YELLOW, GREEN = "\x1b[31m", "\x1b[33m", "\x1b[32m"
NAME = "readings-of-all-stations-in-the-north-of-the-country-and-their-neighbours"


@pytest.fixture
def long(shipped: Path, flows: Flows, crontab: Path) -> Path:
    """Tasks and runs whose names and messages are longer than a terminal is wide."""
    flow = shipped / "tasks" / f"{NAME}.yml"
    step = f"- {{name: {NAME}, type: jq, jq: {{expression: '\"{'no readings ' * 20}\" | error'}}}}\n"
    flow.write_text("schedule: {every: 3h}\nsteps:\n" + step)
    assert flows("auto-schedule", "--once").code == 0
    assert flows("run", NAME).code == 1
    (shipped / "tasks" / f"{NAME}-{NAME}.yml").write_text("steps: [{}]\n")
    return shipped


@pytest.mark.parametrize(
    "command",
    [
        ("list-tasks", "--all"),
        ("show", NAME),
        ("next",),
        ("load",),
        ("history",),
        ("history", "--all"),
        ("runs", "show"),
        ("list-flows",),
        ("steps",),
        ("steps", "rest"),
        ("config",),
        ("check",),
        ("health",),
        ("crontab", "backups"),
        ("cron", "status"),
    ],
    ids=" ".join,
)
def test_every_table_fits_80_columns_and_loses_nothing_in_a_pipe(long, flows, terminal, command):
    if command == ("runs", "show"):
        (run,) = json.loads(flows("history", "--json").out)["items"]
        command = (*command, run["id"])
    shown = terminal.run(*command, COLUMNS="80")
    lines = COLOR.sub("", shown.text).splitlines()
    # A path stays whole in a paragraph, so that it can be copied.
    assert [line for line in lines if len(line) > 80 and " /" not in f" {line}" and NAME not in line] == []
    piped = flows(*command)
    assert "Not shown here" not in piped.out + piped.err
    if command[0] in ("list-tasks", "history", "list-flows", "next"):
        assert NAME in piped.out
        table = COLOR.sub("", terminal.run(*command, "-q", COLUMNS="80").text).splitlines()
        assert max(map(len, table)) <= 80
        assert len({line.count("\t") for line in piped.out.splitlines()}) == 1


def test_wide_shows_all_columns(long, terminal):
    narrow = terminal.run("history", COLUMNS="80").text
    assert "Not shown here: SLOT" in narrow or "Not shown here: TOOK" in narrow
    wide = terminal.run("--wide", "history", COLUMNS="80", NO_COLOR="1").text
    assert "Not shown here" not in wide
    header, row, *_ = wide.splitlines()
    assert "TOOK" in header
    assert NAME in row
    assert len(row) > 200


def test_the_levels_of_a_log_have_a_colour_on_a_terminal_only(long, flows, terminal):
    shown = terminal.run("logs", NAME).text
    assert f"{RED}ERROR\x1b[0m" in shown
    assert COLOR.sub("", shown) == flows("logs", NAME).out
    assert "\x1b" not in flows("logs", NAME).out
    assert "\x1b" not in terminal.run("logs", NAME, NO_COLOR="1").text


def test_the_end_of_a_run_and_what_changed_have_a_colour(long, terminal):
    assert f"{GREEN}succeeded\x1b[0m in" in terminal.run("run", "greet.yml").text
    assert f"{RED}failed\x1b[0m after" in terminal.run("run", "fail.yml").text
    assert f"{YELLOW}paused\x1b[0m {NAME}" in terminal.run("disable", NAME).text
    assert f"{RED}removed\x1b[0m {NAME}" in terminal.run("remove-task", NAME).text
    assert f"{GREEN}added\x1b[0m {NAME}" in terminal.run("auto-schedule", "--once").text


def test_the_mark_of_a_mistake_has_a_colour(shipped, terminal, flows):
    (shipped / "tasks" / "bad.yml").write_text("steps:\n- {name: one, type: jqq}\n")
    shown = terminal.run("validate", "tasks/bad.yml").text
    assert f": {RED}error\x1b[0m: " in shown
    assert f"{RED}^^^^\x1b[0m" in shown
    assert f": {RED}error\x1b[0m: " in terminal.run("run", "bad.yml").text
    assert COLOR.sub("", shown) == flows("validate", "tasks/bad.yml").out


@pytest.mark.parametrize(
    ("word", "other"),
    [("exit", "success"), ("skipped", "success"), ("ended early", "succeeded"), ("failed 3 times", "success")],
)
def test_only_success_is_green(word: str, other: str) -> None:
    assert color_of(other) == "32"
    assert color_of(word) not in (None, "32")


def test_a_line_that_is_no_line_of_a_log_has_no_level() -> None:
    assert log_parts("2026-11-20T13:42:07+01:00 ERROR no") == ("2026-11-20T13:42:07+01:00", "ERROR", " no")
    assert log_parts("Traceback (most recent call last):") is None
    assert log_parts("") is None
