"""The user's crontab: shown, its backups, one of them put back."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from scflows.cron.crontab.block import split
from scflows.cron.crontab.line import BOOT, TICK
from tests.conftest import Answer

FIRST = b"MAILTO=ana\n# set A=1 first\n5 4 * * * one\n"
SECOND = b"5 4 * * * two \xff\n"
Flows = Callable[..., Answer]


class Tab:
    """The stand-in's crontab."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def content(self) -> bytes:
        return (self.folder / "tab").read_bytes()

    @content.setter
    def content(self, content: bytes) -> None:
        (self.folder / "tab").write_bytes(content)

    def behaves(self, mode: str) -> None:
        (self.folder / "mode").write_text(f"{mode}\n")

    @property
    def block(self) -> list[str]:
        return split(self.content).lines or []

    @property
    def foreign(self) -> bytes:
        return split(self.content).foreign


@pytest.fixture
def tab(crontab: Path, workspace: Path) -> Tab:
    for name in ("one", "two"):
        (workspace / "tasks" / f"{name}.yml").write_text("steps: []\n")
    tab = Tab(crontab.parent)
    tab.content = FIRST
    return tab


@pytest.mark.parametrize(
    ("said", "help"),
    [
        (
            "You (ana) are not allowed to use this program (crontab)\nSee crontab(1)",
            "/etc/cron.",
        ),
        ("crontab: crontabs/tmp.RXFqZI: No space left on device", "free disk space for crontabs"),
        ("/var/spool/cron/: mkstemp: No space left on device", "free disk space for crontabs"),
        ("/var/spool/cron/: mkstemp: Read-only file system", "the disk with the crontabs is read-only"),
        ("crontabs/ana/: fopen: Permission denied", "lacks its permissions"),
        ("must be suid to work properly: seteuid: Operation not permitted", "lacks its permissions"),
        ("bcrontab: Fatal: Could not connect to bcron-spool: No such file or directory", "start it"),
        ("crontabs: No such file or directory", "the folder for crontabs is missing"),
        ("cannot chdir(/var/spool/cron/crontabs), bailing out.", "the folder for crontabs is missing"),
        ("crontab: can't change directory to '/var/spool/cron/crontabs': No such file or directory", "is missing"),
    ],
)
def test_what_keeps_the_program_from_its_work_is_told_with_what_to_do(
    flows: Flows, tab: Tab, said: str, help: str
) -> None:
    (tab.folder / "crontab").write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{said}\nEND\nexit 1\n")
    answer = flows("manual-schedule", "one.yml")
    assert answer.code == 5
    assert said.splitlines()[0] in answer.err
    assert help in answer.err.split("help: ")[1]


@pytest.mark.parametrize("mode", ["full", "full-told"])
def test_a_crontab_that_was_written_in_part_is_put_back(flows: Flows, tab: Tab, mode: str) -> None:
    tab.behaves(mode)
    answer = flows("manual-schedule", "one.yml")
    assert answer.code == 5
    assert "was restored" in answer.err
    assert "free disk space" in answer.err
    assert tab.content == FIRST
    assert flows("list-tasks").out == ""


def test_the_crontab_is_shown_as_cron_has_it(flows: Flows, tab: Tab) -> None:
    assert flows("manual-schedule", "one.yml").code == 0
    shown = flows("crontab", "show")
    assert (shown.code, shown.out) == (0, tab.content.decode())
    told = json.loads(flows("crontab", "show", "--json").out)
    assert (told["crontab"], told["block"]) == (tab.content.decode(), tab.block)
    assert flows("crontab", "show", CRONTAB_PROGRAM="none").code == 5


def test_a_backup_is_put_back_to_the_byte_beside_the_tasks_of_today(flows: Flows, tab: Tab) -> None:
    assert flows("manual-schedule", "one.yml").code == 0
    tab.content = b"".join(each.encode() + b"\n" for each in flows("crontab", "show").out.splitlines()[:4]) + SECOND
    assert flows("manual-schedule", "two.yml").code == 0
    assert tab.foreign == SECOND
    backups = json.loads(flows("crontab", "backups", "--json").out)["items"]
    assert [each["tasks"] for each in backups] == [1, 0]
    before = tab.content
    shown = flows("crontab", "restore", "2", "--dry-run", "--exit-code")
    assert shown.code == 10
    assert "+5 4 * * * one\n" in shown.out
    assert "-5 4 * * * two \\xff\n" in shown.out
    assert tab.content == before
    assert flows("crontab", "restore", "2").code == 2

    answer = flows("crontab", "restore", backups[1]["name"], "--yes")
    assert (answer.code, answer.err) == (0, "")
    assert tab.foreign == FIRST
    assert [line.rpartition(" ")[2] for line in tab.block] == ["one", "two"]
    assert flows("enable", "one").code == 0
    # What was there before is a backup now, and the newest.
    assert flows("crontab", "restore", "--yes").code == 0
    assert tab.content == before


def test_tasks_that_are_gone_do_not_come_back_with_a_backup_and_are_named(flows: Flows, tab: Tab) -> None:
    assert flows("manual-schedule", "one.yml", "two.yml").code == 0
    assert flows("remove-task", "one").code == 0
    answer = flows("crontab", "restore", "1", "--yes")
    assert answer.code == 0
    assert "that no longer exist: one;" in answer.err
    assert [line.rpartition(" ")[2] for line in tab.block] == ["two"]


def test_lines_of_ours_outside_of_the_block_are_not_put_back_twice(flows: Flows, tab: Tab, tmp_path: Path) -> None:
    assert flows("manual-schedule", "one.yml").code == 0
    old = tmp_path / "old"
    old.write_bytes(FIRST + tab.block[0].encode() + b"\n")
    assert flows("crontab", "restore", str(old), "--yes").code == 0
    assert tab.foreign == FIRST
    assert len(tab.block) == 1


@pytest.mark.parametrize(
    ("named", "code", "told"),
    [
        ("7", 4, "backup 7 not found"),
        ("nothing", 4, "backup 'nothing' not found"),
        ("broken", 5, "marks"),
        ("zero", 5, "zero byte"),
    ],
)
def test_what_cannot_be_put_back_is_refused_with_the_reason(
    flows: Flows, tab: Tab, workspace: Path, named: str, code: int, told: str
) -> None:
    assert flows("manual-schedule", "one.yml").code == 0
    (workspace / "broken").write_bytes(b"# >>> scflows >>>\n" + FIRST)
    (workspace / "zero").write_bytes(b"5 4 * * * x\0\n")
    before = tab.content
    answer = flows("crontab", "restore", named, "--yes")
    assert answer.code == code
    assert told in answer.err
    assert tab.content == before


def test_a_backup_is_no_backup_before_anything_was_changed(flows: Flows, tab: Tab) -> None:
    answer = flows("crontab", "restore", "--yes")
    assert answer.code == 4
    assert "there is no backup of the crontab yet" in answer.err
    assert (flows("crontab", "backups").out, tab.content) == ("", FIRST)


def test_more_tasks_than_the_cron_in_use_takes_fit_on_one_line(flows: Flows, tab: Tab, workspace: Path) -> None:
    tab.content = b"# x\n" * 9996
    before = tab.content
    answer = flows("manual-schedule", "one.yml", "two.yml", "--every", "1h")
    assert answer.code == 0, answer.err
    (workspace / "tasks" / "three.yml").write_text("steps: []\n")
    refused = flows("manual-schedule", "three.yml", "--dry-run")
    assert "this would be refused: the crontab would have 10001 lines" in refused.err
    refused = flows("manual-schedule", "three.yml")
    assert refused.code == 5
    assert "the crontab would have 10001 lines, but unknown accepts at most 10000" in refused.err
    assert "--one-line" in refused.err
    assert tab.foreign == before
    answer = flows("manual-schedule", "three.yml", "--one-line")
    assert answer.code == 0, answer.err
    assert [line.rpartition(" ")[2] for line in tab.block] == [TICK]
    assert tab.foreign == before
    # The way back is refused as well, and nothing is changed by it.
    assert flows("repair", "--no-one-line").code == 5
    assert [line.rpartition(" ")[2] for line in tab.block] == [TICK]
    assert flows("list-tasks").out.count("\n") == 3
    assert flows("manual-schedule", "one.yml", "--every", "3h", "--overwrite").code == 0
    assert [line.rpartition(" ")[2] for line in tab.block] == [TICK]


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("torn", "differs from what was written"),
        ("torn-late", "cannot tell the daemon; the crontab is neither the old nor the new one"),
    ],
)
def test_a_crontab_that_was_written_by_half_is_put_back(flows: Flows, tab: Tab, mode: str, reason: str) -> None:
    assert flows("manual-schedule", "one.yml").code == 0
    before = tab.content
    tab.behaves(mode)
    answer = flows("manual-schedule", "two.yml")
    assert answer.code == 5
    assert reason in answer.err
    assert "flows crontab restore" in answer.err
    assert tab.content.count(b"\n") == 2
    tab.behaves("ok")
    # Whoever comes later is told the way back as well.
    for command in (
        "repair",
        "check",
        "check --fix",
        "crontab show --json",
        "auto-schedule --once",
        "clear-tasks --yes",
    ):
        told = flows(*command.split())
        assert "not one pair" in told.out + told.err
        assert "flows crontab restore" in told.out + told.err
    answer = flows("crontab", "restore", "--yes")
    assert (answer.code, answer.err) == (0, "")
    assert tab.content == before
    # The torn one is the newest backup now, and cannot be put back.
    refused = flows("crontab", "restore", "--yes")
    assert refused.code == 5
    assert "the marks of our block in the backup " in refused.err
    assert tab.content == before
    assert flows("list-tasks").out.count("\n") == 1


def test_the_way_back_leads_past_backups_that_are_torn(flows: Flows, tab: Tab) -> None:
    assert flows("manual-schedule", "one.yml").code == 0
    before = tab.content
    tab.behaves("torn")
    assert flows("manual-schedule", "two.yml").code == 5
    assert "is unchanged" in flows("crontab", "restore", "--yes").err
    tab.behaves("ok")
    assert "flows crontab restore 2" in flows("repair").err
    assert flows("crontab", "restore", "2", "--yes").code == 0
    assert tab.content == before


def test_a_torn_crontab_without_a_backup_names_none(flows: Flows, tab: Tab) -> None:
    tab.content = b"# >>> scflows >>>\n" + FIRST
    refused = flows("manual-schedule", "one.yml")
    assert refused.code == 5
    assert "crontab -e" in refused.err
    assert "restore" not in refused.err


def test_a_program_that_fails_after_it_has_written_has_written(flows: Flows, tab: Tab) -> None:
    assert flows("manual-schedule", "one.yml", "two.yml").code == 0
    # Without the newline that some crons insist on: it is not tried again with one.
    tab.content = tab.content.removesuffix(b"\n")
    tab.behaves("late")
    answer = flows("remove-task", "two")
    assert answer.code == 0
    assert "cannot tell the daemon" in answer.err
    assert [line.rpartition(" ")[2] for line in tab.block] == ["one"]
    assert tab.foreign == FIRST.removesuffix(b"\n")
    assert flows("list-tasks").out.count("\n") == 1
    answer = flows("manual-schedule", "two.yml")
    assert (answer.code, len(tab.block)) == (0, 2)
    tab.behaves("ok")
    assert flows("repair", "--dry-run", "--exit-code").code == 0


def test_notes_of_ours_that_are_nested_too_deeply_are_none(flows: Flows, tab: Tab, tmp_path: Path) -> None:
    assert flows("manual-schedule", "one.yml").code == 0
    before = tab.content
    for name in ("write-intent", "crontab-block"):
        (tmp_path / "state" / "scflows" / name).write_text("[" * 100_000)
    answer = flows("repair")
    assert (answer.code, answer.err) == (0, "")
    assert tab.content == before


def in_another_state(tmp_path: Path, shares_cache: bool = False) -> dict[str, str]:
    """Variables that lead to another state folder of the same user."""
    cache = {} if shares_cache else {"XDG_CACHE_HOME": str(tmp_path / "other-cache")}
    return {"XDG_STATE_HOME": str(tmp_path / "other"), **cache}


@pytest.mark.parametrize(("form", "shares_cache"), [("--no-one-line", True), ("--one-line", False)])
def test_the_block_of_another_state_folder_is_left_alone(
    flows: Flows, tab: Tab, tmp_path: Path, form: str, shares_cache: bool
) -> None:
    assert flows("manual-schedule", "one.yml", form).code == 0
    before = tab.content
    other = in_another_state(tmp_path, shares_cache)
    (tmp_path / "old").write_bytes(FIRST)
    for name in ("one.yml", "two.yml"):
        refused = flows("manual-schedule", name, **other)
        assert refused.code == 5, refused
        assert f"of another state folder, {tmp_path}/state/scflows: " in refused.err
        assert f"XDG_STATE_HOME={tmp_path}/state flows clear-tasks" in refused.err
        assert tab.content == before
    assert "this would be refused: the block" in flows("manual-schedule", "two.yml", "--dry-run", **other).err
    assert flows("clear-tasks", "--yes", **other).code == 0
    flows("crontab", "restore", str(tmp_path / "old"), "--yes", **other)
    assert tab.content == before
    # As told: these are given up, then the block is free.
    assert flows("clear-tasks", "--yes").code == 0
    assert flows("manual-schedule", "two.yml", **other).code == 0
    assert [line.rpartition(" ")[2] for line in tab.block] == ["two"]


def test_a_block_that_two_state_folders_share_is_told_and_can_be_parted(flows: Flows, tab: Tab, tmp_path: Path) -> None:
    other = in_another_state(tmp_path)
    assert flows("manual-schedule", "two.yml", **other).code == 0
    theirs = tab.block
    tab.content = FIRST
    assert flows("manual-schedule", "one.yml").code == 0
    ours = tab.content
    tab.content = ours.replace(tab.block[0].encode(), b"\n".join(line.encode() for line in (tab.block[0], *theirs)))
    assert len(tab.block) == 2
    refused = flows("repair")
    assert refused.code == 5
    assert "/other/scflows: two;" in refused.err
    told = flows("check").out
    assert "of another state folder" in told
    # There, what is theirs goes and the rest stays.
    (tmp_path / "other-cache/scdata/tasks/tabfile.tab").unlink()
    assert flows("clear-tasks", "--yes", **other).code == 0
    assert tab.content == ours


@pytest.mark.skipif(os.geteuid() != 0, reason="sudo makes one root")
def test_under_sudo_the_tasks_of_another_user_do_not_go_onto_the_crontab_of_root(
    flows: Flows, tab: Tab, tmp_path: Path
) -> None:
    assert flows("manual-schedule", "one.yml", SUDO_USER="nobody").code == 0
    os.chown(tmp_path / "state" / "scflows", pwd.getpwnam("nobody").pw_uid, -1)
    before = tab.content
    for command in ("manual-schedule two.yml", "auto-schedule --once", "repair", "clear-tasks --yes"):
        refused = flows(*command.split(), SUDO_USER="nobody")
        assert refused.code == 5
        assert f"the tasks in {tmp_path}/state/scflows belong to nobody" in refused.err
        assert "run it without sudo" in refused.err
    told = flows("check", SUDO_USER="nobody").out
    assert "belong to nobody, but under sudo they would be written to the crontab of root" in told
    assert "flows repair" not in told
    assert tab.content == before


def test_lines_outside_of_the_block_that_another_state_folder_needs_are_not_ours(
    flows: Flows, tab: Tab, tmp_path: Path
) -> None:
    other = in_another_state(tmp_path)
    assert flows("manual-schedule", "one.yml", **other).code == 0
    stray = tab.block[0].encode() + b"\n"
    tab.content = FIRST + stray
    assert flows("manual-schedule", "one.yml").code == 0
    assert tab.foreign == FIRST + stray
    assert "outside the block" not in flows("check").out
    # One that starts nothing any more is taken for ours.
    (tmp_path / "other/scflows/tasks/one.json").unlink()
    assert flows("repair").code == 0
    assert tab.foreign == FIRST


def test_a_state_folder_that_was_moved_takes_its_lines_along(flows: Flows, tab: Tab, tmp_path: Path) -> None:
    assert flows("manual-schedule", "one.yml", "two.yml").code == 0
    (tmp_path / "state").rename(tmp_path / "other")
    assert flows("repair", **in_another_state(tmp_path)).code == 0
    assert [f"--state {tmp_path}/other/scflows" in line for line in tab.block] == [True, True]


def test_a_line_for_the_boot_is_there_as_long_as_some_task_catches_up(
    flows: Flows, tab: Tab, workspace: Path, settings
) -> None:
    def names() -> list[str]:
        return [line.rpartition(" ")[2] for line in tab.block]

    owing = workspace / "tasks" / "owing.yml"
    owing.write_text("schedule: {every: 1h, catch_up: last}\nsteps: []\n")
    assert flows("manual-schedule", "one.yml").code == 0
    assert names() == ["one"]
    assert flows("manual-schedule", "owing.yml").code == 0
    assert names() == ["one", "owing", BOOT]
    assert tab.block[-1] == f"@reboot {sys.executable} -P -m scflows cron boot --state {settings.state_path} # {BOOT}"
    # It is no task: neither listed, nor counted, nor to be removed.
    assert flows("list-tasks").out.count("\n") == 2
    assert json.loads(flows("cron", "status", "--json").out)["cron"]["entries"] == 2
    assert flows("remove-task", BOOT).code != 0
    before = tab.content
    assert flows("manual-schedule", "two.yml").code == 0
    assert flows("remove-task", "two").code == 0
    assert tab.content == before
    assert flows("disable", "owing").code == 0
    assert names() == ["one"]
    assert flows("enable", "owing").code == 0
    assert names() == ["one", "owing", BOOT]
    # A tick sees by itself that it was away.
    assert flows("repair", "--one-line").code == 0
    assert names() == [TICK]
    assert flows("repair", "--no-one-line").code == 0
    assert sorted(names()) == ["one", "owing", BOOT]
    assert flows("clear-tasks", "--yes").code == 0
    assert tab.content == FIRST


def test_a_line_for_the_boot_that_is_lost_or_changed_is_noticed_and_written_again(
    flows: Flows, tab: Tab, workspace: Path
) -> None:
    (workspace / "tasks" / "owing.yml").write_text("schedule: {every: 1h, catch_up: all}\nsteps: []\n")
    assert flows("manual-schedule", "owing.yml").code == 0
    whole = tab.content
    line = next(each for each in whole.splitlines(True) if BOOT.encode() in each)
    for changed in (whole.replace(line, b""), whole.replace(b"@reboot", b"@daily"), whole.replace(line, b"") + line):
        tab.content = changed
        told = flows("check")
        assert "flows repair" in told.out
        assert flows("repair").code == 0
        assert tab.content == whole


ODD = b"5 4 * * * x\r\n6 4 * * * printf 'a\\r\\b\b'\r\n"


@pytest.mark.parametrize("mode", ["ok", "debian"])
def test_what_the_program_shows_otherwise_than_it_is_stays_as_it_is(flows: Flows, tab: Tab, mode: str) -> None:
    tab.behaves(mode)
    subprocess.run([tab.folder / "crontab", "-"], input=FIRST + ODD, check=True)
    assert flows("manual-schedule", "one.yml", "two.yml").code == 0
    assert tab.content.endswith(FIRST + ODD)
    assert flows("remove-task", "one").code == 0
    assert flows("clear-tasks", "--yes").code == 0
    assert tab.content.endswith(FIRST + ODD)
    assert flows("crontab", "restore", "2", "--yes").code == 0
    assert tab.content.endswith(FIRST + ODD)


def test_what_cannot_be_told_is_refused_and_what_is_advised_helps(
    flows: Flows, tab: Tab, environment: dict[str, str]
) -> None:
    tab.behaves("silent")
    tab.content = before = FIRST + rb"5 4 * * * x\r" + b"\n"
    refused = flows("manual-schedule", "one.yml")
    assert refused.code == 5
    assert "which may stand for a carriage return or a backspace in crontab -l" in refused.err
    assert tab.content == before
    tab.behaves("ok")
    advised = refused.err.partition("remove them: ")[2].partition(";")[0]
    path = f"{tab.folder}:{environment['PATH']}"
    subprocess.run(["/bin/sh", "-c", advised], env={**environment, "PATH": path}, check=True)
    assert tab.content == FIRST + b"5 4 * * * x\n"
    assert flows("manual-schedule", "one.yml").code == 0
    assert tab.foreign == FIRST + b"5 4 * * * x\n"


def test_a_tabfile_of_another_state_folder_is_left_alone_too(flows: Flows, tab: Tab, tmp_path: Path) -> None:
    assert flows("manual-schedule", "one.yml").code == 0
    tabfile = tmp_path / "cache/scdata/tasks/tabfile.tab"
    tab.content, before = FIRST, tabfile.read_bytes()
    refused = flows("manual-schedule", "two.yml", **in_another_state(tmp_path, shares_cache=True))
    assert refused.code == 5
    assert f"of another state folder, {tmp_path}/state/scflows: one;" in refused.err
    assert (tab.content, tabfile.read_bytes()) == (FIRST, before)
    assert flows("repair").code == 0
    assert [line.rpartition(" ")[2] for line in tab.block] == ["one"]


def test_a_task_that_cannot_be_read_keeps_the_line_for_the_boot(
    flows: Flows, tab: Tab, workspace: Path, settings
) -> None:
    (workspace / "tasks" / "owing.yml").write_text("schedule: {every: 1h, catch_up: last}\nsteps: []\n")
    assert flows("manual-schedule", "owing.yml").code == 0
    Path(settings.state_path, "tasks", "owing.json").write_text("{")
    told = flows("manual-schedule", "one.yml")
    # It is scheduled; the damaged task is a problem that remains.
    assert (told.code, "owing.json: invalid task file" in told.err) == (1, True)
    assert sorted(line.rpartition(" ")[2] for line in tab.block) == ["one", "owing", BOOT]


def test_a_cron_that_a_line_for_the_boot_would_end_is_given_none(
    flows: Flows, tab: Tab, workspace: Path, environment: dict[str, str]
) -> None:
    program = str(shutil.copy(tab.folder / "crontab", tab.folder / "busybox"))
    environment["CRONTAB_PROGRAM"] = program
    (workspace / "tasks" / "owing.yml").write_text("schedule: {every: 1h, catch_up: last}\nsteps: []\n")
    assert flows("manual-schedule", "owing.yml").code == 0
    assert [line.rpartition(" ")[2] for line in tab.block] == ["owing"]
    assert "the @reboot line is missing" not in flows("check").out


def test_a_block_that_shall_be_seen_to_no_more_is_told_and_first_taken_off(flows: Flows, tab: Tab) -> None:
    assert flows("manual-schedule", "one.yml").code == 0
    before = tab.content
    for command in (("manual-schedule", "two.yml"), ("remove-task", "one"), ("clear-tasks", "--yes"), ("repair",)):
        refused = flows(*command, CRONTAB_PROGRAM="none")
        assert refused.code == 5
        assert "the crontab still has our block" in refused.err
        assert "clear-tasks; then schedule again" in refused.err
    assert "the crontab still has our block" in flows("check", CRONTAB_PROGRAM="none").out
    assert tab.content == before
    assert flows("clear-tasks", "--yes").code == 0
    assert tab.content == FIRST
    assert flows("manual-schedule", "two.yml", CRONTAB_PROGRAM="none").code == 0
    assert tab.content == FIRST


def test_lines_of_the_block_that_the_tabfile_has_not_are_cleared_too(flows: Flows, tab: Tab, tmp_path: Path) -> None:
    assert flows("manual-schedule", "one.yml", "two.yml").code == 0
    Path(tmp_path, "state/scflows/tasks/one.json").unlink()
    tabfile = Path(tmp_path, "cache/scdata/tasks/tabfile.tab")
    tabfile.write_text("".join(line for line in tabfile.read_text().splitlines(True) if "# one" not in line))
    assert flows("clear-tasks", "--yes").code == 0
    assert tab.content == FIRST


def test_a_program_that_shows_its_own_header_gets_it_back_once(flows: Flows, tab: Tab) -> None:
    tab.behaves("suse")
    subprocess.run([tab.folder / "crontab", "-"], input=FIRST, check=True)
    assert flows("manual-schedule", "one.yml").code == 0
    assert flows("manual-schedule", "two.yml").code == 0
    assert tab.content.count(b"DO NOT EDIT") == 1
    assert tab.content.endswith(FIRST)
    assert "2 tasks, same as the tabfile" in flows("check").out
    assert flows("crontab", "restore", "1", "--yes").code == 0
    assert flows("clear-tasks", "--yes").code == 0
    assert tab.content.count(b"DO NOT EDIT") == 1
    assert tab.content.partition(b"(Cronie version 4.2)\n")[2] == FIRST


def test_a_broken_line_of_the_user_has_the_number_that_the_user_sees(flows: Flows, tab: Tab) -> None:
    tab.content = b"# mine\n5 4 * * * true\n61 4 * * * backup /home\n"
    tab.behaves("checks")
    refused = flows("manual-schedule", "one.yml")
    assert refused.code == 5
    assert "line 3 of the crontab of" in refused.err
    assert "is invalid: bad minute: 61 4 * * * backup /home" in refused.err
    assert "crontab -e" in refused.err
    # With lines of ours above it, too, and with several that are equal.
    tab.behaves("ok")
    assert flows("manual-schedule", "one.yml").code == 0
    tab.behaves("checks")
    refused = flows("manual-schedule", "two.yml")
    number = tab.content.split(b"\n").index(b"61 4 * * * backup /home") + 1
    assert (number > 3, f"line {number} of the crontab of" in refused.err) == (True, True)


def test_the_name_of_a_task_does_not_depend_on_the_locale(
    workspace: Path, environment: dict[str, str], crontab: Path
) -> None:
    flow = workspace / "tasks" / "prüfung größe.yml"
    flow.write_text("schedule: {every: 1h}\nsteps: []\n")
    lines = set()
    # Without its own locale, Python would read file names as ASCII.
    for variables in ({"LC_ALL": "C.UTF-8"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}):
        for words in (["auto-schedule", "--once"], ["list-tasks"], ["run", flow.name], ["clear-tasks", "--yes"]):
            done = subprocess.run(
                [sys.executable, "-P", "-m", "scflows", *words],
                cwd=workspace,
                env={**environment, **variables},
                capture_output=True,
                check=False,
            )
            assert (done.returncode, done.stderr) == (0, b"")
            if words == ["list-tasks"]:
                lines.add(done.stdout.split(b"\t")[0])
                lines.add(crontab.read_bytes().split(b"scflows run ")[1])
    assert sorted(lines)[1:] == [b"prufung-groe"]
