"""Which tasks a command is about: names, patterns, one workspace or all; pauses that end by themselves."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from scflows.cli.times import parse_coming
from scflows.cron.task import TaskStore
from scflows.errors import UsageError
from scflows.history.contract import Query
from scflows.history.store import open_store
from scflows.scheduler.cron_entry import run_task_from_cron
from scflows.settings import Settings
from tests.conftest import Answer

Flows = Callable[..., Answer]
HOUR = 3600
STEP = "steps: [{name: one, type: set_fact, set_fact: {value: 1}}]\n"
OURS = ("air-clean", "air-load", "report")
THEIRS = ("air-other", "water")


@pytest.fixture
def workspaces(workspace: Path, tmp_path: Path, flows: Flows, crontab: Path) -> tuple[Path, Path]:
    """Two workspaces of one user, with tasks on the same crontab."""
    other = tmp_path / "other"
    (other / "tasks").mkdir(parents=True)
    for folder, names in ((workspace, OURS), (other, THEIRS)):
        for name in names:
            (folder / "tasks" / f"{name}.yml").write_text("schedule: {every: 3h}\n" + STEP)
        assert flows("auto-schedule", "--once", cwd=folder).code == 0
    return workspace, other


def names(answer: Answer) -> list[str]:
    return [line.split("\t")[0] for line in answer.out.splitlines()]


def shown(flows: Flows, task: str) -> dict[str, Any]:
    item: dict[str, Any] = json.loads(flows("show", task, "--json").out)
    return item


def lines(crontab: Path) -> list[str]:
    found = (line.rpartition("# ")[2] for line in crontab.read_text().splitlines() if "scflows run" in line)
    return sorted(found)


def test_a_listing_is_about_one_workspace_unless_all(workspaces, flows, terminal):
    ours, other = workspaces
    assert names(flows("list-tasks")) == list(OURS)
    assert names(flows("list-tasks", cwd=other)) == list(THEIRS)
    everything = [line.split("\t") for line in flows("list-tasks", "--all").out.splitlines()]
    assert {row[0]: row[-1] for row in everything} == dict.fromkeys(OURS, str(ours)) | dict.fromkeys(THEIRS, str(other))
    assert {line.split("\t")[2] for line in flows("next").out.splitlines()} == set(OURS)
    assert {line.split("\t")[2] for line in flows("next", "--all").out.splitlines()} == {*OURS, *THEIRS}
    said = terminal.run("list-tasks", COLUMNS="300").text
    assert f"3 tasks of {ours} · 2 of other workspaces: flows list-tasks --all" in said
    assert f"of {ours}" in terminal.run("history").text


def test_the_history_is_of_one_workspace_unless_all(workspaces, flows):
    ours, other = workspaces
    assert flows("run", "report").code == 0
    assert flows("run", "water").code == 0
    assert flows("run", "tasks/water.yml", cwd=other).code == 0
    assert [line.split("\t")[1] for line in flows("history").out.splitlines()] == ["report"]
    assert [line.split("\t")[1] for line in flows("history", cwd=other).out.splitlines()] == ["water", "water"]
    found = json.loads(flows("history", "--all", "--json").out)["items"]
    assert [run["workspace"] for run in found] == [str(other), str(other), str(ours)]
    assert len(flows("history", "water").out.splitlines()) == 2


def test_clearing_removes_the_tasks_of_this_workspace_only(workspaces, flows, crontab):
    ours, _ = workspaces
    asked = flows("clear-tasks")
    assert (asked.code, f"remove 3 tasks of {ours}" in asked.err) == (2, True)
    cleared = flows("clear-tasks", "--yes")
    assert cleared.out.splitlines()[-1].startswith(f"Removed 3 tasks of {ours};")
    assert lines(crontab) == list(THEIRS)
    again = flows("clear-tasks", "--yes")
    assert (again.code, again.out) == (0, f"No task was removed: there are none of {ours}.\n")
    assert flows("clear-tasks", "--all", "--yes").code == 0
    assert lines(crontab) == []


def test_patterns_match_this_workspace_and_all_widens_them(workspaces, flows, crontab):
    assert flows("disable", "air-*", "report").code == 0
    assert lines(crontab) == list(THEIRS)
    assert flows("enable", "*").code == 0
    assert flows("disable", "--all", "air-*").code == 0
    assert lines(crontab) == ["report", "water"]
    assert flows("enable", "--all").code == 0
    assert lines(crontab) == sorted((*OURS, *THEIRS))
    # A name is unique, so it needs no --all.
    assert flows("disable", "water").code == 0
    assert lines(crontab) == sorted((*OURS, "air-other"))


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("disable",), 2, "flows disable '*'"),
        (("enable",), 2, "flows enable '*'"),
        (("disable", "wat*"), 4, "--all"),
        (("disable", "x*"), 4, "no task matches 'x*'"),
        (("run", "x*"), 4, "no task matches 'x*'"),
        (("run", "report", "--all"), 2, "flows run --all 'report*'"),
        (("disable", "report", "--for", "2h", "--until", "18:30"), 2, "cannot be combined"),
        (("disable", "report", "--for", "2 hours"), 2, "--for must be a duration"),
        (("disable", "report", "--until", "2020-01-01"), 2, "in the future"),
        (("disable", "report", "--until", "later"), 2, "--until must be a time"),
        (("auto-schedule", "report"), 2, "flows auto-schedule --overwrite report"),
        (("auto-schedule", "--overwrite", "raport"), 4, "report"),
    ],
)
def test_what_cannot_be_selected_changes_nothing(workspaces, flows, crontab, arguments, code, told):
    before = crontab.read_bytes()
    answer = flows(*arguments)
    assert (answer.code, answer.out) == (code, "")
    assert told in answer.err
    assert crontab.read_bytes() == before


def test_running_several_tasks_reports_each_and_the_sum(workspaces, flows):
    answer = flows("run", "air-*")
    assert answer.code == 0
    assert answer.out.splitlines()[0] == "air-clean"
    assert answer.out.splitlines()[-1] == "Ran 2 tasks: 2 succeeded, 0 failed."
    (workspaces[0] / "tasks" / "air-load.yml").write_text("steps: [{name: bad, type: jq, jq: {expression: error}}]\n")
    failed = flows("run", "*", "--json")
    assert failed.code == 1
    assert [json.loads(line)["status"] for line in failed.out.splitlines()] == ["success", "failed", "success"]
    everywhere = flows("run", "--all", "--dry-run")
    assert "Ran 5 tasks: 4 succeeded, 1 failed." in everywhere.out


def test_a_pause_for_a_time_keeps_the_line_and_says_its_end(workspaces, flows, crontab):
    before = lines(crontab)
    answer = flows("disable", "air-*", "--for", "2h")
    assert answer.code == 0
    assert answer.out.splitlines()[-1].endswith("Resume: flows enable 'air-*'")
    until = datetime.fromisoformat(shown(flows, "air-load")["paused_until"]).timestamp()
    assert abs(until - time.time() - 2 * HOUR) < 60
    assert shown(flows, "air-load")["state"] == "paused"
    assert datetime.fromisoformat(shown(flows, "air-load")["slots"][0]).timestamp() >= until
    assert lines(crontab) == before
    assert names(flows("list-tasks", "--state", "paused")) == ["air-clean", "air-load"]
    assert names(flows("list-tasks", "--state", "enabled")) == ["report"]
    # It stays paused through every scheduling.
    assert flows("auto-schedule", "--once", "--overwrite").code == 0
    assert shown(flows, "air-load")["state"] == "paused"
    assert json.loads(flows("health", "--json").out)["paused"] == 2
    # Pausing without an end takes the line away; enabling ends any pause.
    assert flows("disable", "air-load").code == 0
    assert "air-load" not in lines(crontab)
    assert flows("enable", "air-*").code == 0
    assert shown(flows, "air-load")["paused_until"] is None
    assert lines(crontab) == before


@pytest.mark.parametrize("every", ["1m", "20s"])
def test_a_line_starts_nothing_before_the_end_of_the_pause(
    flows, crontab, workspace, settings: Settings, environment, monkeypatch, every
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    (workspace / "tasks" / "often.yml").write_text(f"schedule: {{every: {every}}}\n" + STEP)
    assert flows("auto-schedule", "--once").code == 0
    assert flows("disable", "often", "--for", "90s").code == 0
    end = TaskStore(settings).read("often").paused_until

    def start(at: float) -> list[float]:
        run_task_from_cron("often", settings.state_path, None, "", lambda: at, lambda seconds: None)
        # The command hides what is recorded for the future.
        with open_store(settings) as store:
            return [run.slot or 0.0 for run in store.find(Query(task="often"))]

    assert start(end - 61) == []
    found = start(end // 60 * 60 + 119)
    assert found
    assert min(found) >= end


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("18:30", "2026-03-01T18:30:00+01:00"),
        ("9:00", "2026-03-02T09:00:00+01:00"),
        ("2026-03-29T02:59", "2026-03-29T03:59:00+02:00"),
        ("2026-03-01T10:00+00:00", "2026-03-01T10:00:00+00:00"),
    ],
)
def test_a_coming_time_is_the_next_one(text, expected):
    now = datetime(2026, 3, 1, 9, 30, tzinfo=UTC).timestamp()
    assert parse_coming(text, "--until", "Europe/Madrid", now) == datetime.fromisoformat(expected).timestamp()


def test_a_time_of_day_that_does_not_exist_is_refused():
    with pytest.raises(UsageError, match="--until must be a time"):
        parse_coming("24:10", "--until", "UTC", 1.0)


def test_one_task_is_replaced_and_says_from_what_to_what(workspaces, flows, crontab):
    ours, _ = workspaces
    for name in ("report", "air-load"):
        (ours / "tasks" / f"{name}.yml").write_text("priority: 3\nschedule: {cron: '7 6 * * mon'}\n" + STEP)
    before = shown(flows, "air-load")
    answer = flows("auto-schedule", "--overwrite", "report")
    assert answer.code == 0
    first = answer.out.splitlines()[0]
    assert first.startswith("replaced report: every 3 h")
    assert "priority 0 → 3" in first
    assert shown(flows, "report")["cron"] == "7 6 * * 1"
    assert shown(flows, "air-load")["cron"] == before["cron"]
    assert "auto-schedule" not in names(flows("list-tasks"))
    edited = flows("edit", "report", "--every", "1d", "--timeout", "5m")
    assert edited.out.splitlines()[0].startswith("changed report: ")
    assert "; timeout none → 300 s" in edited.out
