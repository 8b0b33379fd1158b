"""Flow language, flow and flow_loop: children are part of their parent's run."""

from __future__ import annotations

import json
import os
import time

import pytest

pytestmark = pytest.mark.language("§4 flow", "§4 flow_loop")

ECHO = "steps: [{name: out, type: jq, jq: {data_key: __input__, expression: .}}]"
FAILING = """
steps:
  - {name: kept, type: set_fact, set_fact: {value: 7}}
  - {name: bad, type: jq, jq: {data_key: missing, expression: .}}
"""


@pytest.fixture
def child(workspace):
    def write(text: str, name: str = "child.yml") -> None:
        path = workspace / "tasks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return write


def test_a_child_sees_its_input_alone_and_gives_its_whole_data(run_flow, child):
    child(ECHO)
    run = run_flow("""
        steps:
          - {name: mine, type: set_fact, set_fact: {value: [1]}}
          - {name: sub, type: flow, flow: {path: child.yml, data_key: mine}}
          - {name: bare, type: flow, flow: {path: child}}
    """)
    data = run.result
    assert run.status == "success", run.message
    assert data["sub"]["out"] == [1]
    assert "mine" not in data["sub"]
    assert data["sub"]["__status__"] == {"type": "success", "message": ""}
    assert data["sub"]["__flow_path__"] == "child.yml"
    assert data["sub"]["__loop_index__"] is None
    assert data["bare"]["out"] == {}
    for name in ("__job_id__", "__timestamp__"):
        assert data["sub"][name] == data[name]


def test_a_child_flow_is_no_run_and_no_step_of_its_own(run_flow, child):
    child(ECHO)
    run = run_flow("steps: [{name: sub, type: flow, flow: {path: child.yml}}]")
    assert run.steps == [("sub", "success")]


@pytest.mark.language("§1 Where a flow is found")
def test_a_path_is_always_from_the_flows_folder(run_flow, child):
    child("steps: [{name: down, type: flow, flow: {path: sub/leaf.yml}}]", "sub/middle.yml")
    child(ECHO, "sub/leaf.yml")
    run = run_flow("steps: [{name: s, type: flow, flow: {path: sub/middle.yml}}]")
    assert run.status == "success", run.message
    assert run.result["s"]["down"]["__flow_path__"] == "sub/leaf.yml"


@pytest.mark.language("§1 What is checked")
@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("none.yml", "not found in the flows folder"),
        ("../out.yml", "leads out"),
        ("/etc/passwd", "leads out"),
        ("bad.yml", "invalid"),
    ],
)
def test_a_missing_or_refused_child_is_a_step_error(run_flow, child, path, told):
    child("steps: [{name: s, type: nonsense}]", "bad.yml")
    for kind, more in (("flow", ""), ("flow_loop", ", data_key: rows")):
        run = run_flow(f"""
            steps:
              - {{name: rows, type: set_fact, set_fact: {{value: [1]}}}}
              - {{name: sub, type: {kind}, ignore_errors: '{told}', {kind}: {{path: "{path}"{more}}}}}
        """)
        assert run.status == "success", run.message
        assert [entry["step"] for entry in run.errors] == ["sub"]


def test_a_failed_child_is_a_step_error_and_its_data_is_stored_all_the_same(run_flow, child):
    child(FAILING)
    run = run_flow("""
        steps:
          - {name: sub, type: flow, on_error_goto: look, jq_expression: ".nothing", flow: {path: child.yml}}
          - {name: look, type: jq, jq: {data_key: sub, expression: "[.kept, .__status__.type]"}}
    """)
    assert run.status == "success"
    assert run.result["look"] == [7, "failed"]
    first, second = run.errors
    assert (first["step"], first["flow"]) == ("bad", "child.yml")
    assert second["step"] == "sub"
    assert "bad" in second["error"]["message"]


def test_an_exit_ends_only_the_child(run_flow, child):
    never = "{name: never, type: set_fact, set_fact: {value: 1}}"
    child(f"steps: [{{name: out, type: exit, exit: {{message: enough}}}}, {never}]")
    run = run_flow("""
        steps:
          - {name: sub, type: flow, jq_expression: .__status__, flow: {path: child.yml}}
          - {name: after, type: set_fact, set_fact: {value: 1}}
    """)
    assert run.status == "success"
    assert run.result["sub"] == {"type": "exit", "message": "enough"}
    assert run.result["after"] == 1


@pytest.mark.language("§3 The final step")
def test_a_child_has_its_own_final_step(run_flow, child):
    child("finally_step: last\n" + FAILING.strip() + "\n  - {name: last, type: set_fact, set_fact: {value: ran}}\n")
    run = run_flow("steps: [{name: sub, type: flow, ignore_errors: failed, flow: {path: child.yml}}]")
    assert run.result["sub"]["last"] == "ran"


@pytest.mark.language("§6 Limits")
def test_flows_inside_each_other_without_end_are_an_error(run_flow):
    run = run_flow("steps: [{name: s, type: flow, flow: {path: flow.yml}}]")
    assert run.status == "failed"
    assert "more than 20 nested flows" in run.errors[0]["error"]["message"]


@pytest.mark.language("§9 Parameters")
def test_a_childs_parameters_are_taken_from_its_input(run_flow, child):
    child("params: {n: {type: integer, required: true}}\nsteps: [{name: s, type: jq, jq: {expression: .params.n}}]")
    run = run_flow("""
        steps:
          - {name: given, type: set_fact, set_fact: {value: {n: "5"}}}
          - {name: sub, type: flow, jq_expression: .s, flow: {path: child.yml, data_key: given}}
          - {name: bare, type: flow, ignore_errors: required, flow: {path: child.yml}}
    """)
    assert run.status == "success", run.message
    assert run.result["sub"] == 5


@pytest.mark.language("§9 Time limits")
def test_a_childs_time_limit_bounds_it_and_its_own_children(run_flow, child):
    child(
        "timeout: 0.2\nfinally_step: last\nsteps:\n"
        "  - {name: down, type: flow, flow: {path: leaf.yml}}\n"
        "  - {name: last, type: set_fact, set_fact: {value: ran}}\n"
    )
    child("steps: [{name: slow, type: sleep, ignore_errors: '.*', sleep: {seconds: 30}}]", "leaf.yml")
    run = run_flow("steps: [{name: sub, type: flow, ignore_errors: 'interrupted', flow: {path: child.yml}}]")
    assert run.status == "success", run.message
    assert run.result["sub"]["last"] == "ran"
    assert run.result["sub"]["__status__"]["type"] == "failed"


def test_a_loop_gives_the_childrens_data_in_the_order_of_the_items(run_flow, child):
    child("""
steps:
  - {name: wait, type: sleep, when: "__input__ == 1", sleep: {seconds: 0.1}}
  - {name: out, type: set_fact, set_fact: {value: "{{ __input__ }} {{ __loop_index__ }}"}}
""")
    run = run_flow("""
        steps:
          - {name: rows, type: set_fact, set_fact: {value: [1, 2, 3]}}
          - {name: loop, type: flow_loop, jq_expression: "map(.out)", flow_loop: {path: child.yml, data_key: rows}}
    """)
    assert run.result["loop"] == ["1 1", "2 2", "3 3"]


def test_an_empty_list_gives_an_empty_list_and_what_is_no_list_an_error(run_flow, child):
    child(ECHO)
    flow = """
        steps:
          - {{name: rows, type: set_fact, set_fact: {{value: {}}}}}
          - {{name: loop, type: flow_loop, flow_loop: {{path: child.yml, data_key: rows}}}}
    """
    assert run_flow(flow.format("[]")).result["loop"] == []
    assert run_flow(flow.format("{a: 1}")).status == "failed"


LOOP = """
steps:
  - {{name: rows, type: set_fact, set_fact: {{value: [1, 2, 3, 4, 5, 6]}}}}
  - {{name: loop, type: flow_loop,
     flow_loop: {{path: child.yml, data_key: rows, max_parallel: 1, on_item_error: {}}}}}
"""
SECOND_FAILS = """
steps: [{name: s, type: jq, when: "__input__ == 2", jq: {data_key: missing, expression: .}}]
"""


@pytest.mark.parametrize(("mode", "status"), [("continue", "success"), ("fail", "failed"), ("stop", "failed")])
def test_a_failed_item_counts_as_on_item_error_says(run_flow, child, mode, status):
    child(SECOND_FAILS)
    run = run_flow(LOOP.format(mode))
    assert run.status == status
    assert {key: run.errors[0][key] for key in ("step", "flow", "loop_index")} == {
        "step": "s",
        "flow": "child.yml",
        "loop_index": 2,
    }
    if mode == "continue":
        assert [each["__status__"]["type"] for each in run.result["loop"]] == ["success", "failed"] + ["success"] * 4
    if mode == "stop":
        assert "were not started" in run.errors[-1]["error"]["message"]


def test_failed_items_are_counted_in_the_message_of_the_run_and_listed(run_flow, child, flows):
    child(SECOND_FAILS)
    run = run_flow(LOOP.format("continue"))
    assert run.message == "loop: 5 of 6 items succeeded"
    assert "loop: 5 of 6 items succeeded; failed: 2\n" in run.log
    shown = json.loads(flows("runs", "show", run.outcome.run.id, "--json").out)
    assert shown["message"] == run.message
    step = shown["steps"][1]
    assert (step["status"], step["message"]) == ("success", "5 of 6 items succeeded")
    assert step["output"].startswith("item 2 (2): s: ")
    assert "missing" in step["output"]
    run = run_flow(LOOP.format("fail"))
    assert run.message == "loop: 1 of 6 items failed"
    assert run.outcome.run.steps[1].output == step["output"]


def test_many_failed_items_are_cut(run_flow, child):
    child("steps: [{name: s, type: jq, jq: {data_key: missing, expression: .}}]")
    run = run_flow(
        """
        steps:
          - {name: rows, type: jq, jq: {expression: '[range(25) | "x" * 100]'}}
          - {name: loop, type: flow_loop, flow_loop: {path: child.yml, data_key: rows}}
        """
    )
    assert run.message == "loop: 0 of 25 items succeeded"
    lines = run.outcome.run.steps[1].output.splitlines()
    assert len(lines) == 21
    assert lines[0].startswith('item 1 ("' + "x" * 59 + "…): s: ")
    assert lines[-1] == "… and 5 more"


def test_items_go_side_by_side_up_to_the_limit(run_flow, child, workspace):
    child("""
steps:
  - name: s
    type: shell
    shell: {command: "touch in.$$; ls in.* | wc -l; sleep 0.2; rm in.$$", parse: json}
""")
    run = run_flow("""
        steps:
          - {name: rows, type: set_fact, set_fact: {value: [1, 2, 3, 4, 5, 6, 7, 8, 9]}}
          - {name: loop, type: flow_loop, jq_expression: "map(.s)",
             flow_loop: {path: child.yml, data_key: rows, max_parallel: 3}}
    """)
    assert run.status == "success", run.errors
    assert max(run.result["loop"]) == 3


def test_loops_inside_loops_end(run_flow, child):
    child("""
steps:
  - {name: rows, type: set_fact, set_fact: {value: [1, 2, 3]}}
  - {name: loop, type: flow_loop, jq_expression: "map(.out) | add", flow_loop: {path: leaf.yml, data_key: rows}}
""")
    child(ECHO, "leaf.yml")
    run = run_flow("""
        steps:
          - {name: rows, type: jq, jq: {expression: "[range(40)]"}}
          - {name: loop, type: flow_loop, jq_expression: "map(.loop) | add",
             flow_loop: {path: child.yml, data_key: rows}}
    """)
    assert run.result["loop"] == 240


@pytest.mark.language("§9 Time limits")
def test_a_limit_of_time_ends_a_loop_and_every_item_of_it(run_flow, child):
    child("""
finally_step: last
steps:
  - {name: slow, type: sleep, sleep: {seconds: 60}}
  - {name: last, type: set_fact, set_fact: {value: 1}}
""")
    begun = time.monotonic()
    run = run_flow("""
        timeout: 1.5
        finally_step: last
        steps:
          - {name: rows, type: set_fact, set_fact: {value: [1, 2, 3, 4]}}
          - {name: loop, type: flow_loop, flow_loop: {path: child.yml, data_key: rows, max_parallel: 2}}
          - {name: last, type: set_fact, set_fact: {value: 1}}
    """)
    assert (run.status, run.reason) == ("failed", "timeout")
    assert run.result["last"] == 1
    told = [(entry["step"], entry.get("loop_index")) for entry in run.errors]
    assert sorted(told[:-1]) == [("slow", 1), ("slow", 2)]
    assert told[-1] == ("loop", None)
    assert time.monotonic() - begun < 45


@pytest.mark.language("§9 Time limits")
def test_a_step_limit_ends_a_loop_with_its_programs(run_flow, child):
    mark = f"8{os.getpid()}"
    child(f"steps: [{{name: slow, type: shell, shell: {{command: [sleep, '{mark}']}}}}]")
    run = run_flow(
        """
        steps:
          - {name: rows, type: set_fact, set_fact: {value: [1, 2, 3, 4]}}
          - {name: loop, type: flow_loop, timeout: 0.5, on_error_goto: after,
             flow_loop: {path: child.yml, data_key: rows}}
          - {name: after, type: shell, shell: {command: "pgrep -f '^sleep MARK$' || true"}}
    """.replace("MARK", mark)
    )
    assert run.status == "success", run.message
    assert run.errors[-1]["error"]["message"] == "took longer than 0.5 s"
    assert run.result["after"] == ""


@pytest.mark.parametrize("on_item_error", ["continue", "fail", "stop"])
def test_an_item_that_is_refused_is_one_that_failed(run_flow, child, on_item_error):
    child("""
params: {n: {type: integer, min: 0, required: true}}
steps:
  - {name: out, type: jq, jq: {expression: ".params.n * 2"}}
""")
    run = run_flow(
        f"""
        steps:
          - {{name: rows, type: set_fact, set_fact: {{value: [{{n: 1}}, {{n: few}}, {{n: -1}}, {{}}, 5, {{n: 7}}]}}}}
          - {{name: loop, type: flow_loop, flow_loop: {{path: child.yml, data_key: rows, max_parallel: 1,
             on_item_error: {on_item_error}}}}}
        """
    )
    places = [each.get("loop_index") for each in run.errors]
    if on_item_error == "continue":
        assert run.status == "success", run.message
        assert [each.get("out") for each in run.result["loop"]] == [2, None, None, None, None, 14]
        status = run.result["loop"][1]["__status__"]
        assert (status["type"], "'few'" in status["message"]) == ("failed", True)
        assert run.result["loop"][3]["__input__"] == {}
        assert places == [2, 3, 4, 5]
        assert run.errors[0]["error"]["message"] == status["message"]
        assert f"ERROR   child 2: {status['message']}" in run.log
    else:
        assert run.status == "failed"
        # With `stop`, one more item may have been handed to the thread.
        assert places == [2, 3, 4, 5, None] if on_item_error == "fail" else places in ([2, None], [2, 3, None])
    run = run_flow("steps: [{name: one, type: flow, flow: {path: child.yml}}]")
    assert run.status == "failed"
    assert "needs a value" in run.message or "'n'" in run.message
