"""What the flow language says of control: attempts, limits, graphs, targets, parameters."""

from __future__ import annotations

import json

import pytest

MISSING = "type: jq, jq: {data_key: gone, expression: .}"
TRY = 'shell: {command: "echo x >> tries; exit 1"}'


@pytest.fixture
def own(workspace):
    """The data folder, and a flow file that is its owner's alone."""
    (workspace / "data").mkdir()
    (workspace / "tasks" / "flow.yml").touch(mode=0o600)
    return workspace / "data"


def tries(folder):
    return (folder / "tries").read_text().count("x")


@pytest.mark.language("§9 Retries")
@pytest.mark.parametrize(
    ("handling", "status"), [("ignore_errors: status 1", "ignored"), ("on_error_goto: __end__", "handled")]
)
def test_a_step_is_tried_again_before_its_error_is_handled(run_flow, own, handling, status):
    run = run_flow(f"""
        steps: [{{name: s, type: shell, {handling}, retry: {{attempts: 3, delay: 0, on: [status]}}, {TRY}}}]
    """)
    assert run.steps == [("s", status)]
    assert tries(own) == 3
    assert [entry["error"]["attempts"] for entry in run.errors] == [3]


@pytest.mark.language("§9 Retries")
def test_a_step_that_is_skipped_is_not_tried(run_flow, own):
    run = run_flow(f"steps: [{{name: s, type: shell, when: false, retry: {{attempts: 3, delay: 0, on: '.'}}, {TRY}}}]")
    assert run.steps == [("s", "skipped")]
    assert not (own / "tries").exists()


@pytest.mark.language("§9 Retries")
def test_a_condition_is_judged_once_whatever_the_attempts(run_flow, own):
    run = run_flow("""
        steps:
          - name: s
            type: set_fact
            when: gone.deep
            retry: {attempts: 3, delay: 0, on: .}
            set_fact: {value: 1}
    """)
    assert "attempts" not in run.errors[0]["error"]
    assert "attempt" not in run.log


@pytest.mark.language("§9 Retries")
def test_each_attempt_begins_with_the_templates_and_lists_no_child_twice(run_flow, own, workspace):
    (workspace / "tasks" / "child.yml").write_text(f"steps: [{{name: bad, {MISSING}}}]")
    run = run_flow("""
        steps:
          - {name: s, type: flow, ignore_errors: failed, retry: {attempts: 3, delay: 0, on: failed},
             flow: {path: child.yml}}
    """)
    assert [entry["step"] for entry in run.errors] == ["bad", "s"]
    assert run.errors[1]["error"]["attempts"] == 3


@pytest.mark.language("§9 Retries")
@pytest.mark.parametrize("more", ["target: made.txt", "jq_expression: 'error(\"why\")'"])
def test_an_attempt_is_all_that_comes_after_the_conditions(run_flow, own, more):
    run = run_flow(f"""
        steps:
          - name: s
            type: shell
            {more}
            retry: {{attempts: 2, delay: 0, on: "target|why"}}
            shell: {{command: "echo x >> tries"}}
    """)
    assert run.status == "failed"
    assert tries(own) == 2


@pytest.mark.language("§9 Time limits")
@pytest.mark.parametrize(
    ("flow", "given"),
    [("0.3", None), ("0.3", 60.0), ("60", 0.3)],
    ids=["flow", "flow-below", "job-below"],
)
def test_the_limits_of_flow_and_run_both_hold(run_flow, flow, given):
    run = run_flow(
        f"timeout: {flow}\nsteps: [{{name: s, type: sleep, ignore_errors: ., sleep: {{seconds: 500}}}}]", timeout=given
    )
    assert (run.status, run.reason) == ("failed", "timeout")
    assert run.outcome.run.ended - run.outcome.run.started < 30


@pytest.mark.language("§9 Time limits")
def test_a_childs_limit_is_an_error_of_its_step(run_flow, workspace):
    (workspace / "tasks" / "child.yml").write_text(
        "timeout: 0.2\nsteps: [{name: slow, type: sleep, sleep: {seconds: 500}}]"
    )
    run = run_flow("""
        steps:
          - {name: s, type: flow, on_error_goto: after, flow: {path: child.yml}}
          - {name: after, type: jq, jq: {data_key: s, expression: .__status__.type}}
    """)
    assert (run.status, run.result["after"]) == ("success", "failed")


@pytest.mark.language("§9 Graph order")
def test_steps_of_a_graph_go_side_by_side_as_the_settings_say(run_flow, own, settings):
    from dataclasses import replace

    two = replace(settings, environment={**settings.environment, "FLOW_MAX_WORKERS": "2"})
    steps = "".join(
        f"  - {{name: s{n}, type: shell, shell: {{command: 'touch in.{n}; ls in.* | wc -l; sleep 0.2; rm in.{n}',"
        " parse: json}}\n"
        for n in range(5)
    )
    run = run_flow(f"steps:\n{steps}  - {{name: last, type: jq, needs: s0, jq: {{expression: '1'}}}}", settings=two)
    assert run.status == "success", run.errors
    assert max(run.result[f"s{n}"] for n in range(5)) == 2


@pytest.mark.language("§9 Graph order")
def test_the_final_step_of_a_graph_comes_last_and_once(run_flow):
    run = run_flow("""
        finally_step: last
        steps:
          - {name: last, type: jq, jq: {expression: ".__errors__ | length"}}
          - {name: b, type: jq, needs: [a], jq: {expression: "1"}}
          - {name: a, type: jq, jq: {expression: "1"}}
    """)
    assert [name for name, _ in run.steps] == ["a", "b", "last"]


@pytest.mark.language("§9 Targets")
def test_a_target_is_a_template_and_its_step_reads_nothing(run_flow, own):
    (own / "a-1.txt").write_text("x")
    (own / "b.txt").write_text("x")
    run = run_flow(
        """
        steps:
          - {name: s, type: jq, target: ["a-{{ __input__ }}.txt", b.txt], jq: {data_key: gone, expression: .}}
        """,
        payload=1,
    )
    assert run.status == "success", run.message
    assert run.result["s"] == {"target": ["a-1.txt", "b.txt"], "skipped": True}


@pytest.mark.language("§9 Targets")
def test_force_runs_what_has_its_target(flows, workspace, own):
    (workspace / "tasks" / "flow.yml").write_text(
        "steps: [{name: s, type: shell, target: made, shell: {command: 'echo x >> tries; touch made'}}]"
    )
    (own / "made").touch()
    for arguments, count in (((), 0), (("--force",), 1)):
        assert flows("run", "flow.yml", *arguments).code == 0
        assert (tries(own) if (own / "tries").exists() else 0) == count


TYPED = """
params:
  text: {type: text}
  plain: {}
  whole: {type: integer}
  number: {type: number}
  flag: {type: boolean}
  day: {type: date}
  at: {type: datetime}
  value: {type: json}
steps: []
"""


@pytest.mark.language("§9 Parameters")
@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("text", "5", "5"),
        ("plain", "yes", "yes"),
        ("whole", "-7", -7),
        ("whole", "5.0", None),
        ("whole", "5.5", None),
        ("whole", "x", None),
        ("whole", "123456789012345678901", 123456789012345678901),
        ("whole", "9e999", None),
        ("number", "2.5", 2.5),
        ("whole", 12345678901234567, 12345678901234567),
        ("whole", 7.0, 7),
        ("whole", 7.5, None),
        ("number", "12345678901234567", 12345678901234567),
        ("number", "12345678901234567.5", None),
        ("number", "0.1234567890123456789", None),
        ("number", 12345678901234567, 12345678901234567),
        ("number", "nan", None),
        ("number", "1e400", None),
        ("flag", "yes", True),
        ("flag", "OFF", False),
        ("flag", "0", False),
        ("flag", "maybe", None),
        ("day", "2024-03-05", "2024-03-05"),
        ("day", "2024-02-30", None),
        ("at", "2024-03-05T10:20", "2024-03-05T10:20:00"),
        ("at", "2024-03-05T10:20:30+02:00", "2024-03-05T10:20:30+02:00"),
        ("at", "noon", None),
        ("value", '{"a": [1, null]}', {"a": [1, None]}),
        ("value", "{", None),
        ("value", "NaN", None),
        ("value", "[" * 100_000, None),
        ("value", '{"a": 1e999}', None),
    ],
    ids=lambda each: str(each)[:30],
)
def test_a_parameter_is_converted_to_its_type_or_refuses_the_run(run_flow, name, given, value):
    run = run_flow(TYPED, params={name: given})
    if value is None:
        assert (run.status, run.reason, run.result) == ("failed", "refused", {})
        assert repr(name) in run.message
    else:
        assert run.status == "success", run.message
        assert run.result["params"][name] == value
        assert type(run.result["params"][name]) is type(value)


BOUND = """
params:
  day: {type: date, required: true, help: "day to load"}
  mode: {type: text, choices: [full, delta], default: delta}
  limit: {type: integer, default: 100, min: 1, max: 5000}
steps: [{name: s, type: set_fact, set_fact: {value: "{{ params.day }} {{ params.mode }} {{ params.limit }}"}}]
"""


@pytest.mark.language("§9 Parameters")
@pytest.mark.parametrize(
    ("given", "payload", "said"),
    [
        ({"day": "2024-03-05"}, None, "2024-03-05 delta 100"),
        ({}, {"day": "2024-03-05", "limit": 7}, "2024-03-05 delta 7"),
        ({"limit": "8", "mode": "full"}, {"day": "2024-03-05", "limit": 7, "mode": "delta"}, "2024-03-05 full 8"),
        ({"day": "2024-03-05", "limit": "1"}, None, "2024-03-05 delta 1"),
        ({"day": "2024-03-05", "limit": "0"}, None, None),
        ({"day": "2024-03-05", "limit": "5001"}, None, None),
        ({"day": "2024-03-05", "mode": "all"}, None, None),
        ({"day": "2024-03-05", "nobody": "1"}, None, None),
        ({}, {"day": "x"}, None),
        ({}, [1], None),
        ({"limit": "5"}, None, None),
    ],
)
def test_parameters_come_from_the_command_line_then_from_the_input(run_flow, given, payload, said):
    run = run_flow(BOUND, params=given, payload=payload)
    if said is None:
        assert (run.status, run.reason, run.steps) == ("failed", "refused", [])
    else:
        assert run.result["s"] == said, run.message


@pytest.mark.language("§9 Parameters")
@pytest.mark.parametrize(
    ("given", "status"),
    [("2024-03-05T01:30:00+02:00", "failed"), ("2024-03-05T00:30:00+00:00", "success"), ("2024-03-05T09:00", "failed")],
)
def test_times_are_compared_as_moments(run_flow, given, status):
    run = run_flow('params: {at: {type: datetime, min: "2024-03-05T00:00:00+00:00"}}\nsteps: []', params={"at": given})
    assert run.status == status
    assert "Traceback" not in run.log


@pytest.mark.language("§9 Parameters")
def test_the_command_line_takes_parameters_by_either_name(flows, workspace):
    (workspace / "tasks" / "f.yml").write_text(BOUND)
    (workspace / "in.json").write_text('{"day": "2024-01-01", "limit": 9}')
    answer = flows("run", "f.yml", "--data", "in.json", "--param", "day=2024-03-05", "-p", "mode=full", "--json")
    assert json.loads(answer.out)["data"]["s"] == "2024-03-05 full 9"


@pytest.mark.language("§4 flow_loop")
def test_the_settings_of_a_loop_are_checked(run_flow):
    for options, told in (
        ("on_item_error: never", "'on_item_error' must be one of"),
        ("max_parallel: 0", "must be at least 1"),
    ):
        run = run_flow(f"steps: [{{name: s, type: flow_loop, flow_loop: {{path: a, data_key: b, {options}}}}}]")
        assert run.reason == "refused"
        assert told in run.message
