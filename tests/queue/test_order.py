"""Who comes late waits in order, and no run is lost on the way."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import given
from hypothesis import strategies as st

from scflows.cron.crontab.line import line
from scflows.cron.schedule.schedule import Schedule
from scflows.queue import entries as queue
from scflows.queue.entries import QueueEntry
from scflows.queue.permits import acquire_permit
from scflows.queue.worker_process import worker_lock
from scflows.scheduler.slot_queue import SlotQueue
from tests.queue.conftest import QUICK, SLOT, Machine, most_at_once


def test_late_starters_leave_and_are_started_in_the_order_of_priority_slot_and_name(machine: Machine) -> None:
    machine.hold("first")
    urgent = "priority: 5\n" + QUICK
    wanted = ["urgent", "d", "a", "b", "c", "later"]
    machine.task("urgent", urgent)
    for name in ("a", "b", "c", "d", "later"):
        machine.task(name)
    order = [("a", SLOT), ("b", SLOT), ("c", SLOT), ("d", SLOT - 60), ("later", SLOT + 60), ("urgent", SLOT + 120)]
    random.Random(7).shuffle(order)
    for name, slot in order:
        assert machine.start(name, slot).wait(60) == 0
    queued = machine.runs(statuses=("queued",))
    assert sorted(run.task for run in queued) == sorted(wanted)
    assert {run.message for run in queued} == {"waits for a permit"}
    assert machine.statuses()["first"] == "running"
    machine.let_go()
    runs = machine.ended(7)
    assert [run.task for run in runs] == ["first", *wanted]
    assert {run.status for run in runs} == {"success"}
    assert most_at_once(runs) == 1
    assert all(run.waited_for == "a permit" and run.waited > 0 for run in runs[1:])
    assert (runs[0].waited_for, runs[0].waited) == ("", 0.0)


def test_an_enqueued_run_starts_at_its_second_and_nobody_waits_with_it(machine: Machine) -> None:
    now = time.time()
    tasks = [machine.task(name, schedule=Schedule("* * * * *", second=second)) for name, second in (("b", 2), ("a", 3))]
    with SlotQueue(machine.settings, most=4) as slots:
        for task in tasks:
            slots.add(task, now, "scheduler", now + task.schedule.second, now)
    assert {run.message for run in machine.runs()} == {f"waits for second {int((now + n) % 60)}" for n in (2, 3)}
    machine.flows("run", "--waiting", "--state", machine.settings.state_path)
    runs = machine.ended(2)
    assert [(run.task, run.status) for run in runs] == [("b", "success"), ("a", "success")]
    assert all(run.started >= round(now + task.schedule.second, 3) for run, task in zip(runs, tasks, strict=True))
    assert {(run.waited_for, run.waited) for run in runs} == {("", 0.0)}


def test_a_line_sleeps_until_its_second_and_runs_for_its_minute(machine: Machine) -> None:
    schedule = Schedule("* * * * *", second=int(time.time()) % 60 and 1)
    task = machine.task("late", schedule=schedule)
    command = line(task, sys.executable, machine.settings.state_path).split(" ", 5)[5]
    assert command.startswith(f"sleep {schedule.second}; exec " if schedule.second else sys.executable)
    slot = time.time() // 60 * 60
    subprocess.run(["/bin/sh", "-c", command], env=machine.environment, cwd="/", timeout=60, check=True)
    (run,) = machine.ended(1)
    # The minute may have come to its end meanwhile.
    assert run.slot in (slot, slot + 60)
    assert (run.status, run.trigger) == ("success", "cron")


def test_a_starter_that_is_about_to_leave_its_file_is_not_passed(machine: Machine) -> None:
    machine.hold("first")
    for name in ("a", "b"):
        machine.task(name)
        assert machine.start(name).wait(60) == 0
    state = machine.settings.state_path
    # As whoever just came has it until its claim is written.
    held = queue.claim_entry(state, queue.entries(state)[0])
    assert held is not None
    machine.let_go()
    machine.until(lambda: machine.statuses()["first"] == "success")
    time.sleep(0.6)  # some looks of the worker
    assert machine.statuses()["b"] == "queued"
    held.leave()
    assert [run.task for run in machine.ended(3)] == ["first", "a", "b"]


#: A worker; the only permit comes free while it asks for it.
PERMIT_COMES_FREE = """
import sys, time
from pathlib import Path
from scflows.execution import resources
from scflows.scheduler import worker
state, told = sys.argv[1:]
taken = resources.acquire_permit
permit = taken(state, 1)
def take(*asked):
    if permit.descriptor >= 0:
        time.sleep(0.01)
        Path(told).write_text(repr(time.time()))
        permit.release()
    return taken(*asked)
resources.acquire_permit = take
worker.run_worker(state, lambda task, outcome: None, print)
"""


def test_a_run_that_waited_is_recorded_from_when_it_has_its_place(machine: Machine, tmp_path: Path) -> None:
    turns = worker_lock(machine.settings.state_path)
    assert turns.acquire("")
    place = acquire_permit(machine.settings.state_path, 1)
    assert place is not None
    machine.task("next")
    assert machine.start("next").wait(60) == 0
    place.release()
    turns.release()
    assert machine.python(PERMIT_COMES_FREE, machine.settings.state_path, str(tmp_path / "told")).wait(60) == 0
    assert machine.ended(1)[0].started >= float((tmp_path / "told").read_text())


def test_a_start_while_an_earlier_one_waits_is_skipped(machine: Machine) -> None:
    machine.hold("first")
    machine.task("often")
    for number in range(2):
        assert machine.start("often", SLOT + number * 60).wait(60) == 0
    skipped = machine.until(lambda: machine.runs(task="often", statuses=("skipped",)))
    assert [(run.slot, run.reason) for run in skipped] == [(SLOT + 60, "locked")]
    assert machine.runs(task="often", statuses=("queued",))[0].id in skipped[0].message


def test_a_slot_that_waits_is_claimed(machine: Machine) -> None:
    machine.hold("first")
    machine.task("once", overlap="wait")
    assert machine.start("once").wait(60) == 0
    machine.let_go()
    machine.until(lambda: machine.statuses()["once"] == "success")
    assert machine.start("once").wait(60) == 0
    assert [(run.status, run.reason) for run in machine.runs(task="once")] == [("success", ""), ("skipped", "slot")]


def test_who_waits_for_too_long_is_given_up_and_its_slot_is_free_again(machine: Machine) -> None:
    machine.environment["MAX_WAIT_SECONDS"] = "0.5"
    machine.hold("first")
    machine.task("late")
    assert machine.start("late").wait(60) == 0
    machine.until(lambda: machine.statuses()["late"] == "skipped")
    late = machine.runs(task="late")[0]
    assert late.reason == "queue_timeout"
    assert "longer than MAX_WAIT_SECONDS" in late.message
    machine.let_go()
    machine.until(lambda: machine.statuses()["first"] == "success")
    assert machine.start("late").wait(60) == 0
    assert machine.runs(task="late")[-1].status == "success"


def test_history_and_show_tell_how_long_a_run_waited_and_for_what(machine: Machine, flows: Any) -> None:
    machine.hold("first")
    machine.task("next")
    assert machine.start("next").wait(60) == 0
    item = json.loads(flows("history", "next", "--json").out)["items"][0]
    assert (item["status"], item["why"], item["waited"]) == ("queued", "waits for a permit", 0.0)
    machine.let_go()
    machine.ended(2)
    item = json.loads(flows("history", "next", "--json").out)["items"][0]
    assert item["waited"] > 0
    assert item["waited_for"] == "a permit"
    assert "waited " in item["why"]
    assert "for a permit" in flows("runs", "show", item["id"]).out
    assert json.loads(flows("history", "--status", "success", "--json").out)["items"][0]["waited"] > 0
    log = Path(item["log"]).read_text()
    assert f"run {item['id']} waits for a permit" in log
    assert f"run {item['id']} started" in log


NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", fullmatch=True)


TICKETS = st.builds(
    QueueEntry,
    rank=st.integers(-100, 100),
    at=st.integers(0, 10**13).map(lambda milliseconds: milliseconds / 1000),
    task=NAMES,
    run=st.just("01ARZ3NDEKTSV4RR"),
)


@given(st.lists(TICKETS, unique_by=lambda ticket: ticket.name, max_size=20))
@hypothesis.settings(max_examples=60, deadline=None)
def test_files_say_whose_turn_comes_first(given: list[QueueEntry]) -> None:
    with tempfile.TemporaryDirectory() as state:
        os.mkdir(os.path.join(state, "queue"))
        for ticket in given:
            Path(state, "queue", ticket.name).touch()
        found = queue.entries(state)
    assert sorted(found, key=lambda ticket: ticket.name) == sorted(given, key=lambda ticket: ticket.name)
    assert [ticket.key[:3] for ticket in found] == sorted(ticket.key[:3] for ticket in given)
