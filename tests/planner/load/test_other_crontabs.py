"""Minutes in which something else starts, or in which the clocks are set, are taken last, and only then."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from scflows.cron.schedule.spec import ScheduleSpec
from scflows.cron.task import TaskStore
from scflows.planner.load.load import Load
from scflows.planner.load.other_crontabs import busy_minutes, foreign_starts
from scflows.planner.load.placement import place
from scflows.planner.planner import Planner
from scflows.planner.sources.base import TaskRequest
from scflows.settings import Settings, read_settings

NOW = 1_790_000_000  #: in September 2026
CRONTAB = b"""\
SHELL=/bin/sh
17 *\t* * *\troot    cd / && run-parts --report /etc/cron.hourly
25 6\t* * *\troot\ttest -x /usr/sbin/anacron || run-parts --report /etc/cron.daily
47 6    * * 7   root    true
"""


@pytest.fixture(autouse=True)
def _utc(system_zone: Callable[[str], None]) -> None:
    system_zone("UTC")


@pytest.fixture
def etc(settings: Settings) -> Path:
    folder = Path(settings.system_cron_path)
    (folder / "cron.d").mkdir(parents=True)
    (folder / "crontab").write_bytes(CRONTAB)
    return folder


def against(folder: str | os.PathLike[str], own: bytes = b"", now: float = NOW) -> dict[int, int]:
    """What speaks against which minutes of the day, besides that they are full hours."""
    weights = busy_minutes(str(folder), own, now).of(1440).tolist()
    found = {minute: weight - (minute % 60 == 0) for minute, weight in enumerate(weights)}
    return {minute: weight for minute, weight in found.items() if weight}


def test_tasks_keep_off_the_minutes_of_other_entries(settings: Settings, etc: Path, fake, environment) -> None:
    (etc / "cron.d" / "many").write_text("20-49 * * * * root true\n")
    fake.holds(b"1-9 * * * * own\n11 * * * * /v/bin/python -P -m scflows run /f.yml --task stray # stray\n")
    used = read_settings(settings.home, {**environment, "CRONTAB_PROGRAM": str(fake.folder / "crontab")})
    planner = Planner(used, dry_run=False)
    planner.write(
        planner.plan_requests(
            TaskRequest(f"t{number}", ScheduleSpec(every=3600), flow="/f.yml") for number in range(60)
        )
    )
    taken = {int(task.schedule.cron.split(" ")[0]): task.name for task in TaskStore(used).read_all()[0]}
    assert len(taken) == 60  # They only break ties.
    planner = Planner(read_settings(used.home, {**used.environment, "XDG_STATE_HOME": f"{used.home}/2"}), dry_run=True)
    some = [planner.place(TaskRequest(f"t{number}", ScheduleSpec(every=3600), flow="/f.yml")) for number in range(19)]
    assert {int(each.cron.split(" ")[0]) for each in some} == {10, *range(11, 17), 18, 19, *range(50, 60)}


def test_a_daily_task_avoids_the_times_of_daily_entries(etc: Path) -> None:
    load = Load(busy_minutes(str(etc), b"", NOW))
    times = []
    for number in range(1440):
        minute, hour, *_ = place(ScheduleSpec(every=86400), load, f"task-{number}").cron.split(" ")
        times.append(int(hour) * 60 + int(minute))
    assert sorted(times) == list(range(1440))
    assert all(time % 60 in (0, 17) or time in (385, 407) for time in times[-50:])


def test_the_files_of_cron_d_count_and_odd_ones_do_not(etc: Path) -> None:
    (etc / "crontab").unlink()
    (etc / "cron.d" / "e2scrub_all").write_text("30 3 * * 0 root test -e /run/systemd/system || true\n")
    (etc / "cron.d" / "backup.dpkg-old").write_text("1 1 * * * root true\n")
    (etc / "cron.d" / ".placeholder").write_text("2 2 * * * root true\n")
    (etc / "cron.d" / "folder").mkdir()
    os.mkfifo(etc / "cron.d" / "pipe")
    (etc / "cron.d" / "gone").symlink_to(etc / "nowhere")
    assert against(etc) == {210: 1}


def test_where_nothing_can_be_read_nothing_is_avoided(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("5 5 * * * root true")
    (tmp_path / "cron.d").write_text("no folder")
    assert against(tmp_path / "file") == against(tmp_path) == against(tmp_path / "none") == {}


@pytest.mark.parametrize(
    ("line", "minutes"),
    [
        ("5 4 * * * root true", {245: 1}),
        ("-5 4 * * * root true", {245: 1}),
        ("  09,39 1\t* * *\troot\ttrue", {69: 1, 99: 1}),
        ("@daily root true", {0: 1}),
        ("57 0 * * sun root mdadm", {57: 1}),
        ("5 4 1 jan * root true\n5 4 * * * root other", {245: 2}),
        ("@reboot root true", {}),
        ("#5 4 * * * root true", {}),
        ("MAILTO=root", {}),
        ("A = b c d e f g", {}),
        ("61 4 * * * root true", {}),
        ("5 4 * * *", {}),
        ("5", {}),
        ("*5 4 * * * root true", {}),
        ("5~9 4 * * * root true", {}),
        ("\x00\ufffd", {}),
    ],
)
def test_a_line_counts_where_it_can_be_understood(line: str, minutes: dict[int, int]) -> None:
    assert foreign_starts(line.encode() + b"\n\xff\xfe 5 4 * * * x\n") == minutes


@pytest.mark.parametrize(
    ("zone", "minutes"),
    [
        ("UTC", []),
        ("Asia/Kolkata", []),
        ("Europe/Madrid", range(120, 180)),
        ("America/New_York", range(60, 180)),  # Skipped from 2 to 3, twice from 1 to 2.
        ("Australia/Lord_Howe", range(90, 150)),
        ("America/Santiago", [*range(60), *range(1380, 1440)]),
    ],
)
def test_the_hours_of_changes_are_those_of_the_system_s_zone(
    zone: str, minutes: list[int], tmp_path: Path, system_zone: Callable[[str], None]
) -> None:
    system_zone(zone)
    assert sorted(against(tmp_path)) == list(minutes)


def test_a_zone_that_gave_up_changes_has_no_hours_to_avoid(tmp_path: Path, system_zone: Callable[[str], None]) -> None:
    system_zone("America/Sao_Paulo")
    assert against(tmp_path) == {}
    assert against(tmp_path, now=1_500_000_000)  # In 2017 it had not.
