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


LARGE = 12345678901234567


@pytest.mark.language("§2 jq")
@pytest.mark.parametrize(
    ("expression", "result"),
    [
        (".", [LARGE, -LARGE, 2**64, 10**40, 1.0, 0.1, 2.5e-300, 1.5e17]),
        ("map({v: .}) | map(.v)", [LARGE, -LARGE, 2**64, 10**40, 1.0, 0.1, 2.5e-300, 1.5e17]),
        (".[:2] | sort", [-LARGE, LARGE]),
        (".[0] | tostring", "12345678901234567"),
        (".[0] == 12345678901234568", False),
        ("[.[] | select(. == 12345678901234567)]", [LARGE]),
        (".[2] | -.", -(2**64)),
        (".[3] | floor", 10**40),
        ("[.[3]] | add", 10**40),
        (".[0:2] | @csv", "12345678901234567,-12345678901234567"),
        ('"123456789012345" + "6789" | tonumber', 1234567890123456789),
        ("{a: 98765432109876543210}", {"a": 98765432109876543210}),
        ("1760000123 * 1000000000", 1760000123000000000),
        (".[4] + 1", 2),
    ],
)
def test_numbers_come_through_as_they_are(perform, expression, result):
    rows = [LARGE, -LARGE, 2**64, 10**40, 1.0, 0.1, 2.5e-300, 1.5e17]
    found = perform("jq", {"expression": expression, "data_key": "rows"}, {"rows": rows})
    assert found == result
    assert repr(found) == repr(result)


@pytest.mark.language("§2 jq")
@pytest.mark.parametrize(
    "expression",
    [
        ".large + 1",
        ".large - 1",
        "1 - .large",
        ".large * 2",
        ".large / 5",
        ".large % 10",
        ".large += 1",
        "[.large, 1] | add",
        "add(.large, 1)",
        "reduce (.large, 1) as $n (0; . + $n)",
        "[range(.large; .large + 1)]",
        "12345678901234567 + 1",
        ".small * .small",
        ".small * .small % 97",
        "pow(.small; 3)",
        "9007199254740991 + .one + .one",
        "2.718281828459045235360287",
    ],
)
def test_a_number_that_jq_would_round_is_refused(run_flow, expression):
    run = run_flow(
        f"steps: [{{name: s, type: jq, jq: {{data_key: __input__, expression: '{expression}'}}}}]",
        payload={"large": LARGE, "small": 987654321, "one": 1},
    )
    assert run.status == "failed"
    assert run.message.startswith("s: jq: ")
    assert "s" not in run.result


def test_a_text_comes_through_as_it_is(perform):
    value = {"nul\0": "a\0b", "": "\x7f\u2028\U0001f600", "items": {}, "keys": []}
    assert perform("jq", {"expression": ".", "data_key": "v"}, {"v": value}) == value
    with pytest.raises(StepError, match=r"half a character at \.v\[1\]\.name"):
        perform("jq", {"expression": ".", "data_key": "."}, {"v": ["", {"name": "x\ud83d"}]})


@pytest.mark.language("§2 jq")
@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ('"limit of \\(.n) reached" | halt_error', "jq: limit of 7 reached"),
        ('"" | halt_error', "jq: ended by halt_error"),
        ("{code: .n} | halt_error(3)", 'jq: {"code":7}'),
        ("[.n, (.n | tostring | halt_error)]", "jq: 7"),
        ('try ("late" | halt_error) catch 1', "jq: ended by halt_error"),
        ("[(.n | tostring | halt_error)?]", "jq: ended by halt_error"),
    ],
)
def test_halt_error_is_an_error_of_the_step(run_flow, expression, message):
    run = run_flow(
        f"steps: [{{name: s, type: jq, result_key: r, jq: {{data_key: __input__, expression: '{expression}'}}}}]",
        payload={"n": 7},
    )
    assert (run.status, run.message) == ("failed", f"s: {message}")
    assert "r" not in run.result


@pytest.mark.language("§2 jq")
def test_halt_ends_a_program_with_the_outputs_so_far(perform):
    assert perform("jq", {"expression": "1, 2, halt, 3"}, {}) == [1, 2]
    assert perform("jq", {"expression": "halt"}, {}) is None
    assert perform("jq", {"expression": ". # halt_error"}, {"a": 1})["a"] == 1
