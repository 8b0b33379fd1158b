"""Notifications that failed are tried again until they were delivered once."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from scflows.scheduler.housekeeping import run_housekeeping
from tests.notifications.test_after_run import BAD, GOOD, Service, configure, service

__all__ = ["configure", "service"]

#: A hook that fails until `data/open.json` is there.
TELL = """
steps:
  - {name: look, type: file, file: {path: open.json, type: json}}
  - {name: tell, type: file, file: {path: told.json, mode: append, type: json, data_key: __input__}}
"""
HOUR = 3600.0


@pytest.fixture
def told(workspace):
    (workspace / "tasks/tell.yml").write_text(TELL)
    (workspace / "data").mkdir()
    path = workspace / "data/told.json"
    return lambda: [json.loads(line)["outcome"] for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def open_up(workspace):
    return lambda: (workspace / "data/open.json").write_text("{}")


@pytest.fixture
def later(settings):
    """Have the housekeeping done after so many seconds."""
    return lambda seconds: run_housekeeping(settings, time.time() + seconds)


def names(settings) -> list[str]:
    folder = Path(settings.state_path) / "undelivered"
    return sorted(path.name for path in folder.glob("*.json")) if folder.exists() else []


def test_a_hook_that_failed_is_called_again_until_it_succeeds_once(run_flow, told, open_up, later, configure):
    configure("on_failure: tell.yml\n")
    run = run_flow(BAD)
    assert "No such file" in run.outcome.problems[0]
    assert "it will be tried again for a day" in run.outcome.problems[0]
    later(70)
    assert told() == []
    open_up()
    later(100)
    assert told() == [], "the second attempt is not due yet"
    later(200)
    assert told() == ["failed"]
    for hours in (1, 2, 30):
        later(hours * HOUR)
    assert told() == ["failed"]
    log = Path(run.outcome.run.log).read_text()
    assert "attempt 2 failed" in log
    assert "on_failure tell.yml: delivered with attempt 3" in log


def test_a_failure_is_told_before_the_recovery_from_it(run_flow, told, open_up, configure, settings):
    configure("on_failure: tell.yml\non_recovery: tell.yml\n")
    run_flow(BAD)
    assert len(names(settings)) == 1
    open_up()
    run_flow(GOOD)
    assert told() == ["failed", "works again"]
    assert names(settings) == []


def test_after_a_day_it_is_given_up_and_health_says_so(run_flow, told, open_up, later, configure, flows, settings):
    configure("on_failure: tell.yml\n")
    run_flow(BAD)
    for hours in range(1, 26):
        later(hours * HOUR)
    open_up()
    later(27 * HOUR)
    assert told() == []
    answer = flows("health", "--json")
    assert answer.code == 1
    (problem,) = json.loads(answer.out)["items"]
    assert (problem["task"], problem["problem"]) == ("flow", "undelivered")
    assert problem["why"].startswith("on_failure tell.yml: run ")
    assert problem["why"].endswith("; given up")
    later(9 * 24 * HOUR)
    assert names(settings) == []


def test_a_hook_that_succeeds_again_ends_what_was_given_up(run_flow, told, open_up, later, configure, settings):
    configure("on_failure: tell.yml\non_recovery: tell.yml\n")
    run_flow(BAD)
    for hours in range(1, 26):
        later(hours * HOUR)
    open_up()
    run_flow(GOOD)
    assert told() == ["works again"]
    assert names(settings) == []


def test_health_tells_a_notification_that_is_still_to_be_delivered(run_flow, told, configure, flows):
    configure("on_failure: tell.yml\n")
    run_flow(BAD)
    answer = flows("health")
    assert "\tundelivered\t" in answer.out
    assert answer.out.rstrip().endswith("attempt 1, is tried again")


def test_no_more_than_some_are_stored_for_each_task(run_flow, told, settings):
    for _ in range(22):
        run_flow("on_failure: tell.yml\n" + BAD)
    assert len(names(settings)) == 20


def test_a_hook_on_success_is_not_repeated(run_flow, told, open_up, later, settings):
    run_flow("on_success: tell.yml\n" + GOOD)
    open_up()
    later(2 * HOUR)
    assert told() == []
    assert names(settings) == []


def test_a_ping_that_failed_is_sent_again_once(run_flow, service: Service, later):
    service.answers = [500, 500, 500, 500]
    run_flow(f'ping: {{failure: "{service.url}/fail"}}\n' + BAD)
    later(70)
    assert len(service.calls) == 4
    later(300)
    later(2 * HOUR)
    assert len(service.calls) == 5
    assert len({call[2]["rid"][0] for call in service.calls}) == 1
    assert service.calls[-1][3].startswith("flow failed: ")


def test_a_newer_ping_replaces_one_that_was_not_delivered(run_flow, service: Service, later, settings):
    pings = f'ping: {{success: "{service.url}/good", failure: "{service.url}/fail"}}\n'
    service.answers = [500, 500]
    run_flow(pings + BAD)
    run_flow(pings + GOOD)
    later(300)
    assert [call[1] for call in service.calls] == ["/fail", "/fail", "/good"]
    assert names(settings) == []


def test_a_command_tries_it_again_where_there_are_no_tasks(run_flow, told, open_up, configure, settings, flows):
    configure("on_failure: tell.yml\n")
    run_flow(BAD)
    (path,) = (Path(settings.state_path) / "undelivered").glob("*.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "due": 0}))
    open_up()
    assert flows("history").code == 0
    ends = time.monotonic() + 60
    while not told() and time.monotonic() < ends:
        time.sleep(0.02)  # It is done by a process in the background.
    assert told() == ["failed"]


def test_a_damaged_file_stops_nothing(run_flow, told, open_up, later, configure, settings):
    configure("on_failure: tell.yml\n")
    run_flow(BAD)
    folder = Path(settings.state_path) / "undelivered"
    (folder / "0.json").write_text("{")
    (folder / "1.json").write_text('{"kind": 5}')
    open_up()
    later(70)
    assert told() == ["failed"]


def test_a_trial_calls_hook_and_pings_once(told, open_up, flows, configure, service: Service, later):
    configure(f'on_failure: tell.yml\nping: {{success: "{service.url}/good", failure: "{service.url}/fail"}}\n')
    answer = flows("notify", "test")
    assert answer.code == 1
    hook, failure, success = (line.split("\t") for line in answer.out.splitlines())
    assert hook[:2] == ["on_failure tell.yml", "failed"]
    assert "No such file" in hook[2]
    assert (failure, success) == (["ping failure", "success", ""], ["ping success", "success", ""])
    assert [call[1] for call in service.calls] == ["/fail", "/good"]
    assert "this is a test" in service.calls[0][3]
    open_up()
    later(HOUR)
    assert told() == [], "a trial is not repeated"
    assert flows("notify", "test").code == 0
    assert told() == ["failed (test)"]


def test_a_trial_of_a_task_calls_the_hooks_of_its_flow(told, open_up, flows, workspace, crontab):
    open_up()
    (workspace / "tasks/a.yml").write_text("schedule: {every: 1h}\non_failure: tell.yml\n" + GOOD)
    assert flows("manual-schedule", "a.yml").code == 0
    assert flows("notify", "test", "a").out == "on_failure tell.yml\tsuccess\t\n"
    assert told() == ["failed (test)"]


def test_a_trial_without_a_hook_says_where_to_put_one(flows):
    answer = flows("notify", "test")
    assert answer.code == 2
    assert "config.yml has no `on_failure` hook and no `ping`" in answer.err
    assert "on_failure: ops/notice.yml" in answer.err
    assert flows("notify", "test", "nothing").code == 4
