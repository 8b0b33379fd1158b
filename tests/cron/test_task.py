from __future__ import annotations

import dataclasses
import errno
import os
import stat
import time
from pathlib import Path

import pytest

from scflows.cron.schedule.schedule import Schedule
from scflows.cron.task import Task, TaskStore, check_name, task_name
from scflows.errors import NotFound, UsageError
from scflows.settings import Settings

FULL = Task(
    name="weather-report",
    schedule=Schedule("17 1,4,7,10,13,16,19,22 * * *", 10800),
    flow="/srv/flows/tasks/weather/report.yml",
    command=("auto-schedule", "--interval-days", "1"),
    workspace="/srv/flows",
    params={"city": "Mérida", "limit": 3},
    settings={"DATA_PATH": "/srv/data"},
    timeout=90.0,
    dry=True,
    source="manual",
    enabled=False,
    kind="process",
    created="2026-11-20T13:42:07+00:00",
    catch_up="all",
    catch_up_cap=5,
    overlap="wait",
)


@pytest.fixture
def store(settings: Settings) -> TaskStore:
    return TaskStore(settings)


@pytest.mark.parametrize("name", ["13486", "weather-report", "a", "A.b_c-9", "x" * 100])
def test_a_plain_name_is_taken(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("", "task"),
        ("../../etc/passwd", "etc-passwd"),
        ("-rf", "rf"),
        (".hidden", "hidden"),
        ("two words", "two-words"),
        ("50%", "50"),
        ("line\nbreak", "line-break"),
        ("a\n", "a"),
        ("a#b", "a-b"),
        ("Mérida", "Merida"),
        ("٣", "task"),
        ("a\0b", "a-b"),
        ("x" * 101, "xxx"),
    ],
)
def test_a_name_that_cannot_be_is_refused_with_the_nearest_one(name: str, nearest: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_name(name)
    assert nearest in str(caught.value.help)
    check_name(str(caught.value.help).rpartition(" ")[2])


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/flows/report.yml", "report"),
        ("/flows/weather/report.yml", "weather-report"),
        ("/flows/weather/daily sums.yaml", "weather-daily-sums"),
        ("/flows/v1.2/report.yml", "v1.2-report"),
        ("/flows/_tests/50%.json", "tests-50"),
        ("/flows/größe.yml", "groe"),
        ("/elsewhere/deep/report.yml", "report"),
    ],
)
def test_a_flow_s_task_has_its_path_as_words(path: str, name: str) -> None:
    assert task_name(path, "/flows") == name


def test_long_paths_keep_their_names_apart() -> None:
    names = {task_name(f"/flows/{'deep/' * 40}{end}.yml", "/flows") for end in ("a", "b")}
    assert len(names) == 2
    assert all(check_name(name) for name in names)


def test_a_task_survives_its_file(store: TaskStore) -> None:
    store.write(FULL)
    assert store.read("weather-report") == FULL
    path = Path(store.path("weather-report"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == ["weather-report.json"]


def test_a_removed_task_is_not_found(store: TaskStore) -> None:
    store.write(FULL)
    assert store.remove("weather-report")
    assert not store.remove("weather-report")
    with pytest.raises(NotFound, match="weather-report"):
        store.read("weather-report")
    assert store.read_all() == ([], [])


def test_a_name_that_is_a_path_reads_nothing(store: TaskStore) -> None:
    with pytest.raises(UsageError):
        store.read("../history")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"name": "broken"}',
        '{"name": "broken", "schedule": {"x": 1}}',
        '{"name": "broken", "schedule": {"cron": "61 * * * *"}}',
        '{"name": "broken", "schedule": {"cron": 5}}',
        '{"name": "broken", "schedule": {"cron": "5 4 * * *", "every": "3h"}}',
        '{"name": "broken", "schedule": {"cron": "5 4 * * *", "timezone": 5}}',
        '{"name": "broken", "schedule": {"cron": "5 4 * * *", "timezone": "Nowhere/Else"}}',
        '{"name": "broken", "schedule": {"cron": "5 4 * * *", "every": 1000000000000000000}}',
        '{"name": "broken", "schedule": {"cron": "5 4 * * *", "every": 25200, "anchor": -1000000000000}}',
        '{"name": "broken", "schedule": {"cron": "5 4 * * *"}, "start_within": NaN}',
        '{"name": "broken", "schedule": {"cron": "5 4 * * *"}, "end_within": 1e400}',
        '{"name": "broken", "schedule": {"cron": "5 4 * * *"}, "timeout": -Infinity}',
        "[" * 100_000,
        "\xff",
    ],
)
def test_a_broken_task_file_is_named_and_hides_no_other(store: TaskStore, content: str) -> None:
    store.write(FULL)
    path = Path(store.path("broken"))
    path.write_bytes(content.encode("latin-1"))
    tasks, problems = store.read_all()
    assert tasks == [FULL]
    assert len(problems) == 1
    assert str(path) in str(problems[0])
    assert "remove-task broken" in str(problems[0].help)


def test_a_task_file_under_another_name_is_refused(store: TaskStore) -> None:
    store.write(FULL)
    os.rename(store.path("weather-report"), store.path("other"))
    with pytest.raises(UsageError, match="weather-report"):
        store.read("other")


def test_what_a_newer_version_wrote_is_read(store: TaskStore) -> None:
    store.write(FULL)
    path = Path(store.path("weather-report"))
    path.write_text(path.read_text().replace('"name"', '"priority": 3,\n "name"', 1))
    assert store.read("weather-report") == FULL


def test_none_of_many_tasks_takes_its_place_before_the_disk_has_it(store: TaskStore, monkeypatch) -> None:
    seen = []

    def wait(folder: str) -> None:
        names = os.listdir(folder)
        seen.append((sum(name.startswith(".") for name in names), sum(name.endswith(".json") for name in names)))

    monkeypatch.setattr("scflows.storage.BATCH_SIZE", 30)
    monkeypatch.setattr("scflows.storage._sync_file_system", wait)
    store.write(*(dataclasses.replace(FULL, name=f"task-{number}") for number in range(60)))
    assert seen == [(30, 0), (30, 30)]
    assert len(store.read_all()[0]) == len(os.listdir(store.folder)) == 60


def test_of_many_tasks_that_the_disk_does_not_take_nothing_is_left(store: TaskStore, monkeypatch) -> None:
    def fail(folder: str) -> None:
        raise OSError(errno.EIO, "Input/output error", folder)

    monkeypatch.setattr("scflows.storage._sync_file_system", fail)
    with pytest.raises(OSError, match="Input/output error"):
        store.write(*(dataclasses.replace(FULL, name=f"task-{number}") for number in range(60)))
    assert os.listdir(store.folder) == []


def test_a_task_file_has_a_value_a_line(store: TaskStore) -> None:
    store.write(FULL)
    lines = Path(store.path("weather-report")).read_text().splitlines()
    assert lines[0] == '{"name": "weather-report",'
    assert len(lines) >= len(dataclasses.fields(FULL))


def test_a_thousand_tasks_are_read_in_a_moment(store: TaskStore) -> None:
    store.write(*(dataclasses.replace(FULL, name=f"task-{number}") for number in range(1000)))
    begun = time.process_time()
    tasks, problems = store.read_all()
    assert time.process_time() - begun < 0.3
    assert (len(tasks), problems) == (1000, [])
    assert tasks[0].name == "task-0"
