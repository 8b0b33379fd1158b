"""Crontab, tabfile and task files."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from scflows.cron.crontab.line import line
from scflows.cron.crontab.tabfile import Tabfile
from scflows.cron.schedule.schedule import Schedule
from scflows.cron.scheduler_lock import acquire_scheduler_lock
from scflows.cron.task import TaskStore
from scflows.health import FAIL, OK, SKIP, WARN, entries, examine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tests.health.conftest import Machine


def test_a_block_that_was_changed_is_shown_as_a_diff(machine, one) -> None:
    machine.task("report")
    machine.task("other")
    machine.install()
    tab = (machine.bin / "tab").read_bytes()
    machine.holds(tab.replace(b"30 * * * *", b"31 * * * *", 1).replace(b"# <<<", b"* * * * * mine\n# <<<"))
    finding = one(entries.block)
    assert finding.level == FAIL
    signs = [each[:4] for each in finding.lines if each[0] in "+-" and each[:3] not in ("+++", "---")]
    assert signs == ["-30 ", "+31 ", "+* *"]


def test_a_crontab_without_the_block_is_a_failure(machine, one) -> None:
    machine.task("report")
    machine.holds(b"5 4 * * * true\n")
    finding = one(entries.block)
    assert finding.level == FAIL
    assert "missing from the crontab" in finding.text


def test_without_a_block_all_is_well_while_our_scheduler_runs(machine, one) -> None:
    machine.task("report")
    lock = acquire_scheduler_lock(machine.settings)
    try:
        assert one(entries.block).level == SKIP
    finally:
        lock.release()


def test_lines_of_ours_outside_the_block_are_named(machine) -> None:
    task = machine.task("report")
    machine.install()
    tab = (machine.bin / "tab").read_bytes()
    machine.holds(tab + line(replace(task, name="stray"), sys.executable).encode() + b"\n")
    findings = list(entries.block(machine.installation()))
    assert (findings[0].level, findings[1].level) == (WARN, OK)
    assert "in the crontab outside the block: stray" in findings[0].text


def test_marks_that_are_no_pair_are_a_failure(machine) -> None:
    machine.task("report")
    machine.install()
    tab = (machine.bin / "tab").read_bytes()
    machine.holds(tab + tab)
    findings = [each for each in examine(machine.installation()) if "one pair" in each.text]
    assert findings
    assert findings[0].level == FAIL


def test_tabfile_and_task_files_that_differ_are_failures(machine) -> None:
    machine.task("gone")
    machine.task("broken")
    machine.task("alone")
    machine.task("paused", enabled=False)
    TaskStore(machine.settings).remove("gone")
    Path(TaskStore(machine.settings).path("broken")).write_text("{")
    tabfile = Tabfile.read(machine.settings.tabfile)
    tabfile.remove("alone")
    tabfile.write(machine.settings.tabfile)
    findings = list(entries.task_files(machine.installation()))
    told = [(finding.level, finding.text) for finding in findings]
    assert [level for level, _ in told] == [FAIL, FAIL, FAIL, WARN]
    assert "broken.json" in told[0][1]
    assert told[1][1].startswith("gone is in the tabfile")
    assert told[2][1].startswith("alone has a task file")
    assert told[3][1].startswith("paused is paused")


def test_a_line_that_its_task_would_write_otherwise_is_a_warning(machine, one) -> None:
    machine.task("report")
    tabfile = Tabfile.read(machine.settings.tabfile)
    tabfile.put("report", str(tabfile.line("report")).replace("30 *", "31 *"))
    tabfile.write(machine.settings.tabfile)
    finding = one(entries.lines)
    assert finding.level == WARN
    assert [each[:4] for each in finding.lines] == ["-31 ", "+30 "]


def retold(machine: Machine, old: str, new: str) -> None:
    path = Path(machine.settings.tabfile)
    path.write_text(path.read_text().replace(old, new))


def test_an_interpreter_that_is_gone_is_a_failure(machine, one) -> None:
    machine.task("report")
    retold(machine, sys.executable, "/nowhere/python")
    finding = one(entries.interpreters)
    assert finding.level == FAIL
    assert "/nowhere/python: no such program" in finding.text


def test_an_interpreter_without_scflows_is_a_failure(machine, one) -> None:
    machine.task("report")
    python = machine.folder / "python"
    python.write_text(f'#!/bin/sh\nexec {os.path.realpath(sys.executable)} -I -S "$@"\n')
    python.chmod(0o755)
    retold(machine, sys.executable, str(python))
    finding = one(entries.interpreters)
    assert finding.level == FAIL
    assert "No module named 'scflows'" in finding.text
    assert finding.help == f"install it there: {python} -m pip install scflows"


def test_a_line_that_leads_to_another_state_folder_is_a_failure(machine, one) -> None:
    machine.task("report")
    retold(machine, f" --state {machine.settings.state_path}", "")
    finding = one(entries.interpreters)
    assert finding.level == FAIL
    assert f"looks for tasks in {machine.environment['HOME']}/.local/state/scflows" in finding.text


@pytest.mark.parametrize(
    ("schedules", "told"),
    [
        (["30 * * * *"] * 30, None),
        (["30 * * * *"] * 31, "31 lines have the same times, 30 * * * *: "),
        ([f"{number % 60} {number // 60} * * *" for number in range(301)], "301 tasks with one line each: "),
    ],
)
def test_lines_that_cron_starts_in_a_crowd_are_told_with_the_other_form(machine, schedules, told) -> None:
    for number, cron in enumerate(schedules):
        machine.task(f"t{number}", schedule=Schedule(cron))
    machine.install()
    sound, *crowds = entries.block(machine.installation())
    assert sound.level == OK
    assert [(each.level, each.help) for each in crowds] == [
        (WARN, each.help) for each in crowds if "flows repair --one-line" in (each.help or "")
    ]
    assert [each.text.startswith(told) for each in crowds] == ([] if told is None else [True])
