"""The kept load is the load of the tasks that are there, whatever becomes of them; in doubt it is counted anew."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from scflows.cron.schedule.schedule import Schedule
from scflows.cron.schedule.spec import ScheduleSpec
from scflows.cron.task import Task, TaskStore
from scflows.planner import load_cache as module
from scflows.planner.load.durations import Durations
from scflows.planner.load.load import load_of
from scflows.planner.load_cache import load_file, read_cached_load
from scflows.planner.plan import REMOVE, REPLACE, Change
from scflows.planner.planner import Planner
from scflows.planner.sources.base import TaskRequest
from scflows.planner.switch import paused, resumed
from scflows.settings import Settings, read_settings

EVERY = [60, 900, 3600, 7 * 3600, 86400, 3 * 86400, 7 * 86400]
NAMES = [f"t{number}" for number in range(12)]
ACTIONS = ("add", "remove", "switch", "move", "by hand", "rebalance")


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_UNCACHED", 0)


@pytest.fixture
def planned(settings: Settings) -> Settings:
    add(settings, *NAMES)
    return settings


def add(settings: Settings, *names: str, every: int = 3600, one_line: bool | None = None) -> None:
    planner = Planner(settings, dry_run=False, one_line=one_line)
    planner.write(
        planner.plan_requests([TaskRequest(name, ScheduleSpec(every=every), flow=f"/f/{name}.yml") for name in names])
    )


def agrees(settings: Settings, durations: Durations) -> None:
    """What is kept, if anything, is what all task files make."""
    kept = read_cached_load(settings)
    if kept is None:
        return
    tasks = TaskStore(settings).read_all()[0]
    enabled = [task for task in tasks if task.enabled]
    fresh = load_of((task.schedule, durations.of(task.name, task.source, task.kind)) for task in enabled)
    assert kept.count == len(tasks)
    assert numpy.array_equal(kept.load.runs, fresh.runs)
    assert numpy.array_equal(kept.load.starts, fresh.starts)
    turns = [
        {(every, at): part for every, own in load.turns.items() for at, part in own.items() if abs(part) > 1e-6}
        for load in (kept.load, fresh)
    ]
    assert turns[0] == pytest.approx(turns[1])


@effort(max_examples=12, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(ACTIONS), st.sampled_from(NAMES), st.sampled_from(EVERY)), max_size=12),
    st.booleans(),
)
def test_the_kept_load_is_that_of_the_task_files_after_any_changes(
    steps: list[tuple[str, str, int]], one_line: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_UNCACHED", 0)
        settings = read_settings(folder, {"HOME": folder, "CRONTAB_PROGRAM": "none"})
        durations = Durations((), {name: [number * 40.0] * 3 for number, name in enumerate(NAMES)})
        patch.setattr("scflows.planner.inventory.measured_durations", lambda settings, tasks: durations)
        add(settings, "t0", "t1", one_line=one_line)
        assert read_cached_load(settings) is not None
        for action, name, every in steps:
            planner = Planner(settings, dry_run=False)
            there = planner.before.get(name)
            if action == "add":
                planner.write(
                    planner.plan_requests([TaskRequest(name, ScheduleSpec(every=every), flow="/f.yml")], overwrite=True)
                )
            elif action == "rebalance":
                planner.write(planner.plan_rebalance()[0])
            elif there is None:
                continue
            elif action == "remove":
                planner.write(planner.plan_changes([planner.removal(name)]))
            elif action == "switch":
                planner.write(planner.plan_changes([(paused if there.enabled else resumed)(planner, name)]))
            elif action == "move":
                moved = replace(there, schedule=Schedule(f"{every % 59} 4 * * *"))
                planner.write(planner.plan_changes([Change(REPLACE, moved)]))
            else:
                # In place: the folder says nothing of it, the next that touches the task finds it.
                path = Path(TaskStore(settings).path(name))
                path.write_text(path.read_text().replace('"enabled": true', '"enabled": false'))
                os.utime(path)
                TaskStore(settings).write(TaskStore(settings).read(name))
            agrees(settings, durations)


@pytest.mark.parametrize("after", [0, 3601, 2 * 86400])
def test_a_change_of_one_task_reads_no_other(planned: Settings, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    add(planned, "first", one_line=True)
    before = read_cached_load(planned)
    assert before is not None
    now = module.time.time() + after
    monkeypatch.setattr(module.time, "time", lambda: now)

    def refuse(*given: object, **named: object) -> None:
        raise AssertionError("all tasks were read")

    monkeypatch.setattr("scflows.planner.inventory.read_tasks", refuse)
    monkeypatch.setattr("scflows.planner.inventory.measured_durations", refuse)
    add(planned, "new")
    added = read_cached_load(planned)
    assert added is not None
    assert (added.count, added.enabled) == (before.count + 1, before.enabled + 1)
    assert added.load.runs.sum() > before.load.runs.sum()
    planner = Planner(planned, dry_run=False)
    planner.write(planner.plan_changes([paused(planner, "new")]))
    without = read_cached_load(planned)
    assert without is not None
    assert (without.count, without.enabled) == (before.count + 1, before.enabled)
    planner = Planner(planned, dry_run=False)
    planner.write(planner.plan_changes([planner.removal("new")]))
    removed = read_cached_load(planned)
    assert removed is not None
    assert (removed.count, removed.enabled) == (before.count, before.enabled)
    assert removed.measured == before.measured


def test_the_last_task_that_is_paused_takes_the_one_line_off(planned: Settings) -> None:
    add(planned, "first", one_line=True)
    names = [*NAMES, "first"]
    for count, name in enumerate(names, 1):
        planner = Planner(planned, dry_run=False)
        planner.write(planner.plan_changes([paused(planner, name)]))
        assert len(planner.editor.tabfile.lines) == 1
        assert len(Planner(planned, dry_run=True).editor.tabfile.lines) == (count < len(names))


def test_a_task_file_that_is_written_into_has_all_counted_anew(planned: Settings) -> None:
    path = Path(TaskStore(planned).path("t3"))
    path.write_text(path.read_text().replace('"every": 3600', '"every": null'))
    os.utime(path, ns=(0, 0))
    planner = Planner(planned, dry_run=False)
    planner.write(planner.plan_changes([Change(REMOVE, planner.task("t3"))]))
    agrees(planned, Durations((), {}))
    assert read_cached_load(planned) is not None


@pytest.mark.parametrize("how", ["added", "removed", "half", "empty", "other", "old", "ahead"])
def test_what_may_no_longer_be_so_is_not_believed(planned: Settings, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_cached_load(planned) is not None
    store, file = TaskStore(planned), Path(load_file(planned))
    content = file.read_bytes()
    if how == "added":
        store.write(Task("foreign", Schedule("* * * * *")))
    elif how == "removed":
        store.remove("t1")
    elif how in ("old", "ahead"):
        now = module.time.time() + (7 * 86400 + 1 if how == "old" else -3600)
        monkeypatch.setattr(module.time, "time", lambda: now)
    else:
        file.write_bytes({"half": content[:-8], "empty": b"", "other": content[:40] + b"!" + content[41:]}[how])
    assert read_cached_load(planned) is None
    monkeypatch.undo()
    monkeypatch.setattr(module, "MAX_UNCACHED", 0)
    add(planned, "next")
    agrees(planned, Durations((), {}))


def test_a_broken_task_file_is_told_by_every_command(planned: Settings) -> None:
    (Path(TaskStore(planned).folder) / "bad.json").write_text("{")
    for name in ("one", "two"):
        planner = Planner(planned, dry_run=False)
        plan = planner.plan_requests([TaskRequest(name, ScheduleSpec(every=3600), flow="/f.yml")])
        assert any("bad.json" in problem for problem in plan.problems)
        planner.write(plan)


def test_a_cut_off_command_leaves_no_load_to_be_believed(planned: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    planner = Planner(planned, dry_run=False)
    plan = planner.plan_requests([TaskRequest("new", ScheduleSpec(every=3600), flow="/f.yml")])

    def refuse(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(planner.editor, "write", refuse)
    with pytest.raises(KeyboardInterrupt):
        planner.write(plan)
    agrees(planned, Durations((), {}))
    assert read_cached_load(planned) is None


def test_an_hour_later_tasks_are_weighed_by_what_their_runs_take_then(
    planned: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer = Durations((), {name: [900.0] * 3 for name in NAMES})
    monkeypatch.setattr("scflows.planner.inventory.measured_durations", lambda settings, tasks: longer)
    add(planned, "a")
    kept = read_cached_load(planned)
    assert kept is not None
    assert kept.durations.own == {}
    later = module.time.time() + 3601
    monkeypatch.setattr(module.time, "time", lambda: later)
    add(planned, "b")
    kept = read_cached_load(planned)
    assert kept is not None
    assert kept.durations.own == longer.own
    agrees(planned, longer)


def test_whoever_reads_all_tasks_weighs_them_anew_after_an_hour(
    planned: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(planned, "a", one_line=True)
    longer = Durations((), {name: [900.0] * 3 for name in NAMES})
    monkeypatch.setattr("scflows.planner.inventory.measured_durations", lambda settings, tasks: longer)
    now = module.time.time() + 3601
    monkeypatch.setattr(module.time, "time", lambda: now)
    planner = Planner(planned, dry_run=False)
    list(planner.before.values())
    planner.write(planner.plan_requests([TaskRequest("b", ScheduleSpec(every=3600), flow="/f.yml")]))
    kept = read_cached_load(planned)
    assert kept is not None
    assert kept.measured == now
    agrees(planned, longer)
