"""What `debug` promises."""

from __future__ import annotations

import pytest

from scflows.steps.builtin.debug import MAX_CHARACTERS

pytestmark = pytest.mark.language("§4 debug")


def test_the_value_is_logged_and_is_the_result(run_flow):
    run = run_flow(
        "steps: [{name: d, type: debug, debug: {data_key: __input__}}]", payload={"rows": [{"a": 1}], "é": None}
    )
    assert run.result["d"] == {"rows": [{"a": 1}], "é": None}
    assert "d: rows:" in run.log
    assert "d: - a: 1" in run.log
    assert "d: é: null" in run.log


def test_all_data_is_logged_and_not_stored_again(run_flow):
    run = run_flow("steps: [{name: d, type: debug, debug: {}}]", payload={"seen": "so"})
    assert run.result["d"] == {}
    assert "seen: so" in run.log


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        ("json", {"a": [1, "é"]}, 'd: {"a": [1, "é"]}'),
        ("text", "plain: text", "d: plain: text"),
        ("text", [1, None], "d: [1, null]"),
        ("yaml", "text", "d: text"),
        ("yaml", "\ud800", 'd: "\\ud800"'),
    ],
)
def test_the_types_of_a_log_entry(run_flow, kind, value, shown):
    run = run_flow(f"steps: [{{name: d, type: debug, debug: {{data_key: __input__, type: {kind}}}}}]", payload=value)
    assert run.status == "success", run.message
    assert shown in run.log


@pytest.mark.language("§2 Steps")
def test_a_key_that_is_not_there_is_shown_as_null(run_flow):
    run = run_flow("steps: [{name: d, type: debug, debug: {data_key: gone}}]")
    assert run.status == "success"
    assert run.result["d"] is None
    assert "d: null" in run.log


def test_a_huge_value_is_cut_in_the_log_alone(run_flow):
    text = "x" * (MAX_CHARACTERS + 50)
    run = run_flow("steps: [{name: d, type: debug, debug: {data_key: __input__, type: text}}]", payload=text)
    assert run.result["d"] == text
    assert "… 50 more characters" in run.log
    assert len(run.log) < MAX_CHARACTERS + 2000
