"""What is kept: by age, by number, by size, of each task its own; old runs are no exception."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from pathlib import Path

import pytest

from scflows.errors import UsageError
from scflows.history.contract import Query
from scflows.history.retention import excess, prune
from scflows.history.run import Run, StepRecord, new_run_id
from scflows.history.store import open_store
from scflows.scheduler.housekeeping import run_housekeeping

DAY = 86400.0


@pytest.fixture
def store(settings):
    opened = open_store(settings)
    yield opened
    opened.close()


@pytest.fixture
def ran(store):
    """Record runs of a task, one for each age in days; their ids."""

    def record(task: str, *ages: float, status: str = "success", message: str = "") -> list[str]:
        ids = []
        for age in ages:
            started = time.time() - age * DAY
            run = Run(new_run_id(started), f"{task}.yml", task, started=started)
            assert store.claim(run) is None
            if status != "running":
                run.status, run.ended = status, started + 1
                run.steps = [StepRecord(1, "s", "jq", "success", started, started, message)]
                store.finish(run)
            ids.append(run.id)
        return ids

    return record


@pytest.fixture
def configure(settings):
    def write(text: str) -> None:
        path = Path(settings.config_file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return write


def left(store, task):
    return [run.id for run in reversed(store.find(Query(task=task, limit=10**6)))]


@pytest.mark.language("§6 Limits")
def test_without_settings_runs_of_the_last_ninety_days_are_kept(store, ran, settings):
    old, new = ran("a", 91, 89)
    assert excess(store, settings) == [old]
    assert prune(store, settings) == 1
    assert left(store, "a") == [new]
    found = store.run(new)
    assert found is not None
    assert len(found.steps) == 1


def test_the_newest_runs_of_each_task_are_kept(store, ran, settings, configure):
    configure("retention: {runs: 2, tasks: {b: {runs: 3}}}\n")
    first, second = ran("a", 5, 4, 3, 2), ran("b", 5, 4, 3, 2)
    prune(store, settings)
    assert left(store, "a") == first[-2:]
    assert left(store, "b") == second[-3:]


def test_a_task_may_be_kept_for_another_time(store, ran, settings, configure):
    configure("retention: {days: 10, tasks: {b: {days: 100}}}\n")
    ran("a", 50), ran("b", 50)
    prune(store, settings)
    assert (left(store, "a"), len(left(store, "b"))) == ([], 1)


def test_a_run_that_goes_on_is_kept(store, ran, settings):
    ids = ran("a", 100, status="running")
    assert prune(store, settings) == 0
    assert left(store, "a") == ids


def test_broken_settings_remove_nothing(store, ran, settings, configure):
    ran("a", 400)
    configure("retention: {days: many}\n")
    with pytest.raises(UsageError, match=r"config\.yml:1:13: error: retention: days must be a number"):
        prune(store, settings)
    assert len(left(store, "a")) == 1


def test_a_given_moment_wins_over_the_settings(store, ran, settings):
    ran("a", 40, 20)
    assert prune(store, settings, time.time() - 30 * DAY) == 1
    assert len(left(store, "a")) == 1


def test_run_folders_go_with_their_runs(store, ran, settings):
    old, new = ran("a", 100, 1)
    top = Path(settings.state_path) / "runs"
    stray, young = new_run_id(time.time() - DAY), new_run_id()
    for name in (old, new, stray, young):
        (top / name).mkdir(parents=True)
        (top / name / "result.json").write_text("{}")
    for name in (old, stray):
        os.utime(top / name, (time.time() - 2 * 3600,) * 2)
    prune(store, settings)
    assert sorted(path.name for path in top.iterdir()) == sorted([new, young])


def test_the_oldest_run_folders_go_while_all_are_too_large(store, ran, settings, configure):
    configure("retention: {total_bytes: 10 kB}\n")
    ids = [*ran("a", 4, 3, 2), *ran("b", 1, status="running")]
    top = Path(settings.state_path) / "runs"
    for id in ids:
        (top / id).mkdir(parents=True)
        (top / id / "data").write_bytes(b"x" * 4000)
    prune(store, settings)
    assert sorted(path.name for path in top.iterdir()) == ids[2:]
    assert len(left(store, "a")) == 3


def test_logs_are_cut_to_the_size_of_their_task_and_old_ones_removed(store, settings, configure):
    configure("retention: {log_bytes: 10 kB, tasks: {b: {log_bytes: 100 kB}, gone: {days: 1}}}\n")
    folder = Path(settings.tasks_path)
    for name in ("a", "b", "gone"):
        (folder / name).mkdir(parents=True)
        (folder / name / f"{name}.log").write_bytes(b"a line\n" * 4000)
    (folder / "scheduler.log").write_bytes(b"a line\n" * 4000)
    os.utime(folder / "gone/gone.log", (time.time() - 2 * DAY,) * 2)
    prune(store, settings)
    assert (folder / "a/a.log").stat().st_size <= 5000
    assert (folder / "b/b.log").stat().st_size == 28000
    assert (folder / "scheduler.log").stat().st_size <= 5000
    assert not (folder / "gone").exists()


def test_the_room_of_removed_runs_is_given_back(store, ran, settings):
    for _ in range(20):
        ran("a", *([100.0] * 100), message="x" * 5000)
    path = Path(settings.state_path) / "history.sqlite"
    store.compact()
    other = sqlite3.connect(path)
    other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    other.close()
    before = path.stat().st_size
    assert before > 8_000_000
    assert prune(store, settings) == 2000
    assert path.stat().st_size < before / 10


def test_housekeeping_prunes_by_itself(store, ran, settings):
    ran("a", 100)
    run_housekeeping(settings)
    assert left(store, "a") == []


def test_a_task_of_another_workspace_is_kept_as_that_one_says(store, ran, settings, workspace, flows, tmp_path):
    other = tmp_path / "other"
    (other / "tasks").mkdir(parents=True)
    (other / "data").mkdir()
    (other / "data/config.yml").write_text("retention: {days: 1000}\n")
    (other / "tasks/far.yml").write_text("steps: []\n")
    answer = flows("manual-schedule", "far.yml", "--every", "1d", "--home", str(other))
    assert answer.code == 0, answer.err
    (name,) = [path.stem for path in (Path(settings.state_path) / "tasks").glob("*.json")]
    ids = ran(name, 500)
    prune(store, settings)
    assert left(store, name) == ids
    (other / "data/config.yml").write_text("retention: {days: x}\n")
    prune(store, settings)
    assert left(store, name) == ids


def test_a_clock_that_leapt_ahead_has_nothing_pruned_at_once(store, ran, settings, monkeypatch):
    ran("a", 1)
    now, pruned = time.time(), []
    monkeypatch.setattr("scflows.history.retention.prune", lambda store, settings: pruned.append(day))
    for day in (0, 1.1, 400, 400.5, 401.1, 402, 402.2):
        run_housekeeping(settings, now + day * DAY)
    assert pruned == [0, 1.1, 401.1, 402.2]


def test_prune_goes_by_the_settings_unless_told_otherwise(ran, flows, configure):
    configure("retention: {runs: 1}\n")
    ran("a", 3, 2, 1)
    told = json.loads(flows("runs", "prune", "--dry-run", "--json").out)
    assert told == {"dry_run": True, "removed": 2, "before": None}
    answer = flows("runs", "prune", "--yes")
    assert answer.out == "Removed 2 runs beyond the retention limits · flows history\n"
    assert len(flows("history").out.splitlines()) == 1


def test_runs_of_a_clock_that_was_ahead_push_out_no_true_run(store, ran, configure, settings):
    configure("retention: {runs: 3}\n")
    ahead = ran("a", -5, -4)
    true = ran("a", 0.4, 0.3, 0.2, 0.1)
    assert sorted(excess(store, settings)) == sorted([true[0], *ahead])
    few = ran("b", 0.2, 0.1)
    later = ran("b", -3, -2)
    # The newest of them fills the place that is left.
    assert {id for id in excess(store, settings) if id in (*few, *later)} == {later[1]}
