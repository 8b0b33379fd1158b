"""What the flow language says of a flow as a whole: its file, its check, its end, its data."""

from __future__ import annotations

import json

import pytest


@pytest.mark.language("§1 A flow file")
def test_a_flow_without_a_name_has_that_of_its_file(run_flow, workspace):
    (workspace / "tasks" / "leaf.two.yml").write_text("steps: [{name: d, type: debug, debug: {data_key: __input__}}]")
    (workspace / "tasks" / "own.yml").write_text("name: Own Name\nsteps: [{name: d, type: debug, debug: {}}]")
    run = run_flow("""
        steps:
          - {name: a, type: flow, flow: {path: leaf.two.yml}}
          - {name: b, type: flow, flow: {path: own.yml}}
    """)
    assert run.status == "success", run.message
    assert "leaf.two: d: " in run.log
    assert "Own Name: d: " in run.log


@pytest.mark.language("§1 A flow file")
def test_a_property_that_is_not_known_is_left_aside_and_warned_of(flows, workspace):
    flow = workspace / "tasks" / "f.yml"
    flow.write_text("owner: me\nsteps: [{name: s, type: set_fact, colour: red, set_fact: {value: 1}}]")
    run = flows("run", "f.yml", "--json")
    assert (run.code, json.loads(run.out)["data"]["s"]) == (0, 1)
    checked = flows("validate", str(flow))
    assert checked.code == 0
    assert "'owner'" in checked.out + checked.err
    assert "'colour'" in checked.out + checked.err


@pytest.mark.language("§1 A flow file")
def test_words_without_quotes_are_booleans_and_dates_as_in_yaml_1_1(run_flow):
    run = run_flow("""
        steps:
          - {name: s, type: set_fact, set_fact: {value: [yes, No, on, OFF, "yes", 2024-03-05, 0o7, 010, 1_000]}}
          - {name: skipped, type: set_fact, when: off, set_fact: {value: 1}}
    """)
    assert run.result["s"] == [True, False, True, False, "yes", "2024-03-05", "0o7", 8, 1000]
    assert "skipped" not in run.result


STEP = "{{name: {0}, type: set_fact, set_fact: {{value: {1}}}}}"


@pytest.mark.language("§1 What is checked")
@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ("[{name: a, type: jq, jq: {expression: .}, on_error_goto: b}, B, B]", "'b' is the name of two steps"),
        ("[{name: a, type: goto, goto: {step_name: b}}, B, B]", "'b' is the name of two steps"),
        ("[{name: a, type: switch, switch: {data_key: ., cases: [{when: x, step: {type: goto, goto: {step_name: b}}}]}}"
         ", B, B]", "'b' is the name of two steps"),
        ("[{name: a, type: rest, rest: {uri: 'http://a', method: HEAD}}]", "'method' must be one of GET, POST"),
        ("[{name: a, type: jinja, jinja: {path: t, parse: xml}}]", "'parse' must be one of json, yaml"),
        ("[{name: a, type: rest, rest: {uri: [x]}}]", "'uri' must be text"),
        ("[{name: a, type: jq, jq_expression: '.[', jq: {expression: .}}]", "jq_expression: jq '.['"),
        ("[{name: a, type: set_fact, set_fact: {value: {deep: ['{% if %}']}}}]", "template '{% if %}'"),
        ("[{name: __errors__, type: jq, jq: {expression: .}}]", "reserved for special variables"),
        ("[{name: a, type: jq, jq: {expression: .}, on_error_goto: '{{ x }}'}]", "is not a step"),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_is_refused_before_anything_runs(run_flow, workspace, steps, told):
    (workspace / "data").mkdir()
    write = "{name: w, type: file, file: {path: out.yml, mode: write, data_key: __input__}}"
    text = steps.replace("B", STEP.format("b", 1)).replace("[", f"[{write}, ", 1)
    run = run_flow(f"finally_step: last\nsteps: {text[:-1]}, {STEP.format('last', 1)}]")
    assert (run.status, run.reason, run.result, run.steps) == ("failed", "refused", {}, [])
    assert told in run.message
    assert "flow.yml:" in run.message
    assert list((workspace / "data").iterdir()) == []


@pytest.mark.language("§1 What is checked")
def test_a_refused_flow_gives_empty_data_and_names_file_step_and_property(flows, workspace):
    (workspace / "tasks" / "f.yml").write_text("steps: [{name: fetch, type: rest, rest: {ulr: x}}]")
    answer = flows("run", "f.yml", "--json")
    told = json.loads(answer.out)
    assert answer.code == 2
    assert (told["status"], told["data"]) == ("failed", {})
    assert all(word in told["message"] for word in ("f.yml:1:", "'fetch'", "'ulr'"))


@pytest.mark.language("§1 What is checked")
def test_steps_may_share_a_name_that_nothing_jumps_to(run_flow):
    run = run_flow(f"steps: [{STEP.format('a', 1)}, {STEP.format('a', 2)}]")
    assert run.status == "success", run.message
    assert run.result["a"] == 2


@pytest.mark.language("§1 What is checked")
@pytest.mark.parametrize("block", ["flow: {path: gone.yml}", "jinja: {path: gone.j2}"])
def test_a_child_or_template_that_is_missing_is_found_when_its_step_runs(run_flow, block):
    kind = block.partition(":")[0]
    text = f"""
        steps:
          - {{name: go, type: goto, when: __input__, goto: {{step_name: __end__}}}}
          - {{name: s, type: {kind}, {block}}}
    """
    assert run_flow(text, payload=True).status == "success"
    run = run_flow(text)
    assert (run.status, run.reason) == ("failed", "error")
    assert run.message.startswith("s: ")
    assert "gone" in run.message


@pytest.mark.language("§1 How a run ends")
@pytest.mark.parametrize(
    ("steps", "status", "code"),
    [
        ("[S]", "success", 0),
        ("[{name: a, type: goto, goto: {step_name: __end__}}]", "success", 0),
        ("[{name: a, type: goto, goto: {step_name: __exit__}}]", "exit", 0),
        ("[{name: a, type: exit, exit: {message: enough}}]", "exit", 0),
        ("[{name: a, type: jq, jq: {data_key: gone, expression: .}}]", "failed", 1),
        ("[{name: a, type: jqq}]", "failed", 2),
    ],
    ids=["last", "to-end", "to-exit", "exit", "failed", "refused"],
)
def test_how_a_flow_ends_is_its_status_and_the_exit_code(flows, workspace, steps, status, code):
    (workspace / "tasks" / "f.yml").write_text(f"steps: {steps.replace('S', STEP.format('s', 1))}")
    answer = flows("run", "f.yml", "--json")
    told = json.loads(answer.out)
    assert (answer.code, told["status"]) == (code, status)
    assert {"status", "message", "data", "run_id"} <= told.keys()
    if code < 2:
        special = {"__input__", "__errors__", "__timestamp__", "__job_id__", "__flow_path__", "__loop_index__"}
        assert special <= told["data"].keys()


@pytest.mark.language("§1 What is checked")
def test_validate_only_checks(flows, workspace):
    (workspace / "data").mkdir()
    flow = workspace / "tasks" / "f.yml"
    flow.write_text("steps: [{name: w, type: file, file: {path: out.yml, mode: write, data_key: .}}]")
    assert flows("validate", str(flow)).code == 0
    assert list((workspace / "data").iterdir()) == []
    assert json.loads(flows("runs", "list", "--json").out)["items"] == []


@pytest.mark.language("§1 Where a flow is found")
def test_a_path_is_from_the_flows_folder_else_from_the_flows_own(flows, workspace, tmp_path):
    (tmp_path / "far" / "sub").mkdir(parents=True)
    (tmp_path / "far" / "sub" / "f.yml").write_text("steps: [{name: s, type: flow, flow: {path: leaf.yml}}]")
    (tmp_path / "far" / "sub" / "leaf.yml").write_text(f"steps: [{STEP.format('s', 'near')}]")
    (tmp_path / "far" / "leaf.yml").write_text(f"steps: [{STEP.format('s', 'top')}]")
    inside = json.loads(flows("run", "sub/f.yml", "--json", FLOWS_PATH=str(tmp_path / "far")).out)
    assert (inside["data"]["__flow_path__"], inside["data"]["s"]["s"]) == ("sub/f.yml", "top")
    outside = json.loads(flows("run", str(tmp_path / "far" / "sub" / "f.yml"), "--json").out)
    assert (outside["data"]["__flow_path__"], outside["data"]["s"]["s"]) == ("f.yml", "near")


@pytest.mark.language("§1 Data")
def test_a_flow_is_named_as_it_was_written_also_by_a_link(run_flow, workspace):
    (workspace / "tasks" / "real.yml").write_text("steps: []")
    (workspace / "tasks" / "alias.yml").symlink_to("real.yml")
    run = run_flow("steps: [{name: s, type: flow, flow: {path: ./alias.yml}}]")
    assert run.result["s"]["__flow_path__"] == "alias.yml"


@pytest.mark.language("§1 Data")
def test_what_is_no_json_becomes_text_when_it_is_stored(run_flow):
    run = run_flow("""
        steps:
          - name: s
            type: set_fact
            set_fact:
              value:
                day: 2024-03-05
                at: 2024-03-05 10:20:30
                zoned: 2024-03-05T10:20:30+02:00
                bytes: !!binary aMOp
                set: !!set {b, a}
                keys: {7: a, null: b, yes: c, 2.5: d, 2024-03-05: e}
    """)
    assert run.status == "success", run.message
    assert run.result["s"] == {
        "day": "2024-03-05",
        "at": "2024-03-05T10:20:30",
        "zoned": "2024-03-05T10:20:30+02:00",
        "bytes": "hé",
        "set": ["a", "b"],
        "keys": {"7": "a", "null": "b", "true": "c", "2.5": "d", "2024-03-05": "e"},
    }


@pytest.mark.language("§1 Data")
@pytest.mark.parametrize(
    "step",
    [
        "type: set_fact, set_fact: {value: '{{ __input__.rows.append(9) }}'}",
        "type: set_fact, when: '__input__.rows.append(9) or true', set_fact: {value: 1}",
        "type: set_fact, set_fact: {value: '{{ __input__.update(x=1) }}'}",
        "type: set_fact, set_fact: {value: '{{ __errors__.append(1) }}'}",
        "type: set_fact, set_fact: {value: '{{ __input__.rows | sort(reverse=true) | list }}'}",
        "type: jq, jq: {data_key: __input__, expression: '.rows[0] = 9'}",
        "type: jinja, jinja: {path: change.j2, data_key: __input__}",
        "type: flow, flow: {path: child.yml, data_key: __input__}",
        "type: table, table: {mode: filter, data_key: table, where: 'row.update(a=9) or true'}",
        "type: jira_names_merge, jira_names_merge: {data_key: found}",
        "type: python, python: {path: change.py, function: change, data_key: __input__}",
        "type: debug, jq_expression: '.rows[0] = 9', debug: {data_key: __input__}",
    ],
    ids=str,
)
def test_no_step_changes_what_it_reads(run_flow, workspace, step):
    (workspace / "tasks" / "change.j2").write_text("{{ rows.append(9) }}{{ data.rows.clear() }}")
    (workspace / "tasks" / "child.yml").write_text(
        "steps: [{name: __x, type: jq, jq: {data_key: __input__, expression: '.rows = []'}}]"
    )
    (workspace / "data").mkdir()
    (workspace / "data" / "change.py").write_text("def change(data):\n    data['rows'].clear()\n    return data\n")
    (workspace / "data" / "change.py").chmod(0o600)
    given = {"rows": [3, 1]}
    found = {"names": {"customfield_1": "N"}, "issues": [{"fields": {"customfield_1": 1, "x": None}}]}
    run = run_flow(
        f"""
        steps:
          - {{name: found, type: set_fact, set_fact: {{value: {json.dumps(found)}}}}}
          - {{name: table, type: set_fact, set_fact: {{value: [{{a: 1}}]}}}}
          - {{name: s, ignore_errors: ".*", {step}}}
        """,
        payload=given,
    )
    assert run.status == "success", run.message
    assert run.result["__input__"] == given
    assert run.result["found"] == found
    assert run.result["table"] == [{"a": 1}]
    assert len(run.errors) < 2


@pytest.mark.language("§1 Data")
def test_the_time_of_the_start_is_in_the_zone_of_the_settings(flows, workspace):
    (workspace / "tasks" / "child.yml").write_text("steps: [{name: nap, type: sleep, sleep: {seconds: 0}}]")
    (workspace / "tasks" / "f.yml").write_text("""
steps:
  - {name: later, type: sleep, sleep: {seconds: 1.1}}
  - {name: s, type: flow, flow: {path: child.yml}}
""")
    data = json.loads(flows("run", "f.yml", "--json", TIMEZONE="Asia/Kolkata").out)["data"]
    written = "".join(letter for letter in data["__slot__"][:19] if letter.isdigit())
    assert data["__slot__"].endswith("+05:30")
    assert data["__timestamp__"] == written
    assert data["s"]["__timestamp__"] == data["__timestamp__"]
    assert data["s"]["__job_id__"] == data["__job_id__"]


NAMES = ["__input__", "__errors__", "__timestamp__", "__job_id__", "__flow_path__", "__loop_index__"]


@pytest.mark.language("§1 Data")
@pytest.mark.parametrize("name", NAMES)
def test_special_variables_are_in_every_template_and_condition(run_flow, workspace, name):
    (workspace / "tasks" / "t.j2").write_text(f"{{{{ {name} is defined }}}} {{{{ {name} }}}}")
    run = run_flow(
        f"""
        steps:
          - {{name: own, type: set_fact, set_fact: {{value: {{a: 1, {name}: fake}}}}}}
          - {{name: text, type: set_fact, set_fact: {{value: "{{{{ {name} is defined }}}} {{{{ {name} }}}}"}}}}
          - {{name: whole, type: jinja, jinja: {{path: t.j2}}}}
          - {{name: part, type: jinja, jinja: {{path: t.j2, data_key: own}}}}
          - {{name: of list, type: jinja, jinja: {{path: t.j2, data_key: __errors__}}}}
          - {{name: seen, type: set_fact, when: "{name} is defined", set_fact: {{value: 1}}}}
        """,
        payload="x",
    )
    assert run.status == "success", run.message
    said = f"True {run.result[name]}"
    assert [run.result[key] for key in ("text", "whole", "part", "of list")] == [said] * 4
    assert run.result["seen"] == 1


@pytest.mark.language("§1 What is checked")
def test_values_that_cannot_be_are_told_with_their_lines(run_flow):
    run = run_flow("""\
        steps:
          - {name: a, type: sleep, sleep: {seconds: 0}}
          - {name: b, type: set_fact, set_fact: {value: {from: 2023-02-29, to: 2023-03-01}}}
          - name: c
            type: set_fact
            set_fact:
              value: [2024-13-45, 1]
    """)
    assert (run.status, run.reason) == ("failed", "refused")
    first, second = run.message.splitlines()
    assert first.startswith("flow.yml:3:56: error: invalid value: ")
    assert second.startswith("flow.yml:7:15: error: invalid value: ")
