"""What the flow language says of every step: order, keys, conditions, templates, jq."""

from __future__ import annotations

import json

import pytest

KEPT = "{name: kept, type: set_fact, set_fact: {value: old}}"


@pytest.mark.language("§2 Steps")
@pytest.mark.parametrize(
    "step",
    [
        "type: set_fact, when: 'gone.deep', set_fact: {value: new}",
        "type: set_fact, set_fact: {value: '{{ gone.deep }}'}",
        "type: jq, jq: {data_key: gone, expression: .}",
        "type: rest, rest: {uri: 'http://127.0.0.1:9/', authentication: {type: token, secret: gone}}",
        "type: file, file: {path: gone.yml}",
        "type: set_fact, jq_expression: 'error(\"no\")', set_fact: {value: new}",
        "type: set_fact, jq_expression: '.gone', set_fact: {value: new}",
        "type: switch, jq_expression: 'error(1)', switch: {data_key: ., cases: [], default: {type: debug, debug: {}}}",
        "type: flow_loop, flow_loop: {path: gone.yml, data_key: __errors__}",
    ],
    ids=["when", "template", "data_key", "secret", "action", "jq", "jq-of-text", "switch", "flow_loop"],
)
def test_after_an_error_at_any_stage_the_key_keeps_what_it_had(run_flow, step):
    run = run_flow(f"""
        steps:
          - {KEPT}
          - {{name: s, result_key: kept, on_error_goto: look, {step}}}
          - {{name: look, type: jq, jq: {{expression: ".__errors__ | length"}}}}
    """)
    assert run.status == "success", run.message
    assert (run.result["kept"], run.result["look"]) == ("old", 1)
    assert "s" not in run.result


@pytest.mark.language("§2 Steps")
@pytest.mark.parametrize(
    "step",
    [
        "type: jq, jq: {data_key: gone, expression: .}",
        "type: set_fact, set_fact: {value: '{{ gone.deep }}'}",
        "type: rest, rest: {uri: 'http://127.0.0.1:9/', authentication: {type: token, secret: gone}}",
        "type: rest, rest: {uri: \"http://127.0.0.1:9/{{ secret('gone').token }}\"}",
        "type: file, file: {path: '../out.yml'}",
        "type: flow, flow: {path: gone.yml}",
        "type: set_fact, jq_expression: 'error(1)', set_fact: {value: new}",
        "type: set_fact, target: '../out', set_fact: {value: new}",
    ],
    ids=["data_key", "template", "secret", "secret-in-template", "path", "flow", "jq", "target"],
)
def test_a_skipped_step_does_nothing_that_could_hurt_it(run_flow, step):
    run = run_flow(f"steps: [{KEPT}, {{name: s, when: gone, result_key: kept, {step}}}]")
    assert (run.status, run.errors, run.result["kept"]) == ("success", [], "old")
    assert run.steps[1] == ("s", "skipped")


@pytest.mark.language("§2 Steps")
def test_the_shape_comes_after_the_action_and_not_for_jumps(run_flow):
    run = run_flow("""
        steps:
          - {name: shaped, type: set_fact, jq_expression: ". + 1", set_fact: {value: 1}}
          - {name: go, type: goto, jq_expression: 'error("no")', goto: {step_name: out}}
          - {name: out, type: exit, jq_expression: .message, exit: {message: enough}}
    """)
    assert run.status == "exit"
    assert run.result["shaped"] == 2
    assert run.result["out"] == {"message": "enough"}


#: Every step type that has a `data_key`: its options but the key, and what it gives for a mapping `{"a": [1]}`.
READERS = {
    "file": ("{path: out.yml, mode: write", {}),
    "jq": ("{expression: .a", [1]),
    "jinja": ("{path: t.j2", "[1]"),
    "flow": ("{path: echo.yml", [1]),
    "switch": ("{cases: [], default: {type: jq, jq: {expression: .a}}", [1]),
    "debug": ("{type: json", {"a": [1]}),
    "python": ("{path: f.py, function: f", [1]),
    "shell": ("{command: cat, parse: json", {"a": [1]}),
    "rest": ("{uri: 'http://127.0.0.1:9/', method: POST", None),
    "email": ("{secret: s, to: a@b.example, subject: x, template: t.j2", None),
    "table": ("{mode: write, path: out.csv", None),
    "database": ("{sqlite: out.db, mode: upsert, table: t, key: k", None),
    "flow_loop": ("{path: echo.yml", None),
    "jira_names_merge": ("{", None),
    "kafka": ("{secret: s, topic: t", None),
    "mqtt": ("{secret: s, topic: t", None),
    "redis": ("{secret: s, command: set, key: k", None),
    "s3": ("{secret: s, bucket: b, mode: put, key: k", None),
}
#: What is told where all data is nothing that the step can take.
TOLD = {
    "rest": "Connection refused",
    "email": "secret 's' not found",
    "table": "is not a list of mappings",
    "database": "is not a list of mappings",
    "flow_loop": "must be a list",
    "jira_names_merge": "has no `names`",
    **dict.fromkeys(("kafka", "mqtt", "redis", "s3"), "secret 's' not found"),
}


@pytest.fixture
def read(run_flow, workspace):
    """Run a step type that reads a key of the data."""

    def run(kind, key, payload=None):
        (workspace / "data").mkdir(exist_ok=True)
        (workspace / "tasks" / "t.j2").write_text("{{ data.a }}")
        (workspace / "tasks" / "echo.yml").write_text(
            "steps: [{name: out, type: jq, jq: {data_key: __input__, expression: .a}}]"
        )
        (workspace / "data" / "f.py").write_text("def f(data):\n    return data['a']\n")
        for path in ("data/f.py", "tasks/echo.yml"):
            (workspace / path).chmod(0o600)
        name = "stdin_key" if kind == "shell" else "data_key"
        options = READERS[kind][0]
        options += f"{'' if options == '{' else ', '}{name}: {key}}}"
        return run_flow(
            f"""
            steps:
              - {{name: a, type: jq, jq: {{data_key: __input__, expression: .a}}}}
              - {{name: s, type: {kind}, {kind}: {options}}}
            """,
            payload=payload,
        )

    return run


@pytest.mark.language("§2 Steps")
def test_every_step_type_that_reads_a_key_is_among_these():
    from scflows.steps import options_of
    from scflows.steps.registry import find_step, step_types

    keys = {"data_key", "stdin_key"}
    # `set_fact`, `goto`, `exit`, `sleep` and `runs` read no key.
    assert {kind for kind in step_types() if keys & options_of(find_step(kind)).keys()} <= set(READERS)


@pytest.mark.language("§2 Steps")
@pytest.mark.parametrize("kind", READERS)
def test_a_dot_is_all_the_data_in_every_step_type(read, kind):
    run = read(kind, "'.'", {"a": [1]})
    if kind in TOLD:
        assert run.status == "failed"
        assert TOLD[kind] in run.message
        return
    assert run.status == "success", run.message
    told = READERS[kind][1]
    found = run.result["s"]
    if kind == "flow":
        found = found["out"]
    if kind == "debug":
        assert found == {}
        assert '"__input__": {"a": [1]}' in run.log
    elif kind == "shell":
        assert (found["a"], found["__input__"]) == ([1], {"a": [1]})
    else:
        assert found == told


@pytest.mark.language("§2 Steps")
@pytest.mark.parametrize("kind", [kind for kind in READERS if kind != "debug"])
def test_a_key_that_is_not_in_the_data_is_an_error_in_every_step_type(read, workspace, kind):
    (workspace / "data").mkdir()
    (workspace / "data" / "secrets.yml").touch(mode=0o600)
    (workspace / "data" / "secrets.yml").write_text(
        "- {name: s, host: 127.0.0.1, port: 9, username: a@b.example, password: b}"
    )
    run = read(kind, "gone", {"a": 1})
    assert run.status == "failed"
    assert run.errors[0]["error"]["message"] == "the data has no key 'gone'"
    assert "s" not in run.result


CONDITIONS = [
    ("false", False),
    ("true", True),
    ("0", False),
    ("1", True),
    ("0.0", False),
    ("-2.5", True),
    ("[]", True),
    ("[true, 1, '1 == 1']", True),
    ("[true, 0]", False),
    ("'text'", False),
    ('"flag"', True),
    ("'one'", True),
    ("'word'", False),
    ("'zero'", False),
    ("'number'", True),
    ("'negative'", True),
    ("'null_'", False),
    ("'unknown'", False),
    ("'unknown == 1'", False),
    ("'no_rows'", False),
    ("'no_map'", False),
    ("'no_text'", False),
    ("'map'", True),
    ("'false_text'", False),
    ("'blanks'", False),
    ("'{{ flag }} '", True),
    ("'not false_text'", True),
    ("'not flag'", False),
    ("'not word'", True),
    ("'not (flag and word)'", True),
    ("'flag and one'", True),
    ("'word and number'", False),
    ("'number and word'", False),
    ("'false_text or word or no_rows'", False),
    ("'false_text or one'", True),
    ("'number if false_text else zero'", False),
    ("'word if flag else number'", False),
    ("'(word or number) == word'", True),
    ("'word == \"sure\" and not no_rows'", True),
    ("'not unknown and not null_ and not zero and not no_map'", True),
    ("'{{ flag }}'", True),
    ("'{{ number }}'", False),
    ("'{{ 1 == 1 }}'", True),
    ("'{{ rows }}'", False),
    ("'{{ unknown }}'", False),
    ("'{% if rows %}yes{% endif %}'", True),
    ("rows | length > 1 and 'a' in map", True),
    ("'rows | select(\"odd\") | list'", True),
]


@pytest.mark.language("§2 Conditions")
def test_what_is_true(run_flow):
    names = {
        "flag": "Yes", "one": "1", "word": "sure", "zero": 0, "number": 7, "negative": -1.5, "null_": None,
        "no_rows": [], "no_map": {}, "no_text": "", "map": {"a": 0}, "rows": [1, 2], "false_text": "false",
        "blanks": " true ",
    }  # fmt: skip
    steps = [
        f"{{name: {name}, type: set_fact, set_fact: {{value: {json.dumps(value)}}}}}" for name, value in names.items()
    ]
    steps += [
        f"{{name: c{at}, type: set_fact, when: {each}, set_fact: {{value: 1}}}}"
        for at, (each, _) in enumerate(CONDITIONS)
    ]
    run = run_flow("steps:\n" + "".join(f"  - {step}\n" for step in steps))
    assert run.status == "success", run.message
    found = [(condition, f"c{at}" in run.result) for at, (condition, _) in enumerate(CONDITIONS)]
    assert found == CONDITIONS


@pytest.mark.language("§2 Templates")
def test_nothing_but_the_named_options_is_a_template(run_flow, workspace):
    (workspace / "tasks" / "{{ x }}.yml").write_text("steps: []")
    (workspace / "tasks" / "{{ x }}.j2").write_text("found")
    run = run_flow(
        """
        steps:
          - {name: x, type: set_fact, set_fact: {value: y}}
          - {name: "{{ x }}", type: jq, jq: {data_key: x, expression: '"{{ x }}"'}}
          - {name: shape, type: jq, jq: {expression: .x}, jq_expression: '. + "{{ x }}"', result_key: "{{ x }}2"}
          - {name: child, type: flow, flow: {path: "{{ x }}.yml"}, jq_expression: .__status__.type}
          - {name: file, type: jinja, jinja: {path: "{{ x }}.j2"}}
          - {name: keys, type: set_fact, set_fact: {value: {"{{ x }}": "{{ x }}"}}}
          - {name: read, type: jq, jq: {data_key: "{{ x }}2", expression: .}}
          - {name: said, type: shell, shell: {command: [echo, -n, "{{ x }}"]}}
          - {name: bad, type: jq, ignore_errors: "{{ x }}", jq: {expression: 'error("{{ x }}")'}}
          - {name: by, type: switch, switch: {data_key: "{{ x }}", cases: [
              {when: '\\{\\{ x', step: {type: set_fact, set_fact: {value: matched}}}]}}
        """
    )
    assert run.status == "success", run.message
    assert run.result["{{ x }}"] == "{{ x }}"
    assert run.result["{{ x }}2"] == run.result["read"] == "y{{ x }}"
    assert (run.result["child"], run.result["file"]) == ("success", "found")
    assert run.result["keys"] == {"{{ x }}": "y"}
    assert run.result["said"] == "{{ x }}"
    assert run.errors[0]["ignored"] == "{{ x }}"
    assert run.result["by"] == "matched"


@pytest.mark.language("§2 Templates")
@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ rows | join('-') | upper }}", "A-B"),
        ("{{ rows is iterable }}", "True"),
        ("{% for row in rows if row != 'a' %}{{ loop.index }}{{ row }}{% endfor %}", "1b"),
        ("{# nothing #}x", "x"),
        ("[{{ unknown }}]", "[]"),
        ("[{{ my key }}]", None),
        ("{{ html }} {{ '<&>\"' }}", '<b>&</b> <&>"'),
        ("{{ braces }}", "{{ rows }} {% raw"),
        ("{{ rows }}\n", "['a', 'b']\n"),
        ("{{ unknown.attribute }}", None),
        ("{{ unknown['key'] }}", None),
        ("plain } % {", "plain } % {"),
    ],
)
def test_a_template_is_rendered_as_jinja_renders_it_once(run_flow, template, text):
    run = run_flow(
        f"""
        steps:
          - {{name: rows, type: set_fact, set_fact: {{value: [a, b]}}}}
          - {{name: my key, type: set_fact, set_fact: {{value: 1}}}}
          - {{name: html, type: set_fact, set_fact: {{value: "<b>&</b>"}}}}
          - {{name: braces, type: jq, jq: {{data_key: __input__, expression: .}}}}
          - {{name: s, type: set_fact, set_fact: {{value: {json.dumps(template)}}}}}
        """,
        payload="{{ rows }} {% raw",
    )
    if text is None:
        assert run.status == "failed"
        assert "s" not in run.result
    else:
        assert run.status == "success", run.message
        assert run.result["s"] == text


OUT_OF_REACH = [
    "''.__class__",
    "''['__class__']",
    "'' | attr('__class__')",
    "[''] | map(attribute='__class__') | list",
    "['']  | sum(attribute='__class__')",
    "'{0.__class__}'.format('')",
    "'{a.__class__}'.format_map({'a': 1})",
    "'%s' | format(''.__class__)",
    "rows.__init__.__globals__",
    "lipsum.__globals__",
    "cycler.__init__",
    "joiner.__init__.__globals__",
    "namespace.__init__",
    "self.__init__",
    "range.__globals__",
    "rows.append.__self__",
    "(rows | map('upper')).gi_frame",
    "range(1000000000) | list",
    "rows.append(1)",
    "rows.__add__",
    "dict.fromkeys.__self__",
    "unknown.__class__",
    "unknown['__class__']",
]


@pytest.mark.language("§2 Templates")
def test_what_reaches_for_the_host_language_is_a_step_error(run_flow, workspace):
    steps = ["{name: rows, type: set_fact, set_fact: {value: [a]}}"]
    for at, expression in enumerate(OUT_OF_REACH):
        text = f"{{{{ {expression} }}}}"
        (workspace / "tasks" / f"{at}.j2").write_text(text)
        steps += [
            f"{{name: text{at}, type: set_fact, ignore_errors: ., set_fact: {{value: {json.dumps(text)}}}}}",
            f"{{name: file{at}, type: jinja, ignore_errors: ., jinja: {{path: {at}.j2}}}}",
            f"{{name: test{at}, type: debug, ignore_errors: ., when: {json.dumps(expression)}, debug: {{}}}}",
        ]
    run = run_flow("steps:\n" + "".join(f"  - {step}\n" for step in steps))
    assert run.status == "success", run.message
    wanted = [f"{place}{at}" for at in range(len(OUT_OF_REACH)) for place in ("text", "file", "test")]
    assert [entry["step"] for entry in run.errors] == wanted
    assert not set(wanted) & run.result.keys()
    assert run.result["rows"] == ["a"]


OUTPUTS = [
    ("empty", None), (".a[0]", 1), ("false", False), ("null", None), (".a[]", [1, 2]), (".a[:1][]", 1), (".a", [1, 2]),
    ("[.a[:1][]]", [1]), ("null, false", [None, False]), ("[], []", [[], []]),
]  # fmt: skip


@pytest.mark.language("§2 jq")
@pytest.mark.parametrize(
    "step",
    [
        "type: debug, debug: {data_key: __input__}, jq_expression: PROGRAM",
        "type: jq, jq: {data_key: __input__, expression: PROGRAM}",
        "type: set_fact, set_fact: {value: {a: [1, 2]}}, jq_expression: PROGRAM",
        "type: switch, switch: {data_key: ., cases: [], default: "
        "{type: debug, debug: {data_key: __input__}, jq_expression: PROGRAM}}",
    ],
    ids=["any", "jq", "set_fact", "switch"],
)
def test_no_one_or_several_outputs_are_the_same_wherever_jq_stands(run_flow, step):
    steps = "".join(
        f"  - {{name: s{at}, {step.replace('PROGRAM', json.dumps(program))}}}\n"
        for at, (program, _) in enumerate(OUTPUTS)
    )
    run = run_flow(f"steps:\n{steps}", payload={"a": [1, 2]})
    assert run.status == "success", run.message
    assert [(program, run.result[f"s{at}"]) for at, (program, _) in enumerate(OUTPUTS)] == OUTPUTS


NO_VARIABLES = [
    "$ENV | length", "env | length", "[env, $ENV] | add | length", "def env: 1; $ENV | length",
    "{a: $ENV} | .a | length", '"\\($ENV | length)" | tonumber', '. as {$x} | $ENV | length',
    "reduce env[] as $x (0; . + 1)", "$ENV.HOME | length", "env.PATH | length",
    'env | has("PATH") | if . then 1 else 0 end',
    '$ENV | getpath(["PATH"]) | length', "[$ENV[]] | length", "[paths] as $p | $ENV | length",
]  # fmt: skip


@pytest.mark.language("§2 jq")
def test_jq_sees_no_variable_of_the_service(run_flow, monkeypatch):
    monkeypatch.setenv("PRIVATE_THING", "x")
    steps = ""
    for at, program in enumerate(map(json.dumps, NO_VARIABLES)):
        steps += f"  - {{name: own{at}, type: jq, jq: {{expression: {program}}}}}\n"
        steps += f"  - {{name: shape{at}, type: set_fact, set_fact: {{value: {{}}}}, jq_expression: {program}}}\n"
    run = run_flow(f"steps:\n{steps}")
    assert run.status == "success", run.message
    for at, program in enumerate(NO_VARIABLES):
        assert (program, run.result[f"own{at}"], run.result[f"shape{at}"]) == (program, 0, 0)
