"""The commands that help to write flows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from scflows.steps.registry import step_types

Flows = Callable[..., Any]


def test_every_step_type_is_listed_with_what_it_does(flows: Flows) -> None:
    answer = flows("steps")
    assert (answer.code, answer.err) == (0, "")
    rows = [line.split("\t") for line in answer.out.splitlines()]
    assert [row[0] for row in rows] == list(step_types())
    assert {row[1] for row in rows} == {"built-in"}
    assert {row[0]: row[2] for row in rows}["sleep"].startswith("Wait")


def test_one_step_type_is_shown_with_its_options_and_an_example(flows: Flows) -> None:
    head, options, example = flows("steps", "file").out.split("\n\n", 2)
    assert head.splitlines()[:2] == ["type\tfile", "does\tRead, write or append to a YAML, JSON or text file."]
    rows = {row[0]: row[1:] for row in (line.split("\t") for line in options.splitlines())}
    assert rows["path"][:4] == ["text", "required", "yes", ""]
    assert rows["mode"][:4] == ["text", "read", "no", "read write append"]
    assert rows["data_key"] == ["text", "", "no", "", "the key of the value to write"]
    assert example.startswith("- name: stations\n  type: file\n")


def test_step_types_as_json_have_all_of_it(flows: Flows) -> None:
    items = json.loads(flows("steps", "--json").out)["items"]
    one = json.loads(flows("steps", "sleep", "--json").out)
    assert one in items
    assert one["options"][0] == {
        "name": "seconds",
        "required": True,
        "default": None,
        "template": False,
        "minimum": 0,
        "help": "how long to wait, for example 1.5 or 5m",
        "kinds": ["duration"],
        "choices": [],
    }


def test_a_terminal_shows_the_table_with_titles(terminal: Any) -> None:
    shown = terminal.run("steps", "jq", NO_COLOR="1")
    assert shown.code == 0
    assert "OPTION" in shown.text
    assert "DEFAULT" in shown.text
    assert "- name: warm" in shown.text


def test_an_unknown_step_type_is_named_with_the_nearest(flows: Flows) -> None:
    answer = flows("steps", "slep")
    assert (answer.code, answer.out) == (4, "")
    assert answer.err == "error: step type 'slep' not found\n  help: did you mean 'sleep'?\n"


def test_the_schema_is_printed_and_is_the_one_of_a_new_workspace(flows: Flows, tmp_path: Path) -> None:
    printed = json.loads(flows("schema").out)
    Draft202012Validator.check_schema(printed)
    assert flows("init", str(tmp_path / "new")).code == 0
    assert json.loads((tmp_path / "new/tasks/flow.schema.json").read_text()) == printed


def test_a_flow_is_drawn_as_text_dot_or_json(flows: Flows, shipped: Path) -> None:
    text = flows("graph", "greet.yml").out
    assert text.splitlines() == ["Greet · greet.yml", "1  hello  set_fact", "2  given  set_fact"]
    assert flows("graph", "greet", "--format", "dot").out.startswith('digraph "greet.yml" {\n')
    drawn = json.loads(flows("graph", "greet.yml", "--format", "json").out)
    assert drawn == json.loads(flows("graph", "greet.yml", "--json").out)
    assert [node["name"] for node in drawn["nodes"]] == ["hello", "given", "end"]


def test_a_flow_that_is_refused_or_missing_is_not_drawn(flows: Flows, shipped: Path) -> None:
    (shipped / "tasks/bad.yml").write_text("steps: [{name: a}]\n")
    for arguments in (["bad.yml"], ["nothing.yml"], ["greet.yml", "--format", "png"]):
        answer = flows("graph", *arguments)
        assert (answer.code, answer.out) == (2, "")
