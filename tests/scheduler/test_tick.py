"""One crontab line for all tasks: each minute it looks what is due, on a clock of the test's own and for real."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from scflows.cron.schedule.schedule import Schedule
from scflows.cron.scheduler_lock import heartbeat_file, last_heartbeat, try_scheduler_lock
from scflows.cron.task import Task, TaskStore
from scflows.cron.task_index import TaskIndex
from scflows.queue.entries import entries
from scflows.scheduler.housekeeping import run_housekeeping
from scflows.scheduler.indexed_due_slots import IndexedDueSlots
from scflows.scheduler.loop import Scheduler
from scflows.scheduler.tick import tick
from scflows.settings import Settings
from tests.conftest import Answer
from tests.scheduler.test_loop import HOUR, MINUTE, NOON, World, history, wait_for

Flows = Callable[..., Answer]
Put = Callable[..., Task]


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    for name in set(os.environ) - set(environment):
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def put(settings: Settings, workspace: Path) -> Put:
    """Write a task's file, as scheduling does where one line stands for all."""

    def put(name: str, cron: str = "* * * * *", **given: object) -> Task:
        task = Task(
            name,
            Schedule(cron),
            flow=str(workspace / f"{name}.yml"),
            workspace=str(workspace),
            settings=settings.remembered(),
            created="2026-01-01T00:00:00+00:00",
        )
        task = Task.from_dict({**task.to_dict(), **given})
        TaskStore(settings).write(task)
        return task

    return put


@pytest.fixture
def world(settings: Settings) -> World:
    return World(settings=settings)


@pytest.fixture
def look(settings: Settings, world: World) -> Callable[[float], list[str]]:
    """What the line does at a time; what it warned of."""

    def look(at: float) -> list[str]:
        world.clock = min(world.clock, at)  # What runs goes on meanwhile.
        world.advance(at)
        said: list[str] = []
        with IndexedDueSlots(settings, at, said.append) as due_slots:
            Scheduler(settings, world, lambda text: None, 10, warn=said.append, due_slots=due_slots).tick()
        world.drain()
        return said

    return look


def test_each_slot_is_started_once_by_the_look_of_its_minute(world, put, look) -> None:
    put("often")
    put("hourly", "30 * * * *")
    for minute in range(61):
        assert look(NOON + minute * MINUTE + 1) == []
    assert world.slots("often") == list(range(NOON, NOON + HOUR + 1, MINUTE))
    assert world.slots("hourly") == [NOON + 30 * MINUTE]
    assert world.clock < NOON + HOUR + MINUTE


def test_two_looks_in_one_minute_start_a_slot_once(world, put, look) -> None:
    put("often")
    look(NOON + 1)
    look(NOON + 30)
    assert world.slots("often") == [NOON]


def test_a_long_task_keeps_no_other_from_its_slots(world, put, look) -> None:
    put("often")
    put("long", "0 * * * *")
    world.takes["long"] = 10 * MINUTE + 5
    for minute in range(12):
        look(NOON + minute * MINUTE + 1)
    assert world.slots("often") == list(range(NOON, NOON + 11 * MINUTE + 1, MINUTE))
    assert world.slots("long") == [NOON]


def test_a_look_that_was_killed_before_it_kept_what_it_took_costs_no_slot_and_doubles_none(
    world, put, look, settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("often")
    look(NOON + 1)

    def killed(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(IndexedDueSlots, "keep", killed)
    with pytest.raises(KeyboardInterrupt):
        look(NOON + MINUTE + 1)
    monkeypatch.undo()
    look(NOON + MINUTE + 30)
    look(NOON + 2 * MINUTE + 1)
    assert world.slots("often") == [NOON + minute * MINUTE for minute in range(3)]
    assert {run.status for run in history(settings)} == {"success", "running"}


def test_what_was_missed_within_minutes_is_made_up_and_older_is_on_record(world, put, look, settings) -> None:
    put("often")
    put("hourly", "30 * * * *")
    look(NOON + 1)
    # Whoever ends a run keeps house; here nobody does but the test.
    run_housekeeping(settings, NOON + 1)
    look(NOON + 3 * HOUR + 1)
    # One after another.
    world.advance(NOON + 3 * HOUR + 10)
    run_housekeeping(settings, NOON + 3 * HOUR + 10)
    assert world.slots("often") == [NOON, *range(NOON + 3 * HOUR - 5 * MINUTE, NOON + 3 * HOUR + 1, MINUTE)]
    assert world.slots("hourly") == []
    missed = history(settings, task="hourly")
    assert sorted(run.slot for run in missed) == [NOON + (30 + 60 * hour) * MINUTE for hour in range(3)]
    assert {(run.status, run.reason) for run in missed} == {("skipped", "missed")}


def test_a_task_that_comes_changes_pauses_or_goes_is_seen_at_the_next_look(world, put, look, settings) -> None:
    put("stays", "10 * * * *")
    look(NOON + 1)
    put("stays", "2 * * * *")
    put("comes", "1 * * * *")
    look(NOON + MINUTE + 1)
    look(NOON + 2 * MINUTE + 1)
    assert world.begun == [("comes", NOON + MINUTE), ("stays", NOON + 2 * MINUTE)]
    put("stays", "* * * * *", enabled=False)
    TaskStore(settings).remove("comes")
    for minute in range(3, 70):
        look(NOON + minute * MINUTE + 1)
    assert len(world.begun) == 2


def test_a_clock_set_back_starts_nothing_again_and_one_days_ahead_stops_nothing(world, put, look) -> None:
    put("often")
    for minute in range(11):
        look(NOON + minute * MINUTE + 1)
    for minute in range(5, 13):
        look(NOON + minute * MINUTE + 2)
    assert world.slots("often") == list(range(NOON, NOON + 13 * MINUTE, MINUTE))
    world.advance(NOON + 13 * MINUTE)
    before = NOON - 3 * 86400
    look(before + 1)
    look(before + MINUTE + 1)
    assert world.slots("often")[13:] == [before + MINUTE]


def test_a_task_with_a_line_of_its_own_is_left_to_that(world, look, flows: Flows, workspace, settings) -> None:
    (workspace / "one.yml").write_text("steps: []\n")
    assert flows("manual-schedule", "one.yml", "--every", "@minute").code == 0
    minute = time.time() // 60 * 60  # The commands may take us into the next.
    look(minute + 61)
    assert world.begun == []
    assert flows("repair", "--one-line").code == 0
    look(minute + 121)
    world.advance(minute + 179)  # It has a second of its own.
    assert [name for name, _ in world.begun] == ["one"]


def test_a_broken_task_file_is_warned_of_once_and_stops_nobody_else(world, put, look, settings) -> None:
    put("often")
    Path(TaskStore(settings).folder, "bad.json").write_text("{")
    assert any("bad.json" in each for each in look(NOON + 1))
    time.sleep(0.15)
    look(NOON + MINUTE + 1)
    assert look(NOON + 2 * MINUTE + 1) == []
    assert len(world.slots("often")) == 3


def test_a_broken_index_is_made_anew(world, put, look, settings) -> None:
    put("often")
    look(NOON + 1)
    Path(settings.state_path, "tasks.index").write_bytes(b"no database at all, but long enough to be one" * 100)
    look(NOON + MINUTE + 1)
    assert world.slots("often") == [NOON, NOON + MINUTE]


def test_without_an_index_it_goes_by_the_task_files_each_slot_once(world, put, look, settings) -> None:
    put("often")
    put("hourly", "30 * * * *")
    put("paused", enabled=False)
    put("resumes", paused_until=NOON + 31 * MINUTE)
    look(NOON + 29 * MINUTE + 1)
    index = Path(settings.state_path, "tasks.index")
    index.unlink()
    index.mkdir()  # As on a full disk, it can be neither used nor made.
    said = look(NOON + 30 * MINUTE + 1)
    assert len(said) == 1
    assert "going by the task files" in said[0]
    look(NOON + 31 * MINUTE + 1)
    look(NOON + 32 * MINUTE + 1)
    assert world.slots("often") == [NOON + minute * MINUTE for minute in (29, 30, 31, 32)]
    assert world.slots("hourly") == [NOON + 30 * MINUTE]
    assert world.slots("paused") == []
    assert world.slots("resumes") == [NOON + 31 * MINUTE, NOON + 32 * MINUTE]


def test_a_pause_with_an_end_holds_in_the_index_until_then_and_can_be_ended_early(world, put, look) -> None:
    day = 24 * HOUR
    put("often")
    put("long")
    look(NOON + 1)
    put("often", paused_until=NOON + 3 * MINUTE)
    put("long", paused_until=NOON + day)
    for minute in range(1, 5):
        look(NOON + minute * MINUTE + 1)
    assert world.slots("often") == [NOON, NOON + 3 * MINUTE, NOON + 4 * MINUTE]
    assert world.slots("long") == [NOON]
    put("long")
    look(NOON + 5 * MINUTE + 1)
    assert world.slots("long") == [NOON, NOON + 5 * MINUTE]


@pytest.mark.parametrize("when", ["_differences", "due", "date", "undated"])
def test_an_index_that_fails_at_any_moment_costs_no_slot_and_doubles_none(
    world, put, look, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    put("often")
    look(NOON + 1)

    def fail(*given: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(TaskIndex, when, fail)
    assert [text for text in look(NOON + MINUTE + 1) if "disk is full" in text]
    monkeypatch.undo()
    look(NOON + 2 * MINUTE + 1)
    assert world.slots("often") == [NOON + minute * MINUTE for minute in range(3)]


def test_a_state_that_cannot_be_written_stops_no_task_of_the_line(flows: Flows, put, settings, workspace) -> None:
    (workspace / "often.yml").write_text("steps: [{name: n, type: set_fact, set_fact: {value: 1}}]\n")
    put("often")
    for name in ("scheduler.lock", "tasks.index"):
        Path(settings.state_path, name).mkdir()
    answer = flows("tick", "--state", settings.state_path)
    assert answer.code == 0
    assert "tasks.index: cannot be used" in answer.err
    assert len(answer.err.splitlines()) == 1  # The folder is locked, where no file can be.
    # A process that the tick leaves behind has started it.
    wait_for(lambda: [run.status for run in history(settings, task="often")] == ["success"])


def test_a_state_folder_that_is_not_there_is_told_and_not_made(flows: Flows, tmp_path: Path) -> None:
    answer = flows("tick", "--state", str(tmp_path / "gone"))
    assert answer.code == 5
    assert f"the state folder {tmp_path}/gone does not exist" in answer.err
    assert not (tmp_path / "gone").exists()


def test_without_the_lock_a_look_leaves_the_next_minute_to_the_next(world, put, settings) -> None:
    put("often")
    world.clock = NOON + MINUTE + 1.0
    with IndexedDueSlots(settings, NOON + 1, only_now=True) as due_slots:
        Scheduler(settings, world, lambda text: None, 10, due_slots=due_slots).tick()
    assert entries(settings.state_path) == []


@pytest.fixture
def tick_at(settings: Settings, world: World, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], list[str]]:
    """What `flows tick` does at a time; what it warned of."""

    def tick_at(at: float) -> list[str]:
        world.clock = at
        said: list[str] = []
        monkeypatch.setattr("scflows.scheduler.tick.ProcessHost", lambda: nullcontext(world))
        tick(settings, lambda text: None, said.append, world.drain)
        return said

    return tick_at


@pytest.fixture
def mute(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state folder that cannot be written."""

    def refuse(*given: object, **named: object) -> None:
        raise OSError(30, "Read-only file system")

    Path(settings.state_path, "scheduler.lock").mkdir(parents=True)
    Path(settings.state_path, "tasks.index").mkdir()
    monkeypatch.setattr("scflows.cron.scheduler_lock.replace", refuse)


@pytest.mark.usefixtures("mute")
def test_where_nothing_can_be_written_a_second_look_of_the_minute_finds_the_first(world, put, tick_at) -> None:
    put("often")
    put("long")
    world.takes["long"] = 20.0
    said: list[str] = []
    for moment in (10.0, 40.0):
        # In the midst of the first, and after all that it started has ended.
        world.at(NOON + moment, lambda: said.extend(tick_at(world.clock)))
    tick_at(NOON + 1)
    assert world.slots("often") == world.slots("long") == [NOON]
    assert said == []
    assert NOON + 58 <= world.clock < NOON + 60
    tick_at(NOON + MINUTE + 1)
    assert world.slots("often") == [NOON, NOON + MINUTE]


@pytest.mark.usefixtures("mute")
def test_one_that_stays_to_the_end_of_its_minute_goes_when_it_is_told_to(world, put, tick_at) -> None:
    put("often")
    world.send(NOON + 20)
    tick_at(NOON + 1)
    assert world.clock == NOON + 20


def test_a_look_that_finds_another_at_work_leaves_its_minute_to_that(flows: Flows, put, settings, workspace) -> None:
    put("often")
    lock = try_scheduler_lock(settings)
    assert lock is not None
    answer = flows("tick", "--state", settings.state_path)
    assert (answer.code, answer.out, answer.err) == (0, "", "")
    assert history(settings, task="often") == []
    refused = flows("cron", "run")
    assert refused.code == 6
    assert "line for all tasks" in refused.err
    lock.release()


def test_it_is_gone_while_its_tasks_go_on_and_no_slot_is_started_twice(
    flows: Flows, put, settings, workspace, environment
) -> None:
    (workspace / "often.yml").write_text("steps: [{name: n, type: sleep, sleep: {seconds: 60}}]\n")
    put("often")
    command = [sys.executable, "-P", "-m", "scflows", "tick", "--state", settings.state_path]
    subprocess.run(command, env=environment, check=True, timeout=60)
    wait_for(lambda: [run.status for run in history(settings, task="often")] == ["running"])
    # The worker goes with it, too; its runs do not.
    worker = int(Path(settings.state_path, "worker.lock").read_text().splitlines()[1].split(":")[2])
    os.kill(worker, signal.SIGKILL)
    subprocess.run(command, env=environment, check=True, timeout=60)
    (run,) = history(settings, task="often", statuses=("running",))
    assert flows("runs", "stop", run.id).code == 0
    assert flows("disable", "often").code == 0
    wait_for(lambda: not history(settings, task="often", statuses=("running", "queued")))
    slots = [run.slot for run in history(settings, task="often") if run.reason != "locked"]
    assert len(slots) == len(set(slots))


def test_all_commands_know_the_tasks_of_the_one_line(flows: Flows, workspace: Path) -> None:
    for name in ("one", "two"):
        (workspace / "tasks" / f"{name}.yml").write_text("schedule: {every: 1h}\nsteps: []\n")
    assert flows("auto-schedule", "--one-line", "--once").code == 0
    rows = {line.split("\t")[0]: line.split("\t")[1] for line in flows("list-tasks").out.splitlines()}
    assert rows == {"one": "enabled", "two": "enabled"}
    assert {line.split("\t")[2] for line in flows("next", "--hours", "1").out.splitlines()} == {"one", "two"}
    assert "-m scflows tick" in flows("show", "one").out
    assert flows("disable", "one").code == 0
    assert flows("remove-task", "two").code == 0
    rows = {line.split("\t")[0]: line.split("\t")[1] for line in flows("list-tasks").out.splitlines()}
    assert rows == {"one": "paused"}
    check = flows("check")
    assert "missing from the tabfile" not in check.out
    # The form is kept, also with nothing on the crontab, until it is said otherwise.
    assert flows("clear-tasks", "--yes").code == 0
    assert flows("auto-schedule", "--once").code == 0
    status = json.loads(flows("cron", "status", "--json").out)
    assert status["tabfile"]["entries"] == 2
    assert "-m scflows tick" in flows("show", "one").out
    assert flows("auto-schedule", "--once", "--no-one-line").code == 0
    assert "--task one" in flows("show", "one").out


@pytest.mark.parametrize(
    "broken",
    [
        {"until": float("inf")},
        {"until": float("nan"), "tick": float("nan")},
        {"until": -1e300},
        {"until": 1e300, "tick": 1e300},
        {"tick": "x"},
        {"pid": float("inf")},
        {"pid": 1.5},
        {"pid": "0"},
        {"pid": -1},
    ],
)
def test_a_broken_heartbeat_is_none_and_stops_no_start(settings: Settings, put: Put, broken: dict[str, object]) -> None:
    put("each")
    whole = {"pid": 1, "tick": NOON, "until": NOON - MINUTE}
    path = Path(heartbeat_file(settings))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(whole))
    assert last_heartbeat(settings) is not None
    path.write_text(json.dumps({**whole, **broken}))
    assert last_heartbeat(settings) is None
    with IndexedDueSlots(settings, NOON + 1) as due_slots:
        due_slots.reload()
        due, missed = due_slots.take(NOON + 1)
    assert [(slot.name, slot.due) for slot in due] == [("each", NOON)]
    assert missed == []
