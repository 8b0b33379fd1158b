from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scflows.cron.schedule.schedule import Schedule
from scflows.cron.task import Task, TaskStore
from scflows.settings import Settings

Flows = Callable[..., Any]


def test_a_run_ends_with_a_line_that_names_it(shipped: Path, flows: Flows) -> None:
    answer = flows("run", "greet.yml")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("succeeded in ")
    run = answer.out.split("run ")[1].split(" ")[0]
    assert answer.out.endswith(f"run {run} · flows runs show {run}\n")
    assert flows("-q", "run", "greet.yml").out == ""


@pytest.mark.language("§1 How a run ends")
def test_json_is_the_one_object_that_programs_rely_on(shipped: Path, flows: Flows) -> None:
    answer = flows("run", "greet.yml", "-p", "who=Ana", "--param", "device=3", "--json")
    told = json.loads(answer.out)
    assert (answer.code, answer.err) == (0, "")
    assert told.keys() == {"status", "message", "data", "run_id", "reason"}
    assert (told["status"], told["data"]["hello"]) == ("success", "hello Ana")
    assert told["data"]["params"] == {"who": "Ana", "device": 3}
    assert told["data"]["__job_id__"] == told["run_id"]


@pytest.mark.language("§1 How a run ends")
@pytest.mark.parametrize(
    ("arguments", "code", "status", "reason"),
    [
        (["fail.yml"], 1, "failed", "error"),
        (["greet.yml", "-p", "nobody=3"], 2, "failed", "refused"),
        (["nothing.yml"], 2, "failed", "refused"),
        (["nap.yml", "--timeout", "0.2s"], 124, "failed", "timeout"),
        (["greet.yml", "--data", "missing.json"], 2, "failed", "usage"),
        (["greet.yml", "--slot", "noon"], 2, "failed", "usage"),
        ([], 2, "failed", "usage"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_json_never_hides_a_failure(
    shipped: Path, flows: Flows, arguments: list[str], code: int, status: str, reason: str
) -> None:
    answer = flows("run", "--json", *arguments)
    told = json.loads(answer.out)
    assert (answer.code, told["status"], told["reason"]) == (code, status, reason)
    assert told["message"]
    assert json.loads(answer.err)["error"]["message"]


def test_a_failure_names_the_step_and_where_to_read_on(shipped: Path, flows: Flows) -> None:
    answer = flows("run", "fail.yml")
    run = answer.out.split("run ")[1].split(" ")[0]
    assert answer.code == 1
    assert answer.out.startswith("failed after ")
    assert answer.err.splitlines() == [
        "error: second: the data has no key 'nothing'",
        f"  help: flows logs {run}",
    ]


def test_a_refused_flow_shows_every_mistake_with_its_place(shipped: Path, flows: Flows) -> None:
    text = "steps:\n  - {name: a, type: jqq}\n  - {name: b, type: jq, jq: {}}\n"
    (shipped / "tasks/broken.yml").write_text(text)
    answer = flows("run", "broken.yml")
    assert answer.code == 2
    assert answer.out.startswith("refused · run ")
    first, second = answer.err.splitlines()
    assert first.startswith("broken.yml:2:")
    assert "'jq'" in first
    assert second.startswith("broken.yml:3:")


def test_a_flow_that_is_not_there_brings_the_nearest_name(shipped: Path, flows: Flows) -> None:
    answer = flows("run", "gret.yml")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == "error: gret.yml: flow file not found\n  help: did you mean 'greet.yml'?\n"


@pytest.mark.language("§1 Data")
@pytest.mark.parametrize(
    ("name", "content", "value"),
    [
        ("a.json", '{"day": [1, null]}', {"day": [1, None]}),
        ("a.yml", "day: 2024-03-05\n3: {x: yes}\n", {"day": "2024-03-05", "3": {"x": True}}),
        ("-", "[1, 2]", [1, 2]),
    ],
)
def test_data_becomes_the_input(shipped: Path, flows: Flows, name: str, content: str, value: Any) -> None:
    if name != "-":
        (shipped / name).write_text(content)
    answer = flows("run", "greet.yml", "--data", name, "--json", stdin=content)
    assert json.loads(answer.out)["data"]["__input__"] == value


@pytest.mark.language("§1 Data")
@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("a.json", '{"day": \n 3,,}', "a.json:2:4: error: invalid JSON"),
        ("a.yml", "a: [1\n", "a.yml:2:1: error: YAML"),
        ("a.yml", "a: !!python/none x\n", "a.yml:1:4: error: YAML"),
        ("folder", None, "error: --data folder: cannot be read: Is a directory"),
        ("none.yml", None, "error: --data none.yml: cannot be read: No such file"),
    ],
)
def test_bad_data_is_one_error_that_names_the_file(
    shipped: Path, flows: Flows, name: str, content: str | None, error: str
) -> None:
    (shipped / "folder").mkdir()
    if content is not None:
        (shipped / name).write_text(content)
    answer = flows("run", "greet.yml", "--data", name)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(error)


def test_a_slot_is_read_in_the_zone_of_the_settings_and_done_once(shipped: Path, flows: Flows) -> None:
    def run(*arguments: str) -> dict[str, Any]:
        answer = flows("run", "greet.yml", "--json", *arguments, TIMEZONE="Europe/Madrid")
        assert answer.code == 0
        told: dict[str, Any] = json.loads(answer.out)
        return told

    first = run("--slot", "2026-07-01T09:00")
    assert first["data"]["__slot__"] == "2026-07-01T09:00:00+02:00"
    again = run("--slot", "2026-07-01T07:00Z")
    assert (again["status"], again["reason"]) == ("skipped", "slot")
    assert first["run_id"] in again["message"]
    assert run("--slot", "2026-07-01T09:00", "--force")["status"] == "success"


@pytest.mark.language("§7 Dry runs")
def test_a_dry_run_writes_nothing_and_says_what_it_would(shipped: Path, flows: Flows) -> None:
    answer = flows("run", "write.yml", "--dry-run", "--follow")
    assert answer.code == 0
    assert "would write" in answer.out
    assert "dry run succeeded" in answer.out
    assert not list(shipped.glob("**/out.json"))


def test_follow_shows_each_step_and_the_log(shipped: Path, flows: Flows) -> None:
    answer = flows("run", "fail.yml", "--follow")
    steps = [line.split("\t")[1:3] for line in answer.out.splitlines() if "\t" in line]
    assert steps == [["first", "ok"], ["second", "failed"]]
    assert [line.split("\t")[-1] for line in answer.out.splitlines() if "\t" in line] == ["1/2", "2/2"]
    assert [text.count("the data has no key") for text in (answer.out, answer.err)] == [1, 1]
    events = [json.loads(line) for line in flows("run", "fail.yml", "--follow", "--json").out.splitlines()]
    assert {event["event"] for event in events} == {"log", "step_started", "step_ended", "run_ended"}
    assert events[-1]["status"] == "failed"
    assert [event["name"] for event in events if event["event"] == "step_ended"] == ["first", "second"]


def test_a_follower_that_goes_away_does_not_end_the_run(
    shipped: Path, environment: dict[str, str], flows: Flows
) -> None:
    command = f"{sys.executable} -P -m scflows run greet.yml --follow | true"
    done = subprocess.run(["sh", "-c", command], cwd=shipped, env=environment, stderr=subprocess.PIPE)
    assert done.stderr == b""
    assert flows("history").out.split("\t")[5] == "success"


@pytest.fixture
def task(shipped: Path, settings: Settings) -> Task:
    """A task that runs greet.yml with parameters of its own."""
    flow = str(shipped / "tasks/greet.yml")
    made = Task("morning", Schedule("5 4 * * *"), flow=flow, workspace=str(shipped), params={"who": "Ben"})
    TaskStore(settings).write(made)
    return made


def test_a_task_runs_from_anywhere_with_what_it_remembers(
    shipped: Path, task: Task, settings: Settings, flows: Flows, tmp_path: Path
) -> None:
    TaskStore(settings).write(replace(task, settings={"TIMEZONE": "Asia/Tokyo"}))
    answer = flows("run", "morning", "-p", "device=4", "--json", cwd=tmp_path)
    told = json.loads(answer.out)
    assert told["data"]["params"] == {"who": "Ben", "device": 4}
    assert told["data"]["__slot__"].endswith("+09:00")
    assert flows("history", "morning").out.startswith(told["run_id"])


def test_the_line_of_a_crontab_can_be_tried_with_more_options(
    shipped: Path, task: Task, settings: Settings, flows: Flows
) -> None:
    line = ["run", task.flow, "--task", "morning", "--state", settings.state_path]
    told = json.loads(flows(*line, "--json").out)
    assert told["data"]["hello"] == "hello Ben"
    answer = flows("run", task.flow, "--task", "evening", "--dry-run")
    assert (answer.code, answer.err.splitlines()[0]) == (2, "error: task 'evening' not found")


def test_a_name_that_is_nearly_a_task_is_suggested(shipped: Path, task: Task, flows: Flows) -> None:
    assert "did you mean 'morning'?" in flows("run", "mornin").err


@pytest.mark.language("§7 One run at a time")
def test_two_runs_of_a_flow_do_not_meet(running: tuple[Any, str], flows: Flows) -> None:
    process, run = running
    answer = flows("run", "nap.yml")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith(f"skipped: it is already running (run {run}")
    assert "to wait for it: flows run --wait" in answer.out
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    process.communicate()


def test_an_unwritable_log_and_a_broken_history_are_warnings(shipped: Path, flows: Flows, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("no folder")
    (tmp_path / "state/scflows").mkdir(parents=True)
    (tmp_path / "state/scflows/history.sqlite").write_text("this is no database, and never was one")
    answer = flows("run", "greet.yml")
    assert answer.code == 0
    assert answer.out.startswith("succeeded in ")
    log, history = answer.err.splitlines()
    assert log.startswith("warning: log ")
    assert history.startswith("warning: history ")


def test_on_a_terminal_a_long_run_shows_its_step_and_an_interrupt_ends_it(shipped: Path, terminal: Any) -> None:
    shown = terminal.run("run", "nap.yml", answers={"step 1/1 'nap' · 1 s": "^C"}, NO_COLOR="1")
    assert shown.code == 130
    assert "stopped after" in shown.text


def test_on_a_terminal_followed_steps_are_numbered_aligned_and_colored(shipped: Path, terminal: Any) -> None:
    shown = terminal.run("run", "fail.yml", "--follow")
    assert shown.code == 1
    assert " 1/2 first  \x1b[32mok\x1b[0m " in shown.text
    assert " 2/2 second \x1b[31mfailed\x1b[0m " in shown.text
    assert "\x1b" not in terminal.run("run", "fail.yml", "--follow", NO_COLOR="1").text


def test_on_a_terminal_following_shows_the_step_at_work_and_each_error_once(shipped: Path, terminal: Any) -> None:
    (shipped / "tasks" / "long.yml").write_text(
        "steps:\n- {name: rest a while, type: sleep, sleep: {seconds: 2.5}}\n"
        "- {name: ignored one, type: jq, ignore_errors: odd, jq: {expression: '\"odd\" | error'}}\n"
        "- {name: talk, type: shell, shell: {command: 'echo working; echo too bad >&2; exit 3'}}\n"
    )
    text = terminal.run("run", "long.yml", "--follow", NO_COLOR="1", COLUMNS="80").text
    assert "1/3 rest a while · 2 s" in text
    lines = [line.rpartition("\r")[2] for line in text.splitlines()]
    assert max(map(len, lines)) <= 80
    assert [line[9:24] for line in lines if line[9:10].isdigit()] == [
        "1/3 rest a whil",
        "2/3 ignored one",
        "3/3 talk       ",
    ]
    assert any(line.endswith(" talk: stdout: working") for line in lines)
    assert text.count("exit status 3") == 1
    assert text.count("jq: odd") == 1


def test_following_a_flow_with_mistakes_shows_each_once(shipped: Path, terminal: Any, flows: Flows) -> None:
    (shipped / "tasks" / "bad.yml").write_text("steps:\n- {name: one, type: jqq}\n- {name: two, type: jqq}\n")
    text = terminal.run("run", "bad.yml", "--follow", NO_COLOR="1").text
    assert [text.count(f"step '{name}'") for name in ("one", "two")] == [1, 1]
    assert "refused · run" in text


#: What a terminal would obey: a title, a clearing of the screen, also by one character (C1), a reversed direction.
ODD = r"\x1b]0;pwned\x07\x1b[2J\x9b2Jx\x7f\u202ey\u2028"


@pytest.mark.parametrize("end", ["exit, exit: {message: '{{ m }}'}", "jq, jq: {data_key: m, expression: error}"])
def test_nothing_printed_carries_control_characters_of_data(shipped: Path, flows: Any, terminal: Any, end: str) -> None:
    fact = f'{{name: m, type: set_fact, set_fact: {{value: "{ODD}"}}}}'
    (shipped / "odd.yml").write_text(f"steps: [{fact}, {{name: a, type: {end}}}]\n")
    for options in ((), ("--follow",), ("--json",), ("--json", "--follow")):
        answer = flows("run", "odd.yml", *options)
        printed = answer.out + answer.err + terminal.run("run", "odd.yml", *options, NO_COLOR="1").text
        left = {each for each in printed if not each.isprintable()} - set("\n\r\t")
        assert "pwned" in printed
        assert left == set(), options
        if "--json" in options:
            last = json.loads(answer.out.splitlines()[-1])
            assert "\x9b2Jx\x7f\u202ey" in last["message"]
    for command in ("history", "runs", "logs"):
        text = terminal.run(command, "odd" if command != "runs" else "list", NO_COLOR="1").text
        assert {each for each in text if not each.isprintable()} <= set("\n\r\t"), command


def test_a_run_by_hand_loads_no_library_for_tables(shipped: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-X", "importtime", "-m", "scflows", "run", "write.yml"],
        cwd=shipped,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "scflows.execution.launch" in loaded
    assert not {"rich", "pydantic", "crontab", "cronsim", "pandas", "requests", "jinja2.environment"} & loaded
