"""Flow language: data goes through every way as it is, or the step is refused; never changed in silence."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from scflows.documents import (
    json_bytes,
    json_text,
    parse_json,
    parse_json_lines,
    parse_yaml,
    received_value,
    yaml_text,
)
from scflows.errors import StepError
from scflows.execution.launch import launch
from scflows.execution.request import RunRequest
from scflows.expressions.comparison import compare
from scflows.expressions.templates import Expressions
from scflows.history.run import FAILED, SUCCESS
from scflows.integrations.forward.payload import from_json, shape_by_jq, shape_by_template

#: Names of methods that Python has for what data consists of.
METHODS = ("items", "keys", "values", "get", "pop", "copy", "update", "count", "index", "title", "format", "real")
#: All there are, half characters too.
LETTERS = st.characters(exclude_categories=())
TEXTS = st.one_of(
    st.text(LETTERS, max_size=8),
    st.sampled_from(["", "true", "null", "~", "1e5", "2026-03-05", "0x1F", "{{ 1 }}", "=1+1", "\ufeff", "a\r", "\0"]),
    st.datetimes().map(datetime.isoformat),
    st.dates().map(lambda day: day.isoformat()),
)  # fmt: skip
INTEGERS = st.one_of(
    st.integers(),
    st.integers(2**53 - 2, 2**53 + 2),
    st.integers(-(10**40), 10**40),
    st.sampled_from([2**63, 2**64 - 1, 2**64 + 1, 10**22, 10**23, 10**300, -(2**63) - 1]),
)
DECIMALS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.1 + 0.2, 1e16, 1e22, 5e-324, 1.7976931348623157e308, -0.0, 123456789.12345679, 1.0]),
)
SCALARS = st.one_of(st.none(), st.booleans(), INTEGERS, DECIMALS, TEXTS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.sampled_from(METHODS), st.text(LETTERS, max_size=4)), inner, max_size=3),
    ),
    max_leaves=10,
)
#: The step that hands `v` on, for each way that a value may take; what comes out is under the name of the way.
WAYS = """
- {name: jq, type: jq, jq: {data_key: v, expression: .}}
- {name: shape, type: debug, debug: {data_key: v}, jq_expression: "[.] | map({v: .}) | .[0].v"}
- {name: fact, type: set_fact, set_fact: {value: "{{ v | tojson }}", parse: json}}
- {name: jinja, type: jinja, jinja: {path: v.j2, data_key: v, parse: json}}
- {name: child, type: flow, flow: {path: child.yml, data_key: v}, jq_output: first, jq_expression: .__input__}
- {name: child whole, type: flow, flow: {path: child.yml, data_key: v}}
- {name: loop, type: flow_loop, flow_loop: {path: child.yml, data_key: list}}
- {name: write json, type: file, file: {path: v.json, mode: write, type: json, data_key: v}}
- {name: json, type: file, file: {path: v.json, type: json}}
- {name: add json, type: file, file: {path: a.json, mode: append, type: json, data_key: v}}
- {name: lines, type: file, file: {path: a.json, type: json}}
- {name: write yaml, type: file, file: {path: v.yml, mode: write, data_key: v}}
- {name: yaml, type: file, file: {path: v.yml}}
- {name: write rows, type: table, table: {path: v.jsonl, mode: write, data_key: rows}}
- {name: rows back, type: table, table: {path: v.jsonl}}
- {name: kept, type: table, table: {mode: filter, data_key: rows, where: "v == w and row.v == v"}}
- {name: body, type: rest, rest: {uri: "{{ server }}/echo", method: post, data_key: list}, jq_expression: .body}
- {name: program, type: shell, shell: {command: [cat], stdin_key: list, parse: json}}
- {name: same, type: set_fact, when: "v == __input__.v", set_fact: {value: true}}
- {name: named, type: set_fact, when: "keyed.items == v and keyed['get'] == v == keyed.count", set_fact: {value: true}}
"""
PREPARED = "".join(
    f"- {{name: {name}, type: file, file: {{path: given/{name}.json, type: json}}}}\n"
    for name in ("v", "list", "rows", "keyed", "server")
)
#: The ways that give the value itself.
WHOLE = ("v", "jq", "shape", "fact", "jinja", "child", "json", "yaml")
#: How a step says that it cannot hold a value; anything else would be a fault of its own.
REFUSALS = re.compile(
    "half a (character|surrogate)|half of a surrogate|YAML cannot represent|not UTF-8|surrogates not allowed"
)


@pytest.fixture(scope="module")
def server():
    # A process of its own: runs are forked, which a process with threads should not be.
    script = Path(__file__).parent.parent / "steps/http_server.py"
    process = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    process.kill()
    process.communicate()


def has_half(value: Any) -> bool:
    if isinstance(value, dict):
        return any(has_half(each) for pair in value.items() for each in pair)
    if isinstance(value, list):
        return any(has_half(each) for each in value)
    return isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value)


def is_split(value: Any) -> bool:
    """Whether a text has the two halves of one character beside each other, which JSON cannot say."""
    return re.search("[\ud800-\udbff][\udc00-\udfff]", str(value)) is not None


def is_same(found: Any, value: Any) -> bool:
    """Whether it is that value, with its kind: 1 is not true, and 1.0 is 1 only as a number."""
    if isinstance(value, dict) and isinstance(found, dict):
        return found.keys() == value.keys() and all(is_same(found[key], value[key]) for key in value)
    if isinstance(value, list) and isinstance(found, list):
        return len(found) == len(value) and all(map(is_same, found, value))
    return isinstance(found, bool) == isinstance(value, bool) and bool(found == value)


@effort(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(value=VALUES)
@example(value={"items": [], "keys": None, "get": {}, "count": 0, "values": {"pop": [[]]}})
@example(value=[2**53 + 1, 2**64 + 1, -(10**30), 0.1 + 0.2, 1e22, 5e-324, {"": 1.0}])
@example(value={"half": ["\ud83d", "\U0001f600"], "\udc00": 1})
@pytest.mark.language("§1 Data")
def test_a_value_goes_through_every_way_as_it_is_or_is_refused(run_flow, workspace, server, monkeypatch, value):
    assume(not is_split(value))
    monkeypatch.setenv("NO_PROXY", "*")
    for file in (workspace / "data").glob("?.*"):
        file.unlink()
    (workspace / "data/templates").mkdir(parents=True, exist_ok=True)
    (workspace / "data/templates/v.j2").write_text("{{ data | tojson }}")
    (workspace / "tasks/child.yml").write_text("steps: []")
    (workspace / "data/given").mkdir(exist_ok=True)
    prepared = {"v": value, "list": [value], "rows": [{"v": value, "w": value}], "server": server}
    prepared["keyed"] = {"items": value, "get": value, "count": value}
    for name, each in prepared.items():
        (workspace / f"data/given/{name}.json").write_text(json.dumps(each))
    steps = PREPARED + re.sub("}\n", ', ignore_errors: ["."]}\n', WAYS)
    run = run_flow("steps:\n" + steps, payload={"v": value})
    assert run.status == SUCCESS, run.message
    found = run.result
    assert is_same(found["__input__"]["v"], value)
    if not has_half(value):
        assert run.errors == []
    for error in run.errors:
        message = error["error"]["message"]
        assert REFUSALS.search(message) or "No such file" in message, error
    results = {
        **{name: found[name] for name in WHOLE if name in found},
        **{name: found[name][0] for name in ("body", "program", "list") if found.get(name)},
        **{name: each["v"] for name in ("rows back", "kept", "rows") for each in found.get(name, ())[:1]},
        **({"child whole": found["child whole"]["__input__"]} if "child whole" in found else {}),
        **({"loop": found["loop"][0]["__input__"]} if "loop" in found else {}),
    }  # fmt: skip
    assert [(name, each) for name, each in results.items() if not is_same(each, value)] == []
    if not has_half(value):
        assert len(results) == 16
        assert (found.get("same"), found.get("named")) == (True, True)
        assert is_same(found["lines"], value)


#: The ways once more without a run around them, for many more values; and those of messages and their forwarding.
EXPRESSIONS = Expressions()
JSON = {
    "jq": lambda value: EXPRESSIONS.filter(".", value),
    "jq shape": lambda value: EXPRESSIONS.filter("[{v: .}] | sort | map(.v) | .[0]", value),
    "template": lambda value: json.loads(EXPRESSIONS.render("{{ v | tojson }}", {"v": value})),
    "macro": lambda value: json.loads(EXPRESSIONS.render("{% set t %}{{ v|tojson }}{% endset %}{{ t }}", {"v": value})),
    "json": lambda value: parse_json(json_text(value), "json"),
    "lines": lambda value: parse_json_lines(f"{json_text(value)}\n{json_text(value)}\n", "lines")[1],
    "yaml": lambda value: parse_yaml(yaml_text(value), "yaml"),
    "message": lambda value: received_value(json_bytes(value), "message"),
    "forward": lambda value: forwarded(shape_by_jq("{v: .payload}", EXPRESSIONS, from_json), value)["v"],
    "forward by template": lambda value: forwarded(
        shape_by_template("{{ payload | tojson }}", EXPRESSIONS, from_json), value
    ),
}  # fmt: skip


def forwarded(shape, value):
    return json.loads(shape(json_bytes(value), "a/b", {}))


@effort(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(value=VALUES)
@example(value={"items": [2**64 + 1, -(10**30)], "keys": 0.1 + 0.2, "get": {"": 1e22}, "title": "\u2028\x85"})
@example(value="\udc00")
@example(value=[2.0**-24, 5.960464477539063e-08, 1.5 * 2.0**-25])
@pytest.mark.language("§1 Data", "§10 kafka")
def test_a_value_is_the_same_in_expressions_documents_and_messages(value):
    assume(not is_split(value))
    for way, hand_on in JSON.items():
        try:
            found = hand_on(value)
        except (StepError, UnicodeEncodeError):
            # Half a character, which UTF-8 cannot say, may be refused; nothing else.
            if not has_half(value):
                raise
        else:
            assert is_same(found, value), way
    # Every value equals itself, and no other kind of value.
    for condition in ("v == w", "w.items == v" if isinstance(value, str) else "v in [w]", "not v != w"):
        names = {"v": value, "w": {"items": value} if ".items" in condition else value}
        assert EXPRESSIONS.evaluate(condition, names), condition
    assert EXPRESSIONS.evaluate("x == [v] and x != v and {'get': v}.get == v", {"v": value, "x": [value]})


@effort(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(value=VALUES)
@example(value=[2**53 + 1, 2**64 + 1, {"items": {}, "half": "\ud83d", "keys": [0.1 + 0.2, 1e300, []]}])
@pytest.mark.language("§1 Data", "§9 Resume")
def test_a_value_is_the_same_after_a_resume(run_flow, workspace, settings, value):
    assume(not is_split(value))
    gate = workspace / "data/gate.json"
    gate.parent.mkdir(exist_ok=True)
    gate.unlink(missing_ok=True)
    run = run_flow(
        """
        steps:
          - {name: again, type: debug, result_key: out, debug: {data_key: __input__}}
          - {name: gate, type: file, file: {path: gate.json, type: json}}
        """,
        payload={"v": value},
    )
    assert run.status == FAILED
    gate.write_text("1")
    resumed = launch(RunRequest(flow="flow.yml", resume=run.outcome.run.id, wants_data=True), settings)
    assert resumed.run.status == SUCCESS, resumed.run.message
    assert is_same(resumed.data["out"], {"v": value})
    assert is_same(resumed.data["__input__"], {"v": value})


COLUMNS = {
    "i": ("integer", INTEGERS),
    "n": ("number", st.one_of(INTEGERS, DECIMALS)),
    "t": ("text", TEXTS),
    "b": ("boolean", st.booleans()),
    "d": ("date", st.dates().map(lambda day: day.isoformat())),
    "at": ("datetime", st.datetimes().map(datetime.isoformat)),
    "zoned": ("datetime", st.datetimes(timezones=st.timezones()).map(lambda each: each.replace(fold=0).isoformat())),
}
ROWS = st.lists(
    st.fixed_dictionaries({name: st.one_of(st.none(), values) for name, (_, values) in COLUMNS.items()}),
    min_size=1,
    max_size=3,
)
HELD = re.compile(
    r"column '\w+': .*(round|would become|no common type|Excel does not support|characters)|a row has no value"
    "|half of a surrogate|half a surrogate|[Ii]nteger|out of (range|bounds)|not a valid"
)


PATHS = ("t.csv", "t.tsv", "t.jsonl", "t.parquet", "t.xlsx")


@effort(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=ROWS)
@example(rows=[{**dict.fromkeys(COLUMNS), "t": "_x000D_\r", "i": 2**53, "n": 0.1 + 0.2, "d": "1899-12-31"}])
@example(rows=[{**dict.fromkeys(COLUMNS), "zoned": "1911-01-01T00:00:00-00:16:08", "at": "1900-02-28T23:59:59.999"}])
@pytest.mark.language("§1 Data", "§10 table")
def test_a_row_goes_through_every_file_as_it_is_or_is_refused(run_flow, rows):
    pytest.importorskip("pyarrow")
    pytest.importorskip("openpyxl")
    kinds = "{" + ", ".join(f"{name}: {kind}" for name, (kind, _) in COLUMNS.items()) + "}"
    steps = "".join(
        f"""
        - {{name: write {path}, type: table, on_error_goto: after {path},
           table: {{path: {path}, mode: write, data_key: rows, columns: {kinds}}}}}
        - {{name: {path}, type: table, table: {{path: {path}, columns: {kinds}}}}}
        - {{name: after {path}, type: set_fact, set_fact: {{value: 1}}}}
        """
        for path in PATHS
    )
    given = "- {name: given, type: debug, result_key: rows, debug: {data_key: __input__}}"
    run = run_flow(f"steps:\n        {given}{steps}", payload=rows)
    assert run.status == SUCCESS, run.message
    for error in run.errors:
        assert error["step"].startswith("write "), error
        assert HELD.search(error["error"]["message"]), error
    refused = {error["step"].removeprefix("write ") for error in run.errors}
    for path in set(PATHS) - refused:
        assert len(run.result[path]) == len(rows), path
        for row, found in zip(rows, run.result[path], strict=True):
            for name, value in row.items():
                # A column with the type `text` has no empty text: that is null.
                assert compare("eq", found[name], value if value != "" else None), (path, name, value, found[name])
