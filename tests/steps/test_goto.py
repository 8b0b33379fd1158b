"""What `goto` promises."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.language("§4 goto")


@pytest.mark.language("§2 Steps")
def test_it_jumps_and_stores_nothing(run_flow):
    run = run_flow(
        """
        steps:
          - {name: jump, type: goto, goto: {step_name: "{{ __input__ }}"}}
          - {name: skipped, type: set_fact, set_fact: {value: 1}}
          - {name: there, type: set_fact, set_fact: {value: 2}}
        """,
        payload="there",
    )
    assert run.status == "success"
    assert run.steps == [("jump", "success"), ("there", "success")]
    assert "jump" not in run.result


def test_an_unknown_step_is_an_error_of_the_goto(run_flow):
    run = run_flow(
        "steps: [{name: jump, type: goto, goto: {step_name: '{{ __input__ }}'}, ignore_errors: 'no such step'}]",
        payload="nowhere",
    )
    assert run.status == "success", run.message


def test_a_literal_target_that_is_no_step_is_refused(run_flow):
    run = run_flow("steps: [{name: jump, type: goto, goto: {step_name: nowhere}}]")
    assert run.reason == "refused"
    assert "is not a step" in run.message
