"""Flow language, retries."""

from __future__ import annotations

import random

import pytest

from scflows.errors import StepError
from scflows.flows.retry import retry_mistakes, wait_before

pytestmark = pytest.mark.language("§9 Retries")


def waits(written, error=None, count=4, chance=0.5):
    error = error or StepError("x", status_code=503)
    return [wait_before({"attempts": 9, **written}, n, error, [str(error)], chance) for n in range(1, count + 1)]


def test_the_nth_wait_grows_by_backoff_up_to_max_delay():
    assert waits({"delay": 1, "backoff": 3, "max_delay": 10}) == [1, 3, 9, 10]


def test_jitter_spreads_a_wait_to_both_sides():
    chance = random.Random(1)
    found = [waits({"delay": 10, "backoff": 1, "jitter": 0.2}, count=1, chance=chance.random())[0] for _ in range(200)]
    assert 8 <= min(found) < 8.5
    assert 11.5 < max(found) <= 12


def test_an_asked_for_wait_wins():
    error = StepError("x", status_code=429)
    error.retry_after = 120.0
    assert waits({"delay": 1, "max_delay": 10}, error, 1) == [120.0]


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (StepError("x", status_code=500), True),
        (StepError("x", status_code=599), True),
        (StepError("x", status_code=408), True),
        (StepError("x", status_code=425), True),
        (StepError("x", status_code=429), True),
        (StepError("x", status_code=404), False),
        (StepError("no such key"), False),
    ],
)
def test_what_is_tried_again_when_nothing_is_said(error, again):
    assert (wait_before({}, 1, error, ["x"], 0.5) is not None) == again


@pytest.mark.parametrize("cause", [ConnectionRefusedError(), TimeoutError(), ConnectionResetError()])
def test_no_connection_and_no_answer_are_tried_again(cause):
    error = StepError("x", status_code=None)
    error.__cause__ = cause
    assert wait_before({}, 1, error, ["x"], 0.5) is not None


def test_patterns_say_what_is_tried_again():
    assert wait_before({"on": ["4\\d\\d"]}, 1, StepError("x", status_code=404), ["x 404"], 0.5) == 1
    assert wait_before({"on": 404}, 1, StepError("x", status_code=404), ["x 404"], 0.5) == 1
    assert wait_before({"on": ["4\\d\\d"]}, 1, StepError("x", status_code=500), ["x 500"], 0.5) is None


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ([], "must be a mapping"),
        ({"attempts": 0}, "at least 1"),
        ({"attempts": 2.5}, "must be an integer"),
        ({"delay": -1}, "at least 0"),
        ({"delay": "soon"}, "must be a duration such as 90, 30s or 15m"),
        ({"max_delay": "1 fortnight"}, "must be a duration"),
        ({"backoff": "2m"}, "must be a number"),
        ({"jitter": 2}, "at most 1"),
        ({"on": "("}, "not a valid regular expression"),
        ({"atempts": 2}, "did you mean"),
    ],
    ids=str,
)
def test_a_wrong_block_is_told(written, told):
    assert told in " ".join(message for _, message in retry_mistakes(written))


COUNTED = """
steps:
  - name: s
    type: shell
    when: "__errors__ | length == 0"
    shell: {{command: "echo x >> tries; test $(wc -l < tries) -ge {wanted}"}}
    retry: {{attempts: 3, delay: 0.01, on: ["exit status 1"]}}
"""


def test_a_step_is_tried_until_it_succeeds_and_no_error_is_listed(run_flow, workspace):
    run = run_flow(COUNTED.format(wanted=3))
    assert run.status == "success"
    assert run.errors == []
    assert (workspace / "data" / "tries").read_text() == "x\nx\nx\n"


def test_only_the_last_error_is_listed_with_the_attempts(run_flow):
    run = run_flow(COUNTED.format(wanted=9))
    assert run.status == "failed"
    assert len(run.errors) == 1
    assert run.errors[0]["error"]["attempts"] == 3
    assert run.errors[0]["error"]["exit_code"] == 1


@pytest.mark.language("§9 Time limits")
def test_the_steps_limit_covers_all_attempts(run_flow):
    run = run_flow("""
        steps:
          - name: s
            type: jq
            timeout: 0.3
            retry: {attempts: 1000, delay: 0.05, backoff: 1, on: key}
            jq: {data_key: missing, expression: .}
    """)
    assert run.status == "failed"
    assert run.errors[0]["error"]["message"] == "took longer than 0.3 s"
