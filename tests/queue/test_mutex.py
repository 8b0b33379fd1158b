"""Flows that share a mutex never meet; who waits for one is not passed."""

from __future__ import annotations

import json
import time
from pathlib import Path

from scflows.locks import Lock
from scflows.queue import files as backlog
from scflows.queue.entries import QueuedRun, QueueEntry
from scflows.queue.permits import acquire_permit
from tests.queue.conftest import HOLD, QUICK, SLOT, Machine


def test_flows_that_share_a_mutex_never_meet_and_keep_no_place_from_others(machine: Machine) -> None:
    machine.environment["MAX_RUNS"] = "2"
    machine.hold("first", text="mutex: [db, net]\n" + HOLD)
    machine.task("second", "mutex: db\n" + QUICK)
    machine.task("other")
    assert machine.start("second").wait(60) == 0
    assert machine.start("other").wait(60) == 0
    machine.until(lambda: machine.statuses()["other"] == "success")
    assert machine.statuses()["second"] == "queued"
    machine.let_go()
    runs = {run.task: run for run in machine.ended(3)}
    assert runs["second"].started >= (runs["first"].ended or 0)
    assert runs["second"].waited_for.startswith("the mutex db (run ")
    assert runs["other"].waited_for == ""


#: Hands out turns; the mutex `db` comes free just after the first look at it.
COMES_FREE = """
import sys
from scflows.queue import files as backlog
from scflows.scheduler import worker as turn
from scflows.locks import Lock, holder
state, locks = sys.argv[1:]
mutex = Lock(backlog.mutex_folder(locks), "db")
assert mutex.acquire("other")
def look(folder, name):
    found = holder(folder, name)
    if name == "db":
        mutex.release()
    return found
backlog.holder = turn.holder = look
turn.run_worker(state, lambda task, outcome: None, print)
"""


def test_who_waits_for_a_mutex_is_not_passed_when_it_comes_free_between_two_looks(machine: Machine) -> None:
    machine.environment["MAX_RUNS"] = "4"
    settings = machine.settings
    turns = backlog.worker_lock(settings.state_path)
    mutex = Lock(backlog.mutex_folder(settings.lock_path), "db")
    assert turns.acquire("")
    assert mutex.acquire("other")
    for name in ("a", "b", "c"):
        machine.task(name, "mutex: db\n" + QUICK)
        assert machine.start(name).wait(60) == 0
    mutex.release()
    turns.release()
    assert machine.python(COMES_FREE, settings.state_path, settings.lock_path).wait(60) == 0
    assert [(run.task, run.status) for run in machine.ended(3)] == [(name, "success") for name in ("a", "b", "c")]


def test_a_newcomer_does_not_pass_who_waits_for_a_mutex_that_is_free_by_now(machine: Machine) -> None:
    machine.environment["MAX_RUNS"] = "4"
    settings = machine.settings
    turns = backlog.worker_lock(settings.state_path)
    mutex = Lock(backlog.mutex_folder(settings.lock_path), "db")
    assert turns.acquire("")
    assert mutex.acquire("other")
    machine.task("a", "mutex: db\n" + QUICK)
    machine.task("b", "mutex: [net, db]\n" + QUICK)
    machine.task("urgent", "priority: 1\nmutex: db\n" + QUICK)
    assert machine.start("a", SLOT).wait(60) == 0
    mutex.release()
    for name in ("b", "urgent"):
        assert machine.start(name, SLOT + 60).wait(60) == 0
    assert machine.statuses() == {"a": "queued", "b": "queued", "urgent": "success"}
    queued = machine.runs(task="a")[0]
    assert machine.runs(task="b")[0].message == f"waits for the mutex db (run {queued.id} comes first)"
    turns.release()
    machine.flows("run", "--waiting", "--state", settings.state_path)
    runs = {run.task: run for run in machine.ended(3)}
    assert {run.status for run in runs.values()} == {"success"}
    assert runs["b"].started >= (runs["a"].ended or 0)


def test_who_waits_for_long_for_two_mutexes_has_both_kept_free(machine: Machine) -> None:
    machine.environment["MAX_RUNS"] = "4"
    settings = machine.settings
    state = settings.state_path
    turns = backlog.worker_lock(state)
    mutex = Lock(backlog.mutex_folder(settings.lock_path), "net")
    assert turns.acquire("")
    assert mutex.acquire("other")
    machine.task("both", "mutex: [db, net]\n" + QUICK)
    for name in ("one", "two"):
        machine.task(name, "mutex: db\n" + QUICK)
    assert machine.start("both", SLOT).wait(60) == 0
    assert machine.start("one", SLOT + 60).wait(60) == 0
    assert machine.statuses() == {"both": "queued", "one": "success"}
    path = Path(state, "backlog", backlog.entries_of_task(state, "both")[0].name)
    waiting = json.loads(path.read_text())
    path.write_text(json.dumps({**waiting, "since": waiting["since"] - backlog.FAIR}))
    assert machine.start("two", SLOT + 60).wait(60) == 0
    assert machine.statuses()["two"] == "queued"
    turns.release()
    machine.flows("run", "--waiting", "--state", state)
    machine.until(machine.server)
    time.sleep(0.6)  # two looks of whoever hands out turns
    assert machine.statuses()["two"] == "queued"
    mutex.release()
    runs = {run.task: run for run in machine.ended(3)}
    assert runs["two"].started >= (runs["both"].ended or 0)


def test_who_has_no_place_yet_keeps_no_mutex_from_who_has_one(machine: Machine) -> None:
    narrow = {**machine.settings.remembered(), "MAX_RUNS": "1"}
    wide = {**narrow, "MAX_RUNS": "4"}
    turns = backlog.worker_lock(machine.settings.state_path)
    assert turns.acquire("")
    place = acquire_permit(machine.settings.state_path, 1)
    assert place is not None
    machine.task("a", "mutex: db\n" + QUICK, settings=narrow)
    machine.task("b", "mutex: db\n" + QUICK, settings=wide)
    for name, slot in (("a", SLOT), ("b", SLOT + 60)):
        assert machine.start(name, slot).wait(60) == 0
    assert machine.statuses() == {"a": "queued", "b": "success"}
    place.release()
    turns.release()
    machine.flows("run", "--waiting", "--state", machine.settings.state_path)
    machine.ended(2)


def test_a_newcomer_does_not_pass_the_run_of_its_own_task_that_waits(machine: Machine) -> None:
    machine.environment["MAX_RUNS"] = "4"
    settings = machine.settings
    turns, lock = backlog.worker_lock(settings.state_path), Lock(settings.lock_path, "often")
    assert turns.acquire("")
    assert lock.acquire("other")
    machine.task("often", overlap="wait")
    assert machine.start("often", SLOT).wait(60) == 0
    lock.release()
    assert machine.start("often", SLOT + 60).wait(60) == 0
    runs = {run.slot: run for run in machine.runs()}
    first, second = runs[SLOT], runs[SLOT + 60]
    assert (first.status, second.status, second.reason) == ("queued", "skipped", "locked")
    assert second.message == f"run {first.id} of it waits for its turn already"
    turns.release()
    machine.flows("run", "--waiting", "--state", settings.state_path)
    assert {run.status for run in machine.ended(2)} == {"success", "skipped"}


#: Hands out turns; a run that waited by itself is gone after some looks.
OWN_LEAVES = """
import os, sys, time
from pathlib import Path
from scflows.queue import files as backlog
from scflows.scheduler import worker as turn
state, own, told = sys.argv[1:]
listed, looks = backlog.entries, []
def tickets(state):
    looks.append(1)
    if len(looks) == 12:
        Path(told).write_text(repr(time.time()))
        os.unlink(own)
    return listed(state)
backlog.entries = tickets
turn.run_worker(state, lambda task, outcome: None, print)
"""


def test_whoever_hands_out_turns_leaves_its_mutex_to_who_waits_by_itself(machine: Machine, tmp_path: Path) -> None:
    machine.environment["MAX_RUNS"] = "8"
    settings = machine.settings
    turns = backlog.worker_lock(settings.state_path)
    mutex = Lock(backlog.mutex_folder(settings.lock_path), "db")
    assert turns.acquire("")
    assert mutex.acquire("other")
    own = QueueEntry(0, float(SLOT), "by-hand", "0" * 16, is_own=True)
    waiting = QueuedRun(
        trigger="manual",
        slot=None,
        since=SLOT,
        until=SLOT * 2,
        most=4,
        lock_path=settings.lock_path,
        lock="by-hand",
        mutexes=["db"],
        patient=True,
        why="",
    )
    held = backlog.enqueue(settings.state_path, own, waiting)
    machine.task("next", "mutex: db\n" + QUICK)
    assert machine.start("next", SLOT + 60).wait(60) == 0
    mutex.release()
    turns.release()
    told = tmp_path / "told"
    assert machine.python(OWN_LEAVES, settings.state_path, held.path, str(told)).wait(60) == 0
    held.leave()
    run = machine.ended(1)[0]
    assert (run.status, run.started >= float(told.read_text())) == ("success", True)
