"""Flows that share a mutex never meet; who waits for one is not passed."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

from scflows.execution.admission import FAIR
from scflows.locks import Lock
from scflows.queue import entries as queue
from scflows.queue.permits import acquire_permit, wake_worker
from scflows.queue.worker_process import worker_lock
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


#: A worker; the mutex `db` comes free just after its first look at it.
COMES_FREE = """
import sys
from scflows.queue import entries as queue
from scflows.scheduler import worker
from scflows.locks import Lock, holder
state, locks = sys.argv[1:]
mutex = Lock(queue.mutex_folder(locks), "db")
assert mutex.acquire("other")
def look(folder, name):
    found = holder(folder, name)
    if name == "db":
        mutex.release()
    return found
worker.holder = look
worker.run_worker(state, lambda task, outcome: None, print)
"""


def test_who_waits_for_a_mutex_is_not_passed_when_it_comes_free_between_two_looks(machine: Machine) -> None:
    machine.environment["MAX_RUNS"] = "4"
    settings = machine.settings
    worker, mutex = (
        Lock(folder, name)
        for folder, name in ((settings.state_path, "worker"), (queue.mutex_folder(settings.lock_path), "db"))
    )
    assert worker.acquire("")
    assert mutex.acquire("other")
    for name in ("a", "b", "c"):
        machine.task(name, "mutex: db\n" + QUICK)
        assert machine.start(name).wait(60) == 0
    mutex.release()
    worker.release()
    assert machine.python(COMES_FREE, settings.state_path, settings.lock_path).wait(60) == 0
    assert [(run.task, run.status) for run in machine.ended(3)] == [(name, "success") for name in ("a", "b", "c")]


def test_a_newcomer_does_not_pass_who_waits_for_a_mutex_that_is_free_by_now(machine: Machine) -> None:
    machine.environment["MAX_RUNS"] = "4"
    settings = machine.settings
    worker = worker_lock(settings.state_path)
    mutex = Lock(queue.mutex_folder(settings.lock_path), "db")
    assert worker.acquire("")
    assert mutex.acquire("other")
    machine.task("a", "mutex: db\n" + QUICK)
    machine.task("b", "mutex: [net, db]\n" + QUICK)
    machine.task("urgent", "priority: 1\nmutex: db\n" + QUICK)
    assert machine.start("a", SLOT).wait(60) == 0
    mutex.release()
    for name in ("b", "urgent"):
        assert machine.start(name, SLOT + 60).wait(60) == 0
    # Only the worker decides who comes first.
    assert set(machine.statuses().values()) == {"queued"}
    assert machine.runs(task="b")[0].message == "waits for its turn"
    worker.release()
    machine.flows("run", "--waiting", "--state", settings.state_path)
    runs = {run.task: run for run in machine.ended(3)}
    assert {run.status for run in runs.values()} == {"success"}
    assert runs["a"].started >= (runs["urgent"].ended or 0)
    assert runs["b"].started >= (runs["a"].ended or 0)


def test_who_waits_for_long_for_two_mutexes_has_both_kept_free(machine: Machine) -> None:
    machine.environment["MAX_RUNS"] = "4"
    settings = machine.settings
    state = settings.state_path
    worker = worker_lock(state)
    mutex = Lock(queue.mutex_folder(settings.lock_path), "net")
    assert worker.acquire("")
    assert mutex.acquire("other")
    machine.task("both", "mutex: [db, net]\n" + QUICK)
    for name in ("one", "two"):
        machine.task(name, "mutex: db\n" + QUICK)
    assert machine.start("both", SLOT).wait(60) == 0
    assert machine.start("one", SLOT + 60).wait(60) == 0
    worker.release()
    machine.flows("run", "--waiting", "--state", state)
    # Not long yet: it keeps only those that are held.
    machine.until(lambda: machine.statuses() == {"both": "queued", "one": "success"})
    os.kill(machine.until(machine.worker), signal.SIGKILL)
    path = Path(state, "queue", queue.entries(state)[0].name)
    waiting = json.loads(path.read_text())
    path.write_text(json.dumps({**waiting, "since": waiting["since"] - FAIR}))
    assert machine.start("two", SLOT + 60).wait(60) == 0
    time.sleep(0.6)  # some looks of the worker
    assert machine.statuses()["two"] == "queued"
    # A person's run leaves them to it as well.
    (machine.workspace / "tasks" / "hand.yml").write_text("mutex: db\n" + QUICK)
    hand = machine.flows("run", "hand.yml", "--wait")
    machine.until(lambda: machine.statuses().get("hand") == "queued")
    mutex.release()
    wake_worker(state)
    assert hand.wait(60) == 0
    runs = {run.task: run for run in machine.ended(4)}
    assert runs["hand"].started >= (runs["both"].ended or 0)
    assert runs["two"].started >= (runs["both"].ended or 0)


def test_who_has_no_place_yet_keeps_no_mutex_from_who_has_one(machine: Machine) -> None:
    narrow = {**machine.settings.remembered(), "MAX_RUNS": "1"}
    wide = {**narrow, "MAX_RUNS": "4"}
    worker = worker_lock(machine.settings.state_path)
    assert worker.acquire("")
    place = acquire_permit(machine.settings.state_path, 1)
    assert place is not None
    machine.task("a", "mutex: db\n" + QUICK, settings=narrow)
    machine.task("b", "mutex: db\n" + QUICK, settings=wide)
    for name, slot in (("a", SLOT), ("b", SLOT + 60)):
        assert machine.start(name, slot).wait(60) == 0
    worker.release()
    machine.flows("run", "--waiting", "--state", machine.settings.state_path)
    machine.until(lambda: machine.statuses() == {"a": "queued", "b": "success"})
    place.release()
    wake_worker(machine.settings.state_path)
    machine.ended(2)


def test_a_newcomer_does_not_pass_the_run_of_its_own_task_that_waits(machine: Machine) -> None:
    machine.environment["MAX_RUNS"] = "4"
    settings = machine.settings
    worker, lock = worker_lock(settings.state_path), Lock(settings.lock_path, "often")
    assert worker.acquire("")
    assert lock.acquire("other")
    machine.task("often", overlap="wait")
    assert machine.start("often", SLOT).wait(60) == 0
    lock.release()
    assert machine.start("often", SLOT + 60).wait(60) == 0
    assert [run.status for run in machine.runs()] == ["queued", "queued"]
    worker.release()
    machine.flows("run", "--waiting", "--state", settings.state_path)
    runs = {run.slot: run for run in machine.ended(2)}
    first, second = runs[SLOT], runs[SLOT + 60]
    assert (first.status, second.status, second.reason) == ("success", "skipped", "locked")
    assert second.message == f"run {first.id} of it already waits for its turn"


def test_a_flow_that_was_given_another_mutex_while_it_waited_waits_for_that_one(machine: Machine) -> None:
    machine.environment["MAX_RUNS"] = "4"
    settings = machine.settings
    worker = worker_lock(settings.state_path)
    old, new = (Lock(queue.mutex_folder(settings.lock_path), name) for name in ("old", "new"))
    assert worker.acquire("")
    assert old.acquire("other")
    assert new.acquire("other")
    machine.task("next", "mutex: old\n" + QUICK)
    assert machine.start("next").wait(60) == 0
    machine.task("next", "mutex: [old, new]\n" + QUICK)
    old.release()
    worker.release()
    machine.flows("run", "--waiting", "--state", settings.state_path)

    def names() -> list[str]:
        queued = queue.read_queued_run(settings.state_path, queue.entries(settings.state_path)[0])
        return queued.mutexes if queued is not None else []

    machine.until(lambda: sorted(names()) == ["new", "old"])
    assert machine.statuses() == {"next": "queued"}
    new.release()
    wake_worker(settings.state_path)
    assert [run.status for run in machine.ended(1)] == ["success"]
