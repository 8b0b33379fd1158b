"""The user's own lines survive a command that is killed while it writes the crontab."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scflows.cron.crontab.block import split
from scflows.cron.crontab.tabfile import Tabfile
from tests.conftest import Answer

HERE = Path(__file__).parent
FOREIGN = b"SHELL=/bin/sh\n# mine: 100\\% \xe9\n5 4 * * * $HOME/x %y\n"
#: 1,000 in the slow suite; as many moments and signals, but fewer of each, in every run.
TRIES, MANY = 24, 1000

#: A `crontab` that signals the command that started it when it has read so much of its input.
STOPS = """#!/bin/sh
here=${0%/*}
if [ "$1" != - ] || [ ! -f "$here/sent" ]; then exec "$here/real/crontab" "$@"; fi
read -r moment sent < "$here/sent"
rm "$here/sent"
strike() {
  if [ "$moment" = "$1" ]; then
    kill -$sent $PPID
    if [ $sent = STOP ]; then (sleep 0.3; kill -CONT $PPID) & fi
    sleep 0.2
  fi
}
strike started
head -c 10 > "$here/new"
strike reading
cat >> "$here/new"
strike read
"$here/real/crontab" - < "$here/new"
strike installed
echo ended > "$here/ended"
"""
#: A `crontab` that empties the tab, as after a power cut, and kills the command.
EMPTIES = """#!/bin/sh
here=${0%/*}
if [ "$1" != - ] || [ ! -f "$here/sent" ]; then exec "$here/real/crontab" "$@"; fi
rm "$here/sent"
head -c "$(cat "$here/kept")" > "$here/real/tab"
kill -KILL $PPID
"""


class Tab:
    """A crontab that stands in for the user's, behind a program that misbehaves once `strikes` was called."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        (folder / "real").mkdir(parents=True)
        shutil.copy(HERE / "crontab" / "fake_crontab", folder / "real" / "crontab")
        environment["CRONTAB_PROGRAM"] = str(folder / "crontab")
        self.path = folder / "real" / "tab"
        self.path.write_bytes(FOREIGN)
        self.is_a(STOPS)

    def is_a(self, program: str) -> None:
        (self.folder / "crontab").write_text(program)
        (self.folder / "crontab").chmod(0o755)

    def strikes(self, words: str) -> None:
        (self.folder / "sent").write_text(f"{words}\n")

    @property
    def foreign(self) -> bytes:
        return split(self.path.read_bytes()).foreign

    def wait(self) -> None:
        ends = time.monotonic() + 60
        while not (self.folder / "ended").exists():
            assert time.monotonic() < ends
            time.sleep(0.01)
        (self.folder / "ended").unlink()


@pytest.fixture
def tab(tmp_path: Path, environment: dict[str, str], workspace: Path, flows: Callable[..., Answer]) -> Tab:
    """A crontab with lines of the user's and two tasks of ours."""
    tab = Tab(tmp_path / "bin", environment)
    for name in ("one", "two"):
        (workspace / "tasks" / f"{name}.yml").write_text("schedule: {every: 1h}\nsteps: []\n")
    answer = flows("auto-schedule", "--once")
    assert answer.code == 0, answer.err
    return tab


def _default_signals() -> None:
    """Undo what a shell or `nohup` that started the tests had all its children ignore."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def start(environment: dict[str, str], workspace: Path, *words: str) -> subprocess.Popen[bytes]:
    """Start a command that is to be killed: no pipe tells its parent what it says."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "scflows", *words],
        cwd=workspace,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=_default_signals,
    )


@pytest.mark.parametrize("sent", ["KILL", "TERM", "HUP", "INT", "STOP"])
def test_a_signal_at_any_moment_of_the_write_loses_nothing(
    tab: Tab, flows: Callable[..., Answer], environment: dict[str, str], workspace: Path, tmp_path: Path, sent: str
) -> None:
    for moment in ("started", "reading", "read", "installed"):
        tab.strikes(f"{moment} {sent}")
        code = start(environment, workspace, "disable", "one").wait(60)
        tab.wait()
        assert code == 0 if sent == "STOP" else code != 0, moment
        assert tab.foreign == FOREIGN, moment
        # Complete, although the command was killed: the program had a whole file.
        assert [line.rpartition("# ")[2] for line in split(tab.path.read_bytes()).lines or []] == ["two"], moment
        answer = flows("enable", "one")
        assert answer.code == 0, answer.err
        assert "restored" not in answer.err
        assert tab.foreign == FOREIGN, moment
        tabfile = Tabfile.parse((tmp_path / "cache/scdata/tasks/tabfile.tab").read_text())
        assert split(tab.path.read_bytes()).lines == tabfile.lines, moment


def test_the_next_command_waits_for_a_program_that_outlived_the_killed_one(
    tab: Tab, flows: Callable[..., Answer], environment: dict[str, str], workspace: Path, tmp_path: Path
) -> None:
    tab.is_a(STOPS.replace("strike read\n", "strike read\nsleep 1.5\n"))
    tab.strikes("started KILL")
    assert start(environment, workspace, "disable", "one").wait(60) == -9
    answer = flows("disable", "two")
    assert answer.code == 0, answer.err
    # Had it not waited, the older write would now replace the newer one.
    tab.wait()
    assert split(tab.path.read_bytes()).lines is None
    assert tab.path.read_bytes() == FOREIGN


@pytest.mark.parametrize("kept", ["0", "300"])
def test_lines_that_a_cut_off_write_lost_are_restored_by_the_next_command(
    tab: Tab, flows: Callable[..., Answer], environment: dict[str, str], workspace: Path, kept: str
) -> None:
    whole = tab.path.read_bytes()
    tab.is_a(EMPTIES)
    (tab.folder / "kept").write_text(kept)
    tab.strikes("now")
    assert start(environment, workspace, "disable", "one").wait(60) == -9
    torn = tab.path.read_bytes()
    assert len(torn) == int(kept)
    answer = flows("check")
    assert answer.code == 1
    assert "lines that it had before are missing" in answer.out
    assert "flows repair restores them" in answer.out

    dry = flows("repair", "--dry-run")
    assert "would restore the" in dry.out + dry.err
    assert tab.path.read_bytes() == torn

    answer = flows("repair")
    assert answer.code == 0, answer.err
    assert "restored the" in answer.err
    assert tab.foreign == FOREIGN
    assert set(split(whole).lines or []) >= set(split(tab.path.read_bytes()).lines or [])
    assert "restore" not in flows("repair").err


def test_what_was_changed_after_a_cut_off_write_stays(
    tab: Tab, flows: Callable[..., Answer], environment: dict[str, str], workspace: Path
) -> None:
    tab.is_a(EMPTIES)
    (tab.folder / "kept").write_text("0")
    tab.strikes("now")
    start(environment, workspace, "disable", "one").wait(60)
    tab.path.write_bytes(b"1 2 * * * newer\n")
    answer = flows("repair")
    assert answer.code == 0
    assert "which was changed since" in answer.err
    assert "flows crontab restore " in answer.err
    assert tab.foreign == b"1 2 * * * newer\n"
    assert "changed since" not in flows("repair").err


def test_the_last_line_that_a_user_deletes_after_a_kill_does_not_come_back(
    tab: Tab, flows: Callable[..., Answer], environment: dict[str, str], workspace: Path
) -> None:
    tab.strikes("installed KILL")
    start(environment, workspace, "disable", "one").wait(60)
    tab.wait()
    tab.path.write_bytes(tab.path.read_bytes().removesuffix(b"5 4 * * * $HOME/x %y\n"))
    assert flows("repair").code == 0
    assert tab.foreign == FOREIGN.removesuffix(b"5 4 * * * $HOME/x %y\n")


@pytest.mark.parametrize("is_gone", [True, False], ids=["gone", "empty"])
def test_an_emptied_crontab_is_reported_with_the_way_back(
    tab: Tab, flows: Callable[..., Answer], is_gone: bool
) -> None:
    assert flows("disable", "one").code == 0  # The newest copy has the user's lines.
    if is_gone:
        tab.path.unlink()
    else:
        tab.path.write_bytes(b"\n")
    for words in (["check"], ["crontab", "show"], ["auto-schedule", "--dry-run"], ["disable", "two"]):
        answer = flows(*words)
        told = " ".join((answer.out + answer.err).split())
        assert told.count("the crontab is empty, but its newest backup has 3 lines of your own") == 1, (words, told)
        way = told.partition("restore them with: flows ")[2].split()[:3]
    # By its name: the copy that the last command made is newer.
    answer = flows(*way, "--yes")
    assert answer.code == 0, answer.err
    assert tab.foreign == FOREIGN


def test_a_crontab_that_lacks_some_lines_was_edited_by_its_user(tab: Tab, flows: Callable[..., Answer]) -> None:
    assert flows("disable", "one").code == 0
    lines = tab.path.read_bytes().splitlines(keepends=True)
    for kept in (lines[:-1], lines[:3], lines[-1:]):
        tab.path.write_bytes(b"".join(kept))
        for words in (["crontab", "show"], ["auto-schedule", "--dry-run"], ["check"]):
            answer = flows(*words)
            assert "restore" not in answer.out + answer.err


def kill_many(environment: dict[str, str], workspace: Path, program: str, tries: int, prefix: list[str]) -> Any:
    for name in ("one", "two"):
        (workspace / "tasks" / f"{name}.yml").write_text("schedule: {every: 1h}\nsteps: []\n")
    given = {**environment, "STATE": f"{environment['XDG_STATE_HOME']}/scflows"}
    done = subprocess.run(
        [*prefix, sys.executable, "-P", str(HERE / "kill_writes.py"), str(workspace.parent), program, str(tries)],
        env=given,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    counted = json.loads(done.stdout)
    assert (counted["tries"], counted["lost"], counted["unfinished"]) == (tries, 0, 0)
    # A signal that comes a moment too late strikes nobody; most strike.
    assert counted["struck"] > tries / 2
    assert {words.split()[0] for words in counted["codes"]} == {"KILL", "TERM", "HUP", "INT"}
    return counted


def standing_in(tmp_path: Path) -> str:
    (tmp_path / "real").mkdir()
    return str(shutil.copy(HERE / "crontab" / "fake_crontab", tmp_path / "real" / "crontab"))


def test_kills_aimed_at_the_write_lose_no_byte(environment: dict[str, str], workspace: Path, tmp_path: Path) -> None:
    kill_many(environment, workspace, standing_in(tmp_path), TRIES, [])


@pytest.mark.slow
def test_a_thousand_kills_lose_no_byte(environment: dict[str, str], workspace: Path, tmp_path: Path) -> None:
    kill_many(environment, workspace, standing_in(tmp_path), MANY, [])


#: Debian's own, with a spool that nobody else sees.
APART = """
mount --make-rprivate /
mkdir -p /var/spool/cron/crontabs
mount -t tmpfs -o mode=1730,size=64m none /var/spool/cron/crontabs
if getent group crontab > /dev/null; then chgrp crontab /var/spool/cron/crontabs; fi
exec "$@"
"""


def debian() -> tuple[str, list[str]]:
    program = shutil.which("crontab", path="/usr/bin:/bin")
    if program is None or shutil.which("unshare") is None or os.geteuid() != 0:
        pytest.skip("needs Debian's crontab, unshare and root")
    return program, ["unshare", "--mount", "sh", "-ec", APART, "apart"]


@pytest.mark.service
def test_kills_aimed_at_the_write_of_debians_crontab_lose_no_byte(environment: dict[str, str], workspace: Path) -> None:
    program, prefix = debian()
    kill_many(environment, workspace, program, TRIES, prefix)


@pytest.mark.service
@pytest.mark.slow
def test_a_thousand_kills_of_debians_crontab_lose_no_byte(environment: dict[str, str], workspace: Path) -> None:
    program, prefix = debian()
    kill_many(environment, workspace, program, MANY, prefix)
