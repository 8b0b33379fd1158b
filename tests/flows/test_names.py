"""Values that can never work are found before they run."""

from __future__ import annotations

import pytest

from scflows.errors import FlowError
from scflows.flows.parser import parse_flow


def found(text: str) -> list[tuple[int, str, str]]:
    """Line, severity and message of each mistake in a flow."""
    try:
        mistakes = parse_flow(text.encode(), "f.yml", "/f.yml")[1]
    except FlowError as error:
        mistakes = error.mistakes
    return [(each.line, each.severity, each.message) for each in mistakes]


STEPS = """\
params: {day: {type: date, required: true}, mode: {type: text}}
steps:
  - {name: rows, type: set_fact, set_fact: {value: [1]}}
  - {name: two words, type: set_fact, set_fact: {value: 1}}
"""


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("when: rowz, jq: {expression: .}", "step 'x': when: no step or parameter gives 'rowz'; did you mean 'rows'?"),
        ("when: '{{ rowz }}', jq: {expression: .}", "no step or parameter gives 'rowz'"),
        ("when: [rows, other > 1], jq: {expression: .}", "no step or parameter gives 'other'"),
        ("when: day == 1, jq: {expression: .}", "no step or parameter gives 'day'; write params.day"),
        ("when: params.dya, jq: {expression: .}", "there is no parameter 'dya'; did you mean 'day'?"),
        ("when: \"params['dya']\", jq: {expression: .}", "there is no parameter 'dya'; did you mean 'day'?"),
        ("when: two_words, jq: {expression: .}", "give the step 'two words' a result_key without blanks"),
        ("jq: {expression: ., data_key: row}", "step 'x': data_key: no step stores 'row'; did you mean 'rows'?"),
        ("jq: {expression: ., data_key: rows.id}", "data_key is a key, not a path: take the part with a jq step"),
        ("target: 'a/{{ dya }}', jq: {expression: .}", "step 'x': target: no step or parameter gives 'dya'"),
        ("result_key: '{{ params.day }}', jq: {expression: .}", "result_key is not a template"),
    ],
)
def test_a_name_that_nothing_gives_is_a_warning(step: str, message: str) -> None:
    text = STEPS + f"  - {{name: x, type: jq, {step}}}\n"
    (mistake,) = found(text)
    assert mistake[:2] == (5, "warning")
    assert message in mistake[2]
    if "is not a template" not in message:
        assert found("strict: true\n" + text)[0][1] == "error"


@pytest.mark.parametrize(
    "step",
    [
        "type: jq, when: 'rows and __slot__ and params.day', jq: {expression: ., data_key: .}",
        "type: jq, when: 'other is defined and other', jq: {expression: .}",
        "type: jq, when: 'other | default(false)', jq: {expression: .}",
        "type: jq, when: 'params.extra is defined and params.extra', jq: {expression: .}",
        "type: set_fact, set_fact: {value: '{% for a in range(3) %}{{ a }}{% endfor %}{{ params.items() }}'}",
        "type: set_fact, set_fact: {value: '{% set n = 1 %}{{ n }}{{ last }}'}",
        "type: jq, jq: {expression: ., data_key: two words}",
        "type: shell, shell: {command: \"docker ps --format '{{.Names}} {{ other }}'\"}",
        "type: rest, rest: {uri: '{{ rows[0] }}/x'}",
        "type: rest, rest: {uri: 'HTTPS://example.org'}",
        "type: rest, rest: {uri: 'http{{ rows[0] }}://example.org'}",
    ],
)
def test_names_that_are_given_or_may_be_missing_are_fine(step: str) -> None:
    # The last one shows that the order does not matter: a jump may go back.
    assert found(STEPS + f"  - {{name: x, {step}}}\n  - {{name: last, type: set_fact, set_fact: {{value: 1}}}}\n") == []


def test_braces_in_an_option_that_is_no_template_are_a_warning() -> None:
    steps = """\
  - {name: a, type: rest, rest: {uri: "http://localhost", method: post, body: {day: "{{ params.day }}"}}}
  - {name: b, type: flow, flow: {path: "{{ rows[0] }}.yml"}}
  - {name: c, type: shell, shell: {command: [echo, "{{ params.day }}"]}}
  - {name: d, type: sleep, sleep: {seconds: "{{ rows[0] }}"}}
"""
    told = found(STEPS + steps)
    assert [(line, severity) for line, severity, _ in told] == [
        (5, "warning"),
        (6, "warning"),
        (7, "warning"),
        (8, "error"),
    ]
    assert "'body' is not a template: the braces are used as they are written" in told[0][2]
    assert "'path' is not a template" in told[1][2]
    assert (
        "'seconds' must be a duration such as 90, 30s or 15m, not text ('{{ rows[0] }}'); it is not a template"
        in told[3][2]
    )


@pytest.mark.parametrize("uri", ["example.org/x", "//example.org", "ftp://example.org", "localhost:80/{{ rows }}", ""])
def test_an_address_without_http_is_an_error(uri: str) -> None:
    told = found(STEPS + f"  - {{name: x, type: rest, rest: {{uri: '{uri}'}}}}\n")
    assert [each[:2] for each in told] == [(5, "error")]
    assert "uri must begin with http:// or https://" in told[0][2]


def test_names_inside_a_switch_are_checked() -> None:
    step = """\
  - name: s
    type: switch
    switch:
      data_key: kind
      cases:
        - {when: a, step: {type: jq, jq: {data_key: rwos, expression: .}}}
      default: {type: exit, exit: {message: "{{ nothing }}"}}
"""
    assert [(each[0], each[2].rpartition(": ")[2]) for each in found(STEPS + step)] == [
        (8, "no step stores 'kind'"),
        (10, "no step stores 'rwos'; did you mean 'rows'?"),
        (11, "no step or parameter gives 'nothing'"),
    ]


def test_an_option_beside_the_block_says_where_it_belongs() -> None:
    told = found("steps:\n  - {name: a, type: rest, method: post, rest: {uri: 'http://x'}}\n")
    assert told == [(2, "warning", "step 'a': 'method' is ignored here: it is an option, write it below `rest:`")]


@pytest.mark.parametrize(
    ("text", "place", "remedy"),
    [
        ("steps: [{name: a, type: exit, when: {{ a }}, exit: {message: a}}]", 1, "begins with {{ must be in quotes"),
        ("steps:\n- name: a\n  when: {{ a }} > 5\n", 3, "begins with {{ must be in quotes"),
        ("schedule: {every: @hourly}\nsteps: []\n", 1, "begins with @, % or ` must be in quotes"),
        ("schedule: {cron: */5 * * * *}\nsteps: []\n", 1, "begins with * or & must be in quotes"),
        ("name: a: b\nsteps: []\n", 1, "contains a colon and a blank must be in quotes"),
        ("steps:\n\t- {}\n", 2, "indent with blanks, not with tabs"),
    ],
)
def test_a_trap_of_yaml_is_told_with_its_remedy(text: str, place: int, remedy: str) -> None:
    (mistake,) = found(text)
    assert mistake[:2] == (place, "error")
    assert remedy in mistake[2]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("12:30", "YAML reads 12:30 as a number in base 60; put it in quotes if it is a time or text"),
        ("1:30.5", "YAML reads 1:30.5 as a number in base 60"),
        ("0644", "YAML reads 0644 in base 8, as 420; put it in quotes if it is text"),
        ("{no: 1}", "YAML reads the key 'no' as false; put it in quotes"),
        ("[{On: 1}]", "YAML reads the key 'On' as true; put it in quotes"),
    ],
)
def test_what_yaml_reads_otherwise_is_a_warning(value: str, message: str) -> None:
    (mistake,) = found(f"steps:\n  - {{name: a, type: set_fact, set_fact: {{value: {value}}}}}\n")
    assert mistake[:2] == (2, "warning")
    assert message in mistake[2]


@pytest.mark.parametrize(
    "value", ["'12:30'", "0", "0.5", "08", "10", "{true: 1}", "{on: 1}", "yes", "2026-03-05", "-7", "0x1f"]
)
def test_what_yaml_reads_as_expected_is_fine(value: str) -> None:
    step = f"  - {{name: a, type: set_fact, set_fact: {{value: {value}}}, retry: {{attempts: 2, on: ['429']}}}}\n"
    assert found("steps:\n" + step) == []
