"""The history as a flow reads it."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.language("§4 runs")

BAD = "steps: [{name: break, type: goto, goto: {step_name: '{{ 5 }}'}}]"
GOOD = "steps: []"
LIST = "steps: [{name: found, type: runs, runs: {OPTIONS}}]"


def listed(run_flow, options: str) -> list[dict]:
    run = run_flow(LIST.replace("OPTIONS", options), name="list.yml")
    assert run.status == "success", run.message
    return run.result["found"]


def test_runs_are_listed_the_newest_first(run_flow):
    first = run_flow(GOOD, name="a.yml").outcome.run.id
    second = run_flow(BAD, name="b.yml")
    found = listed(run_flow, "status: [success, failed], since: 1h")
    assert [run["id"] for run in found] == [second.outcome.run.id, first]
    assert found[0]["failed_step"] == "break"
    assert found[0]["message"] == second.message
    assert found[0]["started"].endswith("+00:00")


def test_runs_are_chosen_by_status_task_age_and_number(run_flow):
    run_flow(GOOD, name="a.yml")
    run_flow(BAD, name="a.yml")
    run_flow(BAD, name="b.yml")
    assert [run["task"] for run in listed(run_flow, "status: failed")] == ["b", "a"]
    assert [run["status"] for run in listed(run_flow, "task: a")] == ["failed", "success"]
    assert len(listed(run_flow, "status: failed, limit: 1")) == 1
    assert listed(run_flow, "status: failed, since: '{{ 0 }}s'") == []
    assert listed(run_flow, "task: list")[0]["status"] == "running"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"status": "faild"}, "status: unknown status 'faild'; did you mean 'failed'?"),
        ({"status": ["success", 5]}, "status: unknown status 5; use one of"),
        ({"since": "yesterday"}, "since: 'yesterday' is not a valid duration; use for example 12h or 1d"),
    ],
)
def test_mistakes_are_told_before_the_run(mistakes, options, told):
    (found,) = mistakes("runs", options)
    assert found.startswith(told)
