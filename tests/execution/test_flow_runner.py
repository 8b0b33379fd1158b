"""What the flow language says of order, data, errors, jumps and the final step."""

from __future__ import annotations

import json

import pytest


@pytest.mark.language("§1 A flow file")
def test_steps_run_in_order_and_store_their_results(run_flow):
    run = run_flow("""
        steps:
          - {name: one, type: set_fact, set_fact: {value: [1, 2]}}
          - {name: two, type: jq, result_key: total, jq: {data_key: one, expression: add}}
    """)
    assert run.status == "success"
    assert run.result["total"] == 3
    assert run.steps == [("one", "success"), ("two", "success")]


@pytest.mark.language("§1 A flow file")
def test_an_empty_list_of_steps_succeeds(run_flow):
    assert run_flow("steps: []").status == "success"


@pytest.mark.language("§1 Data")
def test_special_variables_are_there(run_flow):
    run = run_flow(
        "steps: [{name: all, type: set_fact, set_fact: {value: '{{ __input__.a }} {{ __flow_path__ }}'}}]",
        payload={"a": 7},
        name="seen.yml",
    )
    data = run.result
    assert data["all"] == "7 seen.yml"
    assert len(data["__timestamp__"]) == 14
    assert data["__timestamp__"].isdigit()
    assert data["__job_id__"] == run.outcome.run.id
    assert data["__loop_index__"] is None
    assert data["__errors__"] == []


@pytest.mark.language("§1 Data")
@pytest.mark.parametrize("payload", [7, "text", [1, None], False, None])
def test_the_input_may_be_any_json_value(run_flow, payload):
    run = run_flow("steps: [{name: s, type: jq, jq: {data_key: __input__, expression: .}}]", payload=payload)
    assert run.result["s"] == ({} if payload is None else payload)


@pytest.mark.language("§2 Conditions")
@pytest.mark.parametrize(
    ("condition", "runs"),
    [
        ("true", True),
        ("false", False),
        ("1", True),
        ("0", False),
        ("rows | length > 0", True),
        ("unknown", False),
        ("'yes'", True),
        ("'TRUE'", True),
        ("'anything else'", False),
        ("rows", True),
        ("none", False),
        ("empty", False),
        ("rows | select('equalto', 9)", False),
        ("{{ rows | length }}", False),
        ("{{ 1 }}", True),
    ],
)
def test_truth_of_a_condition(run_flow, condition, runs):
    run = run_flow(f"""
        steps:
          - {{name: rows, type: set_fact, set_fact: {{value: [1, 2]}}}}
          - {{name: empty, type: set_fact, set_fact: {{value: {{}}}}}}
          - {{name: s, type: set_fact, when: {json.dumps(condition)}, set_fact: {{value: 1}}}}
    """)
    assert run.status == "success", run.message
    assert ("s" in run.result) == runs


@pytest.mark.language("§2 Conditions")
def test_all_conditions_must_hold_and_none_is_enough(run_flow):
    run = run_flow("""
        steps:
          - {name: a, type: set_fact, when: ["true", "false"], set_fact: {value: 1}}
          - {name: b, type: set_fact, when: [], set_fact: {value: 1}}
    """)
    assert run.steps == [("a", "skipped"), ("b", "success")]


@pytest.mark.language("§2 Steps")
def test_a_skipped_step_cannot_be_hurt_by_a_missing_key_and_its_key_stays(run_flow):
    run = run_flow("""
        steps:
          - {name: s, type: set_fact, set_fact: {value: old}}
          - {name: again, type: jq, when: false, result_key: s, jq: {data_key: missing, expression: .}}
    """)
    assert run.status == "success"
    assert run.result["s"] == "old"


@pytest.mark.language("§2 Steps")
def test_a_missing_key_is_an_error_and_nothing_is_stored(run_flow):
    run = run_flow("steps: [{name: s, type: jq, jq: {data_key: missing, expression: .}}]")
    assert run.status == "failed"
    assert "s" not in run.result
    assert run.errors == [{"step": "s", "error": {"message": "the data has no key 'missing'"}}]


@pytest.mark.language("§2 Steps")
def test_jq_outputs_none_one_and_several(run_flow):
    run = run_flow("""
        steps:
          - {name: none, type: jq, jq: {expression: empty}}
          - {name: one, type: jq, jq: {expression: "false"}}
          - {name: several, type: jq, jq: {expression: "1, 2"}}
          - {name: listed, type: jq, jq_expression: ".[]", jq_output: list, jq: {expression: "[1]"}}
          - {name: first, type: jq, jq_expression: ".[]", jq_output: first, jq: {expression: "[1, 2]"}}
    """)
    data = run.result
    assert [data[key] for key in ("none", "one", "several", "listed", "first")] == [None, False, [1, 2], [1], 1]


@pytest.mark.language("§2 jq")
def test_jq_sees_nothing_of_the_environment(run_flow, monkeypatch):
    monkeypatch.setenv("PRIVATE_THING", "x")
    run = run_flow("""
        steps:
          - {name: a, type: jq, jq: {expression: "$ENV"}}
          - {name: b, type: jq, jq: {expression: "env"}}
          - {name: c, type: jq, jq: {expression: "def f: $ENV; f"}}
    """)
    assert [run.result[key] for key in "abc"] == [{}, {}, {}]


@pytest.mark.language("§2 Templates")
@pytest.mark.parametrize(
    "template",
    ["{{ ''.__class__ }}", "{{ __input__.__class__.__mro__ }}", "{{ ''|attr('__class__') }}", "{{ a.b.c }}"],
)
def test_a_template_that_reaches_out_is_a_step_error(run_flow, template):
    run = run_flow(f'steps: [{{name: s, type: set_fact, set_fact: {{value: "{template}"}}}}]')
    assert run.status == "failed"
    assert run.errors[0]["step"] == "s"


@pytest.mark.language("§2 Templates")
def test_a_template_is_rendered_once(run_flow):
    run = run_flow("steps: [{name: s, type: set_fact, set_fact: {value: '{{ __input__ }}'}}]", payload="{{ 1 + 1 }}")
    assert run.result["s"] == "{{ 1 + 1 }}"


@pytest.mark.language("§3 Errors")
@pytest.mark.parametrize(
    ("pattern", "matches"),
    [("no key", True), ("^no key", False), ("missing", True), ("404", False)],
)
def test_ignored_errors_are_searched_for_and_listed(run_flow, pattern, matches):
    run = run_flow(f"""
        steps:
          - {{name: s, type: jq, ignore_errors: "{pattern}", jq: {{data_key: missing, expression: .}}}}
          - {{name: t, type: set_fact, set_fact: {{value: 1}}}}
    """)
    assert run.status == ("success" if matches else "failed")
    assert run.errors[0].get("ignored") == (pattern if matches else None)
    assert ("t" in run.result) == matches


@pytest.mark.language("§3 Errors")
def test_on_error_goto_goes_there_and_the_flow_can_still_succeed(run_flow):
    run = run_flow("""
        steps:
          - {name: s, type: jq, on_error_goto: mend, jq: {data_key: missing, expression: .}}
          - {name: between, type: set_fact, set_fact: {value: 1}}
          - {name: mend, type: set_fact, set_fact: {value: "{{ __errors__ | length }}"}}
    """)
    assert run.status == "success"
    assert run.result["mend"] == "1"
    assert run.steps == [("s", "handled"), ("mend", "success")]


@pytest.mark.language("§3 Errors")
def test_an_ignored_error_after_a_jump_goes_on_in_order(run_flow):
    run = run_flow("""
        steps:
          - {name: go, type: goto, goto: {step_name: c}}
          - {name: b, type: set_fact, set_fact: {value: 1}}
          - {name: c, type: jq, ignore_errors: key, jq: {data_key: missing, expression: .}}
          - {name: d, type: set_fact, set_fact: {value: 1}}
    """)
    assert run.steps == [("go", "success"), ("c", "ignored"), ("d", "success")]


@pytest.mark.language("§3 Jumps")
@pytest.mark.parametrize(
    ("target", "status", "seen"),
    [("__end__", "success", True), ("__exit__", "exit", False), ("last", "success", True)],
)
def test_reserved_jumps_and_the_final_step(run_flow, target, status, seen):
    run = run_flow(f"""
        finally_step: last
        steps:
          - {{name: last, type: set_fact, when: false, set_fact: {{value: ran}}}}
          - {{name: go, type: goto, goto: {{step_name: {target}}}}}
          - {{name: never, type: set_fact, set_fact: {{value: 1}}}}
    """)
    assert run.status == status
    assert ("last" in run.result) == seen
    assert "never" not in run.result


@pytest.mark.language("§3 Jumps")
def test_start_jumps_back_and_max_steps_ends_an_endless_flow(run_flow):
    run = run_flow("""
        max_steps: 7
        steps:
          - {name: a, type: set_fact, set_fact: {value: 1}}
          - {name: go, type: goto, goto: {step_name: __start__}}
    """)
    assert run.status == "failed"
    assert "max_steps" in run.message
    assert len(run.steps) == 7


@pytest.mark.language("§3 The final step")
def test_the_final_step_runs_after_a_failure_which_stays(run_flow):
    run = run_flow("""
        finally_step: last
        steps:
          - {name: s, type: jq, jq: {data_key: missing, expression: .}}
          - {name: last, type: set_fact, set_fact: {value: "{{ __errors__ | length }}"}}
    """)
    assert run.status == "failed"
    assert run.message.startswith("s:")
    assert run.result["last"] == "1"


@pytest.mark.language("§3 The final step")
def test_an_error_in_the_final_step_fails_a_successful_flow(run_flow):
    for handled in ("", "on_error_goto: __start__, "):
        run = run_flow(f"""
            finally_step: last
            steps: [{{name: last, type: jq, {handled}jq: {{data_key: missing, expression: .}}}}]
        """)
        assert run.steps == [("last", "failed")]
        assert (run.status, run.message) == ("failed", "last: the data has no key 'missing'")


@pytest.mark.language("§3 The final step")
def test_an_exit_stores_its_message_and_skips_the_final_step(run_flow):
    run = run_flow("""
        finally_step: last
        steps:
          - {name: out, type: exit, exit: {message: "nothing in {{ __flow_path__ }}"}}
          - {name: last, type: set_fact, set_fact: {value: 1}}
    """)
    assert run.status == "exit"
    assert run.result["out"] == {"message": "nothing in flow.yml"}
    assert "last" not in run.result


@pytest.mark.language("§3 Jumps")
def test_a_jump_to_an_unknown_step_is_an_error_of_the_goto(run_flow):
    run = run_flow(
        "steps: [{name: go, type: goto, ignore_errors: nowhere, goto: {step_name: '{{ __input__ }}'}}]",
        payload="nowhere",
    )
    assert run.status == "success"
    assert run.errors[0]["ignored"] == "nowhere"


@pytest.mark.language("§3 Jumps")
def test_a_result_that_looks_like_a_jump_is_data(run_flow):
    run = run_flow("steps: [{name: s, type: set_fact, set_fact: {value: {goto: __exit__}}}]")
    assert run.status == "success"
    assert run.result["s"] == {"goto": "__exit__"}


@pytest.mark.language("§1 Data")
def test_dates_in_a_flow_become_text(run_flow):
    run = run_flow("steps: [{name: s, type: set_fact, set_fact: {value: {day: 2024-03-05, 7: x}}}]")
    assert run.result["s"] == {"day": "2024-03-05", "7": "x"}


@pytest.mark.language("§9 Time limits")
def test_a_step_limit_is_a_step_error(run_flow):
    run = run_flow("""
        steps:
          - {name: slow, type: sleep, timeout: 0.2, on_error_goto: after, sleep: {seconds: 30}}
          - {name: after, type: set_fact, set_fact: {value: 1}}
    """)
    assert run.status == "success"
    assert "longer than 0.2 s" in run.errors[0]["error"]["message"]


@pytest.mark.language("§3 The final step", "§9 Time limits")
def test_a_run_limit_interrupts_the_step_and_the_final_step_runs(run_flow):
    run = run_flow("""
        timeout: 0.3
        finally_step: last
        steps:
          - {name: slow, type: sleep, ignore_errors: ".*", sleep: {seconds: 30}}
          - {name: last, type: set_fact, set_fact: {value: 1}}
    """)
    assert (run.status, run.reason) == ("failed", "timeout")
    assert run.result["last"] == 1


@pytest.mark.language("§3 The final step")
def test_a_step_that_never_returns_is_killed_and_the_final_step_runs(run_flow, monkeypatch):
    monkeypatch.setattr("scflows.execution.supervisor.GRACE", 0.3)
    run = run_flow("""
        timeout: 0.3
        finally_step: last
        steps:
          - {name: kept, type: set_fact, set_fact: {value: 5}}
          - {name: endless, type: jq, jq: {expression: "last(range(1e12))"}}
          - {name: last, type: jq, jq: {expression: "[.kept, (.__errors__ | length)]"}}
    """)
    assert (run.status, run.reason) == ("failed", "timeout")
    assert "killed" in run.message
    assert run.result["last"] == [5, 1]


@pytest.mark.language("§9 Parameters")
def test_parameters_are_checked_before_the_first_step(run_flow):
    text = """
        params:
          day: {type: date, required: true}
          limit: {type: integer, default: 5, max: 10}
        steps: [{name: s, type: set_fact, set_fact: {value: "{{ params.day }} {{ params.limit }}"}}]
    """
    assert run_flow(text, params={"day": "2024-03-05", "limit": "7"}).result["s"] == "2024-03-05 7"
    assert run_flow(text, payload={"day": "2024-03-05"}).result["s"] == "2024-03-05 5"
    for params, told in [
        ({}, "required"),
        ({"day": "x"}, "not a valid date"),
        ({"day": "2024-03-05", "limit": "11"}, "more than 10"),
        ({"day": "2024-03-05", "dya": "1"}, "did you mean 'day'"),
    ]:
        run = run_flow(text, params=params)
        assert (run.status, run.reason) == ("failed", "refused")
        assert told in run.message
        assert run.steps == []


@pytest.mark.language("§1 What is checked")
def test_a_refused_flow_runs_nothing_and_says_everything(run_flow, workspace):
    run = run_flow("""
        steps:
          - {name: write, type: file, file: {path: out.txt, mode: write, type: text, data_key: .}}
          - {name: s, type: jqq, jq: {expression: .}}
          - {name: t, type: jq, jq: {expresion: "a b"}}
          - {name: u, type: jq, jq: {expression: "a b c ("}}
    """)
    assert (run.status, run.reason) == ("failed", "refused")
    lines = run.message.splitlines()
    assert [line.partition(" ")[0] for line in lines[:1]] == ["flow.yml:4:15:"]
    assert "did you mean 'jq'" in run.message
    assert "did you mean 'expression'" in run.message
    assert not (workspace / "data").exists()
