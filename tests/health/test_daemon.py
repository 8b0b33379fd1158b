"""The crontab program, and who starts the tasks."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from scflows.cron.scheduler_lock import Heartbeat, acquire_scheduler_lock, write_heartbeat
from scflows.cron.task import TaskStore
from scflows.health import FAIL, OK, SKIP, WARN, daemon, entries, examine
from scflows.health.installation import Account
from scflows.locks import Lock
from scflows.queue.entries import QueueEntry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tests.health.conftest import Machine


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("cronie 1.7.2", "cronie"),
        ("usage: crontab [-u user] file\n (default operation is replace, per 1003.2)", "Debian cron"),
        ("BusyBox v1.37.0 multi-call binary.", "busybox"),
        ("what?", "unknown"),
    ],
)
def test_the_implementation_is_told_by_what_its_program_says(machine, said, name, one) -> None:
    (machine.bin / "crontab").write_text(f"#!/bin/sh\n[ $1 = -l ] && exit 0\necho '{said}' >&2\nexit 1\n")
    finding = one(daemon.program)
    assert finding.level == OK
    assert f"({name})" in finding.text


def test_that_there_shall_be_no_crontab_program_is_no_warning(machine, one) -> None:
    machine.environment["CRONTAB_PROGRAM"] = "none"
    assert one(daemon.program).level == SKIP


def test_a_missing_crontab_program_is_a_warning(machine, one) -> None:
    machine.environment["CRONTAB_PROGRAM"] = "there-is-none"
    finding = one(daemon.program)
    assert finding.level == WARN
    assert "flows cron run" in finding.help


def test_a_user_who_may_not_use_the_crontab_is_told_what_to_ask_for(machine, one) -> None:
    machine.behaves("denied")
    finding = one(daemon.program)
    assert finding.level == FAIL
    assert "not allowed" in finding.text
    assert "cron.allow" in finding.help


def test_a_user_who_is_not_listed_is_a_failure(machine) -> None:
    machine.holds(b"")
    stranger = Account("12345", "/", is_listed=False)
    findings = list(daemon.program(machine.installation(account=stranger)))
    assert findings[0].level == FAIL
    assert "user database" in findings[0].text


def test_a_crontab_that_cannot_be_read_is_no_drift(machine) -> None:
    machine.task("report")
    machine.behaves("fails")
    assert list(entries.block(machine.installation())) == []
    assert [each.level for each in examine(machine.installation()) if each.topic == "crontab"] == [FAIL]


def test_no_cron_at_all_is_a_failure(machine, one) -> None:
    machine.task("report")
    machine.process(1, "init")
    machine.process(9, "crontab")
    finding = one(daemon.schedulers)
    assert finding.level == FAIL
    assert "no tasks are started" in finding.text
    assert daemon.status(machine.installation()).driver == ""


@pytest.mark.parametrize(
    "words", [("cron",), ("crond",), ("busybox", "crond", "-f"), ("bcron-sched",)], ids=lambda words: words[0]
)
def test_the_daemon_is_found_among_the_processes(machine, words, one) -> None:
    machine.task("report")
    machine.install()
    machine.process(41, "bash")
    machine.process(42, *words)
    finding = one(daemon.schedulers)
    assert finding.level == OK
    assert "process 42" in finding.text
    assert daemon.status(machine.installation()).driver == "cron"


def test_systemd_starts_the_tasks_where_it_makes_timers_of_crontabs(machine) -> None:
    machine.task("report")
    generators = machine.folder / "generators"
    generators.mkdir()

    def level() -> str:
        (finding,) = daemon.schedulers(machine.installation(generators=(str(generators),)))
        return finding.level

    (machine.run / "systemd" / "system").mkdir(parents=True)
    assert level() == FAIL
    (generators / "systemd-crontab-generator").touch()
    assert level() == OK
    (machine.run / "systemd" / "system").rmdir()  # Another program is the first process, as in most containers.
    assert level() == FAIL


def test_a_daemon_that_has_none_of_the_tasks_drives_nothing(machine) -> None:
    machine.task("report")
    machine.holds(b"5 4 * * * true\n")
    machine.process(42, "cron")
    status = daemon.status(machine.installation())
    assert (status.driver, status.in_crontab, status.in_tabfile) == ("", 0, 1)


def test_a_pid_file_that_was_left_behind_is_no_daemon(machine) -> None:
    (machine.run / "crond.pid").write_text("99999999\n")
    assert machine.installation().daemon is None


def test_our_own_scheduler_is_told_with_its_age(machine, one) -> None:
    lock = acquire_scheduler_lock(machine.settings)
    try:
        write_heartbeat(machine.settings, Heartbeat(os.getpid(), machine.now - 12, machine.now - 12))
        run = Lock(machine.settings.lock_path, "report")
        assert run.acquire("")
        folder = Path(machine.settings.state_path, "queue")
        folder.mkdir()
        for number in range(2):
            (folder / QueueEntry(0, machine.now, "report", f"0{number}").name).touch()
        finding = one(daemon.schedulers)
        status = daemon.status(machine.installation())
    finally:
        lock.release()
        run.release()
    assert finding.level == OK
    assert "12 s ago; 1 task running, 2 waiting" in finding.text
    assert (status.driver, status.scheduler) == ("flows cron run", os.getpid())


def test_a_scheduler_that_hangs_is_a_failure(machine, one) -> None:
    lock = acquire_scheduler_lock(machine.settings)
    try:
        write_heartbeat(machine.settings, Heartbeat(os.getpid(), machine.now - 600, machine.now - 600))
        finding = one(daemon.schedulers)
    finally:
        lock.release()
    assert finding.level == FAIL
    assert "has been inactive for 10 min" in finding.text


def test_two_schedulers_are_a_warning(machine) -> None:
    machine.task("report")
    machine.install()
    machine.process(42, "cron")
    lock = acquire_scheduler_lock(machine.settings)
    try:
        findings = list(daemon.schedulers(machine.installation()))
    finally:
        lock.release()
    assert [finding.level for finding in findings] == [OK, WARN]
    assert "two schedulers" in findings[1].text


NOW = int(datetime(2026, 6, 1, 12, tzinfo=ZoneInfo("UTC")).timestamp())


@pytest.fixture
def due(machine: Machine) -> Machine:
    """A machine on which a slot was due half an hour ago, the last one."""
    machine.task("report")
    machine.now = NOW
    os.utime(TaskStore(machine.settings).path("report"), (NOW - 86400,) * 2)
    return machine


def test_a_slot_that_nobody_saw_is_a_failure(due, one) -> None:
    due.ran(NOW - 5400)
    finding = one(daemon.slots)
    assert finding.level == FAIL
    assert "no runs for 30 min: report was due" in finding.text


@pytest.mark.parametrize(("trigger", "level"), [("cron", OK), ("scheduler", OK), ("manual", FAIL)])
def test_a_slot_is_seen_by_what_a_scheduler_started(due, trigger, level, one) -> None:
    due.ran(NOW - 1800, trigger)
    assert one(daemon.slots).level == level


def test_slots_from_before_a_task_was_changed_are_not_asked_for(due, one) -> None:
    os.utime(TaskStore(due.settings).path("report"), (NOW - 600,) * 2)
    finding = one(daemon.slots)
    assert finding.level == SKIP
    assert "nothing has been due yet" in finding.text


def test_a_change_of_the_tabfile_does_not_excuse_the_other_tasks(due, one) -> None:
    os.utime(due.settings.tabfile, (NOW - 600,) * 2)
    assert one(daemon.slots).level == FAIL


def test_a_task_that_is_late_while_others_start_is_a_warning(due, one) -> None:
    due.task("other")
    os.utime(TaskStore(due.settings).path("other"), (NOW - 86400,) * 2)
    due.ran(NOW - 1800)
    finding = one(daemon.slots)
    assert finding.level == WARN
    assert "1 task late while others start: other was due" in finding.text


def test_slots_from_before_the_machine_was_started_are_not_asked_for(due, one) -> None:
    (due.proc / "stat").write_text(f"cpu 1 2 3\nbtime {NOW - 600}\n")
    assert one(daemon.slots).level == SKIP


def test_slots_from_before_cron_was_started_are_not_asked_for(due, one) -> None:
    (due.proc / "stat").write_text(f"btime {NOW - 86400}\n")
    due.process(42, "cron")
    ticks = (86400 - 600) * os.sysconf("SC_CLK_TCK")
    (due.proc / "42" / "stat").write_text("42 (cron) S " + "0 " * 18 + f"{ticks} 0")
    assert one(daemon.slots).level == SKIP
