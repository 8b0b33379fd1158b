"""All checks together."""

from __future__ import annotations

import sqlite3

from scflows.health import OK, SKIP, daemon, examine


def test_a_sound_installation_has_no_failure_and_no_warning(machine) -> None:
    machine.task("report")
    machine.install(b"# mine\n5 4 * * * true\n")
    machine.process(7, "cron")
    findings = examine(machine.installation())
    assert {finding.level for finding in findings} <= {OK, SKIP}, findings
    told = "\n".join(finding.text for finding in findings)
    assert "1 task, same as the tabfile; 2 other lines not touched" in told
    assert "the system's cron is running (cron, process 7)" in told


def test_checks_change_nothing(machine, tmp_path) -> None:
    machine.task("report")
    machine.install()

    def files() -> list[tuple[str, int]]:
        return sorted((str(path), path.stat().st_size) for path in tmp_path.rglob("*") if path.name != "calls")

    before = files()
    examine(machine.installation())
    assert files() == before


def test_a_history_that_breaks_while_it_is_read_stops_no_other_check(machine, monkeypatch) -> None:
    def broken(installation: object) -> object:
        raise sqlite3.DatabaseError("database disk image is malformed")

    machine.task("report")
    monkeypatch.setattr(daemon, "slots", broken)
    findings = examine(machine.installation())
    assert [finding.text for finding in findings if finding.topic == "broken"] == ["database disk image is malformed"]
    assert findings[-1].topic == "flows"
