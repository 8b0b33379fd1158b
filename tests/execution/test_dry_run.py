"""A dry run says for each step what it does, or what it would do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Flows = Callable[..., Any]
FLOW = """
steps:
  - {name: value, type: set_fact, set_fact: {value: [{a: 1, b: "{{ __flow_path__ }}"}]}}
  - {name: shaped, type: jq, jq: {data_key: value, expression: "map(.a)"}}
  - {name: all, type: jq, jq: {expression: keys}}
  - {name: found, type: set_fact, set_fact: {value: {names: {}, issues: []}}}
  - {name: look, type: debug, debug: {data_key: value}}
  - {name: see all, type: debug, debug: {}}
  - {name: text, type: jinja, jinja: {path: text.j2}}
  - {name: nap, type: sleep, sleep: {seconds: 600}}
  - {name: input, type: file, file: {path: "flow:input.json", type: json}}
  - {name: output, type: file, file: {path: "{{ shaped[0] }}.json", mode: write, type: json, data_key: value}}
  - {name: log, type: file, file: {path: log.yml, mode: append, data_key: value}}
  - {name: warm, type: table, table: {mode: filter, data_key: value, where: "a > 0"}}
  - {name: sums, type: table, table: {mode: group, data_key: value, by: [b], values: {n: count}}}
  - {name: sum, type: table, table: {mode: group, data_key: value, by: [], values: {n: count}}}
  - {name: none, type: table, table: {path: none.csv, missing: empty}}
  - {name: rows, type: table, table: {mode: write, path: rows.csv, data_key: value}}
  - {name: more, type: table, table: {mode: append, path: rows.csv, data_key: value}}
  - {name: sorted, type: shell, shell: {command: [sort, -u, "a b"]}}
  - {name: sent, type: rest, rest: {uri: "http://user:word@127.0.0.1:9/a?key=1", method: post, data_key: value}}
  - {name: child, type: flow, flow: {path: child.yml}}
  - {name: children, type: flow_loop, flow_loop: {path: child.yml, data_key: value}}
  - {name: which, type: switch, switch: {data_key: look, cases: [{when: ".*", step: {type: debug, debug: {}}}]}}
  - {name: fields, type: jira_names_merge, jira_names_merge: {data_key: found}}
  - {name: unwanted, type: sleep, when: 1 > 2, sleep: {seconds: 1}}
  - {name: jump, type: goto, goto: {step_name: "{{ 'done' }}"}}
  - {name: missed, type: debug, debug: {}}
  - {name: done, type: exit, exit: {message: "enough of {{ shaped[0] }}"}}
"""
TOLD = {
    "value": "set a value",
    "shaped": "transform 'value'",
    "all": "transform all data",
    "found": "set a value",
    "look": "show 'value'",
    "see all": "show all data",
    "text": "render text.j2",
    "nap": "wait 600 s, skipped",
    "input": "read flow:input.json",
    "output": "would write 1.json",
    "log": "would append to log.yml",
    "warm": "filter 'value'",
    "sums": "aggregate 'value' by b",
    "sum": "aggregate 'value'",
    "none": "read none.csv",
    "rows": "would write rows.csv",
    "more": "would append to rows.csv",
    "sorted": "would run sort -u 'a b'",
    "sent": "would send POST http://127.0.0.1:9/a",
    "child": "run child.yml",
    "children": "run child.yml for each item of 'value'",
    "which": "run the step that matches 'look'",
    "fields": "rename the fields of 'found'",
    "unwanted": "skipped: condition is false (1 > 2)",
    "jump": "jump to 'done'",
    "done": "end the flow: enough of 1",
}


@pytest.fixture
def flow(workspace: Path) -> Path:
    (workspace / "tasks/all.yml").write_text(FLOW)
    (workspace / "tasks/child.yml").write_text("steps: []\n")
    (workspace / "tasks/text.j2").write_text("text")
    (workspace / "tasks/input.json").write_text("1")
    return workspace


@pytest.mark.language("§7 Dry runs")
def test_each_step_is_told(flow: Path, flows: Flows) -> None:
    answer = flows("run", "all.yml", "--dry-run")
    assert (answer.code, answer.err) == (0, "")
    *rows, last = [line.split("\t") for line in answer.out.splitlines()]
    assert {row[0]: row[2] for row in rows} == TOLD
    assert {row[1] for row in rows if row[0] != "unwanted"} == {"success"}
    assert last[0].startswith("dry run ended early")
    assert not (flow / "data").exists()


@pytest.mark.language("§7 Dry runs")
def test_an_error_is_told_in_place_of_it(workspace: Path, flows: Flows) -> None:
    (workspace / "tasks/bad.yml").write_text("steps: [{name: a, type: jq, jq: {data_key: b, expression: .}}]\n")
    answer = flows("run", "bad.yml", "--dry-run")
    assert answer.code == 1
    assert answer.out.splitlines()[0] == "a\tfailed\tthe data has no key 'b'"


def test_a_run_that_is_none_of_the_kind_tells_nothing(flow: Path, flows: Flows) -> None:
    (flow / "tasks/short.yml").write_text("steps: [{name: a, type: set_fact, set_fact: {value: 1}}]\n")
    assert "set a value" not in flows("run", "short.yml").out
    assert "set a value" not in flows("runs", "show", flows("runs", "list").out.split("\t")[0]).out
    assert flows("run", "short.yml", "--dry-run", "-q").out == ""
