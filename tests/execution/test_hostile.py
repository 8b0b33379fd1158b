"""Hostile values and flows get their error: no traceback, no bug, no memory without end."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

STATUSES = ("success", "failed", "exit")
HUGE = 10**400


@pytest.fixture
def endless_server() -> Iterator[str]:
    """Answers with bytes without end."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            try:
                while True:
                    connection, _ = server.accept()
                    with connection:
                        connection.recv(65536)
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[")
                        try:
                            while True:
                                connection.sendall(b"1," * 50_000)
                        except OSError:
                            pass
            except OSError:
                pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def test_an_answer_without_end_is_left_at_max_bytes(flows, workspace, endless_server):
    (workspace / "tasks/endless.yml").write_text(f"""
steps:
  - {{name: all, type: rest, rest: {{uri: "{endless_server}", max_bytes: 3000000}}, ignore_errors: max_bytes}}
  # Linux counts the most memory that this process has had, in kB.
  - {{name: peak, type: shell, shell: {{command: "grep VmHWM /proc/$PPID/status"}}}}
""")
    answer = flows("run", "endless.yml", "--json", NO_PROXY="*")
    told = json.loads(answer.out)
    assert told["status"] == "success", told["message"]
    assert "more than 3000000 bytes" in told["data"]["__errors__"][0]["error"]["message"]
    assert int(told["data"]["peak"].split()[1]) < 100_000


def test_a_loop_has_a_bound(run_flow, workspace):
    (workspace / "tasks/child.yml").write_text("steps: []\n")
    run = run_flow("""
steps:
  - {name: many, type: jq, jq: {expression: "[range(300000)]"}}
  - {name: loop, type: flow_loop, flow_loop: {path: child.yml, data_key: many}, ignore_errors: max_items}
  - {name: many, type: set_fact, set_fact: {value: []}}
""")
    assert run.status == "success", run.message
    assert "300000" in run.errors[0]["error"]["message"]


@pytest.mark.parametrize("content", ["NaN", "[Infinity]", '{"a": -Infinity}', "1e999"])
@pytest.mark.parametrize("kind", ["json", "yaml"])
def test_a_number_that_is_none_does_not_get_in(run_flow, workspace, content, kind):
    if kind == "yaml":
        content = content.replace("NaN", ".nan").replace("Infinity", ".inf").replace("1e999", "1.0e+999")
    (workspace / "data").mkdir()
    (workspace / "data/f").write_text(content)
    run = run_flow(f"steps: [{{name: f, type: file, file: {{path: f, type: {kind}}}}}]")
    assert run.status == "failed"
    assert "f" not in run.result
    assert "Traceback" not in run.log


@pytest.mark.parametrize("expression", ["nan", "infinite", "[1, -infinite]", "{a: nan}"])
def test_a_number_that_is_none_does_not_come_out_of_jq(run_flow, expression):
    run = run_flow(f"steps: [{{name: f, type: jq, jq: {{expression: '{expression}'}}}}]")
    assert run.status in ("success", "failed")
    json.dumps(run.result, allow_nan=False)
    assert "Traceback" not in run.log


@pytest.mark.parametrize("value", [HUGE, -HUGE, [HUGE], {"a": HUGE}], ids=["positive", "negative", "list", "mapping"])
def test_huge_integers_go_everywhere_or_are_refused(flows, workspace, value):
    (workspace / "input.json").write_text(json.dumps(value))
    (workspace / "tasks/huge.yml").write_text("""
steps:
  - {name: copy, type: set_fact, set_fact: {value: "{{ __input__ }}"}}
  - {name: shaped, type: jq, jq: {data_key: __input__, expression: "."}, ignore_errors: .}
  - {name: write json, type: file, file: {path: a.json, mode: write, type: json, data_key: __input__}}
  - {name: read json, type: file, file: {path: a.json, type: json}}
  - {name: write yaml, type: file, file: {path: a.yml, mode: write, data_key: __input__}}
  - {name: read yaml, type: file, file: {path: a.yml}}
  - {name: rows, type: set_fact, set_fact: {value: [{a: 1}]}}
  - {name: table, type: table, table: {mode: write, path: a.csv, data_key: __input__}, ignore_errors: .}
  - {name: shown, type: debug, debug: {}}
""")
    answer = flows("run", "huge.yml", "--data", "input.json", "--json")
    told = json.loads(answer.out)
    assert told["status"] == "success", told["message"]
    assert told["data"]["read json"] == told["data"]["read yaml"] == value
    assert "Traceback" not in answer.err + flows("logs", "huge").out


BAD = b"\xff\xfe\xc3\x28\xed\xa0\x80"


@pytest.mark.parametrize(
    "step",
    [
        "{type: file, file: {path: bad, type: json}}",
        "{type: file, file: {path: bad}}",
        "{type: file, file: {path: bad, type: text}}",
        "{type: table, table: {path: bad, format: csv}}",
        "{type: table, table: {path: bad, format: jsonl}}",
        "{type: shell, shell: {command: cat bad}}",
        "{type: shell, shell: {command: cat bad, parse: json}}",
        "{type: shell, shell: {command: cat bad, parse: lines}}",
        "{type: shell, shell: {command: 'cat bad >&2; exit 1'}}",
        "{type: jinja, jinja: {path: bad.j2}}",
    ],
)
def test_bytes_that_are_no_text_are_a_step_error(run_flow, workspace, step):
    (workspace / "data").mkdir()
    (workspace / "data/bad").write_bytes(BAD)
    (workspace / "tasks/bad.j2").write_bytes(BAD)
    run = run_flow(f"steps: [{{name: s, {step[1:]}]")
    assert (run.status, run.reason) == ("failed", "error")
    assert "Traceback" not in run.log


def test_a_variable_that_is_no_text_reaches_nobody(flows, workspace, environment):
    (workspace / "tasks/f.yml").write_text("steps: [{name: s, type: shell, shell: {command: env}}]\n")
    bad = os.fsdecode(BAD)
    answer = flows("run", "f.yml", "--json", SOME=bad, SECRET_SOME=bad)
    assert answer.code == 0, answer.err


@pytest.mark.parametrize("kind", ["json", "yaml"])
@pytest.mark.parametrize("depth", [150, 300, 100_000])
def test_deep_values_are_read_or_refused(run_flow, workspace, kind, depth):
    (workspace / "data").mkdir()
    (workspace / "data/deep").write_text("[" * depth + "]" * depth)
    run = run_flow(f"steps: [{{name: deep, type: file, file: {{path: deep, type: {kind}}}}}]")
    assert run.status == ("success" if depth == 150 else "failed"), run.message
    assert run.reason == ("" if depth == 150 else "error")


@pytest.mark.parametrize("depth", [100, 5000, 9000])
def test_deep_values_out_of_jq_do_no_harm(run_flow, depth):
    run = run_flow(f"""
steps:
  - {{name: deep, type: jq, jq: {{expression: "reduce range({depth}) as $i (1; [.])"}}}}
  - {{name: shown, type: debug, debug: {{data_key: deep}}}}
  - {{name: kept, type: file, file: {{path: deep.json, mode: write, type: json, data_key: deep}}}}
  - {{name: rendered, type: set_fact, set_fact: {{value: "{{{{ deep | tojson | length }}}}"}}}}
""")
    assert (run.status, run.reason) in (("success", ""), ("failed", "error")), run.message


PATHS = ["../out", "/etc/passwd", "a/../../out", "link/out", "file-link", "./../data/../../out", "..", "\0", "a/\0b"]


@pytest.mark.parametrize(
    "step",
    [
        "{type: file, file: {path: %s, type: text}}",
        "{type: file, file: {path: %s, mode: write, type: json, data_key: v}}",
        "{type: file, file: {path: %s, mode: append, type: json, data_key: v}}",
        "{type: table, table: {path: %s, format: csv}}",
        "{type: table, table: {mode: write, format: csv, path: %s, data_key: v}}",
        "{type: table, table: {mode: append, format: csv, path: %s, data_key: v}}",
        "{type: python, python: {path: %s, function: f}}",
        "{type: jinja, jinja: {path: %s}}",
        "{type: flow, flow: {path: %s}}",
        "{type: flow_loop, flow_loop: {path: %s, data_key: v}}",
        "{type: debug, target: %s, debug: {}}",
        "{type: rest, rest: {uri: 'https://127.0.0.1:1/', verify: %s}}",
        "{type: email, email: {secret: smtp, to: a@example.org, subject: s, body: b, attach: [%s]}}",
    ],
)
def test_no_path_leads_out(run_flow, workspace, step):
    data = workspace / "data"
    data.mkdir()
    outside = workspace.parent / "outside"
    outside.mkdir()
    for folder in (data, workspace / "tasks"):
        (folder / "link").symlink_to(outside)
        (folder / "file-link").symlink_to(outside / "out")
    kept = (outside / "out", workspace / "out", workspace.parent / "out")
    for place in kept:
        place.write_text("untouched")
    (data / "secrets.yml").touch(mode=0o600)
    (data / "secrets.yml").write_text("[{name: smtp, host: 127.0.0.1, port: 1, from: a@example.org}]")
    steps = ["{name: v, type: set_fact, set_fact: {value: [{a: 1}]}}"]
    steps += [
        f"{{name: s{number}, ignore_errors: ., {step[1:] % json.dumps(path)}" for number, path in enumerate(PATHS)
    ]
    run = run_flow(f"steps: [{', '.join(steps)}]")
    assert run.status == "success", run.message
    assert [status for _, status in run.steps[1:]] == ["ignored"] * len(PATHS)
    for error in run.errors:
        told = error["error"]["message"]
        assert any(word in told for word in ("leads out", "not a valid path", "is refused", "templates folder")), told
        assert str(workspace.parent) not in told
    for place in kept:
        assert place.read_text() == "untouched"
    assert sorted(each.name for each in outside.iterdir()) == ["out"]


@pytest.mark.parametrize("name", [".env", "data/secrets.yml", "data/config.yml", "data/link"])
def test_a_template_never_shows_the_settings(flows, workspace, name):
    (workspace / "data").mkdir()
    (workspace / "data/secrets.yml").write_text("[{name: a, token: hidden}]")
    (workspace / "data/config.yml").write_text("{}  # hidden")
    (workspace / ".env").write_text("A=hidden")
    (workspace / "data/link").symlink_to(workspace / ".env")
    (workspace / "own.yml").write_text(f"""
steps:
  - {{name: a, type: jinja, jinja: {{path: {name}}}, ignore_errors: .}}
  - {{name: b, type: jinja, jinja: {{path: t.j2}}}}
""")
    (workspace / "t.j2").write_text("{% include '" + name + "' %}")
    answer = flows("run", "./own.yml", "--json")
    assert "hidden" not in answer.out + answer.err
    assert "is a settings file" in json.loads(answer.out)["message"]


ESCAPES = [
    "{{ ''.__class__ }}",
    "{{ ''|attr('__class__') }}",
    "{{ '{0.__class__}'.format('') }}",
    "{{ '{0.__class__}'.format_map({'0': ''}) }}",
    "{{ ('%s' | format('')).__class__ }}",
    "{{ self.__init__.__globals__ }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ joiner.__init__.__globals__.os }}",
    "{{ namespace.__init__ }}",
    "{{ lipsum.__globals__ }}",
    "{{ range.__self__ }}",
    "{{ [].append.__self__.__class__ }}",
    "{{ __input__['__class__'].__mro__ }}",
    "{{ ['']|map(attribute='__class__')|list }}",
    "{{ __errors__.append(1) }}",
    "{{ __input__.update({'a': 1}) }}",
    "{{ range(10 ** 9)|list }}",
    "{% set x = ''.__class__ %}{{ x }}",
    "{% for k in ().__class__.__base__.__subclasses__() %}{{ k }}{% endfor %}",
    "{% import '/etc/passwd' as x %}{{ x }}",
    "{% include '../../etc/passwd' %}",
]


@pytest.mark.parametrize("where", ["value", "condition", "file"])
def test_no_template_reaches_the_host_language(run_flow, workspace, where):
    steps = []
    for number, template in enumerate(ESCAPES):
        (workspace / f"tasks/{number}.j2").write_text(template)
        text = json.dumps(template)
        written = {
            "value": f"type: set_fact, set_fact: {{value: {text}}}",
            "condition": f"type: debug, when: {text}, debug: {{}}",
            "file": f"type: jinja, jinja: {{path: {number}.j2}}",
        }[where]
        steps.append(f"{{name: s{number}, ignore_errors: ., {written}}}")
    run = run_flow(f"steps: [{', '.join(steps)}]", payload={"a": 1})
    assert run.status == "success", run.message
    assert run.result["__input__"] == {"a": 1}
    shown = json.dumps(run.result)
    for word in ("<class", "built-in", "root:x"):
        assert word not in shown
    for number, template in enumerate(ESCAPES):
        # What the sandbox does not refuse renders as nothing.
        assert str(run.result.get(f"s{number}", "")).strip("[], '") == "", template


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(9)
)


@pytest.mark.parametrize(
    "content",
    [
        "!!python/object/apply:os.system ['touch hacked']",
        "!!python/name:os.system",
        "!!python/object/new:subprocess.Popen [[touch, hacked]]",
        "!own thing",
        BOMB,
        "&a [*a]",
        "? {a: 1}\n: 2\n? [1]\n: 3",
        "<<: [1]",
    ],
)
@pytest.mark.parametrize("where", ["flow", "file", "data", "secrets"])
def test_yaml_is_data_and_nothing_else(flows, workspace, content, where):
    data = workspace / "data"
    data.mkdir()
    flow = (
        "steps:\n- {name: s, type: rest, rest: {uri: 'http://127.0.0.1:1', authentication: {type: token, secret: a}}}\n"
    )
    if where == "file":
        flow = "steps: [{name: s, type: file, file: {path: a.yml}}]\n"
    (workspace / "tasks/f.yml").write_text(content if where == "flow" else flow)
    for name in ("secrets.yml", "a.yml"):
        (data / name).touch(mode=0o600)
        (data / name).write_text(content)
    answer = flows("run", "f.yml", "--json", *(["--data", "data/a.yml"] if where == "data" else []), cwd=workspace)
    assert answer.code in (0, 1, 2)
    assert "Traceback" not in answer.err + answer.out
    assert not list(workspace.rglob("hacked"))


def texts() -> st.SearchStrategy[str]:
    odd = st.sampled_from(
        [
            "",
            ".",
            "..",
            "__input__",
            "a",
            "\0",
            "\n",
            "{{ a }}",
            "{{ a.b.c }}",
            "{% raw %}",
            "1e999",
            "*",
            "(",
            "(?i",
            "[.[]?]",
            ".a.b",
            "error",
            "../x",
            "x" * 5000,
            "\ud800",
            "😀",
            "-1",
            "NaN",
            "null",
            "{",
        ]
    )
    return odd | st.text(max_size=8)


NUMBERS = st.integers() | st.sampled_from([HUGE, -1, 0, 2**63, -(2**63) - 1]) | st.floats()
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | texts() | st.dates() | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts() | st.integers(), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(["a", "b", ".", "__input__", "__errors__", "nowhere"]) | texts()
PROGRAMS = st.sampled_from(
    [
        ".",
        ".a",
        "[.[]?]",
        "tostring",
        "tojson",
        "error(.)",
        "nan",
        "keys",
        "empty",
        ". , .",
        "tonumber",
        "@base64d",
        "fromjson",
        "input",
        "[paths]",
        "ltrimstr(1)",
        "todate",
        "implode",
        "1e1000",
        "-(.)",
    ]
)
TEMPLATES = (
    st.sampled_from(
        [
            "{{ a }}",
            "{{ a.b }}",
            "{{ a.b.c }}",
            "{{ a + 1 }}",
            "{{ a | int }}",
            "{{ a | tojson }}",
            "{{ a[0] }}",
            "{{ b ~ a }}",
            "{{ a | length }}",
            "{{ __input__ }}",
            "{{ a | format(1) }}",
            "{{ 1 / 0 }}",
        ]
    )
    | VALUES
)
OPTIONS = {
    "set_fact": st.fixed_dictionaries({"value": TEMPLATES}, optional={"parse": st.sampled_from(["json", "yaml"])}),
    "jq": st.fixed_dictionaries({"expression": PROGRAMS}, optional={"data_key": KEYS}),
    "debug": st.fixed_dictionaries({}, optional={"data_key": KEYS, "type": st.sampled_from(["yaml", "json", "text"])}),
    "goto": st.fixed_dictionaries({"step_name": st.sampled_from(["__end__", "__exit__", "s1", "s2"]) | TEMPLATES}),
    "exit": st.fixed_dictionaries({"message": TEMPLATES}),
    "sleep": st.fixed_dictionaries({"seconds": st.sampled_from([0, 0.001, -1, "1"])}),
    "file": st.fixed_dictionaries(
        {"path": st.sampled_from(["f", "g/h"]) | texts()},
        optional={
            "mode": st.sampled_from(["read", "write", "append"]),
            "data_key": KEYS,
            "type": st.sampled_from(["json", "yaml", "text"]),
        },
    ),
    "table": st.fixed_dictionaries(
        {"path": st.sampled_from(["t.csv", "t.jsonl", "t.tsv"]) | texts()},
        optional={
            "mode": st.sampled_from(["read", "write", "append", "filter", "group"]),
            "data_key": KEYS,
            "columns": VALUES,
            "where": texts(),
            "by": VALUES,
            "limit": NUMBERS,
        },
    ),
    "jira_names_merge": st.fixed_dictionaries({"data_key": KEYS}, optional={"list_key": KEYS}),
    "flow": st.fixed_dictionaries(
        {"path": st.sampled_from(["fuzz.yml", "none.yml"]) | texts()}, optional={"data_key": KEYS}
    ),
    "flow_loop": st.fixed_dictionaries({"path": st.just("none.yml") | texts(), "data_key": KEYS}),
}
PROPERTIES = {
    "when": texts() | VALUES,
    "result_key": st.sampled_from(["a", "b"]),
    "jq_expression": PROGRAMS,
    "jq_output": st.sampled_from(["auto", "list", "first"]),
    "ignore_errors": st.sampled_from([".", "no", ["a", "("]]),
    "on_error_goto": st.sampled_from(["__end__", "s1", "s2", "__exit__"]),
    "retry": st.sampled_from([{"attempts": 2, "delay": 0}, {"attempts": 0}]),
    "timeout": st.sampled_from([5, 0.5, 0, -1]),
}


@st.composite
def written_flows(draw: st.DrawFn) -> dict[str, object]:
    steps = []
    for number in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(sorted(OPTIONS)))
        more = {
            key: draw(PROPERTIES[key])
            for key in draw(st.lists(st.sampled_from(sorted(PROPERTIES)), max_size=2, unique=True))
        }
        steps.append({"name": f"s{number}", "type": kind, kind: draw(OPTIONS[kind]), **more})
    flow: dict[str, object] = {"steps": steps, "max_steps": 20}
    if draw(st.booleans()):
        flow["finally_step"] = "s0"
    if draw(st.booleans()):
        flow["strict"] = True
    return flow


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(flow=written_flows(), payload=VALUES)
def test_no_flow_brings_anything_but_its_own_end(run_flow, flow, payload):
    try:
        text = yaml.dump(flow, allow_unicode=True)
        text.encode()
    except (UnicodeEncodeError, yaml.YAMLError):
        return
    run = run_flow(text, payload=payload if is_json(payload) else None, name="fuzz.yml", timeout=60)
    assert run.status in STATUSES
    assert run.reason in ("", "error", "refused", "timeout"), run.message
    assert "Traceback" not in run.log
    json.dumps(run.result)


def is_json(value: object) -> bool:
    try:
        return json.loads(json.dumps(value, allow_nan=False)) == value
    except (TypeError, ValueError):
        return False


@pytest.mark.parametrize(
    "text",
    [
        "{{ 'x' * 10**9 }}",
        "{{ 'x' * 10**9 | length }}",
        "{{ [1] * 10**9 }}",
        "{{ 10 ** 10000000000 }}",
        "{{ 'x'.ljust(10**9) }}",
        "{{ 'x' | center(1000000000) }}",
        "{{ '%1000000000d' | format(1) }}",
        "{{ '{:1000000000}'.format(1) }}",
    ],
)
def test_a_template_that_makes_a_huge_text_is_checked_quickly_and_refused(flows, workspace, text):
    (workspace / "tasks/huge.yml").write_text(f'steps: [{{name: h, type: set_fact, set_fact: {{value: "{text}"}}}}]\n')
    bounded = [
        "sh",
        "-c",
        'ulimit -v 1500000; exec "$0" "$@"',
        sys.executable,
        "-P",
        "-m",
        "scflows",
        "--home",
        str(workspace),
    ]
    checked = subprocess.run([*bounded, "validate"], capture_output=True, text=True, timeout=100, check=False)
    assert checked.returncode == 0, checked.stderr
    answer = flows("run", "huge.yml", "--json")
    assert json.loads(answer.out)["status"] == "failed"


def test_nothing_that_programs_say_as_they_end_is_lost(run_flow):
    # Each ends in the very moment in which its pipes are looked at without anything in them.
    steps = ", ".join(
        f"{{name: s{number}, type: shell, shell: {{command: 'sleep 0.25; echo {number}'}}}}" for number in range(8)
    )
    for _ in range(3):
        result = run_flow(
            f"{{max_parallel: 8, steps: [{steps}, {{name: j, needs: [s1], type: sleep, sleep: {{seconds: 0}}}}]}}"
        ).result
        assert [result[f"s{number}"] for number in range(8)] == [f"{number}\n" for number in range(8)]


def test_a_program_that_eats_all_memory_ends_its_run_and_not_the_machine(workspace, environment):
    (workspace / "tasks/eat.yml").write_text(
        "steps: [{name: eat, timeout: 60, type: jq, jq: {expression: '[range(1e18)] | length'}}]\n"
    )
    # Half a gibibyte stands for the machine's memory: a limit that is there already holds.
    command = [sys.executable, "-P", "-m", "scflows", "--home", str(workspace), "run", "eat.yml", "--json"]
    bounded = ["sh", "-c", 'ulimit -d 524288; exec "$0" "$@"', *command]
    ended = subprocess.run(bounded, env=environment, capture_output=True, text=True, timeout=120, check=False)
    told = json.loads(ended.stdout)
    assert told["status"] in ("failed", "crashed")
    assert "eat" in told["message"]
    assert "Traceback" not in ended.stderr
