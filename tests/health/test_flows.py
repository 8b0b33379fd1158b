"""The flows that the tasks run, and the clocks they run by."""

from __future__ import annotations

import os
import shutil
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from scflows.cron.schedule.schedule import Schedule
from scflows.health import FAIL, WARN, clock, flows

SOUND = "steps: [{name: one, type: set_fact, set_fact: {value: 1}}]\n"


@pytest.mark.parametrize("how", ["missing", "refused", "workspace"])
def test_a_task_whose_flow_cannot_run_is_a_failure(machine, how, workspace, one) -> None:
    machine.task("report", flow="steps: [{name: one, type: sett_fact}]\n" if how == "refused" else SOUND)
    if how == "missing":
        (workspace / "tasks" / "report.yml").unlink()
    if how == "workspace":
        shutil.rmtree(workspace)
    finding = one(flows.flows)
    assert finding.level == FAIL
    assert finding.text.startswith("report: ")
    assert finding.help


def test_many_findings_of_a_kind_are_cut_and_counted(machine, workspace) -> None:
    for number in range(12):
        machine.task(f"task{number}")
        (workspace / "tasks" / f"task{number}.yml").unlink()
    findings = list(flows.flows(machine.installation()))
    assert len(findings) == 9
    assert findings[-1].text == "4 more like these"


def test_a_program_that_is_not_on_the_path_of_cron_is_a_failure(machine, monkeypatch) -> None:
    tool = machine.bin / "measure"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{machine.bin}:{os.environ['PATH']}")
    machine.task("ok", flow="steps: [{name: one, type: shell, shell: {command: [ls, -l]}}]\n")
    machine.task("bad", flow="steps: [{name: one, type: shell, shell: {command: [measure]}}]\n")
    machine.task("none", flow="steps: [{name: one, type: shell, shell: {command: [no-such-tool]}}]\n")
    first, second = list(flows.programs(machine.installation()))
    assert first.level == second.level == FAIL
    assert "bad: step 'one': cron does not find the program 'measure'" in first.text
    assert first.help == f"write {tool} in the step"
    assert second.help == "install no-such-tool"


def test_programs_of_a_shell_text_are_looked_for_too_with_the_path_that_it_has(machine, monkeypatch, workspace) -> None:
    tool = machine.bin / "measure"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{machine.bin}:{os.environ['PATH']}")
    step = "steps: [{name: one, type: shell, shell: {command: 'ls | measure > x; lacking'%s}}]\n"
    machine.task("plain", flow=step % "")
    machine.task("extended", flow=step.replace("; lacking", "") % f", env: {{PATH: '{machine.bin}:$PATH'}}")
    machine.task("open", flow=step % ", env: {PATH: '{{ path }}'}")
    first, second = list(flows.programs(machine.installation()))
    assert "plain: step 'one': cron does not find the program 'measure'" in first.text
    assert first.help == f"write {tool}, or add to env: PATH: {machine.bin}:$PATH"
    assert "does not find the program 'lacking'" in second.text
    (workspace / "data").mkdir(exist_ok=True)
    (workspace / "data/config.yml").write_text(f"env: {{PATH: '{machine.bin}:$PATH'}}\n")
    assert ["lacking" in each.text for each in flows.programs(machine.installation())] == [True]


def test_tasks_in_an_hour_that_will_be_skipped_are_told(machine, one) -> None:
    madrid = "Europe/Madrid"
    machine.now = datetime(2026, 3, 1, tzinfo=ZoneInfo(madrid)).timestamp()
    machine.task("night", Schedule("30 2 * * *", timezone=madrid))
    machine.task("day", Schedule("30 12 * * *", timezone=madrid))
    machine.task("after", Schedule("0 3 * * *", timezone=madrid))
    machine.task("hourly", Schedule("30 * * * *", timezone=madrid))
    machine.task("saturday", Schedule("30 2 * * 6", timezone=madrid))
    finding = one(clock.changes)
    assert finding.level == WARN
    assert finding.text == (
        "Europe/Madrid skips 02:00–03:00 on 2026-03-29; 1 task is due then and will start at 03:00: night"
    )
    machine.now -= 60 * 86400
    assert list(clock.changes(machine.installation())) == []


def test_a_secret_that_a_task_lacks_is_told(machine, one) -> None:
    mail = "{name: m, type: email, email: {secret: smtp, to: a@b.org, subject: s, body: b}}"
    machine.task("mail", flow=f"steps: [{mail}]\n")
    machine.install()
    finding = one(flows.flows)
    assert finding.level == WARN
    assert "step 'm': secret 'smtp' not found" in finding.text
