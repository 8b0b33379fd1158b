from __future__ import annotations

import dataclasses

import pytest
from crontab import CronItem
from hypothesis import given, settings
from hypothesis import strategies as st

from scflows.cron.crontab.line import (
    BOOT,
    MAX_COMMAND_BYTES,
    TICK,
    CrontabEntry,
    boot_line,
    line,
    parse_line,
    tick_line,
)
from scflows.cron.schedule.schedule import Schedule
from scflows.cron.schedule.spec import ScheduleSpec
from scflows.cron.task import Task
from scflows.errors import Refused
from scflows.planner.load.load import Load
from scflows.planner.load.placement import place

PYTHON = "/opt/venv/bin/python"
TASK = Task("weather-report", Schedule("17 * * * *", 3600), "/srv/flows/weather/report.yml")


def test_a_line_names_the_flow_and_the_task() -> None:
    text = line(TASK, PYTHON)
    assert text == (
        "17 * * * * /opt/venv/bin/python -P -m scflows run /srv/flows/weather/report.yml"
        " --task weather-report # weather-report"
    )
    assert parse_line(text) == CrontabEntry(
        "weather-report", "17 * * * *", "/srv/flows/weather/report.yml", PYTHON, None, text
    )


def test_a_line_sleeps_until_the_second_of_its_minute() -> None:
    text = line(dataclasses.replace(TASK, schedule=dataclasses.replace(TASK.schedule, second=35)), PYTHON)
    assert text == (
        "17 * * * * sleep 35; exec /opt/venv/bin/python -P -m scflows run /srv/flows/weather/report.yml"
        " --task weather-report # weather-report"
    )
    assert parse_line(text) == CrontabEntry(
        "weather-report", "17 * * * *", "/srv/flows/weather/report.yml", PYTHON, None, text, 35
    )


def test_the_sleep_counts_for_the_longest_command_that_cron_takes() -> None:
    room = MAX_COMMAND_BYTES - len(line(TASK, PYTHON).split(" ", 5)[5])
    task = dataclasses.replace(TASK, flow=TASK.flow + "f" * room)
    plain = line(task, PYTHON)
    assert f" run {task.flow} " in plain
    slept = line(dataclasses.replace(task, schedule=dataclasses.replace(TASK.schedule, second=35)), PYTHON)
    # Where the line would be too long it names the task alone.
    assert slept == f"17 * * * * sleep 35; exec {PYTHON} -P -m scflows run --task weather-report # weather-report"
    assert len(plain.split(" ", 5)[5]) == MAX_COMMAND_BYTES


@pytest.mark.parametrize("begin", ["sleep x; exec", "sleep 5 && exec", "sleep 5; nice"])
def test_a_line_that_sleeps_in_another_way_is_known_and_names_no_second(begin: str) -> None:
    entry = parse_line(f"17 * * * * {begin} /p -P -m scflows run --task a # a")
    assert entry is not None
    assert (entry.name, entry.second) == ("a", 0)


def test_a_line_names_the_state_where_cron_would_miss_it() -> None:
    text = line(TASK, PYTHON, "/srv/state/scflows")
    assert text.endswith(" --task weather-report --state /srv/state/scflows # weather-report")
    entry = parse_line(text)
    assert entry is not None
    assert entry.state == "/srv/state/scflows"


@pytest.mark.parametrize(
    "flow", ["/srv/my flows/a.yml", "/srv/50%/a.yml", "/srv/a'b.yml", "/srv/größe.yml", "/srv/a#b.yml", "a.yml", ""]
)
def test_a_flow_with_an_odd_path_is_left_to_the_task(flow: str) -> None:
    text = line(dataclasses.replace(TASK, flow=flow), PYTHON)
    assert text == "17 * * * * /opt/venv/bin/python -P -m scflows run --task weather-report # weather-report"
    entry = parse_line(text)
    assert entry is not None
    assert entry.flow == ""


def test_a_command_is_left_to_the_task() -> None:
    task = Task("auto-schedule", Schedule("5 4 * * *"), command=("auto-schedule", "--once"))
    assert line(task, PYTHON).endswith("-m scflows run --task auto-schedule # auto-schedule")


def test_the_lines_that_stand_for_all_tasks_are_none_of_a_task() -> None:
    for text, name in ((tick_line(PYTHON, "/srv/state"), TICK), (boot_line(PYTHON, "/srv/state"), BOOT)):
        entry = parse_line(text)
        assert entry is not None
        assert (entry.name, entry.python, entry.state, entry.is_task) == (name, PYTHON, "/srv/state", False)
    assert boot_line(PYTHON) == f"@reboot {PYTHON} -P -m scflows cron boot # scflows:boot"
    assert parse_line(boot_line(PYTHON).replace("boot #", "run #")) is None


@pytest.mark.parametrize("path", ["/opt/my venv/bin/python", "/opt/50%/python", "python", "/opt/a\nb"])
def test_an_interpreter_with_an_odd_path_is_refused(path: str) -> None:
    with pytest.raises(Refused, match="interpreter"):
        line(TASK, path)
    with pytest.raises(Refused, match="state folder"):
        line(TASK, PYTHON, path)


def test_a_line_is_never_longer_than_debian_s_cron_takes() -> None:
    deep = "/" + "d" * 1200 + "/a.yml"
    assert deep not in line(dataclasses.replace(TASK, flow=deep), PYTHON)
    with pytest.raises(Refused, match="998"):
        line(TASK, "/" + "d" * 1000 + "/python")
    edge = "/" + "p" * (998 - len(" -P -m scflows run --task weather-report # weather-report") - 1)
    command = line(dataclasses.replace(TASK, flow=""), edge).split(" ", 5)[5]
    assert len(command) == 998


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# 17 * * * * /p -P -m scflows run --task a # a",
        "#17 * * * * /p -P -m scflows run --task a # a",
        "17 * * * * /p -P -m scflows run --task a",
        "17 * * * * /p -P -m scflows run --task a # b",
        "17 * * * * /p -P -m scflows run --task 13486 # 134",
        "17 * * * * /p -P -m scflows run --task 134 # 13486",
        "17 * * * * /p -P -m scflows run --task a #a",
        "17 * * * * /p -P -m scflows run --task a # a b",
        "17 * * * * /p -P -m scflows validate --task a # a",
        "17 * * * * /p -m otherflows run --task a # a",
        "17 * * * * backup # scflows",
        "X=17 * * * * /p -P -m scflows run --task a # a",
        "17 * * * * /p -P -m scflows run --task",
        "17 * * * * /p -P -m scflows run # run",
        "17 * * * * /p -P -m scflows run --task ../a # ../a",
        "scflows",
    ],
)
def test_a_line_of_somebody_else_is_not_ours(text: str) -> None:
    assert parse_line(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "  17\t* * * *   /p -P -m scflows run --task a # a  ",
        "@hourly /usr/bin/env /p -P -m scflows run /f.yml --task a # a",
        "*/5 * * * * cd /srv && /p -m scflows run --task a >> /tmp/log 2>&1 # a",
    ],
)
def test_a_line_of_ours_is_known_in_other_clothes(text: str) -> None:
    entry = parse_line(text)
    assert entry is not None
    assert (entry.name, entry.text) == ("a", text)


@given(st.integers(1, 3000), st.integers(0, 10**9))
@settings(deadline=None, derandomize=True)
def test_every_line_is_read_alike_by_python_crontab(minutes: int, name: int) -> None:
    schedule = place(ScheduleSpec(every=minutes * 60), Load(), str(name))
    text = line(dataclasses.replace(TASK, schedule=schedule), PYTHON)
    item = CronItem.from_line(text, cron=_NO_CRONTAB)
    assert item.is_valid()
    assert f"{item.slices.clean_render()} {item.command} # {item.comment}" == text
    entry = parse_line(text)
    assert entry is not None
    assert entry.fields == schedule.line


class _NoCrontab:
    user = None


_NO_CRONTAB = _NoCrontab()
