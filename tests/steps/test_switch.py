"""Flow language, switch."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.language("§4 switch")

KINDS = """
steps:
  - name: by kind
    type: switch
    result_key: found
    switch:
      data_key: __input__
      cases:
        - {when: "temp|hum", step: {type: set_fact, set_fact: {value: climate}}}
        - {when: "none$", step: {type: goto, goto: {step_name: __end__}}}
        - {when: 42, step: {type: set_fact, set_fact: {value: number}}}
        - {when: "True", step: {type: set_fact, set_fact: {value: older}}}
        - {when: true, step: {type: set_fact, set_fact: {value: never}}}
        - {when: "null", step: {type: jq, jq: {expression: "[1]"}, jq_expression: ".[0]"}}
        - {when: '\\{', step: {type: exit, exit: {message: "a {{ __flow_path__ }}"}}}
  - {name: after, type: set_fact, set_fact: {value: 1}}
"""


@pytest.mark.parametrize(
    ("value", "found"),
    [("temperature", "climate"), ("a temp", None), (42, "number"), (True, "older"), ("none of it", None)],
    ids=str,
)
def test_the_first_case_that_matches_from_the_start_runs(run_flow, value, found):
    run = run_flow(KINDS, payload=value)
    assert run.status == "success"
    assert run.result.get("found") == found
    assert run.result["after"] == 1


def test_null_is_matched_by_its_json_text(run_flow):
    text = KINDS.replace("data_key: __input__", "data_key: nothing")
    text = text.replace("steps:", "steps:\n  - {name: nothing, type: set_fact, set_fact: {value: null}}", 1)
    assert run_flow(text).result["found"] == 1


def test_a_goto_inside_jumps(run_flow):
    run = run_flow(KINDS, payload="none")
    assert "after" not in run.result
    assert "found" not in run.result


@pytest.mark.language("§4 exit")
def test_an_exit_inside_stores_under_the_key_of_the_switch(run_flow):
    run = run_flow(KINDS, payload={"a": 1})
    assert run.status == "exit"
    assert run.result["found"] == {"message": "a flow.yml"}


def test_the_default_runs_when_no_case_matches(run_flow):
    run = run_flow("""
        steps:
          - name: s
            type: switch
            jq_expression: ". + 1"
            switch:
              data_key: __input__
              cases: []
              default: {type: jq, jq: {expression: "[5]"}, jq_expression: ".[0]"}
    """)
    assert run.result["s"] == 6


def test_errors_inside_are_those_of_the_switch(run_flow):
    run = run_flow("""
        steps:
          - name: s
            type: switch
            ignore_errors: no key
            switch: {data_key: __input__, cases: [], default: {type: jq, jq: {data_key: missing, expression: .}}}
    """)
    assert run.status == "success"
    assert [entry["step"] for entry in run.errors] == ["s"]


def test_a_failed_child_inside_is_stored_under_the_key_of_the_switch(run_flow, workspace):
    (workspace / "tasks" / "child.yml").write_text(
        "steps: [{name: x, type: jq, jq: {data_key: missing, expression: .}}]"
    )
    run = run_flow("""
        steps:
          - name: s
            type: switch
            ignore_errors: failed
            switch: {data_key: __input__, cases: [], default: {type: flow, flow: {path: child.yml}}}
    """)
    assert run.result["s"]["__status__"]["type"] == "failed"
    assert [entry["step"] for entry in run.errors] == ["x", "s"]


@pytest.mark.parametrize(
    ("inside", "told"),
    [
        ({"type": "jq", "jq": {"expression": "."}, "when": "true"}, "when is allowed only on the outer step"),
        ({"type": "jq", "jq": {"expression": "."}, "result_key": "x"}, "result_key is allowed only"),
        ({"type": "jq", "jq": {"expression": "."}, "ignore_errors": "x"}, "ignore_errors is allowed only"),
        ({"type": "jq", "jq": {"expression": "."}, "on_error_goto": "s"}, "on_error_goto is allowed only"),
        ({"type": "jq", "jq": {"expression": ".["}}, "jq '.['"),
        ({"type": "nonsense"}, "unknown step type"),
        ({"type": "goto", "goto": {"step_name": "nowhere"}}, "'nowhere' is not a step"),
        ({"type": "jq"}, "inner step has no `jq:`"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_what_is_inside_is_checked_before_anything_runs(run_flow, inside, told):
    flow = {
        "steps": [
            {"name": "s", "type": "switch", "switch": {"data_key": ".", "cases": [{"when": "x", "step": inside}]}}
        ]
    }
    run = run_flow(json.dumps(flow))
    assert run.reason == "refused"
    assert told in run.message


@pytest.mark.parametrize("pattern", ["(", None])
def test_a_case_needs_a_regular_expression(run_flow, pattern):
    step = {"type": "sleep", "sleep": {"seconds": 0}}
    case = {"when": pattern, "step": step}
    flow = {"steps": [{"name": "s", "type": "switch", "switch": {"data_key": ".", "cases": [case]}}]}
    assert "regular expression" in run_flow(json.dumps(flow)).message
