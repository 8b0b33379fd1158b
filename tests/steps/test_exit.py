"""What `exit` promises."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.language("§4 exit")


def test_it_ends_the_flow_on_purpose(run_flow):
    run = run_flow(
        """
        finally_step: last
        steps:
          - {name: stop, type: exit, exit: {message: "no rows in {{ __input__ }}"}}
          - {name: never, type: set_fact, set_fact: {value: 1}}
          - {name: last, type: set_fact, set_fact: {value: 2}}
        """,
        payload="file",
    )
    assert run.status == "exit"
    assert run.message == "no rows in file"
    assert run.result["stop"] == {"message": "no rows in file"}
    assert run.steps == [("stop", "success")]


def test_a_skipped_exit_ends_nothing(run_flow):
    run = run_flow("steps: [{name: stop, type: exit, when: false, exit: {message: ''}}]")
    assert run.status == "success"
    assert "stop" not in run.result


def test_a_message_is_wanted(run_flow):
    assert run_flow("steps: [{name: stop, type: exit, exit: {}}]").reason == "refused"
