"""Flow language, strict; and expressions in several threads at once."""

from __future__ import annotations

from threading import Thread

import pytest

from scflows.errors import StepError
from scflows.expressions import Expressions


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
