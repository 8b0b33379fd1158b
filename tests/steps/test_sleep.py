"""What `sleep` promises."""

from __future__ import annotations

import time

import pytest

pytestmark = pytest.mark.language("§4 sleep")


@pytest.mark.language("§2 Steps")
def test_it_waits_that_long(run_flow):
    run = run_flow("steps: [{name: s, type: sleep, sleep: {seconds: 0.2}}]")
    step = run.outcome.run.steps[0]
    assert run.result["s"] == {}
    assert 0.2 <= step.ended - step.started < 5


def test_a_timeout_cuts_it_short(run_flow):
    run = run_flow(
        "steps: [{name: s, type: sleep, timeout: 0.1, sleep: {seconds: 500}, ignore_errors: took longer than 0.1 s}]"
    )
    assert run.status == "success", run.message


def test_a_dry_run_does_not_wait(run_flow):
    before = time.monotonic()
    assert run_flow("steps: [{name: s, type: sleep, sleep: {seconds: 500}}]", dry_run=True).status == "success"
    assert time.monotonic() - before < 100


@pytest.mark.parametrize("seconds", ["-1", ".inf", ".nan", "1e12", "soon", "true"])
def test_seconds_that_cannot_be_are_refused(run_flow, seconds):
    run = run_flow(f"steps: [{{name: s, type: sleep, sleep: {{seconds: {seconds}}}}}]")
    assert run.reason == "refused"
    assert "seconds" in run.message or "NaN or Infinity" in run.message
