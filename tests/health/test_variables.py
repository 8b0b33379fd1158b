"""Variables in the user's crontab: those that apply to our lines, and those that tasks lack."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scflows.cron.crontab.variables import variables

HEAD = b"MAILTO=ops@example.org\nPATH=/opt/tools/bin:/usr/bin:/bin\n"
JOBS = b"5 4 * * * mine A=b\n"


@pytest.fixture
def hourly(workspace: Path) -> Path:
    (workspace / "tasks/hourly.yml").write_text("schedule: {every: 1h}\nsteps: []\n")
    return workspace


def findings(flows) -> list[tuple[str, str]]:
    items = json.loads(flows("check", "--json").out)["items"]
    return [(item["level"], item["text"]) for item in items if item["topic"] == "variables"]


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        (b"A=b", "A", "b"),
        (b"  A = b c  ", "A", "b c"),
        (b'A="b c"', "A", "b c"),
        (b"'A B'='c'", "A B", "c"),
        (b"A=", "A", ""),
        (b"A=b=c#d", "A", "b=c#d"),
    ],
)
def test_a_variable_is_read_as_cron_reads_it(line: bytes, name: str, value: str) -> None:
    assert [(each.name, each.value) for each in variables(line)] == [(name, value)]


@pytest.mark.parametrize("line", [b"# A=b", b"5 4 * * * A=b c", b"@daily A=b", b"", b"=b"])
def test_other_lines_set_no_variable(line: bytes) -> None:
    assert variables(line) == []


def test_mail_of_tasks_goes_where_that_of_other_jobs_goes(flows, crontab, hourly):
    crontab.write_bytes(HEAD + JOBS)
    assert flows("manual-schedule", "hourly.yml").code == 0
    assert crontab.read_bytes().splitlines()[1] == b"MAILTO=ops@example.org"
    assert crontab.read_bytes().endswith(HEAD + JOBS)
    assert "same as the tabfile" in flows("check").out
    # With the user's next address, too.
    crontab.write_bytes(crontab.read_bytes().replace(b"\nMAILTO=ops@example.org\nPATH", b"\nMAILTO=you\nPATH"))
    assert flows("repair").code == 0
    assert crontab.read_bytes().splitlines()[1] == b"MAILTO=you"
    assert flows("clear-tasks", "--yes").code == 0
    assert crontab.read_bytes() == HEAD.replace(b"ops@example.org", b"you") + JOBS


def test_a_mailto_below_a_job_is_not_copied_but_reported(flows, crontab, hourly):
    crontab.write_bytes(JOBS + b"MAILTO=ops@example.org\n")
    assert flows("manual-schedule", "hourly.yml").code == 0
    assert b"MAILTO" not in crontab.read_bytes().splitlines()[1]
    ((level, text),) = findings(flows)
    assert (level, "MAILTO=ops@example.org stands below a job" in text) == ("warn", True)


def test_variables_above_the_block_are_named_and_the_block_is_moved_above_them(flows, crontab, hourly):
    assert flows("auto-schedule", "--once").code == 0
    above = b"SHELL=/bin/false\nCRON_TZ=Asia/Tokyo\nHOME=/nonexistent\nPATH=/opt/bin\nFOO=bar\n"
    crontab.write_bytes(above + crontab.read_bytes())
    found = findings(flows)
    assert [(level, text.partition("=")[0]) for level, text in found] == [
        ("FAIL", "SHELL"),
        ("FAIL", "CRON_TZ"),
        ("FAIL", "HOME"),
        ("warn", "PATH"),
    ]
    assert "SHELL=/bin/false (line 1 of the crontab) applies to our lines: it cannot start any" in found[0][1]
    moved = flows("auto-schedule", "--once")
    assert "the block was moved above SHELL=/bin/false, CRON_TZ=Asia/Tokyo" in moved.err
    assert crontab.read_bytes().startswith(b"# >>> scflows")
    assert crontab.read_bytes().endswith(above)


def test_variables_that_only_the_users_own_jobs_have_are_named_until_config_has_them(flows, crontab, hourly):
    crontab.write_bytes(HEAD + b"REPORTS=/srv/reports\n" + JOBS)
    scheduled = flows("auto-schedule", "--once")
    assert scheduled.code == 0
    assert "tasks do not get PATH, REPORTS, which your own crontab lines set; add what they need to env" in (
        scheduled.err
    )
    assert findings(flows) == [("warn", "tasks do not get PATH, REPORTS, which your own crontab lines set")]
    (hourly / "data").mkdir(exist_ok=True)
    (hourly / "data/config.yml").write_text('env: {PATH: "/opt/tools/bin:$PATH", REPORTS: null}\n')
    assert findings(flows) == []
    assert "REPORTS" not in flows("auto-schedule", "--once", "--overwrite").err
