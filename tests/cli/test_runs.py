from __future__ import annotations

import getpass
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scflows.history.run import Run, StepRecord, new_run_id
from scflows.history.store import open_store
from scflows.settings import Settings

Flows = Callable[..., Any]
DAY = 86400.0


@pytest.fixture
def past(shipped: Path, settings: Settings) -> list[Run]:
    """Runs of two tasks: each started a day after the one before, the last one now."""
    store = open_store(settings)
    runs = []
    now = time.time() - 60
    for age, task, status in (
        (100, "rain", "success"),
        (3, "wind", "failed"),
        (2, "rain", "skipped"),
        (0, "rain", "success"),
    ):
        started = now - age * DAY
        run = Run(new_run_id(started), "x.yml", task, slot=started // 60 * 60, started=started)
        store.claim(run)
        run.status, run.ended = status, started + 4
        if status == "failed":
            run.message = "load: no\nanswer"
            run.steps = [StepRecord(1, "load", "rest", "failed", started, started + 4, "no\nanswer")]
        store.finish(run)
        runs.append(run)
    store.close()
    return runs


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", [3, 2, 1, 0]),
        ("rain", [3, 2, 0]),
        ("--status failed --status skipped", [2, 1]),
        ("--since 7d", [3, 2, 1]),
        ("--until 50h", [1, 0]),
        ("--since 80h --until 60h", [1]),
        ("--limit 1", [3]),
        ("wind --status success", []),
    ],
)
def test_runs_are_chosen_by_task_status_and_time(
    past: list[Run], flows: Flows, arguments: str, expected: list[int]
) -> None:
    answer = flows("history", *arguments.split())
    assert (answer.code, answer.err) == (0, "")
    assert [line.split("\t")[0] for line in answer.out.splitlines()] == [past[index].id for index in expected]
    assert flows("runs", "list", *arguments.split()).out == answer.out


def test_a_failed_run_names_its_step_and_why_on_one_line(past: list[Run], flows: Flows) -> None:
    line = flows("history", "wind", TIMEZONE="Asia/Tokyo").out
    id, slot, started, took, status, step, why = line.rstrip("\n").split("\t")
    assert (id, took, status, step, why) == (past[1].id, "4.000", "failed", "load", "no\\nanswer")
    assert slot.endswith("+09:00")
    assert started.endswith("+09:00")


def test_a_run_is_found_by_its_slot(past: list[Run], flows: Flows) -> None:
    slot = flows("history", "wind").out.split("\t")[1]
    assert flows("history", "--slot", slot).out.startswith(past[1].id)


@pytest.mark.parametrize(
    ("arguments", "code", "help"),
    [
        ("history rian", 4, "did you mean 'rain'?"),
        ("history --status failled", 2, "did you mean 'failed'?"),
        ("history --since soon", 2, "for example"),
        ("runs show 0000", 4, "flows history"),
        ("runs stop 0000", 4, "flows history"),
        ("logs rian", 4, "did you mean 'rain'?"),
        ("locks clear rain", 4, "flows locks"),
    ],
)
def test_unknown_names_get_the_nearest_one(past: list[Run], flows: Flows, arguments: str, code: int, help: str) -> None:
    answer = flows(*arguments.split())
    assert (answer.code, answer.out) == (code, "")
    assert help in answer.err.splitlines()[1]


def test_a_run_is_shown_whole_by_the_beginning_of_its_id(past: list[Run], flows: Flows) -> None:
    run = past[1]
    answer = flows("runs", "show", run.id[:12].lower())
    fields = dict(line.split("\t")[:2] for line in answer.out.splitlines() if "\t" in line)
    assert fields["id"] == run.id
    assert fields["message"] == "load: no\\nanswer"
    assert fields["load"] == "rest"
    item = json.loads(flows("runs", "show", run.id, "--json").out)
    assert (item["id"], item["took"], item["steps"][0]["name"]) == (run.id, 4.0, "load")
    assert flows("runs", "show", "0").code == 4


def test_on_a_terminal_the_history_is_a_table_with_its_zone(past: list[Run], terminal: Any) -> None:
    shown = terminal.run("history", "rain", TIMEZONE="Europe/Madrid", COLUMNS="120")
    header, newest, *_ = shown.text.splitlines()
    assert "SLOT (Europe/Madrid)" in header
    assert past[3].id in newest
    assert "\x1b[32msuccess" in newest
    assert "No matching runs." in terminal.run("history", "wind", "--status", "success").text


def test_pruning_tells_how_many_asks_and_keeps_the_rest(past: list[Run], flows: Flows, terminal: Any) -> None:
    prune = ("runs", "prune", "--older-than", "90d")
    assert flows(*prune, "--dry-run").out.startswith("Would remove 1 run ")
    refused = flows(*prune)
    assert (refused.code, refused.out) == (2, "")
    assert "add --yes" in refused.err
    shown = terminal.run(*prune, answers={"[y/N]": "n"})
    assert "No run was removed." in shown.text
    assert len(flows("history").out.splitlines()) == 4
    shown = terminal.run(*prune, answers={"[y/N]": "y"})
    assert shown.code == 0
    assert "Removed 1 run " in shown.text
    assert json.loads(flows(*prune, "--yes", "--json").out)["removed"] == 0
    assert len(flows("history").out.splitlines()) == 3


def test_a_run_that_goes_on_is_stopped(running: tuple[Any, str], flows: Flows) -> None:
    process, run = running
    assert flows("history", "--status", "running").out.startswith(run)
    answer = flows("runs", "stop", run)
    assert answer.out == f"Asked run {run} to stop · flows runs show {run}\n"
    assert process.wait(60) == 143
    process.communicate()
    assert flows("history").out.split("\t")[5] == "cancelled"
    assert (again := flows("runs", "stop", run)).code == 4
    assert "has finished" in again.err


def test_a_run_whose_process_was_killed_shows_as_crashed(running: tuple[Any, str], flows: Flows) -> None:
    process, run = running
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    line = flows("history", "nap").out.split("\t")
    assert (line[0], line[4]) == (run, "crashed")


def test_a_broken_history_is_one_error_that_says_what_to_do(workspace: Path, flows: Flows, settings: Settings) -> None:
    file = Path(settings.state_path) / "history.sqlite"
    file.parent.mkdir(parents=True)
    file.write_text("this is no database, and never was one")
    for arguments in (["history"], ["runs", "show", "01"], ["logs", "none"]):
        answer = flows(*arguments)
        assert (answer.code, answer.out) == (7, "")
        error, help = answer.err.splitlines()
        assert error == f"error: history {file}: file is not a database"
        assert f"mv {file}" in help
    assert file.read_text().startswith("this is no database")


def test_held_locks_are_listed_and_freed_when_asked_twice(
    running: tuple[Any, str], shipped: Path, flows: Flows
) -> None:
    process, run = running
    lock, state, holder, pid, _ = flows("locks").out.split("\t")
    assert (lock, state, holder) == (str(shipped / "tasks/nap.yml"), "held", run)
    assert pid == str(process.pid)
    assert flows("locks", "clear", lock).code == 2
    assert run in flows("locks", "clear", lock, "--yes").out
    assert flows("locks").out == ""
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    process.communicate()


def test_a_run_by_hand_records_who_asked_for_it(flows: Flows, workspace: Path) -> None:
    (workspace / "tasks" / "one.yml").write_text("steps: [{name: s, type: set_fact, set_fact: {value: 1}}]\n")
    assert flows("run", "one.yml", SUDO_USER="ana").code == 0
    [run] = json.loads(flows("history", "--json").out)["items"]
    name = "ana" if os.geteuid() == 0 else getpass.getuser()
    assert run["by"] == name
    assert name in flows("runs", "show", run["id"]).out
