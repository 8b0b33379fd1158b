"""A user's sessions with the commands that plan, change and show tasks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scflows.cron.daemon import find_daemon
from scflows.health.daemon import is_nothing_running

QUICK = "steps: [{name: s, type: set_fact, set_fact: {value: 1}}]\n"
FOREIGN = b"# mine, set A=1 first\nA = b\n5 4 * * *  echo 'x%y' # z\n\n@reboot true"


@pytest.fixture
def tree(workspace) -> Path:
    """A workspace with flows of several intervals, one of them without a schedule."""
    top = workspace / "tasks"
    for name, schedule in {
        "air/hourly.yml": "schedule: {every: '@hourly'}\n",
        "air/minute.yml": "schedule: {every: '@minute'}\n",
        "daily.yml": "schedule: {every: 1d}\n",
        "fixed.yml": "schedule: {cron: '7 6 * * mon'}\n",
        "odd.yml": "schedule: {every: 7h}\n",
        "plain.yml": "params: {device: {type: text}}\n",
    }.items():
        (top / name).parent.mkdir(exist_ok=True)
        (top / name).write_text(schedule + QUICK)
    return top


def everything(*folders: Path) -> dict[str, bytes]:
    found = {}
    for folder in folders:
        for path in folder.rglob("*"):
            found[str(path)] = path.read_bytes() if path.is_file() else b""
    return found


def names(answer) -> list[str]:
    return [line.split("\t")[0] for line in answer.out.splitlines()]


def test_a_dry_run_shows_the_plan_and_changes_nothing_at_all(flows, crontab, tree, tmp_path):
    crontab.write_bytes(FOREIGN)
    before = everything(tmp_path)
    answer = flows("auto-schedule", "--dry-run", "--overwrite")
    assert answer.code == 0
    assert "--- crontab" in answer.out
    assert sum(line.startswith("+") and "-m scflows run" in line for line in answer.out.splitlines()) == 6
    calls = str(tmp_path / "bin" / "calls")
    assert {k: v for k, v in everything(tmp_path).items() if k != calls} == before
    assert flows("auto-schedule", "--dry-run", "--exit-code").code == 10


def test_what_is_scheduled_stays_where_it_is_and_what_is_gone_goes(flows, crontab, tree):
    crontab.write_bytes(FOREIGN)
    assert flows("auto-schedule").code == 0
    first = crontab.read_bytes()
    assert FOREIGN in first
    assert names(flows("list-tasks")) == ["air-hourly", "air-minute", "auto-schedule", "daily", "fixed", "odd"]
    answer = flows("auto-schedule")
    assert answer.code == 0
    assert "6 unchanged" in answer.out
    assert crontab.read_bytes() == first
    assert flows("auto-schedule", "--overwrite").code == 0
    assert crontab.read_bytes() == first
    (tree / "daily.yml").unlink()
    (tree / "new.yml").write_text("schedule: {every: 3h}\n" + QUICK)
    answer = flows("auto-schedule")
    assert "removed daily" in answer.out
    assert "added new" in answer.out
    stays = [line for line in first.splitlines() if b"# daily" not in line]
    assert [line for line in crontab.read_bytes().splitlines() if b"# new" not in line] == stays
    assert flows("clear-tasks", "--yes").code == 0
    # Cron takes no tab whose last line is not ended, so this newline stays.
    assert crontab.read_bytes().rstrip(b"\n") == FOREIGN


def test_the_search_is_put_on_the_crontab_unless_once(flows, crontab, tree):
    assert flows("auto-schedule", "--once", "--interval-days", "3").code == 0
    assert "auto-schedule" not in names(flows("list-tasks"))
    assert flows("auto-schedule", "--interval-days", "3").code == 0
    shown = json.loads(flows("show", "auto-schedule", "--json").out)
    assert shown["command"] == ["auto-schedule", "--interval-days", "3"]
    assert shown["schedule"].startswith("every 3 d")
    (tree / "late.yml").write_text("schedule: {every: 2h}\n" + QUICK)
    # The search as cron starts it finds the new flow, and says so in the scheduler's log.
    assert flows("run", "--task", "auto-schedule", "--slot", "1790000000").code == 0
    assert "late" in names(flows("list-tasks"))
    log = Path(shown["log"]).read_text()
    assert "add late" in log
    assert Path(shown["log"]).name == "scheduler.log"
    history = json.loads(flows("history", "auto-schedule", "--json").out)["items"]
    assert [run["status"] for run in history] == ["success"]


def test_a_line_works_from_an_empty_environment(flows, crontab, tree, environment, tmp_path):
    assert flows("auto-schedule", "--once", FLOW_TIMEOUT_SECONDS="77").code == 0
    (line,) = [line for line in crontab.read_text().splitlines() if line.endswith("# air-minute")]
    command = line.split(" ", 5)[5]
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        env={"HOME": "/nonexistent", "PATH": "/usr/bin:/bin", "LOGNAME": "x", "SHELL": "/bin/sh"},
        cwd="/",
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (run,) = json.loads(flows("history", "air-minute", "--json").out)["items"]
    assert (run["status"], run["trigger"]) == ("success", "cron")


def test_a_paused_task_stays_paused_through_every_scheduling(flows, crontab, tree):
    flows("auto-schedule", "--once")
    line = next(line for line in crontab.read_text().splitlines() if line.endswith("# daily"))
    answer = flows("disable", "daily")
    assert (answer.code, answer.out.splitlines()[0]) == (0, "paused daily")
    assert line not in crontab.read_text()
    for options in ([], ["--overwrite"], ["--overwrite", "--no-balance"]):
        flows("auto-schedule", "--once", *options)
        assert "# daily" not in crontab.read_text()
    assert names(flows("list-tasks", "--state", "paused")) == ["daily"]
    flows("auto-schedule", "--once", "--overwrite")
    assert flows("enable", "daily").code == 0
    assert any(line.endswith("# daily") for line in crontab.read_text().splitlines())


def test_manual_scheduling_by_every_option(flows, crontab, tree):
    assert flows("manual-schedule", "plain.yml", "--device", "13486", "--device", "13238").code == 0
    assert names(flows("list-tasks")) == ["13238", "13486"]
    shown = json.loads(flows("show", "13486", "--json").out)
    assert shown["params"] == {"device": "13486"}
    assert shown["schedule"].startswith("daily")
    taken = flows("manual-schedule", "plain.yml", "--device", "13486")
    assert taken.code == 6
    assert "--overwrite" in taken.err
    changed = flows("manual-schedule", "--task-file", "plain.yml", "--device", "13486", "--every", "15m", "--overwrite")
    assert changed.code == 0, changed.err
    assert json.loads(flows("show", "13486", "--json").out)["schedule"].startswith("every 15 min")
    assert flows("manual-schedule", "daily.yml", "--cron", "1 2 3 * *", "--name", "third").code == 0
    assert json.loads(flows("show", "third", "--json").out)["cron"] == "1 2 3 * *"
    assert flows("manual-schedule", "odd.yml", "--interval-hours", "6", "--no-balance").code == 0
    assert json.loads(flows("show", "odd", "--json").out)["cron"] == "0 0,6,12,18 * * *"
    assert flows("run", "13486").code == 0
    assert flows("list-tasks", "--device", "13486").out.split("\t")[4] == "success"


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["nowhere.yml"], 2, "flow file not found"),
        (["broken.yml"], 2, "broken.yml:3:1: error: YAML"),
        (["plain.yml", "--cron", "61 * * * *"], 2, "minute"),
        (["plain.yml", "--cron", "0 0 31 2 *"], 2, ""),
        (["plain.yml", "--every", "5"], 2, "5m"),
        (["plain.yml", "--every", "0s"], 2, "not a valid interval"),
        (["plain.yml", "--every", "1h", "--cron", "* * * * *"], 2, "cannot be combined"),
        (["plain.yml", "--interval-hours", "0"], 2, "--interval-hours"),
        (["plain.yml", "--name", "a\nb"], 2, "is not valid"),
        (["plain.yml", "--name", "50%"], 2, "is not valid"),
        (["plain.yml", "-p", "devise=1"], 2, "did you mean 'device'"),
        (["plain.yml", "-p", "device"], 2, "NAME=VALUE"),
        (["plain.yml", "--evry", "1h"], 2, "--every"),
        (["plain.yml", "--timezone", "Europe/Madird", "--cron", "1 1 * * *"], 2, "Europe/Madrid"),
        (["plain.yml", "--timezone", "Europe/Madrid", "--every", "1d"], 2, "--timezone only works with --cron"),
        ([], 2, "FLOW"),
    ],
)
def test_bad_orders_get_one_clear_error_and_change_nothing(flows, crontab, tree, tmp_path, arguments, code, told):
    (tree / "broken.yml").write_text("steps:\n  {name: s\n")
    before = {k: v for k, v in everything(tmp_path).items() if "/state" not in k}
    answer = flows("manual-schedule", *arguments)
    assert answer.code == code, answer
    assert told in answer.err
    assert "Traceback" not in answer.err
    assert answer.out == ""
    after = {k: v for k, v in everything(tmp_path).items() if "/state" not in k and not k.endswith("/calls")}
    assert after == before
    assert flows("list-tasks").out == ""


def test_a_path_with_odd_characters_is_scheduled_by_its_name_alone(flows, crontab, workspace):
    odd = workspace / "tasks" / "my flöw 100% 'x'.yml"
    odd.write_text("schedule: {every: '@minute'}\n" + QUICK)
    assert flows("auto-schedule", "--once").code == 0
    (name,) = names(flows("list-tasks"))
    (line,) = [line for line in crontab.read_text().splitlines() if "scflows run" in line]
    assert "%" not in line
    assert "'" not in line
    done = subprocess.run(["/bin/sh", "-c", line.split(" ", 5)[5]], env={}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "success" in flows("history", name).out


def test_editing_a_task(flows, crontab, tree):
    flows("manual-schedule", "plain.yml", "-p", "device=1", "--every", "3h")
    before = crontab.read_bytes()
    planned = flows("edit", "plain", "--cron", "1 2 * * *", "--dry-run")
    assert planned.code == 0
    assert "+1 2 * * * " in planned.out
    assert crontab.read_bytes() == before
    told = flows("edit", "plain", "--cron", "1 2 * * *", "--timeout", "30m", "-p", "device=2", "--dry-run").out
    assert "→ daily at 02:01; timeout none → 1800 s; device 1 → 2" in told
    assert flows("edit", "plain", "--cron", "1 2 * * *", "--timeout", "30m", "-p", "device=2").code == 0
    shown = json.loads(flows("show", "plain", "--json").out)
    assert (shown["cron"], shown["timeout"], shown["params"]) == ("1 2 * * *", 1800.0, {"device": "2"})
    assert flows("edit", "plain", "-p", "device=").code == 0
    assert json.loads(flows("show", "plain", "--json").out)["params"] == {}
    assert flows("edit", "plian", "--every", "1h").code == 4


def test_what_a_flow_says_beside_its_times_holds_for_other_times_too_unless_it_is_said(flows, crontab, workspace):
    def said(name: str) -> tuple[object, ...]:
        shown = json.loads(flows("show", name, "--json").out)
        return shown["catch_up"], shown["catch_up_cap"], shown["overlap"], shown["every"]

    (workspace / "tasks" / "owing.yml").write_text("schedule: {every: 1d, catch_up: {all: 7}, overlap: wait}\n" + QUICK)
    assert flows("manual-schedule", "owing.yml", "--every", "3h").code == 0
    assert said("owing") == ("all", 7, "wait", 10800)
    given = ("--catch-up", "last", "--overlap", "cancel")
    assert flows("manual-schedule", "owing.yml", "--name", "other", "--cron", "5 4 * * *", *given).code == 0
    assert said("other") == ("last", 24, "cancel", None)
    told = flows("edit", "owing", "--catch-up", "9", "--overlap", "skip")
    assert "catch_up all, up to 7 → all, up to 9; overlap wait → skip" in told.out
    assert said("owing") == ("all", 9, "skip", 10800)
    for option, value, help in (("--catch-up", "lst", "last"), ("--catch-up", "0", "10000"), ("--overlap", "", "skip")):
        for command in (("edit", "owing"), ("manual-schedule", "owing.yml", "--overwrite")):
            refused = flows(*command, option, value)
            assert refused.code == 2
            assert help in refused.err


def test_removing_asks_for_more_than_one(flows, crontab, tree):
    flows("auto-schedule", "--once")
    assert flows("remove-task", "daily").code == 0
    refused = flows("remove-task", "fixed", "odd")
    assert refused.code == 2
    assert "--yes" in refused.err
    assert flows("remove-task", "fixed", "odd", "--yes").code == 0
    unknown = flows("remove-task", "air-hourli")
    assert unknown.code == 4
    assert "air-hourly" in unknown.err
    assert flows("clear-tasks", "air-h*").code == 2
    assert flows("clear-tasks", "air-h*", "--yes").code == 0
    assert names(flows("list-tasks")) == ["air-minute"]


def test_next_slots_and_load_speak_of_the_same_tasks(flows, crontab, tree):
    flows("auto-schedule", "--once")
    rows = [line.split("\t") for line in flows("next", "--hours", "24", "--limit", "0").out.splitlines()]
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    counts = {name: sum(row[2] == name for row in rows) for name in ("air-minute", "air-hourly", "daily")}
    assert counts == {"air-minute": 1440, "air-hourly": 24, "daily": 1}
    load = json.loads(flows("load", "--by", "hour", "--json").out)["items"]
    assert len(load) == 24
    assert all(61 <= hour["starts"] <= 64 for hour in load)
    assert flows("load", "--by", "week").code == 2


def test_a_block_changed_by_hand_is_shown_and_not_overwritten(flows, crontab, tree):
    flows("auto-schedule", "--once")
    edited = crontab.read_text().replace("# daily", "# daily2").encode()
    crontab.write_bytes(edited)
    answer = flows("disable", "odd")
    assert answer.code == 6
    assert "# daily2" in answer.err
    assert "--overwrite" in answer.err
    assert crontab.read_bytes() == edited
    assert flows("auto-schedule", "--once", "--overwrite").code == 0
    assert "# daily2" not in crontab.read_text()


def test_without_a_crontab_program_the_tabfile_is_written_and_the_way_shown(flows, tree, settings):
    answer = flows("auto-schedule", "--once", CRONTAB_PROGRAM="no-such-program")
    assert answer.code == 0
    assert "flows cron run" in answer.err
    assert flows("auto-schedule", "--once").err == ""
    assert sum("scflows run" in line for line in Path(settings.tabfile).read_text().splitlines()) == 5


@pytest.mark.parametrize("mode", ["denied", "syntax", "silent"])
def test_a_crontab_that_refuses_leaves_everything_as_it_was(flows, crontab, tree, tmp_path, settings, mode):
    flows("manual-schedule", "plain.yml")
    before = (crontab.read_bytes(), Path(settings.tabfile).read_bytes(), names(flows("list-tasks")))
    (crontab.parent / "mode").write_text(mode)
    answer = flows("auto-schedule", "--once")
    assert answer.code == 5, answer
    assert "Traceback" not in answer.err
    assert (crontab.read_bytes(), Path(settings.tabfile).read_bytes(), names(flows("list-tasks"))) == before


def test_twenty_at_once_lose_nothing(crontab, workspace, environment, flows):
    crontab.write_bytes(FOREIGN + b"\n")
    for number in range(20):
        (workspace / "tasks" / f"f{number}.yml").write_text(QUICK)
    started = [
        subprocess.Popen(
            [sys.executable, "-P", "-m", "scflows", "manual-schedule", f"f{number}.yml", "--every", "1h"],
            cwd=workspace,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for number in range(20)
    ]
    for process in started:
        _, told = process.communicate(timeout=120)
        assert process.returncode == 0, told
    assert len(names(flows("list-tasks"))) == 20
    text = crontab.read_bytes()
    assert text.count(b"-m scflows run") == 20
    assert text.endswith(FOREIGN + b"\n")


def test_first_runs_are_made_at_once(flows, crontab, tree):
    answer = flows("auto-schedule", "--once", "--force-first-run")
    assert answer.code == 0, answer.err
    assert answer.out.count("first run of") == 5
    assert len(flows("history").out.splitlines()) == 5
    # Dry, the flows run and nothing is scheduled.
    flows("clear-tasks", "--yes")
    answer = flows("auto-schedule", "--once", "--dry-run", "--force-first-run")
    assert answer.code == 0
    assert flows("list-tasks").out == ""
    runs = json.loads(flows("history", "--json").out)["items"]
    assert sum(run["dry_run"] for run in runs) == 5


def test_a_name_of_another_workspace_is_not_taken(flows, crontab, tree, tmp_path):
    flows("auto-schedule", "--once")
    before = crontab.read_bytes()
    other = tmp_path / "other"
    (other / "tasks").mkdir(parents=True)
    (other / "tasks" / "daily.yml").write_text("schedule: {every: 1h}\n" + QUICK)
    (other / "tasks" / "own.yml").write_text("schedule: {every: 1h}\n" + QUICK)
    answer = flows("auto-schedule", "--once", "--overwrite", cwd=other)
    assert answer.code == 6
    assert "daily" in answer.err
    listed = names(flows("list-tasks", "--all"))
    assert {"own", "odd", "air-hourly"} <= set(listed)
    assert b"other/tasks/daily" not in crontab.read_bytes()
    assert all(line in crontab.read_bytes().splitlines() for line in before.splitlines())


def test_a_broken_flow_is_told_and_hides_no_task(flows, crontab, tree):
    flows("auto-schedule", "--once")
    (tree / "daily.yml").write_text("schedule: {every: 1d}\nsteps: [{name: s, type: jqq}]\n")
    answer = flows("auto-schedule", "--once")
    assert answer.code == 1
    assert "daily.yml:2:" in answer.err
    assert "daily" in names(flows("list-tasks"))


def test_a_broken_task_file_is_told_and_its_line_stays(flows, crontab, tree, settings):
    flows("auto-schedule", "--once")
    path = Path(settings.state_path) / "tasks" / "daily.json"
    path.write_text("{")
    listed = flows("list-tasks")
    assert str(path) in listed.err
    assert "odd" in names(listed)
    flows("disable", "odd")
    assert any(line.endswith("# daily") for line in crontab.read_text().splitlines())
    assert flows("remove-task", "daily").code == 0
    assert not path.exists()
    assert os.listdir(path.parent)
    assert not any(line.endswith("# daily") for line in crontab.read_text().splitlines())


def test_a_home_that_is_not_the_one_of_the_password_file_is_remembered(flows, crontab, tree, environment, tmp_path):
    # As under sudo with HOME kept, or in a shell with another HOME.
    given = {"HOME": str(tmp_path / "other home"), "XDG_STATE_HOME": "", "XDG_CACHE_HOME": ""}
    (tmp_path / "other home").mkdir()
    answer = flows("auto-schedule", "--once", **given)
    assert answer.code == 5
    assert "cannot be used in a crontab" in answer.err
    given["HOME"] = str(tmp_path / "other")
    (tmp_path / "other").mkdir()
    assert flows("auto-schedule", "--once", **given).code == 0
    (line,) = [line for line in crontab.read_text().splitlines() if line.endswith("# air-minute")]
    bare = {"HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["/bin/sh", "-c", line.split(" ", 5)[5]], env=bare, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert flows("history", "air-minute", **given).out.count("\tsuccess\t") == 1
    assert not list((tmp_path / "home").iterdir())


def test_a_flows_folder_that_is_away_changes_nothing(flows, crontab, tree):
    flows("auto-schedule")
    flows("disable", "daily")
    before = crontab.read_bytes()
    listed = flows("list-tasks").out
    away = tree.with_name("away")
    tree.rename(away)
    answer = flows("auto-schedule")
    assert (answer.code, "not found" in answer.err) == (7, True)
    # As a mount point without its disk.
    tree.mkdir()
    answer = flows("auto-schedule")
    assert (answer.code, "is empty" in answer.err) == (7, True)
    assert crontab.read_bytes() == before
    tree.rmdir()
    away.rename(tree)
    assert flows("auto-schedule").code == 0
    assert flows("list-tasks").out == listed


def test_a_folder_that_is_no_workspace_gets_no_search(flows, crontab, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    answer = flows("auto-schedule", cwd=empty)
    assert (answer.code, "not found" in answer.err) == (7, True)
    assert not crontab.exists()


def test_a_paused_task_outlives_its_flow(flows, crontab, tree):
    flows("auto-schedule")
    flows("disable", "daily")
    (tree / "daily.yml").unlink()
    answer = flows("auto-schedule")
    assert (answer.code, "kept daily: paused" in answer.out) == (0, True)
    assert names(flows("list-tasks", "--state", "paused")) == ["daily"]


def test_a_flow_named_like_the_search_is_told_and_takes_nothing(flows, crontab, tree):
    (tree / "auto-schedule.yml").write_text("schedule: {every: 1h}\n" + QUICK)
    answer = flows("auto-schedule")
    assert (answer.code, "is reserved for the search" in answer.err) == (1, True)
    assert json.loads(flows("show", "auto-schedule", "--json").out)["command"]
    assert len(names(flows("list-tasks"))) == 6


def test_what_was_scheduled_by_hand_stays_so(flows, crontab, tree):
    flows("manual-schedule", "daily.yml")
    answer = flows("auto-schedule", "--overwrite")
    assert (answer.code, "kept daily: scheduled by hand" in answer.out) == (0, True)


def test_a_task_folder_that_cannot_be_written_is_refused(flows, crontab, tree, settings):
    folder = Path(settings.state_path) / "tasks"
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("no folder")
    answer = flows("auto-schedule", "--once")
    assert (answer.code, "cannot be written" in answer.err) == (5, True)
    assert not crontab.exists()


def test_a_removal_that_is_killed_leaves_no_line_without_its_task(flows, crontab, tree, settings, environment):
    flows("auto-schedule", "--once")
    (crontab.parent / "mode").write_text("kills")
    program = crontab.parent / "crontab"
    program.write_text(
        program.read_text().replace(
            "case $1 in\n-l)", "case $1$mode in\n-kills) kill -9 $PPID ;;\nesac\ncase $1 in\n-l)"
        )
    )
    assert flows("clear-tasks", "--yes").code < 0
    assert len(list((Path(settings.state_path) / "tasks").glob("*.json"))) == 5


def test_a_write_that_was_cut_off_and_a_lost_tabfile_block_nothing(flows, crontab, tree, settings):
    flows("auto-schedule", "--once")
    before = crontab.read_bytes()
    flows("disable", "daily")
    # As if the process had ended between the tabfile and the crontab.
    crontab.write_bytes(before)
    (Path(settings.state_path) / "crontab-block").write_text(json.dumps([before.decode().splitlines()[1:-1]]))
    assert flows("disable", "odd").code == 0
    assert not any(line.endswith(("# daily", "# odd")) for line in crontab.read_text().splitlines())
    Path(settings.tabfile).unlink()
    assert flows("enable", "odd", "daily").code == 0
    assert sorted(crontab.read_bytes().splitlines()) == sorted(before.splitlines())
    crontab.unlink()
    assert "was missing" in flows("disable", "odd").err


def test_a_repair_writes_the_lines_and_changes_no_task(flows, crontab, tree):
    flows("auto-schedule", "--once")
    flows("edit", "daily", "--cron", "1 2 * * *")
    good = crontab.read_bytes()
    line = next(line for line in good.decode().splitlines() if line.endswith("# odd"))
    changed = good.replace(b"# daily", b"# daily2") + f"{line}\n".encode()
    crontab.write_bytes(changed)
    assert "would exit with 6" in flows("disable", "odd", "--dry-run").err
    assert flows("repair", "--dry-run").code == 0
    assert crontab.read_bytes() == changed
    assert flows("repair").code == 0
    assert crontab.read_bytes() == good


def test_a_plan_says_how_to_apply_it_and_quiet_hides_no_error(flows, crontab, tree):
    answer = flows("edit", "--dry-run", "nope", "--every", "1h")
    assert answer.code == 4
    told = flows("manual-schedule", "plain.yml", "--dry-run", "--cron", "1 2 * * *").out
    assert "Apply it: flows manual-schedule plain.yml --cron '1 2 * * *'" in told
    (tree / "daily.yml").write_text("schedule: {every: 1d}\nsteps: [{name: s, type: jqq}]\n")
    answer = flows("auto-schedule", "--once", "-q")
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("daily.yml:2:")


def test_a_first_run_that_ended_early_has_a_second_turn(flows, crontab, workspace):
    made = "file: {path: made.json, mode: write, type: json, data_key: __input__}"
    needs = """schedule: {every: 5m}
steps:
  - {name: look, type: file, ignore_errors: No such file, file: {path: made.json, type: json}}
  - {name: stop, type: exit, when: look is not defined, exit: {message: there is nothing yet}}
"""
    (workspace / "tasks" / "a-reader.yml").write_text(needs)
    maker = f"""schedule: {{every: 1d}}
steps:
  - {{name: wait, type: sleep, sleep: {{seconds: 1}}}}
  - {{name: make, type: file, {made}}}
"""
    (workspace / "tasks" / "maker.yml").write_text(maker)
    answer = flows("auto-schedule", "--once", "--force-first-run")
    assert answer.code == 0, answer.err
    assert "first run of a-reader: success" in answer.out
    assert answer.out.count("first run of") == 2


@pytest.mark.parametrize(
    ("schedule", "given"),
    [
        ({"timezone": 5}, {}),
        ({"timezone": "Nowhere/Else"}, {}),
        ({"every": 10**18}, {}),
        ({}, {"start_within": float("nan")}),
    ],
)
def test_a_task_file_that_cannot_be_hides_no_other(flows, crontab, tree, settings, schedule, given):
    flows("auto-schedule", "--once")
    path = Path(settings.state_path) / "tasks" / "daily.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "schedule": {**values["schedule"], **schedule}, **given}))
    listed = flows("list-tasks")
    assert str(path) in listed.err
    assert "odd" in names(listed)
    for command in (["next"], ["health"], ["show", "odd"], ["show", "daily"]):
        answer = flows(*command)
        assert answer.code != 3, answer
        if command in (["next"], ["show", "odd"]):
            assert answer.code == 0
            assert "odd" in answer.out
        if command != ["show", "odd"]:
            assert "invalid task file" in answer.out + answer.err


def test_mistakes_in_the_files_with_settings_are_told_when_a_flow_is_scheduled(flows, workspace, crontab) -> None:
    (workspace / "data").mkdir()
    (workspace / ".env").write_text("TIME_ZONE=Asia/Tokyo\n")
    (workspace / "data/config.yml").write_text("on_failur: a.yml\non_success: gone.yml\n")
    (workspace / "tasks/a.yml").write_text("schedule: {every: 1h}\non_recovery: lost.yml\nsteps: []\n")
    for words in ("auto-schedule --once", "manual-schedule tasks/a.yml --overwrite", "edit a --every 2h"):
        answer = flows(*words.split())
        assert answer.code == 1, words
        assert ".env:1: unknown setting 'TIME_ZONE' is ignored; did you mean 'TIMEZONE'?" in answer.err
        assert "config.yml:1: unknown property 'on_failur' is ignored; did you mean 'on_failure'?" in answer.err
        assert "config.yml:2:1: error: on_success: gone.yml: flow file not found" in answer.err
        lost = "a.yml:2:1: error: on_recovery: flow 'lost.yml' not found in the flows folder"
        assert (lost in answer.err) == (not words.startswith("edit"))
    assert "every 2 h" in flows("show", "a").out
    for name in ("gone.yml", "lost.yml"):
        (workspace / "tasks" / name).write_text("steps: []\n")
    assert flows("auto-schedule", "--once").code == 0


def test_validate_and_check_find_a_hook_that_is_gone(flows, workspace, crontab) -> None:
    (workspace / "data").mkdir()
    (workspace / "data/config.yml").write_text("on_success: gone.yml\n")
    (workspace / "tasks/a.yml").write_text("schedule: {every: 1h}\non_recovery: ../lost.yml\nsteps: []\n")
    flows("auto-schedule", "--once")
    answer = flows("validate")
    assert answer.code == 1
    assert "tasks/a.yml:2:1: error: on_recovery: flow '../lost.yml' not found" in answer.out
    assert "data/config.yml:1:1: error: on_success: gone.yml: flow file not found" in answer.out
    assert flows("validate", "data/config.yml").out.startswith("data/config.yml:1:1: error: on_success: gone.yml: ")
    (workspace / ".env").write_text("TIME_ZONE=UTC\n")
    assert flows("validate", ".env").out.startswith(".env:1:1: warning: unknown setting 'TIME_ZONE'")
    answer = flows("check")
    assert "a: a.yml:2:1: error: on_recovery: flow '../lost.yml' not found" in answer.out
    assert "config.yml:1:1: on_success: gone.yml: flow file not found" in answer.out


@pytest.fixture
def lost_python(flows, workspace, crontab, tmp_path):
    """Tasks whose lines name a Python that is gone."""
    (workspace / "tasks/a.yml").write_text("schedule: {every: 1h}\nsteps: []\n")
    (workspace / "tasks/b.yml").write_text("steps: []\n")
    assert flows("auto-schedule").code == 0
    assert flows("manual-schedule", "b.yml").code == 0
    lost = str(tmp_path / "env/bin/python3")
    for path in (crontab, tmp_path / "cache/scdata/tasks/tabfile.tab"):
        path.write_text(path.read_text().replace(sys.executable, lost))
    return lost


def test_tasks_whose_python_is_gone_are_broken_and_auto_schedule_repairs_their_lines(flows, crontab, lost_python):
    answer = flows("list-tasks")
    assert [line.split("\t")[1] for line in answer.out.splitlines()] == ["broken"] * 3
    assert f"a: the Python of its crontab line is gone ({lost_python}); rewrite the line: flows repair" in answer.err
    assert f"broken\tthe Python of its crontab line is gone ({lost_python})" in flows("show", "a").out
    before = crontab.read_text()
    answer = flows("auto-schedule", "--dry-run")
    assert f"repair b: the Python of its line is gone ({lost_python})" in answer.out
    assert crontab.read_text() == before
    answer = flows("auto-schedule")
    assert answer.code == 0
    assert answer.out.startswith(f"repaired a: the Python of its line is gone ({lost_python})\n")
    assert "Repaired 3 tasks" in answer.out
    assert lost_python not in crontab.read_text()
    assert crontab.read_text().count(sys.executable) == 3
    assert flows("list-tasks", "--state", "broken").out == ""
    assert "No changes" in flows("auto-schedule").out


def test_a_task_whose_flow_or_workspace_is_gone_is_broken(flows, workspace, crontab, tmp_path):
    (workspace / "tasks/b.yml").write_text("steps: []\n")
    other = tmp_path / "other"
    (other / "tasks").mkdir(parents=True)
    (other / "tasks/c.yml").write_text("steps: []\n")
    assert flows("manual-schedule", "b.yml").code == 0
    assert flows("manual-schedule", "c.yml", "--home", str(other)).code == 0
    (workspace / "tasks/b.yml").unlink()
    shutil.rmtree(other)
    items = json.loads(flows("list-tasks", "--all", "--state", "broken", "--json").out)["items"]
    assert [(item["name"], item["problem"]) for item in items] == [
        ("b", f"its flow {workspace}/tasks/b.yml is gone; remove it: flows remove-task b"),
        ("c", f"its workspace {other} is gone; remove it: flows remove-task c"),
    ]
    flows("disable", "b")
    assert flows("list-tasks", "--state", "broken").out == ""


def test_a_person_is_told_when_nothing_starts_the_tasks(terminal, workspace, crontab):
    (workspace / "tasks/a.yml").write_text("schedule: {every: 1h}\nsteps: []\n")
    message = "no cron daemon is running, so no tasks are started"
    for words in ("auto-schedule", "list-tasks"):
        assert (message in terminal.run(*words.split(), COLUMNS="200").text) == (find_daemon() is None)


def test_without_any_process_of_cron_nothing_starts_the_tasks(settings, tmp_path):
    proc = tmp_path / "proc"
    proc.mkdir()
    assert is_nothing_running(settings, str(proc), str(tmp_path))
    (proc / "77").mkdir()
    (proc / "77/comm").write_text("cron\n")
    (proc / "77/cmdline").write_text("/usr/sbin/cron\0-f\0")
    (proc / "77/stat").write_text("77 (cron) S 1 " + "0 " * 40)
    (proc / "stat").write_text("btime 1\n")
    assert not is_nothing_running(settings, str(proc), str(tmp_path))


def test_a_task_without_a_time_limit_is_told_the_default(flows, workspace, environment):
    for name, limit in (("bare", ""), ("own", "timeout: 900\n")):
        (workspace / "tasks" / f"{name}.yml").write_text(f"{limit}schedule: {{every: 1h}}\nsteps: []\n")
    told = flows("auto-schedule", "--once")
    assert "No time limit set: bare. Runs are stopped after 10 min;" in told.out
    assert "No time limit" not in flows("auto-schedule", "--once").out
    assert "No time limit" not in flows("manual-schedule", "bare.yml", "--name", "other", "--timeout", "5m").out
    shown = {name: json.loads(flows("show", name, "--json").out)["limit"] for name in ("bare", "own", "other")}
    assert shown == {"bare": 600, "own": 900, "other": 300}
    assert "(default; FLOW_TIMEOUT_SECONDS)" in flows("show", "bare").out
    assert "(set by the flow)" in flows("show", "own").out
    assert "(set by the task)" in flows("show", "other").out
    environment["FLOW_TIMEOUT_SECONDS"] = "7200"
    assert "Runs are stopped after 2 h;" in flows("manual-schedule", "bare.yml", "--name", "later").out


def test_validate_says_how_to_write_a_schedule_that_is_refused(flows, workspace):
    (workspace / "tasks/long.yml").write_text('schedule: {cron: "45 23 * * fri-mon"}\nsteps: []\n')
    assert "the range 'fri-mon' is reversed; use 0,1,5,6\n" in flows("validate").out
