"""Things tried as cron would."""

from __future__ import annotations

import os
from pathlib import Path

from scflows.cron.crontab.tabfile import Tabfile
from scflows.cron.schedule.schedule import Schedule
from scflows.health import FAIL, OK
from scflows.health.cron_environment import as_cron
from scflows.health.cron_trial import start_all, try_out
from scflows.health.installation import Account
from scflows.history.run import SUCCESS

SOUND = "steps: [{name: one, type: set_fact, set_fact: {value: 1}}]\n"


def test_a_command_gets_what_cron_gives_and_no_more(machine, tmp_path) -> None:
    home = Path(machine.environment["HOME"])
    account = Account("ana", str(home))
    said = as_cron(account, "env | sort; pwd; umask; cat; ps -o sid= -p $$ | tr -d ' '; echo $$ # a tag").output.split()
    variables = {word for word in said if "=" in word and not word.startswith(("_=", "PWD=", "SHLVL=", "OLDPWD="))}
    assert variables == {f"HOME={home}", "LOGNAME=ana", "SHELL=/bin/sh", "PATH=/usr/bin:/bin"}
    rest = [word for word in said if "=" not in word]
    assert rest[:2] == [str(home), "0022"]
    assert rest[-1] == rest[-2], "it leads its own session"


def test_a_task_is_run_by_its_very_line(machine) -> None:
    machine.task("report")
    trial = try_out(machine.installation(), "report")
    assert trial.code == 0, trial
    assert trial.run is not None
    assert (trial.run.task, trial.run.status) == ("report", SUCCESS)
    assert (trial.run.slot, trial.run.trigger) == (None, "check"), "slots are left to cron"
    assert f"run {trial.run.id} success" in trial.log
    tabfile = Tabfile.read(machine.settings.tabfile)
    command = str(tabfile.line("report")).removeprefix("30 * * * * ").removesuffix(" # report")
    assert trial.command.startswith(command)


def test_a_task_that_starts_late_in_its_minutes_is_tried_at_once(machine) -> None:
    machine.task("report", Schedule(cron="30 * * * *", every=3600, second=55))
    trial = try_out(machine.installation(), "report")
    assert trial.code == 0, trial
    assert trial.run is not None
    assert trial.run.started < machine.now + 50


def test_a_flow_is_run_as_its_task_would_be(machine, workspace) -> None:
    (workspace / "tasks" / "lonely.yml").write_text(SOUND)
    trial = try_out(machine.installation(), "lonely.yml")
    assert trial.code == 0, trial
    assert trial.run is not None
    assert trial.run.flow == "lonely.yml"
    assert "run " in trial.log


def test_a_program_that_cron_does_not_find_is_named(machine, monkeypatch) -> None:
    tool = machine.bin / "measure"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{machine.bin}:{os.environ['PATH']}")
    machine.task("bad", flow="steps: [{name: one, type: shell, shell: {command: [measure]}}]\n")
    (Path(machine.settings.home) / "tasks" / "bad.yml").chmod(0o644)
    trial = try_out(machine.installation(), "bad")
    assert trial.code == 1
    assert trial.run is not None
    assert trial.run.status == "failed"
    assert trial.missing == [
        f"step 'one': cron does not find the program 'measure' (its PATH is /usr/bin:/bin): write {tool} in the step"
    ]


def test_without_a_name_all_tasks_are_read_and_none_is_run(machine, workspace) -> None:
    for name in ("fine", "bad"):
        machine.task(name)
    (workspace / "tasks" / "bad.yml").write_text("steps: nothing\n")
    findings = start_all(machine.installation())
    assert [(finding.level, finding.text[:5]) for finding in findings] == [(FAIL, "bad: ")]
    (workspace / "tasks" / "bad.yml").write_text(SOUND)
    findings = start_all(machine.installation())
    assert [finding.level for finding in findings] == [OK]
    assert "can start 2 tasks" in findings[0].text
    assert not (Path(machine.settings.state_path) / "history.sqlite").exists()
