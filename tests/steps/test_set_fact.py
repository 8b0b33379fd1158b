"""What `set_fact` promises."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.language("§4 set_fact")


def test_values_keep_their_shape_and_texts_are_rendered(run_flow):
    run = run_flow(
        """
        steps:
          - {name: text, type: set_fact, set_fact: {value: "{{ __input__.rows | length }}"}}
          - {name: deep, type: set_fact, set_fact: {value: {a: ["{{ text }}", 1, true, null, 2.5], "{{k}}": {}}}}
          - {name: empty, type: set_fact, set_fact: {value: ""}}
          - {name: none, type: set_fact, set_fact: {value: null}}
          - {name: day, type: set_fact, set_fact: {value: 2024-03-05}}
          - {name: once, type: set_fact, set_fact: {value: "{{ __input__.braces }}"}}
        """,
        payload={"rows": [1, 2, 3], "braces": "{{ text }}"},
    )
    assert run.status == "success", run.message
    assert run.result["text"] == "3"
    assert run.result["deep"] == {"a": ["3", 1, True, None, 2.5], "{{k}}": {}}
    assert (run.result["empty"], run.result["none"], run.result["day"]) == ("", None, "2024-03-05")
    assert run.result["once"] == "{{ text }}"


def test_a_rendered_text_is_parsed_when_asked(run_flow):
    run = run_flow(
        """
        steps:
          - {name: n, type: set_fact, set_fact: {value: "{{ __input__ | length }}", parse: json}}
          - {name: y, type: set_fact, set_fact: {value: "[{{ n }}, x]", parse: yaml}}
          - {name: bad, type: set_fact, set_fact: {value: "{{ n }} x", parse: json}, ignore_errors: "invalid JSON"}
        """,
        payload=[1, 2],
    )
    assert run.status == "success", run.message
    assert (run.result["n"], run.result["y"]) == (2, [2, "x"])
    assert "bad" not in run.result


@pytest.mark.parametrize("value", [5, [1], {"a": 1}, None])
def test_only_a_text_can_be_parsed(mistakes, value):
    assert mistakes("set_fact", {"value": value, "parse": "json"}) == ["parse: 'parse' needs a text as value"]
