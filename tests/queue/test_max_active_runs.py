"""Several runs of one flow or task at the same time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from scflows.cron.task import TaskStore
from scflows.execution.enqueue import enqueue
from scflows.execution.request import RunRequest
from scflows.history.contract import Query
from scflows.history.retention import prune
from scflows.history.store import open_store
from tests.queue.conftest import HOLD, QUICK, SLOT, Machine, most_at_once

TERM = "params: {term: {type: text, default: none}}\n"
PAIR = "max_active_runs: 2\n" + TERM + HOLD


def written(machine: Machine, text: str, name: str = "search") -> str:
    (machine.workspace / "tasks" / f"{name}.yml").write_text(text)
    return f"{name}.yml"


def shown(machine: Machine, *arguments: str) -> str:
    command = [sys.executable, "-P", "-m", "scflows", *arguments]
    done = subprocess.run(command, cwd=machine.workspace, env=machine.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def going_on(machine: Machine, count: int, task: str = "search") -> None:
    machine.until(lambda: len(machine.runs(task=task, statuses=("running",))) == count)


def test_two_runs_with_different_parameters_run_at_the_same_time_and_a_third_is_skipped(machine: Machine) -> None:
    flow = written(machine, PAIR)
    runs = [machine.flows("run", flow, "-p", f"term={term}") for term in ("moss", "fern")]
    going_on(machine, 2)
    third = machine.flows("run", flow, "-p", "term=oak")
    assert third.wait(60) == 0
    locks = json.loads(shown(machine, "locks", "--json"))["items"]
    assert sorted(lock["run"] for lock in locks) == sorted(run.id for run in machine.runs(statuses=("running",)))
    assert len({lock["lock"] for lock in locks}) == 2
    machine.let_go()
    assert [run.wait(60) for run in runs] == [0, 0]
    one, other, skipped = machine.ended(3)
    assert {one.params["term"], other.params["term"]} == {"moss", "fern"}
    assert (one.status, other.status) == ("success", "success")
    assert (skipped.status, skipped.reason) == ("skipped", "locked")
    assert "max_active_runs is 2" in skipped.message
    assert one.id in skipped.message
    assert other.id in skipped.message


def test_with_the_default_the_second_is_skipped(machine: Machine) -> None:
    flow = written(machine, TERM + HOLD)
    first = machine.flows("run", flow, "-p", "term=moss")
    going_on(machine, 1)
    assert machine.flows("run", flow, "-p", "term=fern").wait(60) == 0
    machine.let_go()
    assert first.wait(60) == 0
    assert [run.reason for run in machine.ended(2)] == ["", "locked"]


def test_each_run_has_its_own_log_and_the_task_shows_them_all(machine: Machine) -> None:
    flow = written(machine, PAIR)
    runs = [machine.flows("run", flow, "-p", f"term={term}") for term in ("moss", "fern")]
    going_on(machine, 2)
    machine.let_go()
    assert [run.wait(60) for run in runs] == [0, 0]
    folder = Path(machine.settings.tasks_path, "search")
    ids = [run.id for run in machine.ended(2)]
    assert sorted(os.listdir(folder)) == sorted(f"{run}.log" for run in ids)
    for run in ids:
        text = shown(machine, "logs", run)
        assert f"run {run} started" in text
        assert f"run {run} success" in text
        assert not any(other in text for other in ids if other != run)
        assert shown(machine, "logs", run, "--path").strip() == str(folder / f"{run}.log")
    everything = shown(machine, "logs", "search")
    assert [line for line in everything.splitlines() if line.startswith("==>")] == [
        f"==> {run} <==" for run in ids
    ] or (all(f"==> {run} <==" in everything for run in ids))
    assert shown(machine, "logs", "search", "--path").strip() == str(folder)
    items = json.loads(shown(machine, "logs", "search", "-n", "3", "--json"))["items"]
    assert len(items) == 3
    assert {item["run"] for item in items} <= set(ids)


def test_a_task_with_several_logs_is_followed_through_all_of_them(machine: Machine) -> None:
    flow = written(machine, "max_active_runs: 2\n" + QUICK)
    assert machine.flows("run", flow).wait(60) == 0
    command = [sys.executable, "-P", "-m", "scflows", "logs", "search", "--follow"]
    with subprocess.Popen(
        command, cwd=machine.workspace, env=machine.environment, stdout=subprocess.PIPE, text=True
    ) as process:
        watch = threading.Timer(60, process.kill)
        watch.start()
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("==> ")
            assert machine.flows("run", flow).wait(60) == 0
            second = machine.ended(2)[1].id
            seen = ""
            while f"run {second} success" not in seen:
                line = process.stdout.readline()
                assert line
                seen += line
        finally:
            watch.cancel()
            process.terminate()


def test_the_queue_starts_as_many_as_may_be_active(machine: Machine) -> None:
    machine.environment["MAX_RUNS"] = "4"
    machine.settings.environment["MAX_RUNS"] = "4"
    written(machine, "max_active_runs: 2\nschedule: {every: 1h, overlap: wait}\n" + TERM + HOLD)
    for term in ("moss", "fern", "oak", "elm", "oak"):
        enqueue(RunRequest(flow="search.yml", params={"term": term}, trigger="api"), machine.settings)
    machine.flows("run", "--waiting", "--state", machine.settings.state_path)
    going_on(machine, 2)
    # Of those that wait, only the one that asks for the same as another one is skipped.
    machine.until(lambda: len(machine.runs(task="search", statuses=("skipped",))) == 1)
    machine.let_go()
    runs = machine.ended(5)
    done = [run for run in runs if run.status == "success"]
    assert sorted(run.params["term"] for run in done) == ["elm", "fern", "moss", "oak"]
    assert most_at_once(done) == 2


def test_a_task_says_how_many_of_its_runs_may_be_active(machine: Machine) -> None:
    machine.environment["MAX_RUNS"] = "4"
    machine.task("often", HOLD, max_active_runs=2)
    for number in range(3):
        machine.start("often", SLOT + number * 60)
        machine.until(lambda number=number: len(machine.runs(task="often")) == number + 1)
    assert sorted(run.status for run in machine.runs(task="often")) == ["running", "running", "skipped"]
    task = json.loads(shown(machine, "show", "often", "--json"))
    assert (task["max_active_runs"], task["running"], task["state"]) == (2, 2, "running")
    (listed,) = json.loads(shown(machine, "list-tasks", "--json"))["items"]
    assert (listed["state"], listed["running"]) == ("running", 2)
    machine.let_go()
    machine.ended(3)


def test_with_overlap_cancel_the_oldest_run_gives_way(machine: Machine) -> None:
    machine.environment["MAX_RUNS"] = "4"
    machine.task("often", HOLD, overlap="cancel", max_active_runs=2)
    for number in range(2):
        machine.start("often", SLOT + number * 60)
        going_on(machine, number + 1, "often")
    oldest = machine.runs(task="often")[0]
    machine.start("often", SLOT + 120)
    machine.until(lambda: [run.id for run in machine.runs(statuses=("cancelled",))] == [oldest.id])
    going_on(machine, 2, "often")
    machine.let_go()
    assert [run.status for run in machine.ended(3)] == ["cancelled", "success", "success"]


def test_when_fewer_may_be_active_the_runs_that_go_on_count(machine: Machine) -> None:
    machine.environment["MAX_RUNS"] = "4"
    machine.task("often", HOLD, max_active_runs=3)
    for number in range(3):
        machine.start("often", SLOT + number * 60)
        going_on(machine, number + 1, "often")
    lock = Path(machine.settings.lock_path, "often.lock")
    holder = lock.read_text().splitlines()[0]
    shown(machine, "runs", "stop", holder)
    going_on(machine, 2, "often")
    machine.task("often", HOLD, max_active_runs=2)
    assert machine.start("often", SLOT + 600).wait(60) == 0
    assert machine.runs(statuses=("skipped",))[0].reason == "locked"
    machine.let_go()
    machine.ended(4)


def test_a_killed_run_of_several_leaves_its_place(machine: Machine) -> None:
    flow = written(machine, PAIR)
    first, second = machine.flows("run", flow), machine.flows("run", flow)
    going_on(machine, 2)
    os.kill(first.pid, signal.SIGKILL)
    first.wait(60)
    machine.flows("run", flow)
    going_on(machine, 2)
    machine.let_go()
    assert second.wait(60) == 0
    machine.until(lambda: len(machine.runs(statuses=("success",))) == 2)
    shown(machine, "history")
    assert [run.status for run in machine.ended(3)].count("crashed") == 1


def test_retention_removes_logs_of_single_runs_by_number_age_and_size(machine: Machine) -> None:
    flow = written(machine, "max_active_runs: 2\n" + QUICK)
    for _ in range(3):
        assert machine.flows("run", flow).wait(60) == 0
    folder = Path(machine.settings.tasks_path, "search")
    first, second, third = (run.id for run in machine.ended(3))
    Path(machine.settings.config_file).write_text("retention: {log_bytes: 2 kB}\n")
    with (folder / f"{first}.log").open("a") as log:
        log.write("x" * 2000 + "\n")
    with open_store(machine.settings) as store:
        prune(store, machine.settings)
        assert sorted(os.listdir(folder)) == [f"{second}.log", f"{third}.log"]
        assert len(store.find(Query(task="search"))) == 3
        store.remove([second])
        hours_ago = time.time() - 7200
        os.utime(folder / f"{second}.log", (hours_ago, hours_ago))
        prune(store, machine.settings)
        assert os.listdir(folder) == [f"{third}.log"]
        prune(store, machine.settings, before=time.time() + 1)
    assert not folder.exists()


def test_a_number_below_one_is_refused(machine: Machine) -> None:
    flow = written(machine, "max_active_runs: 0\n" + QUICK)
    command = [sys.executable, "-P", "-m", "scflows", "validate", flow]
    done = subprocess.run(command, cwd=machine.workspace, env=machine.environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"{flow}:1:1: error: max_active_runs must be at least 1" in done.stdout + done.stderr


def test_scheduling_keeps_the_number_of_the_flow_and_edit_changes_it(machine: Machine) -> None:
    written(machine, "max_active_runs: 2\nschedule: {every: 1d}\n" + QUICK)
    shown(machine, "manual-schedule", "search.yml")
    assert TaskStore(machine.settings).read("search").max_active_runs == 2
    shown(machine, "edit", "search", "--max-active-runs", "3")
    assert TaskStore(machine.settings).read("search").max_active_runs == 3
