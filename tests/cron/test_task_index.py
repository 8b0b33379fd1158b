"""Many task files are known by an index, which says what they say."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from scflows.cron import task_index as index
from scflows.cron.schedule.schedule import Schedule
from scflows.cron.task import Task, TaskStore
from scflows.cron.task_index import index_path, read_tasks
from scflows.settings import Settings


@pytest.fixture
def store(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> TaskStore:
    monkeypatch.setattr(index, "MAX_UNINDEXED", 3)
    store = TaskStore(settings)
    for number in range(6):
        schedule = Schedule("17 * * * *", 3600) if number % 2 else Schedule("0 4 * * *", timezone="Europe/Madrid")
        task = Task(f"t{number}", schedule, f"/f/{number}.yml", params={"n": [number, None]}, enabled=number != 4)
        store.write(task)
    store.write(Task("t6", Schedule("* * * * *"), command=("auto-schedule", "--once")))
    return store


def same(settings: Settings, store: TaskStore) -> list[Task]:
    """What the index says, which must be what the files say."""
    tasks, problems = read_tasks(settings)
    read, broken = store.read_all()
    assert tasks == read
    assert [(str(each), each.help) for each in problems] == [(str(each), each.help) for each in broken]
    assert [each.to_dict() for each in tasks] == [each.to_dict() for each in read]
    return tasks


def test_the_index_says_what_the_files_say_whatever_becomes_of_them(settings: Settings, store: TaskStore) -> None:
    assert len(same(settings, store)) == 7
    assert os.path.exists(index_path(settings))
    store.write(replace(store.read("t1"), dry=True))
    store.remove("t2")
    Path(store.path("t3")).write_text("{")
    assert [task.name for task in same(settings, store)] == ["t0", "t1", "t4", "t5", "t6"]
    # Of the same size, in place, and with the time it had.
    path = Path(store.path("t5"))
    before = path.stat()
    path.write_text(path.read_text().replace("/f/5.yml", "/f/6.yml"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert {task.name: task.flow for task in same(settings, store)}["t5"] == "/f/6.yml"


@pytest.mark.parametrize("content", [b"", b"nothing of a database" * 300])
def test_a_lost_or_broken_index_is_made_anew(settings: Settings, store: TaskStore, content: bytes) -> None:
    same(settings, store)
    Path(index_path(settings)).write_bytes(content)
    assert len(same(settings, store)) == 7


def test_an_index_of_another_version_is_made_anew(
    settings: Settings, store: TaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    same(settings, store)
    monkeypatch.setattr(index, "__version__", "another")
    assert len(same(settings, store)) == 7


def test_where_no_index_can_be_the_files_are_read(settings: Settings, store: TaskStore) -> None:
    os.mkdir(index_path(settings))
    assert len(same(settings, store)) == 7


def test_who_may_make_no_file_makes_none(settings: Settings, store: TaskStore) -> None:
    assert len(read_tasks(settings, keep=False)[0]) == 7
    assert not os.path.exists(index_path(settings))
