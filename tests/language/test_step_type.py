"""What the flow language says of the step types, where their own tests leave room."""

from __future__ import annotations

import json
import os

import pytest
import yaml

FACT = "{{name: {0}, type: set_fact, set_fact: {{value: {1}}}}}"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def data(workspace):
    folder = workspace / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def write(workspace):
    def write(text, name="child.yml"):
        (workspace / "tasks" / name).parent.mkdir(parents=True, exist_ok=True)
        (workspace / "tasks" / name).write_text(text)

    return write


def file_step(options, more=""):
    return f"steps: [{{name: s, type: file, {more}file: {{{options}, data_key: __input__}}}}]"


@pytest.mark.language("§4 Paths")
@pytest.mark.parametrize("mode", ["read", "write", "append"])
@pytest.mark.parametrize("kind", ["yaml", "json", "text"])
def test_no_path_of_a_file_leads_out_of_the_data_folder(run_flow, data, tmp_path, mode, kind):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.yml").write_text("1")
    (data / "file").symlink_to(out / "a.yml")
    (data / "folder").symlink_to(out)
    (data / "nowhere").symlink_to(out / "none.yml")
    for path in ("../../out/a.yml", str(out / "a.yml"), "file", "folder/a.yml", "nowhere", "x/../../../out/a.yml"):
        run = run_flow(
            file_step(f"path: {path}, mode: {mode}, type: {kind}", "ignore_errors: leads out, "), payload="x"
        )
        assert run.status == "success", (path, run.message)
    assert os.listdir(out) == ["a.yml"]
    assert (out / "a.yml").read_text() == "1"


@pytest.mark.language("§4 Paths")
def test_a_path_that_stays_inside_may_be_written_any_way(run_flow, data):
    (data / "real").mkdir()
    (data / "link").symlink_to("real")
    for path in (str(data / "real" / "a.json"), "link/a.json", "real/../link/./a.json"):
        run = run_flow(file_step(f"path: {path}, mode: append, type: json"), payload=1)
        assert run.status == "success", run.message
    assert (data / "real" / "a.json").read_text() == "1\n1\n1\n"


@pytest.mark.language("§4 file")
def test_the_type_of_a_file_is_yaml_and_its_mode_read_unless_said(run_flow, data):
    (data / "a.json").write_text("a: 1")
    assert run_flow(file_step("path: a.json")).result["s"] == {"a": 1}


@pytest.mark.language("§4 Paths")
@pytest.mark.parametrize(("mode", "kind"), [("write", "yaml"), ("append", "json")])
def test_a_full_disk_leaves_the_old_file(flows, workspace, data, mode, kind):
    (workspace / "tasks" / "f.yml").write_text(
        "steps:\n"
        "  - {name: big, type: set_fact, set_fact: {value: \"{{ 'x' * 2000000 }}\"}}\n"
        f"  - {{name: s, type: file, file: {{path: a, mode: {mode}, type: {kind}, data_key: big}}}}\n"
    )
    (data / "a").write_text("old: 1\n")
    (workspace / "limited.py").write_text(
        "import resource, runpy, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000000, 1000000))\n"
        "sys.argv = ['flows', 'run', 'f.yml', '--json']\n"
        "runpy.run_module('scflows', run_name='__main__')\n"
    )
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "limited.py"],
        cwd=workspace,
        env={**os.environ, "HOME": str(workspace), "XDG_STATE_HOME": str(workspace / "state"),
             "XDG_CACHE_HOME": str(workspace / "cache"), "CRONTAB_PROGRAM": "none"},
        capture_output=True,
        text=True,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["message"] == "s: a: File too large"
    assert os.listdir(data) == ["a"]
    assert (data / "a").read_text() == "old: 1\n"


@pytest.mark.language("§4 file")
def test_yaml_is_written_in_blocks_with_plain_tags(run_flow, data):
    given = {"rows": [{"a": None, "b": "2024-03-05", "c": "yes", "d": "é: -\n#", "e": [], "f": {}, "g": 1.5, "h": "1"}]}
    run = run_flow(file_step("path: a.yml, mode: write"), payload=given)
    assert run.status == "success", run.message
    text = (data / "a.yml").read_text()
    assert "!" not in text
    assert "é" in text
    assert "{a" not in text
    assert yaml.safe_load(text) == given
    assert run_flow(file_step("path: a.yml")).result["s"] == given


@pytest.mark.language("§4 rest")
@pytest.mark.parametrize("method", ["post", "PUT", "Patch"])
def test_a_method_that_sends_sends_an_empty_mapping_where_nothing_is_given(run_flow, server, method):
    run = run_flow(
        f"steps: [{{name: s, type: rest, rest: {{uri: '{{{{ __input__ }}}}/echo', method: {method}}}}}]", payload=server
    )
    assert (run.result["s"]["method"], run.result["s"]["body"]) == (method.upper(), {})


@pytest.mark.language("§4 rest")
def test_the_body_is_sent_as_it_is_written_and_data_key_wins_over_it(run_flow, server):
    run = run_flow(
        """
        steps:
          - {name: rows, type: set_fact, set_fact: {value: [1]}}
          - {name: own, type: rest, rest: {uri: "{{ __input__ }}/echo", method: POST,
             body: {a: "{{ rows }}", day: 2024-03-05, yes: yes}}}
          - {name: key, type: rest, rest: {uri: "{{ __input__ }}/echo", method: POST, data_key: rows, body: {a: 1}}}
          - {name: get, type: rest, rest: {uri: "{{ __input__ }}/echo", data_key: gone}}
        """,
        payload=server,
    )
    assert run.status == "success", run.message
    assert run.result["own"]["body"] == {"a": "{{ rows }}", "day": "2024-03-05", "true": True}
    assert run.result["key"]["body"] == [1]
    assert (run.result["get"]["method"], run.result["get"]["body"]) == ("GET", None)


@pytest.mark.language("§4 rest")
def test_a_query_is_added_to_that_of_the_uri(run_flow, server):
    run = run_flow(
        """
        steps:
          - name: s
            type: rest
            rest:
              uri: "{{ __input__ }}/echo?a=1&b=%20x#end"
              query: {a: 2, many: [x, "{{ 1 + 1 }}", false], none: null, some: [null, 3], empty: []}
        """,
        payload=server,
    )
    assert run.result["s"]["path"] == "/echo?a=1&b=%20x&a=2&many=x&many=2&many=false&some=3"


@pytest.mark.language("§4 rest")
def test_redirects_lead_to_what_counts(run_flow, server):
    run = run_flow(
        """
        steps:
          - {name: there, type: rest, rest: {uri: "{{ __input__ }}/moved"}, jq_expression: .path}
          - {name: bad, type: rest, rest: {uri: "{{ __input__ }}/moved-to-error"}, ignore_errors: "418"}
          - {name: nothing, type: rest, rest: {uri: "{{ __input__ }}/nothing"}}
        """,
        payload=server,
    )
    assert run.status == "success", run.message
    assert run.result["there"] == "/echo?moved=1"
    assert "bad" not in run.result
    assert run.result["nothing"] is None


@pytest.mark.language("§4 jinja")
def test_templates_can_be_imported_from_the_templates_folder(run_flow, data):
    (data / "templates" / "parts").mkdir(parents=True)
    (data / "templates" / "parts" / "m.j2").write_text("{% macro row(r) %}<{{ r }}>{% endmacro %}")
    (data / "templates" / "t.j2").write_text(
        "{% import 'parts/m.j2' as m %}{% from 'parts/m.j2' import row %}{{ m.row(1) }}{{ row(data) }}"
    )
    run = run_flow("steps: [{name: s, type: jinja, jinja: {path: t.j2, data_key: __input__}}]", payload="x")
    assert run.result["s"] == "<1><x>"


@pytest.mark.language("§4 Paths")
@pytest.mark.parametrize("path", [".env", "data/secrets.yml", "data/config.yml", "near.j2", "link.j2"])
def test_no_template_shows_the_settings_of_a_flow_beside_them(flows, workspace, data, tmp_path, path):
    (workspace / "f.yml").write_text(f"steps: [{{name: s, type: jinja, jinja: {{path: {path}}}}}]")
    (workspace / ".env").touch(mode=0o600)
    (data / "secrets.yml").touch(mode=0o600)
    (data / "config.yml").write_text("allow: []")
    (tmp_path / "out.j2").write_text("out")
    (workspace / "link.j2").symlink_to(tmp_path / "out.j2")
    (workspace / "near.j2").write_text("{% include '.env' %}")
    told = json.loads(flows("run", "./f.yml", "--json").out)
    assert told["status"] == "failed"
    assert "settings file" in told["message"] or "leads out" in told["message"]


@pytest.mark.language("§4 jinja")
@pytest.mark.parametrize("value", [None, 0, False, "text", [1], {"a": 1}])
def test_data_is_the_value_itself_in_a_template_file(run_flow, data, value):
    (data / "templates").mkdir()
    (data / "templates" / "t.j2").write_text("{{ data | tojson }}")
    run = run_flow(f"steps: [{FACT.format('v', json.dumps(value))}, "
                   "{name: s, type: jinja, jinja: {path: t.j2, data_key: v, parse: json}}]")  # fmt: skip
    assert run.result["s"] == value


@pytest.mark.language("§4 set_fact")
@pytest.mark.parametrize("value", ["''", "null", "[]", "{}", "0", "false"])
def test_an_empty_value_is_a_value(run_flow, value):
    run = run_flow(f"steps: [{FACT.format('s', value)}]")
    assert run.status == "success", run.message
    assert run.result["s"] == yaml.safe_load(value)


@pytest.mark.language("§4 flow_loop")
def test_children_go_side_by_side_as_the_settings_say(run_flow, write, data, settings):
    from dataclasses import replace

    write("""
steps:
  - name: s
    type: shell
    shell: {command: "touch in.$$; ls in.* | wc -l; sleep 0.2; rm in.$$", parse: json}
""")
    for path in ("tasks/child.yml",):
        (data.parent / path).chmod(0o600)
    two = replace(settings, environment={**settings.environment, "FLOW_MAX_WORKERS": "2"})
    run = run_flow(
        """
        steps:
          - {name: rows, type: set_fact, set_fact: {value: [1, 2, 3, 4, 5, 6]}}
          - {name: loop, type: flow_loop, jq_expression: "map(.s)", flow_loop: {path: child.yml, data_key: rows}}
        """,
        settings=two,
    )
    assert run.status == "success", run.errors
    assert len(run.result["loop"]) == 6
    assert max(run.result["loop"]) == 2


@pytest.mark.language("§1 Data", "§4 flow_loop")
def test_an_exit_of_an_item_ends_only_that_item(run_flow, write):
    write("""
steps:
  - {name: out, type: exit, when: "__input__ == 2", exit: {message: "enough of {{ __input__ }}"}}
  - {name: after, type: set_fact, set_fact: {value: 1}}
""")
    run = run_flow("""
        steps:
          - {name: rows, type: set_fact, set_fact: {value: [1, 2, 3]}}
          - {name: loop, type: flow_loop, flow_loop: {path: child.yml, data_key: rows}}
    """)
    assert run.status == "success", run.message
    assert [item["__status__"]["type"] for item in run.result["loop"]] == ["success", "exit", "success"]
    assert run.result["loop"][1]["__status__"]["message"] == "enough of 2"
    assert [item.get("after") for item in run.result["loop"]] == [1, None, 1]
    assert [item["__loop_index__"] for item in run.result["loop"]] == [1, 2, 3]


@pytest.mark.language("§4 flow")
def test_errors_of_children_say_whose_they_are(run_flow, write):
    bad = "{name: bad, type: jq, ignore_errors: key, jq: {data_key: gone, expression: .}}"
    write(f"steps: [{bad}, {{name: down, type: flow, flow: {{path: leaf.yml}}}}]")
    write(f"steps: [{bad}]", "leaf.yml")
    run = run_flow("""
        steps:
          - {name: rows, type: set_fact, set_fact: {value: [a, b]}}
          - {name: one, type: flow, flow: {path: child.yml}}
          - {name: loop, type: flow_loop, flow_loop: {path: child.yml, data_key: rows}}
    """)
    assert run.status == "success", run.message
    told = [(entry["step"], entry["flow"], entry.get("loop_index"), entry["ignored"]) for entry in run.errors]
    assert told[:2] == [("bad", "child.yml", None, "key"), ("bad", "leaf.yml", None, "key")]
    assert sorted(told[2:]) == [
        ("bad", "child.yml", 1, "key"), ("bad", "child.yml", 2, "key"),
        ("bad", "leaf.yml", 1, "key"), ("bad", "leaf.yml", 2, "key"),
    ]  # fmt: skip
    assert len(run.result["one"]["__errors__"]) == 2


@pytest.mark.language("§4 switch")
@pytest.mark.parametrize(
    ("value", "patterns", "found"),
    [
        ("temp", ["emp", "temp"], 1),
        ("temperature", ["temp"], 0),
        ("temperature", ["temp$", "t.*e$"], 1),
        ("a", ["b|a"], 0),
        ("ba", ["^a", "(?s).*a"], 1),
        (42, [42], 0),
        ("42", [42], 0),
        (42, ["4$", "\\d+$"], 1),
        (True, [True], 0),
        (True, ["True$"], 0),
        (False, ["true", "false"], 1),
        (False, ["False"], 0),
        (None, ["None"], 0),
        (None, ["null"], 0),
        ("None", ["null", "None"], 1),
        ([1, "é"], ['\\[1, "é"\\]$'], 0),
        ({"a": None}, ['\\{"a": null'], 0),
        (1.5, ["1\\.5$"], 0),
        ("", ["$"], 0),
        ("x", ["y"], None),
    ],
    ids=str,
)
def test_a_case_matches_the_text_of_the_value_from_its_start(run_flow, value, patterns, found):
    cases = [
        {"when": pattern, "step": {"type": "set_fact", "set_fact": {"value": at}}}
        for at, pattern in enumerate(patterns)
    ]
    run = run_flow(
        json.dumps({"steps": [
            {"name": "v", "type": "set_fact", "set_fact": {"value": value}},
            {"name": "s", "type": "set_fact", "set_fact": {"value": "kept"}},
            {"name": "s", "type": "switch", "switch": {"data_key": "v", "cases": cases}},
        ]})
    )  # fmt: skip
    assert run.status == "success", run.message
    assert run.result["s"] == ("kept" if found is None else found)


@pytest.mark.language("§4 switch")
@pytest.mark.parametrize(
    ("inner", "result"),
    [
        ({"type": "jq", "jq": {"expression": "[1, 2]"}, "jq_expression": ".[]"}, [[1, 2]]),
        ({"type": "debug", "debug": {}}, [{}]),
        ({"type": "sleep", "sleep": {"seconds": 0}}, [{}]),
        ({"type": "flow", "flow": {"path": "child.yml"}, "jq_expression": ".out"}, [7]),
        ({"type": "flow_loop", "flow_loop": {"path": "child.yml", "data_key": "rows"}, "jq_expression": "map(.out)"},
         [[7, 7]]),
        ({"type": "switch", "switch": {"data_key": "rows", "cases": [], "default":
            {"type": "set_fact", "set_fact": {"value": "{{ rows | length }}"}}}}, ["2"]),
    ],
    ids=lambda each: each["type"] if isinstance(each, dict) else "",
)  # fmt: skip
def test_a_step_of_any_type_may_stand_in_a_switch(run_flow, write, inner, result):
    write(f"steps: [{FACT.format('out', 7)}]")
    run = run_flow(json.dumps({"steps": [
        {"name": "rows", "type": "set_fact", "set_fact": {"value": [1, 2]}},
        {"name": "s", "type": "switch", "jq_expression": "[.]", "result_key": "kept",
         "switch": {"data_key": "rows", "cases": [{"when": "\\[1", "step": inner}]}},
    ]}))  # fmt: skip
    assert run.status == "success", run.message
    assert run.result["kept"] == result
    assert "s" not in run.result
    assert [name for name, _ in run.steps] == ["rows", "s"]


@pytest.mark.language("§4 sleep")
def test_a_stop_cuts_a_sleep_short_and_the_run_is_no_success(flows, workspace):
    (workspace / "tasks" / "f.yml").write_text("steps: [{name: s, type: sleep, sleep: {seconds: 500}}]")
    answer = flows("run", "f.yml", "--timeout", "0.3s", "--json")
    told = json.loads(answer.out)
    assert (answer.code, told["status"]) == (124, "failed")
    assert "s" not in told["data"]


@pytest.mark.language("§4 jira_names_merge")
def test_names_of_jira_fields_never_overwrite_each_other(run_flow):
    found = {
        "names": {"customfield_1": "A b", "customfield_2": "a-B", "customfield_3": "a.b", "customfield_4": "A_B_2",
                  "customfield_6": ""},
        "issues": [{"fields": {"a_b": "own", "customfield_1": 1, "customfield_2": 2, "customfield_3": 3,
                               "customfield_4": 4, "customfield_5": 5, "customfield_6": 6, "status": {"name": "x"}}}],
    }  # fmt: skip
    run = run_flow("steps: [{name: s, type: jira_names_merge, jira_names_merge: {data_key: __input__}}]", payload=found)
    fields = run.result["s"][0]["fields"]
    assert sorted(map(str, fields.values())) == sorted(["own", "1", "2", "3", "4", "5", "6", "{'name': 'x'}"])
    assert {key: fields[key] for key in ("a_b", "a_b_1", "customfield_5", "customfield_6", "status")} == {
        "a_b": "own", "a_b_1": 1, "customfield_5": 5, "customfield_6": 6, "status": {"name": "x"},
    }  # fmt: skip
    assert fields["a_b_3"] == 3
    assert run.result["__input__"] == found
