"""What `jq` promises."""

from __future__ import annotations

import pytest

from scflows.errors import StepError

pytestmark = pytest.mark.language("§4 jq step")


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        (".[]", [1, 2, 3]),
        (".[0]", 1),
        ("empty", None),
        (".[] | select(. > 2)", 3),
        ("[.[] | select(. > 2)]", [3]),
        (".[0] == 2", False),
        ("{n: length}", {"n": 3}),
        ("env", {}),
        ("$ENV | length", 0),
    ],
)
def test_the_outputs_become_null_one_value_or_a_list(perform, expression, result):
    assert perform("jq", {"expression": expression, "data_key": "rows"}, {"rows": [1, 2, 3]}) == result


def test_all_data_is_the_default(perform):
    assert perform("jq", {"expression": ".a + .b"}, {"a": 1, "b": 2}) == 3


def test_a_missing_key_and_a_failing_program_are_step_errors(run_flow):
    run = run_flow("""
        steps:
          - {name: gone, type: jq, jq: {data_key: gone, expression: .}, ignore_errors: "no key 'gone'"}
          - {name: bad, type: jq, jq: {expression: ".__input__ | tonumber"}, ignore_errors: "^jq: .* cannot be parsed"}
    """)
    assert run.status == "success", run.message
    assert "gone" not in run.result


def test_the_source_stays_as_it_was(run_flow):
    run = run_flow("steps: [{name: a, type: jq, jq: {data_key: __input__, expression: '.x = 1'}}]", payload={"x": [0]})
    assert run.result["__input__"] == {"x": [0]}
    assert run.result["a"] == {"x": 1}


@pytest.mark.language("§2 jq")
@pytest.mark.parametrize("expression", ["[", "", 'import "a" as a; 1', "nothing_like_it"])
def test_a_program_that_does_not_compile_is_a_mistake(mistakes, expression):
    assert len(mistakes("jq", {"expression": expression})) == 1


@pytest.mark.language("§2 jq")
def test_a_program_that_reads_no_file(perform):
    with pytest.raises(StepError):
        perform("jq", {"expression": "input"}, {})
