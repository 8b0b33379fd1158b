"""Flow language, strict; and expressions in several threads at once."""

from __future__ import annotations

import json
from threading import Thread

import pytest

from scflows.errors import StepError
from scflows.expressions.templates import Expressions
from scflows.flows.parser import parse_flow


@pytest.mark.language("§1 A flow file")
@pytest.mark.parametrize(
    "step",
    [
        "type: set_fact, set_fact: {value: 'a {{ unknown }}'}",
        "type: set_fact, when: unknown, set_fact: {value: 1}",
        "type: set_fact, when: 'unknown == 1', set_fact: {value: 1}",
        "type: set_fact, when: '{{ unknown }}', set_fact: {value: 1}",
        "type: set_fact, target: '{{ unknown }}.txt', set_fact: {value: 1}",
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_unknown_names_are_errors_where_the_flow_is_strict(run_flow, step, strict):
    run = run_flow(f"strict: {strict}\nsteps: [{{name: s, ignore_errors: target, {step}}}]")
    assert run.status == ("failed" if strict else "success"), run.message
    if strict:
        assert "'unknown' is undefined" in run.message


@pytest.mark.language("§1 A flow file")
def test_a_strict_child_is_strict_by_itself(run_flow, workspace):
    (workspace / "tasks" / "child.yml").write_text(
        "strict: true\nsteps: [{name: s, type: set_fact, set_fact: {value: '{{ unknown }}'}}]"
    )
    run = run_flow(
        "steps: [{name: s, type: flow, ignore_errors: undefined, when: not unknown, flow: {path: child.yml}}]"
    )
    assert run.status == "success"
    assert run.errors[0]["step"] == "s"


@pytest.mark.language("§2 Templates")
def test_names_of_the_data_hide_those_that_templates_always_have():
    expressions = Expressions()
    assert expressions.render("{{ range(3) | list }}", {}) == "[0, 1, 2]"
    assert expressions.render("{{ range }}", {"range": 5}) == "5"
    assert expressions.evaluate("range(3) | length == 3", {})


def test_expressions_serve_several_threads_at_once():
    expressions = Expressions()
    wrong: list[object] = []

    def work(number: int) -> None:
        names = {"rows": list(range(number))}
        for turn in range(150):
            text = f"{{{{ rows | length + {turn % 20} }}}}"
            if expressions.render(text, names) != str(number + turn % 20):
                wrong.append(("template", number, turn))
            if expressions.filter(f"length + {turn % 20}", names["rows"]) != number + turn % 20:
                wrong.append(("jq", number, turn))
            if not expressions.evaluate(f"rows | length + {turn % 20} == {number + turn % 20}", names):
                wrong.append(("condition", number, turn))

    threads = [Thread(target=work, args=(number,)) for number in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_an_expression_that_fails_is_a_step_error():
    with pytest.raises(StepError, match="undefined"):
        Expressions(strict=True).evaluate("unknown", {})


PAGE = {"items": [], "values": [3, 4], "keys": None, "get": 5, "copy": "c", "title": {"count": 0}, "pop": "", "_id": 9}


@pytest.mark.language("§2 Templates")
@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("{{ page.items }}|{{ page.values }}|{{ page.keys }}|{{ page.get }}", "[]|[3, 4]|None|5"),
        ("{{ page.copy }}|{{ page['pop'] }}|{{ page.title.count }}|{{ page._id }}", "c||0|9"),
        ("{{ other.items }}|{{ other['keys'] }}|{{ other.values is defined }}", "||False"),
        ("{{ rows | map(attribute='count') | list }}", "[1, 2]"),
        ("{{ rows | selectattr('items') | map(attribute='count') | list }}", "[2]"),
        ("{{ rows | sum(attribute='count') }}", "3"),
        ("{% for name, value in other.items() %}{{ name }}={{ value }};{% endfor %}", "total=0;"),
        ("{% for name, value in page.title.items() %}{{ name }}={{ value }}{% endfor %}", "count=0"),
        ("{{ page.get('copy') }}{{ other.get('none', 7) }}", "c7"),
        ("{{ page.copy.upper() }}|{{ page.copy.upper }}|{{ page.values.count(3) }}|{{ page.values.count }}", "C||1|"),
        ("{% for each in rows %}{{ loop.index }}{{ each.items | length }}{% endfor %}", "1022"),
        ("{% set n = namespace(items=1) %}{{ n.items }}", "1"),
        ("{{ '{0.get}'.format(page) }}", "5"),
    ],
)
def test_keys_of_data_come_before_methods(text, result):
    rows = [{"count": 1, "items": []}, {"count": 2, "items": [0, 0]}]
    assert Expressions().render(text, {"page": PAGE, "other": {"total": 0}, "rows": rows}) == result


@pytest.mark.language("§2 Conditions")
@pytest.mark.parametrize(
    ("condition", "result"),
    [
        ("page.items", False),
        ("not page.items", True),
        ("page.values", True),
        ("page['keys'] is none", True),
        ("other.items", False),
        ("other['values'] is defined", False),
        ("page.get == 5 and 'get' in page", True),
        ("'copy' in other", False),
    ],
)
def test_keys_of_data_come_before_methods_in_conditions(condition, result):
    assert Expressions().evaluate(condition, {"page": PAGE, "other": {"total": 0}}) is result


NAMES = {
    "summer": "2026-10-25T02:30:00+02:00",
    "winter": "2026-10-25T02:10:00+01:00",
    "same": "2026-10-25 00:30:00.000Z",
    "later": "2026-10-25T00:30:00.0000001Z",
    "local": "2026-10-25T02:30:00",
    "day": "2026-10-25",
    "large": 2**53 + 1,
}


@pytest.mark.language("§2 Conditions")
@pytest.mark.parametrize(
    ("condition", "result"),
    [
        ("summer < winter", True),
        ("winter <= summer", False),
        ("summer == same", True),
        ("summer != same", False),
        ("same < later and later < winter", True),
        ("summer < later < winter", True),
        ("winter is gt summer", True),
        ("[summer, winter] | max == winter", True),
        ("([winter, summer] | sort)[0] == summer", True),
        ("[{'t': winter}, {'t': later}] | min(attribute='t') == {'t': later}", True),
        ("summer == local", False),
        ("local == '2026-10-25 02:30'", True),
        ("day < summer", True),
        ("'b' > 'a' and 'B' < 'a'", True),
        ("large > 9007199254740992", True),
        ("large == 9007199254740992.0", False),
        ("large - 9007199254740992 == 1", True),
        ("large // 2 == 4503599627370496", True),
        ("'9007199254740993.0' | int == large", True),
        ("[large, 1] | sum == 9007199254740994", True),
        ("large | round == large", True),
        ("1.25 | round(1, 'floor') == 1.2 and '7' | int == 7 and 'x' | int == 0 and '7.5' | float == 7.5", True),
        ("'0.1000000000000000055511151231257827' | float == 0.1 and 'a long text indeed' | float == 0", True),
        ("'7' == 7", False),
        ("none == 0 or none == ''", False),
    ],
)
def test_times_are_compared_as_instants_and_numbers_exactly(condition, result):
    assert Expressions().evaluate(condition, NAMES) is result


@pytest.mark.language("§2 Conditions")
@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("summer < local", "times with and without an offset have no order"),
        ("[summer, local] | max == summer", "times with and without an offset have no order"),
        ("'7' < 8", "not supported between"),
        ("none < 8", "not supported between"),
        ("large + 0.5 > 1", "9007199254740993 would be rounded by \\+"),
        ("large / 2 > 1", "// divides integers"),
        ("large * 1.0 > 1", "would be rounded"),
        ("large | float > 1", "would be rounded by the filter float"),
        ("'0.123456789012345678901' | float > 1", "more digits than a number can hold"),
    ],
)
def test_what_cannot_be_compared_or_computed_exactly_is_an_error(condition, message):
    with pytest.raises(StepError, match=message):
        Expressions().evaluate(condition, NAMES)


@pytest.mark.language("§2 Conditions")
@pytest.mark.parametrize(
    ("when", "is_doubtful"),
    [
        ("{{ n }} > 5", True),
        ("{{ n }} == {{ m }}", True),
        ("not {{ flag }}", True),
        ("{% if n %}yes{% endif %} and more", True),
        ("{{ n > 5 }}", False),
        ("{% if n > 5 %}yes{% else %}not at all{% endif %}", False),
        ("{{ n }}\n", False),
        ("1{# one #}", False),
        ("n > 5", False),
    ],
)
def test_a_condition_that_is_never_true_is_warned_of(when, is_doubtful):
    text = f"steps: [{{name: s, type: set_fact, when: {json.dumps(when)}, set_fact: {{value: 1}}}}]"
    _, found = parse_flow(text.encode(), "f.yml", "/f.yml")
    assert [each.severity for each in found] == (["warning"] if is_doubtful else [])
    assert all("is never true: it renders to a text with" in each.message for each in found)
