"""What becomes of a slot while its task runs or waits."""

from __future__ import annotations

import time
from dataclasses import replace

from scflows.cron.task import TaskStore
from scflows.history.run import FINAL
from scflows.queue.worker_process import worker_lock
from scflows.scheduler.slot_queue import SlotQueue
from tests.queue.conftest import HOLD, QUICK, RARELY, SLOT, Machine


def test_with_overlap_wait_one_start_waits_for_the_run_that_goes_on(machine: Machine) -> None:
    machine.environment["MAX_RUNS"] = "4"
    machine.task("often", HOLD, overlap="wait")
    machine.start("often", SLOT)
    machine.until(lambda: machine.statuses().get("often") == "running")
    for number in (1, 2):
        assert machine.start("often", SLOT + number * 60).wait(60) == 0
    machine.until(lambda: [run.status for run in machine.runs()] == ["running", "queued", "skipped"])
    machine.let_go()
    runs = {run.slot: run for run in machine.ended(3)}
    first, second, third = (runs[SLOT + number * 60] for number in range(3))
    assert (first.status, second.status) == ("success", "success")
    assert second.started >= (first.ended or 0)
    assert second.waited_for == "an earlier run of it"
    assert (third.status, third.reason) == ("skipped", "locked")
    assert second.id in third.message


def test_with_overlap_cancel_the_run_that_goes_on_gives_way(machine: Machine) -> None:
    machine.task("often", HOLD, overlap="cancel")
    machine.start("often", SLOT)
    machine.until(lambda: machine.statuses().get("often") == "running")
    machine.task("often", QUICK, overlap="cancel")
    assert machine.start("often", SLOT + 60).wait(60) == 0
    first, second = machine.ended(2)
    assert (first.status, first.reason, first.message) == ("cancelled", "overlap", f"stopped for run {second.id}")
    assert second.status == "success"
    assert second.started >= (first.ended or 0)


def enqueue_at_their_second(machine: Machine, *names: str, slot: float = SLOT + 60) -> None:
    """Have a slot of each in the queue whose second has come once a worker looks."""
    with SlotQueue(machine.settings) as slots:
        for name in names:
            task = TaskStore(machine.settings).read(name)
            slots.add(task, slot, "scheduler", slot + task.schedule.second, time.time())


LATE_SECOND = replace(RARELY, second=59)


def test_a_slot_whose_second_comes_while_an_earlier_one_waits_goes_by_the_overlap(machine: Machine) -> None:
    machine.hold("first")
    lock = worker_lock(machine.settings.state_path)
    assert lock.acquire("")
    names = ("skip", "wait", "cancel")
    for name in names:
        machine.task(name, overlap=name, schedule=LATE_SECOND)
    starters = [machine.start(name) for name in names]
    assert [process.wait(60) for process in starters] == [0] * 3
    enqueue_at_their_second(machine, *names)
    assert [run.status for run in machine.runs(task="skip")] == ["queued", "queued"]
    lock.release()
    machine.flows("run", "--waiting", "--state", machine.settings.state_path)
    machine.until(lambda: sum(run.status in FINAL for run in machine.runs()) == 3)
    machine.let_go()
    runs = {(run.task, run.slot == SLOT): run for run in machine.ended(7)}
    for name in ("skip", "wait"):
        one, other = runs[name, True], runs[name, False]
        assert (one.status, other.status, other.reason) == ("success", "skipped", "locked")
        assert other.message == f"run {one.id} of it already waits for its turn"
    one, other = runs["cancel", True], runs["cancel", False]
    assert (one.status, one.reason, other.status) == ("cancelled", "overlap", "success")
    assert one.message == f"run {other.id} replaced it (overlap: cancel)"


def test_a_slot_whose_second_comes_while_its_task_runs_goes_by_the_overlap(machine: Machine) -> None:
    machine.environment["MAX_RUNS"] = "3"
    names = ("skip", "wait", "cancel")
    for name in names:
        machine.task(name, HOLD, overlap=name, schedule=LATE_SECOND)
        machine.start(name)
    machine.until(lambda: [machine.statuses().get(name) for name in names] == ["running"] * 3)
    lock = worker_lock(machine.settings.state_path)
    assert lock.acquire("")
    enqueue_at_their_second(machine, *names)
    lock.release()
    machine.flows("run", "--waiting", "--state", machine.settings.state_path)
    machine.until(lambda: sum(run.status in FINAL for run in machine.runs()) == 2)
    machine.let_go()
    runs = {(run.task, run.slot == SLOT): run for run in machine.ended(6)}
    ends = {name: [(runs[name, at].status, runs[name, at].reason) for at in (True, False)] for name in names}
    assert ends == {
        "skip": [("success", ""), ("skipped", "locked")],
        "wait": [("success", ""), ("success", "")],
        "cancel": [("cancelled", "overlap"), ("success", "")],
    }
    assert runs["wait", False].started >= (runs["wait", True].ended or 0)
    assert runs["skip", False].message.startswith(f"it is already running (run {runs['skip', True].id}")
