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
    # A name that no step gives is found before the flow runs; one that a skipped step would give, when it is used.
    giving = "{name: unknown, type: set_fact, when: false, set_fact: {value: 1}}, "
    for steps, message in (("", "no step or parameter gives 'unknown'"), (giving, "'unknown' is undefined")):
        run = run_flow(f"strict: {strict}\nsteps: [{steps}{{name: s, ignore_errors: target, {step}}}]")
        assert run.status == ("failed" if strict else "success"), run.message
        if strict:
            assert message in run.message
            assert run.reason == ("error" if steps else "refused")


@pytest.mark.language("§1 A flow file")
def test_a_strict_child_is_strict_by_itself(run_flow, workspace):
    (workspace / "tasks" / "child.yml").write_text(
        "strict: true\nsteps: [{name: unknown, type: set_fact, when: false, set_fact: {value: 1}},"
        " {name: s, type: set_fact, set_fact: {value: '{{ unknown }}'}}]"
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
        ("summer in ['x', same] and summer not in [winter, local, 5]", True),
        ("summer is in([same]) and 'summer' not in 'winter' and 'a' in {'a': 1}", True),
        ("'b' > 'a' and 'B' < 'a'", True),
        ("large > 9007199254740992", True),
        ("large == 9007199254740992.0", False),
        ("large - 9007199254740992 == 1", True),
        ("large // 2 == 4503599627370496", True),
        ("'9007199254740993.0' | int == large", True),
        ("[large, 1] | sum == 9007199254740994 and [[1], [2]] | sum(start=[]) == [1, 2]", True),
        ("[{'n': large}, {'n': 2}] | sum(attribute='n') == 9007199254740995", True),
        ("'%d|%5s' % (large, 'a') == '9007199254740993|    a'", True),
        ("'{:.1f} {:,}'.format(large, large) == '9007199254740993.0 9,007,199,254,740,993'", True),
        ("'{n:>4}|{n:.2f}'.format_map({'n': 7}) == '   7|7.00' and '%s %%' % [1] == '[1] %'", True),
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
        ("[large, 0.5] | sum > 1", "9007199254740993 would be rounded by \\+"),
        ("'%.1f' % large == ''", "would be rounded by %f; use %d"),
        ("'%d %g' | format(1, large) == ''", "would be rounded by %g"),
        ("'%(n)e' % {'n': large} == ''", "would be rounded by %e"),
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
    given = "".join(f"{{name: {name}, type: set_fact, set_fact: {{value: 1}}}}, " for name in ("n", "m", "flag"))
    text = f"steps: [{given}{{name: s, type: set_fact, when: {json.dumps(when)}, set_fact: {{value: 1}}}}]"
    _, found = parse_flow(text.encode(), "f.yml", "/f.yml")
    assert [each.severity for each in found] == (["warning"] if is_doubtful else [])
    assert all("is never true: it renders to a text with" in each.message for each in found)


@pytest.mark.language("§2 Conditions")
@pytest.mark.parametrize(
    ("condition", "result"),
    [
        ("flag", False),
        ("not flag", True),
        ("not title", True),
        ("flag and on or on and on", True),
        ("flag or title", False),
        ("(not flag) == true", True),
        ("('a' if title else 'b') == 'b'", True),
        ("[not flag, not on] == [true, false]", True),
        ("(title or 'none') == 'hello'", True),
    ],
)
@pytest.mark.parametrize("form", ["EXPR", "{{ EXPR }}", "{% if EXPR %}yes{% endif %}"])
def test_text_is_judged_alike_wherever_it_decides_in_a_condition(condition, result, form):
    names = {"flag": "no", "on": "Yes", "title": "hello"}
    assert Expressions().evaluate(form.replace("EXPR", condition), names) is result


@pytest.mark.language("§2 Templates")
def test_what_a_template_renders_follows_the_rules_of_jinja():
    text = "{% if title %}{{ title or 'none' }}{% endif %}{{ not flag }}{{ 'a' if flag else 'b' }}"
    assert Expressions().render(text, {"flag": "no", "title": "hello"}) == "helloFalsea"


TEN = "('a' * 10000000)"
LOOPS = "{% for i in range(100000) %}{% for j in range(100000) %}" + "letters " * 40 + "{% endfor %}{% endfor %}"


@pytest.mark.language("§2 Templates")
@pytest.mark.parametrize(
    "template",
    [
        "{{ 'a' * 10 ** 9 }}",
        f"{{{{ {TEN} | replace('a', 'bb' * 99) }}}}",
        f"{{{{ {TEN}.replace('', 'b' * 99) }}}}",
        f"{{{{ 'b'.join({TEN}) ~ ('b' * 1000).join({TEN}) }}}}",
        f"{{{{ {TEN} | join('b' * 1000) }}}}",
        f"{{{{ {TEN}.translate({{97: 'bb' * 9}}) }}}}",
        f"{{{{ [{TEN}] * 100 }}}}",
        f"{{{{ ([{TEN}] * 100) | join }}}}",
        f"{{{{ ([{TEN}] * 100) | string }}}}",
        f"{{{{ ([{TEN}] * 100) | tojson }}}}",
        f"{{{{ ([{TEN}] * 100) | map('upper') | list | length }}}}",
        f"{{{{ {TEN} | wordwrap(1, true, 'bb' * 9) }}}}",
        f"{{% set x = {TEN} %}}" + "{% set x = x ~ x %}" * 9,
        f"{{% set x = {TEN} %}}" + "{% set x = x + x %}" * 9,
        f"{{% set n = namespace(all=[]) %}}{{% for i in range(99) %}}{{% set n.all = n.all + [{TEN}] %}}{{% endfor %}}",
        f"{{{{ ('{{0}}' * 99).format({TEN}) }}}}",
        f"{{{{ ('%s' * 2 % ({TEN}, {TEN})) * 9 }}}}",
        "{{ '%999999999d' % 1 }}",
        "{{ '%*d' | format(999999999, 1) }}",
        "{{ '{:{}}'.format(1, 999999999) }}",
        "{{ 'a\t'.expandtabs(999999999) }}",
        "{{ (1).to_bytes(999999999, 'big') }}",
        "{{ [1] | batch(999999999, 0) | list }}",
        "{{ [1] | slice(999999999) | list }}",
        "{{ ('a\n' * 99999) | indent(9999) }}",
        "{{ [[1]] | tojson(indent=999999999) }}",
        "{{ ('www.a.b ' * 9999) | urlize(target='a' * 9999) }}",
        "{{ lipsum(n=9999999) }}",
        LOOPS,
        "{% macro all() %}" + LOOPS + "{% endmacro %}{{ all() | length }}",
        "{% set all %}" + LOOPS + "{% endset %}",
    ],
)
def test_a_template_that_makes_gigabytes_of_a_few_letters_is_an_error(template):
    with pytest.raises(StepError, match="the template creates a value of more than"):
        Expressions().render(template, {})


@pytest.mark.language("§2 Templates")
def test_ordinary_templates_of_large_data_are_not_bounded():
    rows = [{"text": "a,b\n" * 1000}] * 5000
    expressions = Expressions()
    text = "{{ rows | map(attribute='text') | join(';') | replace(',', ' ; ') | length }}"
    assert expressions.render(text, {"rows": rows}) == str(5000 * 6001 - 1)
    assert expressions.render("{% for row in rows %}{{ row.text | upper }}{% endfor %}", {"rows": rows})[:2] == "A,"
