"""What the flow language says of errors, jumps and the final step."""

from __future__ import annotations

import pytest

FACT = "{{name: {0}, type: set_fact, set_fact: {{value: {1}}}}}"
MISSING = "type: jq, jq: {data_key: gone, expression: .}"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.mark.language("§3 Errors")
@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("type: debug, debug: {}, when: gone.deep", "'gone' is undefined"),
        ("type: debug, debug: {}, when: '1 + \"a\"'", "TypeError"),
        ("type: set_fact, set_fact: {value: '{{ 1 / 0 }}'}", "division by zero"),
        (MISSING, "no key 'gone'"),
        (
            "type: rest, rest: {uri: 'http://127.0.0.1:9/', authentication: {type: token, secret: x}}",
            "secret 'x' not found",
        ),
        ("type: file, file: {path: gone.yml}", "No such file"),
        ("type: file, file: {path: ../up.yml}", "leads out"),
        ("type: jinja, jinja: {path: gone.j2}", "'gone.j2' not found in the templates"),
        ("type: rest, rest: {uri: 'http://127.0.0.1:9/'}", "Connection refused"),
        ("type: goto, goto: {step_name: '{{ nowhere }}'}", "jump to '': there is no such step"),
        ("type: switch, switch: {data_key: ., cases: [], default: {type: goto, goto: {step_name: '{{ 5 }}'}}}", "'5'"),
        ("type: jq, jq: {expression: 'error(\"why\")'}", "why"),
        ("type: debug, debug: {}, jq_expression: '.a.b.c + 1 | error'", "jq: "),
        ("type: flow, flow: {path: gone}", "flow 'gone' not found"),
        ("type: flow, flow: {path: slow.yml}", "the enclosing flow has timed out after 0.01 s"),
        ("type: set_fact, target: made.txt, set_fact: {value: 1}", "did not create its target"),
        ("type: shell, shell: {command: 'exit 3'}", "exit status 3"),
        ("type: table, table: {path: gone.csv}", "No such file"),
        ("type: python, python: {path: gone.py, function: f}", "gone.py"),
    ],
    ids=str,
)
def test_every_step_error_goes_the_same_way(run_flow, workspace, step, told):
    (workspace / "tasks" / "flow.yml").touch(mode=0o600)
    (workspace / "tasks" / "slow.yml").write_text(
        "timeout: 0.01\nsteps: [{name: slow, type: sleep, sleep: {seconds: 60}}]"
    )
    run = run_flow(f"""
        steps:
          - {{name: ignored, ignore_errors: ., {step}}}
          - {{name: handled, on_error_goto: there, {step}}}
          - {FACT.format("between", 1)}
          - {{name: there, {step}}}
    """)
    assert run.steps == [("ignored", "ignored"), ("handled", "handled"), ("there", "failed")]
    entries = [entry for entry in run.errors if entry["step"] != "slow"]
    assert [(entry["step"], entry.get("ignored")) for entry in entries] == [
        ("ignored", "."),
        ("handled", None),
        ("there", None),
    ]
    for entry in entries:
        assert told in entry["error"]["message"]
        assert str(workspace) not in entry["error"]["message"]
    assert (run.status, run.message) == ("failed", f"there: {entries[-1]['error']['message']}")
    # What a failed child has is kept, for who wants to look at it.
    assert not {"ignored", "handled", "there"} & run.result.keys() or "slow" in step


@pytest.mark.language("§3 Errors")
def test_ignoring_comes_before_going_elsewhere(run_flow):
    run = run_flow(f"""
        steps:
          - {{name: s, ignore_errors: [nothing, "go.e", key], on_error_goto: there, {MISSING}}}
          - {FACT.format("between", 1)}
          - {FACT.format("there", 2)}
    """)
    assert run.errors[0]["ignored"] == "go.e"
    assert run.result["between"] == 1


@pytest.mark.language("§3 Errors")
@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("exit status 3", True),
        ('"exit_code": 3', True),
        ("'exit_code': 3, 'stderr': 'one", True),
        ('^echo one.* {"exit_code": 3, "stderr": "one.*two é', True),
        ("two é [{]", True),
        ("status.*3.*two", True),
        ("^exit_code", False),
        ("exit_code: 3", False),
    ],
)
def test_a_pattern_is_searched_in_message_and_details_on_one_line(run_flow, workspace, pattern, matches):
    (workspace / "tasks" / "flow.yml").touch(mode=0o600)
    quoted = pattern.replace("'", "''")
    run = run_flow(f"""
        steps:
          - name: s
            type: shell
            ignore_errors: '{quoted}'
            shell: {{command: "echo one >&2; echo 'two é' >&2; exit 3"}}
    """)
    assert run.errors[0]["error"]["stderr"] == "one\ntwo é\n", run.errors
    assert (run.status == "success") == matches, run.errors[0]["error"]["message"]
    assert run.errors[0].get("ignored") == (pattern if matches else None)


@pytest.mark.language("§3 The final step")
@pytest.mark.parametrize(
    ("last", "status", "listed"),
    [
        ("type: set_fact, set_fact: {value: 1}", "success", []),
        (MISSING, "failed", ["last"]),
        (f"ignore_errors: key, {MISSING}", "success", ["last"]),
        (f"on_error_goto: a, {MISSING}", "failed", ["last"]),
        (f"on_error_goto: __end__, {MISSING}", "failed", ["last"]),
        ("when: false, type: set_fact, set_fact: {value: 1}", "success", []),
        ("when: gone.deep, type: set_fact, set_fact: {value: 1}", "success", []),
        ("type: goto, goto: {step_name: a}", "success", []),
        ("type: goto, goto: {step_name: __exit__}", "success", []),
        ("type: goto, goto: {step_name: last}", "success", []),
        ("type: exit, exit: {message: enough}", "success", []),
        ("type: switch, switch: {data_key: ., cases: [], default: {type: goto, goto: {step_name: a}}}", "success", []),
    ],
    ids=str,
)
def test_the_final_step_runs_last_and_once_and_is_not_followed(run_flow, last, status, listed):
    steps = [FACT.format("a", 1), FACT.format("b", 2)]
    # Anywhere in the list, another place for each.
    steps.insert(len(last) % 3, f"{{name: last, {last}}}")
    run = run_flow(f"finally_step: last\nsteps: [{', '.join(steps)}]")
    assert [name for name, _ in run.steps] == ["a", "b", "last"]
    assert run.status == status, run.message
    assert [entry["step"] for entry in run.errors] == listed


@pytest.mark.language("§3 The final step")
@pytest.mark.parametrize("last", [MISSING, "type: set_fact, set_fact: {value: 1}", f"ignore_errors: ., {MISSING}"])
def test_a_failed_flow_stays_as_it_failed_after_its_final_step(run_flow, last):
    run = run_flow(f"finally_step: last\nsteps: [{{name: last, {last}}}, {{name: bad, {MISSING}}}]")
    assert (run.status, run.message) == ("failed", "bad: the data has no key 'gone'")
    assert [name for name, _ in run.steps] == ["bad", "last"]
    assert [entry["step"] for entry in run.errors] == ["bad", "last"] if "gone" in last else ["bad"]


@pytest.mark.language("§3 The final step")
@pytest.mark.parametrize(
    "step",
    [
        "type: goto, goto: {step_name: last}",
        "type: goto, goto: {step_name: '{{ \"last\" }}'}",
        f"on_error_goto: last, {MISSING}",
        "type: switch, switch: {data_key: ., cases: [], default: {type: goto, goto: {step_name: last}}}",
    ],
)
def test_a_jump_to_the_final_step_is_one_to_the_end(run_flow, step):
    run = run_flow(f"finally_step: last\nsteps: [{FACT.format('last', 1)}, {{name: s, {step}}}, {FACT.format('x', 2)}]")
    assert run.status == "success", run.message
    assert [name for name, _ in run.steps] == ["s", "last"]


@pytest.mark.language("§3 The final step")
@pytest.mark.parametrize(
    "step",
    [
        "type: exit, exit: {message: enough}",
        "type: goto, goto: {step_name: __exit__}",
        f"on_error_goto: __exit__, {MISSING}",
        "type: switch, switch: {data_key: ., cases: [], default: {type: exit, exit: {message: enough}}}",
    ],
)
def test_the_final_step_does_not_run_after_an_exit(run_flow, step):
    run = run_flow(f"finally_step: last\nsteps: [{{name: s, {step}}}, {FACT.format('last', 1)}]")
    assert run.status == "exit", run.message
    assert [name for name, _ in run.steps] == ["s"]


@pytest.mark.language("§3 Jumps")
@pytest.mark.parametrize("target", ["__exit", "__end", "_start__"])
def test_only_three_targets_are_reserved(run_flow, target):
    text = f"steps: [{{name: go, type: goto, goto: {{step_name: {target}}}}}, {FACT.format('b', 1)}"
    run = run_flow(text + "]")
    assert run.reason == "refused"
    assert "is not a step" in run.message
    run = run_flow(f"{text}, {FACT.format(target, 2)}]")
    assert run.steps == [("go", "success"), (target, "success")]


@pytest.mark.language("§3 Jumps")
@pytest.mark.parametrize("result", ["{goto: __exit__}", "{goto: b, message: x}", "{exit: now}", "__exit__"])
@pytest.mark.parametrize("kind", ["set_fact", "jq", "file", "flow"])
def test_a_result_that_looks_like_a_jump_is_data(run_flow, workspace, result, kind):
    (workspace / "data").mkdir()
    (workspace / "data" / "r.yml").write_text(result)
    (workspace / "tasks" / "child.yml").write_text(f"steps: [{FACT.format('goto', '__exit__')}]")
    options = {
        "set_fact": f"{{value: {result}}}",
        "jq": "{expression: .given}",
        "file": "{path: r.yml}",
        "flow": "{path: child.yml}",
    }
    run = run_flow(f"""
        steps:
          - {FACT.format("given", result)}
          - {{name: s, type: {kind}, {kind}: {options[kind]}}}
          - {FACT.format("b", 1)}
          - {FACT.format("c", 1)}
    """)
    assert run.status == "success", run.message
    assert [name for name, _ in run.steps] == ["given", "s", "b", "c"]
    assert run.result["s"] == run.result["given"] or run.result["s"]["goto"] == "__exit__"


@pytest.mark.language("§1 A flow file")
@pytest.mark.parametrize(("most", "status"), [(5, "failed"), (6, "success")])
def test_a_flow_executes_max_steps_steps_at_most(run_flow, most, status):
    facts = ", ".join(FACT.format(f"s{number}", 1) for number in range(6))
    run = run_flow(f"max_steps: {most}\nfinally_step: last\nsteps: [{facts}, {FACT.format('last', 1)}]")
    assert run.status == status
    assert len(run.steps) == most + 1
    assert run.steps[-1] == ("last", "success")


@pytest.mark.language("§1 A flow file")
def test_without_max_steps_ten_thousand_are_the_most():
    from scflows.flows.parser import parse_flow
    from scflows.flows.properties import FLOW_PROPERTIES

    assert FLOW_PROPERTIES["max_steps"].default == 10_000
    assert parse_flow(b"steps: []", "f.yml", "/f.yml")[0].max_steps == 10_000


@pytest.mark.language("§3 Errors")
def test_errors_of_rest_have_status_and_content(run_flow, server):
    run = run_flow(
        """
        steps:
          - {name: json, type: rest, rest: {uri: "{{ __input__ }}/error"}, ignore_errors: "500"}
          - {name: text, type: rest, rest: {uri: "{{ __input__ }}/error-text"}, ignore_errors: "'status_code': 418"}
          - {name: none, type: rest, rest: {uri: "{{ __input__ }}/error-empty"}, ignore_errors: "^GET .*: 404"}
          - {name: refused, type: rest, rest: {uri: "http://127.0.0.1:9/"}, ignore_errors: '"status_code": null'}
        """,
        payload=server,
    )
    assert run.status == "success", run.message
    found = [(entry["error"]["status_code"], entry["error"]["response_content"]) for entry in run.errors]
    assert found == [(500, {"why": "broken"}), (418, "I am a teapot"), (404, None), (None, None)]


@pytest.mark.language("§3 Errors")
@pytest.mark.parametrize(
    ("pattern", "path", "ignored"),
    [
        ("404", "/x/14045", "404"),
        ("404", "/echo-500?n=4041", None),
        ("{status: 404}", "/echo-500?n=4041", None),
        ("{status: 500}", "/error", "status: 500"),
        ("{status: [404, 5xx]}", "/error", "status: 500"),
        ("[{status: 4XX}, nothing]", "/error-text", "status: 418"),
        ("[500, {status: 404}]", "/nowhere", "status: 404"),
        # A text is searched everywhere, as it always was.
        ("'404'", "/echo-500?n=4041", "404"),
    ],
)
def test_a_number_in_an_address_is_no_status(run_flow, server, pattern, path, ignored):
    run = run_flow(f"steps: [{{name: s, type: rest, rest: {{uri: '{server}{path}'}}, ignore_errors: {pattern}}}]")
    assert run.errors[0].get("ignored") == ignored
    assert run.status == ("success" if ignored else "failed")


@pytest.mark.language("§3 Errors")
def test_an_error_without_a_status_is_ignored_by_a_number_in_its_text(run_flow):
    run = run_flow("steps: [{name: s, type: shell, shell: {command: 'exit 77'}, ignore_errors: 77}]")
    assert (run.status, run.errors[0]["ignored"]) == ("success", "77")
    run = run_flow("steps: [{name: s, type: shell, shell: {command: 'exit 77'}, ignore_errors: {status: 177}}]")
    assert run.status == "failed"


@pytest.mark.language("§3 Errors")
@pytest.mark.parametrize("pattern", ["{status: 99}", "{status: []}", "{status: 404, more: 1}", "{}", "{status: '4x'}"])
def test_a_status_that_cannot_be_is_a_mistake(run_flow, pattern):
    for place in (f"ignore_errors: [{pattern}]", f"retry: {{on: {pattern}}}"):
        run = run_flow(f"steps: [{{name: s, type: sleep, sleep: {{seconds: 0}}, {place}}}]")
        assert (run.status, run.reason) == ("failed", "refused")
        assert "a mapping must be {status: 404}" in run.message
