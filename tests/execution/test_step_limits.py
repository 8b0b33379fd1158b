"""Limits end whatever holds the interpreter, and the flow goes on as its rules say."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

#: Programs of libraries in C that never let Python in.
ENDLESS = {
    "jq range": '{type: jq, jq: {expression: "last(range(1e15))"}}',
    "jq recursion": '{type: jq, jq: {expression: "def f: f; f"}}',
    "jq repeat": '{type: jq, jq: {expression: "last(repeat(1))"}}',
    "jq shaping": '{type: set_fact, set_fact: {value: 1}, jq_expression: "last(range(1e15))"}',
    # One match is given up by the library itself after a while, so there are many.
    "jq regex": """{type: jq, jq: {
      expression: 'last(range(1e15) | try (("a" * 40 + "b") | test("^(a|a)*$")) catch 0)'}}""",
    "regex of a switch": """{type: switch, switch: {data_key: text, cases: [
      {when: "(a|a)*$", step: {type: debug, debug: {}}}]}}""",
}
#: What takes long, and lets Python in.
SLOW = {
    "template": "{type: set_fact, set_fact: {value: '"
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}'}}",
    "condition": """{type: debug, when: "([1] * 9999999) | map('int', base=7) | max > 0", debug: {}}""",
    "sleep": "{type: sleep, sleep: {seconds: 600}}",
    "program": "{type: shell, shell: {command: 'sleep 600 & sleep 600'}}",
    "deaf program": "{type: shell, shell: {command: 'trap \"\" TERM; while :; do sleep 1; done'}}",
    "python": "{type: python, python: {path: 'flow:forever.py', function: run}}",
}


def step(name: str, written: str, more: str) -> str:
    return f"{{name: {name}, {more}, {written.strip()[1:]}"


@pytest.fixture(autouse=True)
def little_grace(monkeypatch: pytest.MonkeyPatch, workspace: Path) -> None:
    monkeypatch.setattr("scflows.execution.supervisor.GRACE", 0.7)
    (workspace / "tasks" / "forever.py").write_text("def run(data):\n    while True: pass\n")


@pytest.fixture
def hung_server() -> Iterator[str]:
    """Takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept: list[socket.socket] = []

        def take() -> None:
            try:
                while True:
                    kept.append(server.accept()[0])
            except OSError:
                pass

        threading.Thread(target=take, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        server.shutdown(socket.SHUT_RDWR)
        for each in kept:
            each.close()


TEXT = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"


@pytest.mark.parametrize("written", [*ENDLESS.values(), *SLOW.values()], ids=[*ENDLESS, *SLOW])
def test_the_limit_of_a_step_ends_what_never_ends_and_the_flow_goes_on(run_flow, written):
    run = run_flow(
        f"""
finally_step: last
steps:
  - {{name: text, type: set_fact, set_fact: {{value: {TEXT}}}}}
  - {step("endless", written, "timeout: 0.2, on_error_goto: after")}
  - {{name: passed over, type: set_fact, set_fact: {{value: 1}}}}
  - {{name: after, type: jq, jq: {{expression: "[(.text | length), (.__errors__ | length)]"}}}}
  - {{name: last, type: set_fact, set_fact: {{value: done}}}}
""",
        timeout=60,
    )
    assert (run.status, run.result.get("after"), run.result.get("last")) == ("success", [42, 1], "done"), run.message
    assert run.steps == [("text", "success"), ("endless", "handled"), ("after", "success"), ("last", "success")]
    (error,) = run.errors
    assert error["step"] == "endless"
    assert error["error"]["message"].startswith("took longer than 0.2 s")
    assert "endless" not in run.result


@pytest.mark.parametrize("more", ["ignore_errors: longer than", "ignore_errors: nothing of it"])
def test_a_step_that_was_killed_is_an_error_like_others(run_flow, more):
    run = run_flow(
        f"""
finally_step: last
steps:
  - {{name: one, type: set_fact, set_fact: {{value: 1}}}}
  - {step("endless", ENDLESS["jq range"], "timeout: 0.2, " + more)}
  - {{name: two, type: set_fact, set_fact: {{value: 2}}}}
  - {{name: last, type: jq, jq: {{expression: "keys_unsorted | map(select(. == \\"one\\" or . == \\"two\\"))"}}}}
""",
        timeout=60,
    )
    is_ignored = "longer" in more
    told = "" if is_ignored else "endless: took longer than 0.2 s and its process was killed"
    assert (run.status, run.message) == ("success" if is_ignored else "failed", told)
    assert run.result["last"] == (["one", "two"] if is_ignored else ["one"])
    assert dict(run.steps)["endless"] == ("ignored" if is_ignored else "failed")
    assert [error["error"]["message"][:23] for error in run.errors] == ["took longer than 0.2 s "]


def test_several_steps_may_be_killed_in_one_run(run_flow):
    run = run_flow(
        f"""
steps:
  - {step("first", ENDLESS["jq range"], "timeout: 0.1, ignore_errors: .")}
  - {{name: between, type: set_fact, set_fact: {{value: 1}}}}
  - {step("second", ENDLESS["jq recursion"], "timeout: 0.1, ignore_errors: .")}
  - {{name: after, type: jq, jq: {{expression: "[.between, [.__errors__[].step]]"}}}}
""",
        timeout=60,
    )
    assert run.status == "success", run.message
    assert run.result["after"] == [1, ["first", "second"]]
    assert [position for position, _ in enumerate(run.steps)] == [0, 1, 2, 3]


@pytest.mark.parametrize("where", ["step", "flow", "flow in a loop"])
def test_a_child_flow_that_was_killed_fails_the_step_that_ran_it(run_flow, workspace, where):
    limit = "timeout: 0.2" if where == "step" else "retry: {attempts: 1}"
    outer = "" if where == "step" else "timeout: 0.2\n"
    (workspace / "tasks/child.yml").write_text(f"{outer}steps:\n  - {step('deep', ENDLESS['jq range'], limit)}\n")
    (workspace / "tasks/between.yml").write_text(
        "steps: [{name: inner, type: flow, flow: {path: child.yml}, ignore_errors: .}]\n"
    )
    kind = "flow_loop: {path: child.yml, data_key: rows}" if "loop" in where else "flow: {path: between.yml}"
    run = run_flow(
        f"""
finally_step: last
steps:
  - {{name: rows, type: set_fact, set_fact: {{value: [1, 2, 3]}}}}
  - {{name: outer, type: {kind.partition(":")[0]}, {kind}}}
  - {{name: last, type: set_fact, set_fact: {{value: done}}}}
""",
        timeout=60,
    )
    assert (run.status, run.reason, run.result["last"]) == ("failed", "error", "done")
    inner = "step 'deep'" if where == "step" else "flow 'child.yml'"
    assert run.message == f"outer: {inner} in it took longer than 0.2 s and its process was killed"


def test_in_a_graph_the_others_are_run_again_and_what_is_done_is_not(run_flow, workspace):
    run = run_flow(
        f"""
max_parallel: 3
steps:
  - {{name: first, type: shell, shell: {{command: "echo ran >> first"}}}}
  - {{name: broken, type: file, file: {{path: nowhere.json}}}}
  - {{name: lost, type: debug, needs: [broken], debug: {{}}}}
  - name: beside
    type: shell
    needs: [first]
    shell: {{command: "echo ran >> beside; test $(wc -l < beside) = 2 || sleep 600"}}
  # Nothing else goes on once the interpreter is held, so `beside` must have begun.
  - {{name: begun, type: shell, needs: [first], shell: {{command: "until test -s beside; do sleep 0.02; done"}}}}
  - {step("endless", ENDLESS["jq range"], "needs: [begun], timeout: 0.2, ignore_errors: .")}
  - {{name: never, type: debug, needs: [endless], debug: {{}}}}
""",
        timeout=60,
    )
    assert run.status == "failed"
    assert run.message.startswith("broken: ")
    ends = [(name, status) for name, status in run.steps]
    assert ends.count(("first", "success")) == ends.count(("begun", "success")) == 1
    assert ends.count(("broken", "failed")) == ends.count(("lost", "skipped")) == 1
    assert [status for name, status in ends if name == "beside"] == ["handled", "success"]
    assert [status for name, status in ends if name in ("endless", "never")] == ["ignored", "success"]
    assert (workspace / "data/first").read_text() == "ran\n"


def test_the_final_step_has_a_limit_that_holds_too(run_flow):
    run = run_flow(
        f"""
finally_step: last
steps:
  - {{name: one, type: set_fact, set_fact: {{value: 1}}}}
  - {step("last", ENDLESS["jq range"], "timeout: 0.2")}
""",
        timeout=60,
    )
    assert (run.status, run.reason) == ("failed", "timeout")
    assert run.message == "last: took longer than 0.2 s and its process was killed"
    assert run.steps == [("one", "success"), ("last", "failed")]


@pytest.mark.parametrize(
    "written", [ENDLESS["jq range"], ENDLESS["jq recursion"], SLOW["template"], SLOW["deaf program"]]
)
def test_the_limit_of_a_run_ends_it_and_the_final_step_runs(run_flow, written):
    run = run_flow(
        f"""
finally_step: last
steps:
  - {step("endless", written, "ignore_errors: .")}
  - {{name: last, type: jq, jq: {{expression: ".__errors__ | length"}}}}
""",
        timeout=0.3,
    )
    assert (run.status, run.reason, run.result["last"]) == ("failed", "timeout", 1)


@pytest.mark.parametrize("where", ["step", "flow", "run"])
def test_a_socket_that_says_nothing_is_left_at_every_limit(run_flow, workspace, hung_server, where):
    call = f"{{type: rest, rest: {{uri: '{hung_server}'}}}}"
    limit = "timeout: 0.3" if where == "step" else "ignore_errors: never"
    (workspace / "tasks/child.yml").write_text(
        ("timeout: 0.3\n" if where == "flow" else "") + f"steps:\n  - {step('call', call, limit)}\n"
    )
    run = run_flow(
        """
finally_step: last
steps:
  - {name: child, type: flow, flow: {path: child.yml}}
  - {name: last, type: set_fact, set_fact: {value: done}}
""",
        timeout=0.5 if where == "run" else 60,
    )
    assert (run.status, run.result["last"]) == ("failed", "done")
    assert run.outcome.run.took < 30


def test_a_step_that_is_slow_to_end_is_not_killed_while_its_final_step_goes_on(run_flow, workspace):
    (workspace / "tasks/child.yml").write_text("""
finally_step: last
steps:
  - {name: long, type: sleep, sleep: {seconds: 600}}
  - {name: last, type: shell, shell: {command: "sleep 2; echo done > last"}}
""")
    run = run_flow(
        """
steps:
  - {name: child, type: flow, timeout: 0.2, ignore_errors: ., flow: {path: child.yml}}
  - {name: after, type: set_fact, set_fact: {value: 1}}
""",
        timeout=60,
    )
    assert (run.status, run.result["after"]) == ("success", 1)
    assert "killed" not in run.errors[-1]["error"]["message"]
    assert (workspace / "data/last").read_text() == "done\n"


EVIL = "ignore_errors: '(a+)+$', file: {path: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!}"


@pytest.mark.parametrize("more", ["", "timeout: 1, "])
def test_a_pattern_of_ignore_errors_that_never_ends_does_not_match(run_flow, more):
    run = run_flow(f"""
        timeout: 60
        steps:
          - {{name: a, type: file, {more}on_error_goto: b, {EVIL}}}
          - {{name: skipped, type: set_fact, set_fact: {{value: 1}}}}
          - {{name: b, type: set_fact, set_fact: {{value: 2}}}}
    """)
    assert run.status == "success", run.message
    assert run.result["b"] == 2
    assert "skipped" not in run.result
    assert "a: ignore_errors took longer than 2 s; the error is not ignored" in run.log


def test_the_limit_of_the_run_applies_to_patterns_of_ignore_errors(run_flow):
    run = run_flow(f"timeout: 1\nsteps: [{{name: a, type: file, on_error_goto: __end__, {EVIL}}}]")
    assert (run.status, run.reason) == ("failed", "timeout")


def test_a_pattern_that_never_ends_in_a_loop_or_graph_fails_only_its_step(run_flow, workspace):
    (workspace / "tasks" / "child.yml").write_text(f"steps: [{{name: a, type: file, {EVIL}}}]")
    run = run_flow("""
        timeout: 60
        steps:
          - {name: items, type: set_fact, set_fact: {value: [1, 2]}}
          - {name: loop, type: flow_loop, flow_loop: {path: child.yml, data_key: items}, on_error_goto: after}
          - {name: after, type: set_fact, set_fact: {value: 3}}
    """)
    assert run.status == "success", run.message
    assert run.result["after"] == 3
