"""Settings, folders, disk and history."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from pathlib import Path

import pytest

from scflows.health import FAIL, OK, WARN, folders
from scflows.health.workspace_files import KNOWN


def test_an_env_file_that_others_can_read_is_told(machine, workspace, one) -> None:
    (workspace / ".env").write_text("TIMEZONE=UTC\n")
    (workspace / ".env").chmod(0o644)
    finding = one(folders.env_file)
    assert (finding.level, finding.help) == (WARN, f"chmod 600 {workspace}/.env")
    assert "mode 0644" in finding.text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("export A=b", "export"),
        ("A='b'", "quote"),
        ('A="b"', "quote"),
        ("A=b$c", "$"),
        ("A=b #c", "#"),
        ("A=b c", "space"),
        ("A = b", "space"),
        ("A=b\\c", "backslash"),
    ],
)
def test_lines_that_others_read_otherwise_are_told_with_their_place(machine, workspace, text, why, one) -> None:
    (workspace / ".env").write_text(f"# a comment\nGOOD=sqlite:////var/a,b-c@d?e=f\n\n{text}\n")
    (workspace / ".env").chmod(0o600)
    finding = one(folders.env_file)
    assert finding.level == WARN
    assert why in finding.text.partition(".env:4: ")[2]


@pytest.mark.parametrize(
    ("name", "value"), [("TIMEZONE", "Europe/Madird"), ("LOG_LEVEL", "loud"), ("FLOW_TIMEOUT_SECONDS", "-1")]
)
def test_settings_that_cannot_be_are_failures(machine, name, value, one) -> None:
    machine.environment[name] = value
    finding = one(folders.values)
    assert finding.level == FAIL
    assert name in finding.text
    assert value.upper() in finding.text.upper()


def test_a_file_in_the_place_of_the_log_folder_is_a_failure(machine, one) -> None:
    Path(machine.settings.tasks_path).parent.mkdir(parents=True)
    Path(machine.settings.tasks_path).write_text("")
    finding = one(folders.folders)
    assert finding.level == FAIL
    assert f"log folder {machine.settings.tasks_path}" in finding.text


def test_a_log_folder_that_cannot_be_written_is_a_failure(machine, one, monkeypatch) -> None:
    folder = machine.settings.tasks_path
    Path(folder).mkdir(parents=True)
    may = os.access
    # Root may write everything, and tests may be run by root.
    monkeypatch.setattr(os, "access", lambda path, mode: path != folder and may(path, mode))
    finding = one(folders.folders)
    assert finding.level == FAIL
    assert finding.text == f"log folder {folder}: {folder} is not writable"


def test_a_folder_in_the_place_of_a_log_is_a_failure(machine, one) -> None:
    machine.task("report")
    (Path(machine.settings.tasks_path) / "report" / "report.log").mkdir(parents=True)
    assert one(folders.logs).level == FAIL


@pytest.mark.parametrize(("free", "level"), [(1, FAIL), (100, WARN), (10_000, OK)])
def test_a_disk_that_is_nearly_full_is_told(machine, monkeypatch, free, level, one) -> None:
    class Space:
        f_bavail, f_frsize, f_files, f_favail = free * 1024, 1024, 100, 100

    monkeypatch.setattr(os, "statvfs", lambda path: Space)
    assert one(folders.disk).level == level


def test_a_history_that_is_damaged_is_told_with_what_to_do(machine, one) -> None:
    path = Path(machine.settings.state_path) / "history.sqlite"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no database at all, but long enough to be taken for one" * 100)
    finding = one(folders.history)
    assert finding.level == FAIL
    assert "move it away, a new one will be created" in finding.help
    # It is advice that works.
    subprocess.run(["/bin/sh", "-ec", finding.help.partition(": ")[2]], check=True)
    assert not path.exists()


def test_a_history_that_somebody_holds_is_a_warning(machine, monkeypatch, one) -> None:
    machine.ran(0.0)
    monkeypatch.setattr(folders, "LOCK_SECONDS", 0.05)
    other = sqlite3.connect(Path(machine.settings.state_path) / "history.sqlite", isolation_level=None)
    try:
        other.execute("BEGIN EXCLUSIVE")
        finding = one(folders.history)
    finally:
        other.close()
    assert finding.level == WARN
    assert "another program has locked it" in finding.text


def test_a_history_of_a_later_version_is_a_failure(machine, one) -> None:
    machine.ran(0.0)
    with sqlite3.connect(Path(machine.settings.state_path) / "history.sqlite") as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    assert "later version" in one(folders.history).text


def test_records_that_wait_are_told(machine) -> None:
    folder = Path(machine.settings.state_path) / "claims"
    folder.mkdir(parents=True)
    (folder / "A.json").write_text("{}")
    (folder / "B.json.broken").write_text("{")
    findings = list(folders.pending(machine.installation()))
    assert [finding.level for finding in findings] == [WARN, WARN]


def test_mistakes_in_the_settings_file_are_told(machine, workspace, one) -> None:
    path = workspace / "data/config.yml"
    path.parent.mkdir(exist_ok=True)
    path.write_text("allow: 5\n")
    finding = one(folders.names)
    assert finding.level == FAIL
    assert f"{path}:1:1: allow must be a list" in finding.text
    path.write_text("on_failur: x.yml\n")
    finding = one(folders.names)
    assert finding.level == WARN
    assert "did you mean 'on_failure'?" in finding.text
    path.write_text("allow: []\non_failure: gone.yml\n")
    finding = one(folders.names)
    assert finding.level == FAIL
    assert f"{path}:2:1: on_failure: gone.yml: flow file not found" in finding.text


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("TIME_ZONE", "did you mean 'TIMEZONE'?"),
        ("log_level", "did you mean 'LOG_LEVEL'?"),
        ("FLOW_TIMEOUT", "did you mean 'FLOW_TIMEOUT_SECONDS'?"),
        ("SC_BEARR_FILE", "did you mean 'SC_BEARER'?"),
        ("FLOW_BENCHES", "list the settings with: flows config"),
    ],
)
def test_a_misspelt_name_in_the_env_file_is_told(name, hint, machine, workspace, one) -> None:
    (workspace / ".env").write_text(f"# TIMEZON=x\nTIMEZONE=UTC\n{name}=1\n")
    finding = one(folders.names)
    assert (finding.level, finding.text) == (
        WARN,
        f"{workspace}/.env:3:1: unknown setting {name!r} is ignored; {hint}",
    )


def test_names_of_other_programs_and_secrets_in_the_env_file_are_fine(machine, workspace) -> None:
    names = ("POSTGRES_PASSWORD", "DATABASE_URL", "SECRET_PORTAL__USERNAME_FILE", "SC_BEARER_FILE", "HOME", "MAILTO")
    (workspace / ".env").write_text("".join(f"{name}=1\n" for name in (*names, *KNOWN)))
    assert list(folders.names(machine.installation())) == []
