from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Flows = Callable[..., Any]
BROKEN = """steps:
  - name: posts
    type: rest
    rest: {ulr: "https://api.example.org"}
    extra: 1
  - {name: stop, type: jqq}
"""
SOUND = "steps: [{name: first, type: debug, debug: {}}, {name: second, type: debug, debug: {}}]\n"


@pytest.fixture
def broken(shipped: Path) -> Path:
    (shipped / "tasks/fail.yml").write_text(SOUND)
    (shipped / "tasks/sub").mkdir()
    (shipped / "tasks/sub/report.yml").write_text(BROKEN)
    return shipped


def test_flows_without_mistakes_are_told_in_a_line(shipped: Path, flows: Flows) -> None:
    (shipped / "tasks/fail.yml").write_text(SOUND)
    answer = flows("validate")
    assert (answer.code, answer.out, answer.err) == (0, "4 files, no errors\n", "")
    assert flows("validate", "-q").out == ""


def test_every_mistake_has_its_place_and_its_line(broken: Path, flows: Flows) -> None:
    answer = flows("validate")
    assert (answer.code, answer.err) == (1, "")
    lines = answer.out.splitlines()
    mistakes = [line for line in lines if line.startswith("tasks/sub/report.yml:")]
    assert [line.split(":")[1:4] for line in mistakes] == [
        ["4", "5", " error"],
        ["4", "12", " error"],
        ["5", "5", " warning"],
        ["6", "18", " error"],
    ]
    at = lines.index(mistakes[1])
    assert lines[at + 1] == '    4 |     rest: {ulr: "https://api.example.org"}'
    assert lines[at + 2] == "      |            ^^^"
    assert "did you mean 'uri'?" in mistakes[1]
    assert lines[-1] == "5 files, 3 errors, 1 warning"


def test_warnings_fail_only_when_strict(shipped: Path, flows: Flows) -> None:
    (shipped / "tasks/odd.yml").write_text("steps: []\ncolour: blue\n")
    answer = flows("validate", "tasks/odd.yml")
    assert answer.code == 0
    assert answer.out.startswith("tasks/odd.yml:2:1: warning: ")
    assert answer.out.endswith("1 file, no errors, 1 warning\n")
    assert flows("validate", "tasks/odd.yml", "--strict").code == 1


@pytest.mark.language("§1 Where a flow is found")
def test_files_folders_and_names_may_be_named_from_anywhere(broken: Path, flows: Flows, tmp_path: Path) -> None:
    assert flows("validate", "workspace/tasks", cwd=tmp_path).out.startswith("workspace/tasks/sub/report.yml:4:5: ")
    assert flows("validate", "greet.yml", "--home", str(broken), cwd=tmp_path).out == "1 file, no errors\n"
    assert flows("validate", "greet").code == 0
    assert flows("validate", "tasks/greet.yml", "tasks/sub").out.endswith("2 files, 3 errors, 1 warning\n")


@pytest.mark.language("§1 Where a flow is found")
def test_a_missing_file_is_told_beside_the_others(broken: Path, flows: Flows) -> None:
    answer = flows("validate", "none.yml", "tasks/sub/report.yml")
    assert answer.code == 2
    assert answer.out.startswith("none.yml: error: flow file not found\n")
    assert answer.out.endswith("1 file, 4 errors, 1 warning\n")


def test_mistakes_are_also_for_programs(broken: Path, flows: Flows) -> None:
    answer = flows("validate", "--json")
    told = json.loads(answer.out)
    assert (answer.code, told["files"], told["errors"], told["warnings"]) == (1, 5, 3, 1)
    first = told["items"][0]
    assert (first["path"], first["line"], first["column"], first["severity"]) == ("tasks/sub/report.yml", 4, 5, "error")
    assert flows("validate", "--format", "json").out == answer.out
    (broken / "tasks/sub/report.yml").rename(broken / "tasks/sub/a,b.yml")
    lines = flows("validate", "--format", "github").out.splitlines()
    assert lines[0].startswith("::error file=tasks/sub/a%2Cb.yml,line=4,col=5::step 'posts'")
    assert lines[2].startswith("::warning ")


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"steps: [1\n", ":2:1: error: "),
        (b"\xff\xfe", ":1:1: error: "),
        (b"- a\n", ":1:1: error: "),
        (b"\x1b[2J", ":1:1: "),
    ],
    ids=["syntax", "no text", "no mapping", "control characters"],
)
def test_files_that_are_no_flows_get_a_clear_error(shipped: Path, flows: Flows, content: bytes, place: str) -> None:
    (shipped / "tasks/odd.yml").write_bytes(content)
    answer = flows("validate", "tasks/odd.yml")
    assert answer.code == 1
    assert answer.out.startswith(f"tasks/odd.yml{place}")
    assert "\x1b" not in answer.out


def test_without_a_flows_folder_there_is_one_error(workspace: Path, flows: Flows) -> None:
    (workspace / "tasks").rmdir()
    for command in ("validate", "list-flows"):
        answer = flows(command)
        assert (answer.code, answer.out) == (4, "")
        help = f"  help: create a workspace here: flows init {workspace}\n"
        assert answer.err == f"error: flows folder {workspace}/tasks not found\n{help}"


def test_flows_are_listed_with_their_schedules_and_problems(broken: Path, flows: Flows, terminal: Any) -> None:
    rows = [line.split("\t") for line in flows("list-flows").out.splitlines()]
    assert rows == [
        ["fail.yml", "fail", "", "2", ""],
        ["greet.yml", "Greet", "every 3 h", "2", ""],
        ["nap.yml", "nap", "", "1", ""],
        ["write.yml", "write", "", "1", ""],
        ["sub/report.yml", "", "", "", "3 errors"],
    ]
    items = json.loads(flows("list-flows", "--json").out)["items"]
    assert (items[1]["description"], items[1]["problems"]) == ("says hello", [])
    assert items[4]["problems"][0]["line"] == 4
    shown = terminal.run("list-flows").text
    assert "SCHEDULE" in shown.splitlines()[0]
    assert "flows validate" in shown


def test_a_secret_that_is_not_defined_is_told_where_others_are(shipped: Path, flows: Flows) -> None:
    (shipped / "tasks/fail.yml").write_text(SOUND)
    mail = "{name: m, type: email, email: {secret: smpt, to: a@b.org, subject: s, body: \"{{ secret('x').y }}\"}}"
    (shipped / "tasks/mail.yml").write_text(f"steps:\n  - {mail}\n".replace("{{ secret('x').y }}", "b"))
    assert flows("validate").out == "5 files, no errors\n"
    answer = flows("validate", SECRET_SMTP__HOST="localhost")
    assert answer.code == 0
    assert "tasks/mail.yml:2:36: warning: step 'm': secret 'smpt' not found; did you mean 'smtp'?" in answer.out
    assert flows("validate", "--strict", SECRET_SMTP__HOST="localhost").code == 1
