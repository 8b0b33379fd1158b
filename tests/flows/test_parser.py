"""What is checked before anything runs, and where the mistake is said to be."""

from __future__ import annotations

import string

import pytest
import yaml
from hypothesis import given, settings, strategies

from scflows.errors import FlowError
from scflows.flows.parser import parse_flow


def mistakes(text: str | bytes) -> list[str]:
    """What is wrong with a flow: lines of `path:line:column: severity: message`."""
    content = text if isinstance(text, bytes) else text.encode()
    try:
        _, warnings = parse_flow(content, "f.yml", "/f.yml")
    except FlowError as error:
        return [str(mistake) for mistake in error.mistakes]
    return [str(mistake) for mistake in warnings]


@pytest.mark.language("§1 What is checked", "§2 Steps")
@pytest.mark.parametrize(
    ("text", "place", "told"),
    [
        ("", "f.yml:1:1", "mapping"),
        ("[]", "f.yml:1:1", "mapping"),
        ("name: x", "f.yml:1:1", "`steps` is missing"),
        ("steps: 5", "f.yml:1:1", "must be a list, not an integer (5)"),
        ("steps:\n- 5", "f.yml:2:3", "must be a mapping"),
        ("steps:\n- {type: jq, jq: {expression: .}}", "f.yml:2:3", "has no `name`"),
        ("steps:\n- {name: 5, type: jq, jq: {expression: .}}", "f.yml:2:4", "needs a text"),
        ("steps:\n- {name: s}", "f.yml:2:3", "has no `type`"),
        ("steps:\n- {name: s, type: jqq}", "f.yml:2:13", "did you mean 'jq'"),
        ("steps:\n- {name: s, type: jq}", "f.yml:2:3", "has no `jq:` with expression"),
        ("steps:\n- {name: s, type: jq, jq: x}", "f.yml:2:23", "needs a mapping"),
        ("steps:\n- {name: s, type: jq, jq: {}}", "f.yml:2:23", "'expression' is missing"),
        ("steps:\n- {name: s, type: jq, jq: {expression: 5}}", "f.yml:2:28", "must be text, not an integer (5)"),
        ("steps:\n- {name: s, type: jq, jq: {expression: 'a b'}}", "f.yml:2:28", "jq 'a b'"),
        ("steps:\n- {name: s, type: jq, jq: {expression: 'import \"a\" as a; .'}}", "f.yml:2:28", "not available"),
        ("steps:\n- {name: s, type: jq, jq: {expression: ., expresion: .}}", "f.yml:2:43", "did you mean 'expression'"),
        ("steps:\n- {name: s, type: file, file: {path: a, mode: read, type: xml}}", "f.yml:2:53", "must be one of"),
        ("steps:\n- {name: s, type: sleep, sleep: {seconds: -1}}", "f.yml:2:34", "must be at least 0"),
        ("steps:\n- {name: s, type: file, file: {path: '{{ a'}}", "f.yml:2:32", "template"),
        ("steps:\n- {name: s, type: sleep, when: 'a b', sleep: {seconds: 1}}", "f.yml:2:26", "condition"),
        (
            "steps:\n- {name: s, type: sleep, ignore_errors: '(', sleep: {seconds: 1}}",
            "f.yml:2:26",
            "regular expression",
        ),
        ("steps:\n- {name: s, type: sleep, result_key: __x__, sleep: {seconds: 1}}", "f.yml:2:26", "special variables"),
        ("steps:\n- {name: s, type: sleep, on_error_goto: t, sleep: {seconds: 1}}", "f.yml:2:26", "is not a step"),
        ("steps:\n- {name: s, type: goto, goto: {step_name: t}}", "f.yml:2:32", "is not a step"),
        ("finally_step: t\nsteps:\n- {name: s, type: sleep, sleep: {seconds: 1}}", "f.yml:1:1", "is not a step"),
        (
            "finally_step: s\nsteps:\n- &a {name: s, type: sleep, sleep: {seconds: 1}}\n- *a",
            "f.yml:1:1",
            "is the name of two steps",
        ),
        ("steps: []\nmax_steps: 0", "f.yml:2:1", "at least 1"),
        ("steps: []\npriority: 101", "f.yml:2:1", "from -100 to 100"),
        ("steps: []\npriority: -101", "f.yml:2:1", "from -100 to 100"),
        ("steps: []\npriority: high", "f.yml:2:1", "must be an integer"),
        ("steps: []\nmutex: a/b", "f.yml:2:1", "use letters, digits"),
        ("steps: []\nmutex: [ok, 5]", "f.yml:2:13", "must be a name or a list of names"),
        ("steps: []\nschedule: {every: 1h, overlap: stop}", "f.yml:2:23", "overlap"),
        ("steps: []\nschedule: {every: 5}", "f.yml:2:12", "5"),
        ("steps: []\nschedule: {evry: 5m}", "f.yml:2:12", "did you mean 'every'"),
        ("steps: []\nschedule: {cron: '61 * * * *'}", "f.yml:2:12", "minute"),
        ("steps: []\ncron: '* * *'", "f.yml:2:1", "fields"),
        ("steps: []\nparams: {a: {type: txt}}", "f.yml:2:14", "unknown type 'txt'"),
        ("steps: []\nparams: {a: {type: integer, default: x}}", "f.yml:2:29", "is not a valid integer"),
        ("steps: []\nparams: {a: {type: integer, default: 9e999}}", "f.yml:2:29", "is not a valid integer"),
        ("steps: []\nparams: {a: {type: integer, min: x, default: 5}}", "f.yml:2:29", "min 'x' is not a valid integer"),
        ("steps: []\nparams: {a: {type: date, max: [1]}}", "f.yml:2:26", "max [1] is not a valid date"),
        ("steps: []\nparams: {a: {type: json, min: 1, default: {}}}", "f.yml:2:34", "cannot be compared with min 1"),
        ("steps: []\nparams: {a: {required: maybe}}", "f.yml:2:14", "required must be true or false"),
        ("steps: []\nparams: {a: {help: [x]}}", "f.yml:2:14", "help must be text"),
        ("steps: []\nparams: {a: {choices: x}}", "f.yml:2:14", "choices must be a list"),
        ("steps: []\nsteps: []", "f.yml:2:1", "duplicate key"),
        ("steps: [\n", "f.yml:2:1", "YAML"),
        ("steps: !!python/object:os.system {}", "f.yml:1:8", "unknown tag"),
        ("a: &a [*a]", "f.yml:1:4", ""),
        (b"steps: []\nname: \xff", "f.yml:2:1", "not UTF-8"),
        ("steps: " + "[" * 100_000, "f.yml:1:67", "nested too deeply"),
        ("- " * 100_000, "f.yml:1:121", "nested too deeply"),
        (
            "a: &a [x, x]\n"
            + "".join(
                f"b{n}: &b{n} [*{'a' if n == 0 else f'b{n - 1}'}" + f", *{'a' if n == 0 else f'b{n - 1}'}]\n"
                for n in range(40)
            ),
            "f.yml:",
            "values",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place(text, place, told):
    found = mistakes(text)
    assert found
    assert found[0].startswith(place), found
    assert told in found[0]


@pytest.mark.language("§1 What is checked")
def test_all_mistakes_are_told_at_once_in_order():
    found = mistakes("""
steps:
  - {name: a, type: jqq}
  - {name: b, type: jq, jq: {expresion: .}}
  - {type: sleep, sleep: {seconds: x}}
finally_step: nowhere
""")
    assert [line.split(":")[1] for line in found] == ["3", "4", "4", "5", "5", "6"]


def test_all_mistakes_of_a_schedule_are_told_at_once():
    found = mistakes("""
steps: []
schedule:
  every: 5
  cron: "61 * * * *"
  timezone: Nowhere/Else
  overlap: stop
  catch_up: {all: none}
  strat_within: 5m
  end_within: 5x
""")
    assert [line.split(":")[1] for line in found] == ["3", "4", "5", "6", "7", "8", "9", "10"]
    assert "schedule has cron and every" in found[0]
    assert "did you mean 'start_within'" in found[6]


def test_an_interval_in_a_zone_is_told_that_its_zone_says_nothing():
    (found,) = mistakes("steps: []\nschedule: {every: 1d, timezone: Europe/Madrid}")
    assert found.startswith("f.yml:2:23: warning: ")
    assert "--no-balance" in found
    assert mistakes("steps: []\nschedule: {cron: '@daily', timezone: Europe/Madrid}") == []


@pytest.mark.language("§1 A flow file")
def test_what_is_not_known_is_left_aside_with_a_warning():
    found = mistakes("nmae: x\nsteps:\n- {name: s, type: sleep, wehn: x, sleep: {seconds: 1}}")
    assert [": warning: " in line for line in found] == [True, True]
    assert "did you mean 'name'" in found[0]
    assert "did you mean 'when'" in found[1]


texts = strategies.text(string.printable, max_size=12)
scalars = strategies.none() | strategies.booleans() | strategies.integers() | strategies.floats() | texts
KEYS = """
    name type steps when jq file rest set_fact sleep goto expression path mode value seconds data_key step_name
    result_key ignore_errors on_error_goto finally_step schedule every cron params max_steps timeout
"""
words = strategies.sampled_from(KEYS.split())
values = strategies.recursive(
    scalars | strategies.sampled_from(["jq", "file", "sleep", ".", "{{ a }}", "{% if", "@daily", "3h", "__end__"]),
    lambda inner: strategies.lists(inner, max_size=4) | strategies.dictionaries(words | texts, inner, max_size=5),
    max_leaves=25,
)
steps = strategies.lists(strategies.dictionaries(words | texts, values, max_size=6), max_size=4)


@pytest.mark.language("§1 What is checked")
@settings(max_examples=120, deadline=None)
@given(strategies.fixed_dictionaries({"steps": steps | values}, optional={"params": values, "schedule": values}))
def test_no_flow_of_any_shape_brings_a_traceback(flow):
    mistakes(yaml.safe_dump(flow))


@pytest.mark.language("§1 What is checked")
@settings(max_examples=120, deadline=None)
@given(strategies.binary(max_size=80) | strategies.text(max_size=80).map(lambda text: text.encode("utf-8", "replace")))
def test_no_bytes_bring_a_traceback(content):
    mistakes(content)
