"""Flow language, graph order."""

from __future__ import annotations

import time

import pytest

pytestmark = pytest.mark.language("§9 Graph order")

DIAMOND = """
steps:
  - {name: join, type: jq, needs: [a, b], jq: {expression: "[.a, .b]"}}
  - {name: a, type: set_fact, set_fact: {value: 1}}
  - {name: b, type: set_fact, set_fact: {value: 2}}
"""


def test_needs_give_the_order_and_not_the_file(run_flow):
    run = run_flow(DIAMOND)
    assert run.status == "success", run.message
    assert run.result["join"] == [1, 2]
    assert [name for name, _ in run.steps][-1] == "join"


def test_steps_that_need_nothing_go_side_by_side_up_to_max_parallel(run_flow):
    steps = "".join(
        f"  - {{name: s{n}, type: shell, shell: {{command: 'touch in.{n}; ls in.* | wc -l; sleep 0.3; rm in.{n}',"
        " parse: json}}\n"
        for n in range(5)
    )
    run = run_flow(f"max_parallel: 2\nsteps:\n{steps}  - {{name: last, type: jq, needs: s0, jq: {{expression: '1'}}}}")
    assert run.status == "success", run.errors
    assert max(run.result[f"s{n}"] for n in range(5)) == 2


def test_what_needs_a_failed_step_is_skipped_and_the_rest_goes_on(run_flow):
    run = run_flow("""
        finally_step: last
        steps:
          - {name: bad, type: jq, jq: {data_key: missing, expression: .}}
          - {name: after bad, type: jq, needs: [bad], jq: {expression: "1"}}
          - {name: further, type: jq, needs: [after bad, good], jq: {expression: "1"}}
          - {name: good, type: jq, jq: {expression: "1"}}
          - {name: after good, type: jq, needs: [good], jq: {expression: "2"}}
          - {name: last, type: jq, jq: {expression: ".__errors__ | length"}}
    """)
    assert run.status == "failed"
    assert run.message.startswith("bad: ")
    assert dict(run.steps) == {
        "bad": "failed",
        "after bad": "skipped",
        "further": "skipped",
        "good": "success",
        "after good": "success",
        "last": "success",
    }
    assert run.result["last"] == 1
    assert run.steps[-1][0] == "last"


def test_a_step_skipped_by_its_condition_and_an_ignored_error_count_as_ended(run_flow):
    run = run_flow("""
        steps:
          - {name: a, type: jq, when: false, jq: {expression: "1"}}
          - {name: b, type: jq, ignore_errors: key, jq: {data_key: missing, expression: .}}
          - {name: c, type: jq, needs: [a, b], jq: {expression: "1"}}
    """)
    assert run.status == "success"
    assert run.result["c"] == 1


@pytest.mark.parametrize(
    ("step", "status"),
    [
        ("goto, goto: {step_name: __end__}", "success"),
        ("goto, goto: {step_name: __exit__}", "exit"),
        ("exit, exit: {message: enough}", "exit"),
    ],
)
def test_a_jump_to_the_end_starts_nothing_more(run_flow, step, status):
    run = run_flow(f"""
        max_parallel: 1
        steps:
          - {{name: a, type: {step}}}
          - {{name: b, type: jq, needs: [a], jq: {{expression: "1"}}}}
    """)
    assert run.status == status
    assert "b" not in run.result


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ("[{name: a, type: sleep, needs: [b], S}, {name: b, type: sleep, needs: [a], S}]", "cycle: "),
        ("[{name: a, type: sleep, needs: [a], S}]", "cycle: "),
        ("[{name: a, type: sleep, needs: [c], S}]", "'c' is not a step"),
        ("[{name: a, type: sleep, S}, {name: a, type: sleep, result_key: x, S}, {name: b, type: sleep, needs: a, S}]",
         "is the name of two steps"),
        ("[{name: a, type: sleep, result_key: k, S}, {name: b, type: sleep, needs: [], result_key: k, S}]",
         "neither needs the other"),
        ("[{name: a, type: goto, needs: [], goto: {step_name: a}}]", "only go to __end__ or __exit__"),
        ("[{name: a, type: goto, needs: [], goto: {step_name: __start__}}]", "only go to __end__ or __exit__"),
        ("[{name: a, type: sleep, on_error_goto: b, S}, {name: b, type: sleep, needs: [a], S}]", "only go to __end__"),
        ("[{name: a, type: sleep, needs: [{}], S}]", "names of steps"),
    ],
)  # fmt: skip
def test_a_graph_that_cannot_be_is_refused(run_flow, steps, told):
    run = run_flow(f"steps: {steps.replace('S}', 'sleep: {seconds: 0}}')}")
    assert run.reason == "refused"
    assert told in run.message


def test_a_key_may_be_stored_twice_along_one_way(run_flow):
    run = run_flow("""
        steps:
          - {name: a, type: jq, result_key: k, jq: {expression: "1"}}
          - {name: b, type: jq, needs: [a], jq: {expression: .k}}
          - {name: c, type: jq, needs: [b], result_key: k, jq: {expression: "2"}}
    """)
    assert (run.result["b"], run.result["k"]) == (1, 2)


@pytest.mark.language("§9 Time limits")
def test_a_limit_of_time_interrupts_all_steps_at_work(run_flow):
    begun = time.monotonic()
    run = run_flow("""
        timeout: 1
        finally_step: last
        steps:
          - {name: a, type: sleep, sleep: {seconds: 60}}
          - {name: b, type: shell, shell: {command: [sleep, "60"]}}
          - {name: c, type: jq, needs: [a], jq: {expression: "1"}}
          - {name: last, type: jq, jq: {expression: "[.__errors__[].step] | sort"}}
    """)
    assert (run.status, run.reason) == ("failed", "timeout")
    assert run.result["last"] == ["a", "b"]
    assert time.monotonic() - begun < 45


@pytest.mark.language("§9 Time limits")
def test_the_limit_of_one_step_leaves_the_others_alone(run_flow):
    run = run_flow("""
        steps:
          - {name: a, type: sleep, timeout: 0.2, on_error_goto: __end__, sleep: {seconds: 60}}
          - {name: b, type: sleep, needs: [], sleep: {seconds: 0.6}}
    """)
    assert run.status == "success", run.message
    assert run.result["b"] == {}
    assert "longer than 0.2 s" in run.errors[0]["error"]["message"]
