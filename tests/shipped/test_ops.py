"""The digest of failures: what it finds, what it sends, and when it stays silent."""

from __future__ import annotations

import json

import pytest

from scflows.execution.launch import launch
from scflows.execution.request import RunRequest
from scflows.steps import Context

DIGEST = "ops/failures.yml"
BAD = "steps: [{name: break, type: goto, goto: {step_name: '{{ 5 }}'}}]\n"


@pytest.fixture
def fail(tasks, settings):
    """Run a flow that fails, so often."""

    def run(name: str, times: int = 1) -> list[str]:
        (tasks / name).write_text(BAD)
        return [launch(RunRequest(flow=name), settings).run.id for _ in range(times)]

    return run


@pytest.fixture
def sent(monkeypatch, tmp_path):
    """The mails that were handed over, each with its subject, recipients and text."""
    box = tmp_path / "box"

    def take(message, sender, recipients, secret, ctx):
        with box.open("a") as file:
            mail = {"subject": message["Subject"], "to": recipients, "text": message.get_content()}
            file.write(json.dumps(mail) + "\n")
        return []

    secrets = {"smtp": {"host": "localhost", "from": "flows@example.org"}}
    monkeypatch.setattr(Context, "secret", lambda ctx, name: secrets[name], raising=False)
    monkeypatch.setattr("scflows.steps.builtin.email._send", take)
    return lambda: [json.loads(line) for line in box.read_text().splitlines()] if box.exists() else []


def test_without_an_address_nobody_is_told(run_task, fail, sent):
    fail("a.yml")
    run = run_task(DIGEST)
    assert run.status == "exit"
    assert "no recipient" in run.message
    assert sent() == []


def test_where_nothing_failed_nothing_is_sent(run_task, sent):
    run = run_task(DIGEST, to="ops@example.org")
    assert (run.status, run.message) == ("exit", "no run failed within 1d")
    assert sent() == []


def test_failures_are_summed_up_by_task(run_task, fail, sent):
    ids = fail("often.yml", 5)
    (once,) = fail("once.yml")
    run = run_task(DIGEST, to="ops@example.org, b@example.org")
    assert run.status == "success", run.message
    (mail,) = sent()
    assert mail["subject"] == "6 runs failed within 1d"
    assert mail["to"] == ["ops@example.org", "b@example.org"]
    text = mail["text"]
    assert text.startswith("6 runs of 2 tasks failed.\n")
    assert text.index("often: 5 times, last at ") < text.index("once: 1 time, last at ")
    assert f"  {once}  failed in break: " in text
    assert [id in text for id in ids] == [False, False, True, True, True]
    assert "… and 2 more: flows history often" in text


def test_a_dry_run_says_what_it_would_send(run_task, fail, sent):
    fail("a.yml")
    run = run_task(DIGEST, to="ops@example.org", dry=True)
    assert run.status == "success"
    assert "would send '1 run failed within 1d' to ops@example.org" in run.log
    assert sent() == []


NOTICE = "on_failure: ops/notice.yml\non_recovery: ops/notice.yml\n"


def test_the_notice_names_task_and_outcome_in_its_subject(tasks, settings, sent, workspace):
    (workspace / "data").mkdir()
    (workspace / "data/config.yml").write_text(NOTICE)
    notice = tasks / "ops/notice.yml"
    notice.write_text(notice.read_text().replace('to: {type: text, default: ""', 'to: {type: text, default: "a@b.org"'))
    (tasks / "load.yml").write_text(BAD)
    failed = launch(RunRequest(flow="load.yml"), settings)
    assert failed.problems == []
    (tasks / "load.yml").write_text("steps: []\n")
    launch(RunRequest(flow="load.yml"), settings)
    first, second = sent()
    assert first["to"] == ["a@b.org"]
    assert first["subject"].startswith("load failed (")
    assert second["subject"].startswith("load works again (")
    assert first["text"].startswith("load failed.\n\nbreak: jump to '5': there is no such step\n\nStep:    break\n")
    assert f"Show the run: flows runs show {failed.run.id}\n" in first["text"]
    assert "The end of the log:\n\n20" in first["text"]


def test_a_notice_without_an_address_fails_with_what_to_do(tasks, settings, sent, workspace):
    (workspace / "data").mkdir()
    (workspace / "data/config.yml").write_text(NOTICE)
    (tasks / "load.yml").write_text(BAD)
    (problem,) = launch(RunRequest(flow="load.yml"), settings).problems
    assert "no recipients" in problem
