"""A cap on the runs of a machine: who comes late waits in order, and no run is lost on the way."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scflows import backlog
from scflows.catch_up import catch_up, start_arguments
from scflows.cron.schedule import Schedule
from scflows.cron.task import Task, TaskStore
from scflows.heartbeat import Heartbeat, beat, tick_lock
from scflows.history import Query, open_store
from scflows.lock.file import FileLock, holder
from scflows.place import has_place, take_place
from scflows.processes import Processes
from scflows.run import FINAL, Run
from scflows.settings import Settings
from scflows.unanswered import Owed

#: Goes on until the file `go` is there, or for a minute.
HOLD = """
steps:
  - name: hold
    type: shell
    shell: {command: "n=0; while [ ! -e go ] && [ $n -lt 1200 ]; do sleep 0.05; n=$((n+1)); done"}
"""
QUICK = "steps: [{name: s, type: set_fact, set_fact: {value: 1}}]\n"
SLOT = 1790000000 // 60 * 60
#: Tasks are started by the tests alone: no slot comes, and is missed, while one goes on.
RARELY = Schedule("0 0 29 2 *")


class Machine:
    """Tasks, starts in cron's form, and what became of them."""

    def __init__(self, settings: Settings, workspace: Path, environment: dict[str, str]) -> None:
        self.settings = settings
        self.workspace = workspace
        self.environment = environment
        self.started: list[subprocess.Popen[str]] = []
        (workspace / "data").mkdir(exist_ok=True)

    def task(self, name: str, text: str = QUICK, **given: Any) -> Task:
        path = self.workspace / "tasks" / f"{name}.yml"
        path.write_text(text)
        task = Task(name, RARELY, str(path), workspace=str(self.workspace), settings=self.settings.remembered())
        task = replace(task, **given)
        TaskStore(self.settings).write(task)
        return task

    def start(self, name: str, slot: float | None = SLOT, **variables: str) -> subprocess.Popen[str]:
        """Start a task as cron does, and go on."""
        command = ["run", str(self.workspace / "tasks" / f"{name}.yml"), "--task", name]
        command += ["--state", self.settings.state_path]
        return self.flows(*command, *([] if slot is None else ["--slot", f"{slot:.0f}"]), **variables)

    def flows(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        return self._start(["-m", "scflows", *arguments], variables)

    def python(self, code: str, *arguments: str) -> subprocess.Popen[str]:
        """Start some Python of the test's own, and go on."""
        return self._start(["-c", code, *arguments], {})

    def _start(self, arguments: list[str], variables: dict[str, str]) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-P", *arguments],
            cwd=self.workspace,
            env={**self.environment, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            # Else the kernel may hang up on one that is stopped, when another of its group ends.
            process_group=0,
        )
        self.started.append(process)
        return process

    def runs(self, **wanted: Any) -> list[Run]:
        """All runs, the first to start first."""
        if not os.path.exists(os.path.join(self.settings.state_path, "history.sqlite")):
            return []
        store = open_store(self.settings)
        try:
            return sorted(store.find(Query(limit=0, **wanted)), key=lambda run: run.started)
        finally:
            store.close()

    def until(self, condition: Callable[[], Any], seconds: float = 60.0) -> Any:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            value = condition()
            if value:
                return value
            time.sleep(0.02)
        told = [(run.task, run.status, run.reason, run.message) for run in self.runs()]
        raise AssertionError(f"it did not happen in time: {told} {backlog.tickets(self.settings.state_path)}")

    def statuses(self) -> dict[str, str]:
        return {run.task: run.status for run in self.runs()}

    def hold(self, *names: str, text: str = HOLD, slot: float = SLOT) -> None:
        """Tasks that run until they are let go."""
        for name in names:
            self.task(name, text)
            self.start(name, slot)
        self.until(lambda: all(self.statuses().get(name) == "running" for name in names))

    def let_go(self) -> None:
        (self.workspace / "data" / "go").touch()

    def ended(self, count: int) -> list[Run]:
        """The runs, once so many are there and all of them have ended."""
        self.until(lambda: sum(run.status in FINAL for run in self.runs()) == count == len(self.runs()))
        return self.runs()

    def server(self) -> int:
        """The process that hands out turns; 0 when there is none."""
        try:
            lines = Path(self.settings.state_path, "turn.lock").read_text().splitlines()
            return int(lines[1].split(":")[2])
        except (OSError, IndexError, ValueError):
            return 0


@pytest.fixture
def machine(settings: Settings, workspace: Path, environment: dict[str, str]) -> Iterator[Machine]:
    environment["MAX_RUNS"] = "1"
    machine = Machine(settings, workspace, environment)
    yield machine
    machine.let_go()
    for process in machine.started:
        process.wait(60)
    machine.until(lambda: not backlog.tickets(settings.state_path) and not machine.server())


def most_at_once(runs: list[Run]) -> int:
    moments = [(run.started, 1) for run in runs] + [(run.ended or 0.0, -1) for run in runs]
    now = most = 0
    for _, change in sorted(moments):
        now += change
        most = max(most, now)
    return most


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
    assert {run.message for run in queued} == {"waits for a place"}
    assert machine.statuses()["first"] == "running"
    machine.let_go()
    runs = machine.ended(7)
    assert [run.task for run in runs] == ["first", *wanted]
    assert {run.status for run in runs} == {"success"}
    assert most_at_once(runs) == 1
    assert all(run.waited_for == "a place" and run.waited > 0 for run in runs[1:])
    assert (runs[0].waited_for, runs[0].waited) == ("", 0.0)


def test_who_may_have_fewer_places_holds_up_nobody_who_may_have_more(machine: Machine) -> None:
    kept = machine.settings.remembered()
    narrow, wide = {**kept, "MAX_RUNS": "1"}, {**kept, "MAX_RUNS": "3"}
    machine.hold("first")
    for name in ("a-narrow", "b-narrow"):
        machine.task(name, settings=narrow)
        assert machine.start(name).wait(60) == 0
    # Who comes finds a place that those who wait must not have.
    for name in ("c-wide", "d-wide"):
        machine.task(name, HOLD.replace("-e go", f"-e {name} -a ! -e go"), settings=wide)
        machine.start(name, SLOT + 60)
    machine.until(lambda: [machine.statuses().get(name) for name in ("c-wide", "d-wide")] == ["running"] * 2)
    # And so does who waited behind them.
    machine.task("e-wide", settings=wide)
    assert machine.start("e-wide", SLOT + 60).wait(60) == 0
    assert machine.statuses()["e-wide"] == "queued"
    (machine.workspace / "data" / "c-wide").touch()
    machine.until(lambda: machine.statuses()["e-wide"] == "success")
    assert [machine.statuses()[name] for name in ("first", "a-narrow", "b-narrow")] == ["running", "queued", "queued"]
    machine.let_go()
    runs = [run.task for run in machine.ended(6)]
    assert runs.index("a-narrow") < runs.index("b-narrow")


def test_a_run_starts_at_its_second_and_its_starter_leaves(machine: Machine) -> None:
    slot = int(time.time()) - 56
    for second in (59, 58, 57):
        machine.task(f"at{second}", schedule=Schedule("* * * * *", second=second))
    starters = [machine.start(f"at{second}", slot) for second in (59, 58, 57)]
    assert [process.wait(60) for process in starters] == [0, 0, 0]
    runs = machine.ended(3)
    assert {run.status for run in runs} == {"success"}
    assert all(run.started >= slot + int(run.task.removeprefix("at")) for run in runs)
    assert {run.slot for run in runs} == {slot}


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
from scflows import backlog, turn
from scflows.lock.file import FileLock, holder
state, locks = sys.argv[1:]
mutex = FileLock(backlog.mutex_folder(locks), "db")
assert mutex.acquire("other")
def look(folder, name):
    found = holder(folder, name)
    if name == "db":
        mutex.release()
    return found
backlog.holder = turn.holder = look
turn.serve_here(state, lambda task, outcome: None, print)
"""


def test_who_waits_for_a_mutex_is_not_passed_when_it_comes_free_between_two_looks(machine: Machine) -> None:
    machine.environment["MAX_RUNS"] = "4"
    settings = machine.settings
    turns, mutex = (
        FileLock(folder, name)
        for folder, name in ((settings.state_path, "turn"), (backlog.mutex_folder(settings.lock_path), "db"))
    )
    assert turns.acquire("")
    assert mutex.acquire("other")
    for name in ("a", "b", "c"):
        machine.task(name, "mutex: db\n" + QUICK)
        assert machine.start(name).wait(60) == 0
    mutex.release()
    turns.release()
    assert machine.python(COMES_FREE, settings.state_path, settings.lock_path).wait(60) == 0
    assert [(run.task, run.status) for run in machine.ended(3)] == [(name, "success") for name in ("a", "b", "c")]


def test_a_starter_that_is_about_to_leave_its_file_is_not_passed(machine: Machine) -> None:
    machine.hold("first")
    for name in ("a", "b"):
        machine.task(name)
        assert machine.start(name).wait(60) == 0
    state = machine.settings.state_path
    # As whoever just came has it until its claim is written.
    held = backlog.seize(state, backlog.of_task(state, "a")[0])
    assert held is not None
    machine.let_go()
    machine.until(lambda: machine.statuses()["first"] == "success")
    time.sleep(0.6)  # two looks of whoever hands out turns
    assert machine.statuses()["b"] == "queued"
    held.leave()
    assert [run.task for run in machine.ended(3)] == ["first", "a", "b"]


def test_a_newcomer_does_not_pass_who_waits_for_a_mutex_that_is_free_by_now(machine: Machine) -> None:
    machine.environment["MAX_RUNS"] = "4"
    settings = machine.settings
    turns = FileLock(settings.state_path, "turn")
    mutex = FileLock(backlog.mutex_folder(settings.lock_path), "db")
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
    turns = FileLock(state, "turn")
    mutex = FileLock(backlog.mutex_folder(settings.lock_path), "net")
    assert turns.acquire("")
    assert mutex.acquire("other")
    machine.task("both", "mutex: [db, net]\n" + QUICK)
    for name in ("one", "two"):
        machine.task(name, "mutex: db\n" + QUICK)
    assert machine.start("both", SLOT).wait(60) == 0
    assert machine.start("one", SLOT + 60).wait(60) == 0
    assert machine.statuses() == {"both": "queued", "one": "success"}
    path = Path(state, "backlog", backlog.of_task(state, "both")[0].name)
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
    turns = FileLock(machine.settings.state_path, "turn")
    assert turns.acquire("")
    place = take_place(machine.settings.state_path, 1)
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
    turns, lock = FileLock(settings.state_path, "turn"), FileLock(settings.lock_path, "often")
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
from scflows import backlog, turn
state, own, told = sys.argv[1:]
listed, looks = backlog.tickets, []
def tickets(state):
    looks.append(1)
    if len(looks) == 12:
        Path(told).write_text(repr(time.time()))
        os.unlink(own)
    return listed(state)
backlog.tickets = tickets
turn.serve_here(state, lambda task, outcome: None, print)
"""


def test_whoever_hands_out_turns_leaves_its_mutex_to_who_waits_by_itself(machine: Machine, tmp_path: Path) -> None:
    machine.environment["MAX_RUNS"] = "8"
    settings = machine.settings
    turns = FileLock(settings.state_path, "turn")
    mutex = FileLock(backlog.mutex_folder(settings.lock_path), "db")
    assert turns.acquire("")
    assert mutex.acquire("other")
    own = backlog.Ticket(0, float(SLOT), "by-hand", "0" * 16, is_own=True)
    waiting = backlog.Waiting(
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
    held = backlog.put(settings.state_path, own, waiting)
    machine.task("next", "mutex: db\n" + QUICK)
    assert machine.start("next", SLOT + 60).wait(60) == 0
    mutex.release()
    turns.release()
    told = tmp_path / "told"
    assert machine.python(OWN_LEAVES, settings.state_path, held.path, str(told)).wait(60) == 0
    held.leave()
    run = machine.ended(1)[0]
    assert (run.status, run.started >= float(told.read_text())) == ("success", True)


#: Hands out turns; the only place comes free while it is asked for.
PLACE_COMES_FREE = """
import sys, time
from pathlib import Path
from scflows import admission, turn
state, told = sys.argv[1:]
taken = admission.take_place
place = taken(state, 1)
def take(*asked):
    if place.descriptor >= 0:
        time.sleep(0.01)
        Path(told).write_text(repr(time.time()))
        place.release()
    return taken(*asked)
admission.take_place = take
turn.serve_here(state, lambda task, outcome: None, print)
"""


def test_a_run_that_waited_is_recorded_from_when_it_has_its_place(machine: Machine, tmp_path: Path) -> None:
    turns = FileLock(machine.settings.state_path, "turn")
    assert turns.acquire("")
    place = take_place(machine.settings.state_path, 1)
    assert place is not None
    machine.task("next")
    assert machine.start("next").wait(60) == 0
    place.release()
    turns.release()
    assert machine.python(PLACE_COMES_FREE, machine.settings.state_path, str(tmp_path / "told")).wait(60) == 0
    assert machine.ended(1)[0].started >= float((tmp_path / "told").read_text())


def test_with_overlap_wait_one_start_waits_for_the_run_that_goes_on(machine: Machine) -> None:
    machine.environment["MAX_RUNS"] = "4"
    machine.task("often", HOLD, overlap="wait")
    machine.start("often", SLOT)
    machine.until(lambda: machine.statuses().get("often") == "running")
    for number in (1, 2):
        assert machine.start("often", SLOT + number * 60).wait(60) == 0
    assert [run.status for run in machine.runs()] == ["running", "queued", "skipped"]
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


def test_what_makes_up_for_slots_keeps_no_other_run_waiting(machine: Machine) -> None:
    now = time.time()
    made = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(now - 3.5 * 3600))
    hourly = Schedule(f"{int(now // 60 + 30) % 60} * * * *", 3600)
    machine.hold("first")
    for name in ("a", "b"):
        machine.task(name, schedule=hourly, created=made, catch_up="all")
    account = {"until": now - 4 * 3600, "open": {}, "behind": {}, "again": 0}
    Path(machine.settings.state_path, "slots").write_text(json.dumps(account))
    catching_up = machine.flows("cron", "catch-up")
    machine.until(lambda: holder(machine.settings.state_path, "catch-up"))
    # It looks for a place at least once more.
    time.sleep(2)
    assert backlog.tickets(machine.settings.state_path) == []
    # Both come now, and not after what is hours old; nor is one skipped since an older slot of it waits.
    for name in ("b", "late"):
        machine.task(name, **({"schedule": hourly, "created": made, "catch_up": "all"} if name == "b" else {}))
        assert machine.start(name, now // 60 * 60).wait(60) == 0
    machine.let_go()
    assert catching_up.wait(60) == 0
    runs = machine.ended(3 + 6)
    assert {run.status for run in runs} == {"success"}
    assert [(run.task, run.trigger) for run in runs[:3]] == [
        ("first", "scheduler"),
        ("b", "scheduler"),
        ("late", "scheduler"),
    ]
    assert {run.trigger for run in runs[3:]} == {"catch_up"}
    assert most_at_once(runs) == 1
    for name in ("a", "b"):
        slots = [run.slot for run in runs[3:] if run.task == name]
        assert slots == sorted(slots)


def test_what_waits_with_a_tick_comes_before_what_is_made_up(machine: Machine) -> None:
    settings = machine.settings
    machine.task("a")
    owed = [Owed(SLOT, "a")]
    lock = tick_lock(settings)
    assert lock is not None
    beat(settings, Heartbeat(os.getpid(), time.time(), time.time(), (), 1))
    problems: list[str] = []
    with Processes() as world:
        assert catch_up(settings, lambda: owed, world, 2, problems.append, problems.append) == 0
        lock.release()
        done = iter([owed])
        assert catch_up(settings, lambda: next(done, []), world, 2, lambda text: None, problems.append) == 1
    assert (machine.statuses(), problems) == ({"a": "success"}, [])


@pytest.mark.parametrize("overlap", ["skip", "cancel"])
def test_what_makes_up_for_a_slot_waits_for_a_run_that_began_in_the_same_moment(machine: Machine, overlap: str) -> None:
    machine.environment["MAX_RUNS"] = "4"
    task = machine.task("often", HOLD, overlap=overlap)
    machine.start("often", SLOT)
    machine.until(lambda: machine.statuses().get("often") == "running")
    for number in (2, 1):
        making_up = start_arguments(task, SLOT - number * 60, machine.settings.state_path)
        assert machine.flows(*making_up).wait(60) == 0
    assert sorted(run.status for run in machine.runs()) == ["queued", "queued", "running"]
    machine.let_go()
    runs = machine.ended(3)
    assert {(run.slot, run.status) for run in runs} == {(SLOT - number * 60, "success") for number in range(3)}
    assert (runs[0].slot, most_at_once(runs)) == (SLOT, 1)


LATE_SECOND = replace(RARELY, second=59)


def start_early(machine: Machine, *names: str) -> None:
    """Have a slot of each queue up before its second, which has come once turns are handed out."""
    state = machine.settings.state_path
    starters = [machine.start(name, int(time.time()) - 1) for name in names]
    assert [process.wait(60) for process in starters] == [0] * len(names)
    for ticket in backlog.tickets(state):
        if ticket.at > time.time():
            came = replace(ticket, at=SLOT + 120.0)
            os.rename(Path(state, "backlog", ticket.name), Path(state, "backlog", came.name))


def test_a_slot_whose_second_comes_while_an_earlier_one_waits_goes_by_the_overlap(machine: Machine) -> None:
    machine.hold("first")
    turns = FileLock(machine.settings.state_path, "turn")
    assert turns.acquire("")
    names = ("skip", "wait", "cancel")
    for name in names:
        machine.task(name, overlap=name, schedule=LATE_SECOND)
    starters = [machine.start(name) for name in names]
    assert [process.wait(60) for process in starters] == [0] * 3
    start_early(machine, *names)
    assert [run.status for run in machine.runs(task="skip")] == ["queued", "queued"]
    turns.release()
    machine.flows("run", "--waiting", "--state", machine.settings.state_path)
    machine.until(lambda: sum(run.status in FINAL for run in machine.runs()) == 3)
    machine.let_go()
    runs = {(run.task, run.slot == SLOT): run for run in machine.ended(7)}
    for name in ("skip", "wait"):
        one, other = runs[name, True], runs[name, False]
        assert (one.status, other.status, other.reason) == ("success", "skipped", "locked")
        assert other.message == f"run {one.id} of it waits for its turn already"
    one, other = runs["cancel", True], runs["cancel", False]
    assert (one.status, one.reason, other.status) == ("cancelled", "overlap", "success")
    assert one.message == f"run {other.id} came in its stead"


def test_a_slot_whose_second_comes_while_its_task_runs_goes_by_the_overlap(machine: Machine) -> None:
    machine.environment["MAX_RUNS"] = "3"
    names = ("skip", "wait", "cancel")
    for name in names:
        machine.task(name, HOLD, overlap=name, schedule=LATE_SECOND)
        machine.start(name)
    machine.until(lambda: [machine.statuses().get(name) for name in names] == ["running"] * 3)
    turns = FileLock(machine.settings.state_path, "turn")
    assert turns.acquire("")
    start_early(machine, *names)
    turns.release()
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


def test_a_start_while_an_earlier_one_waits_is_skipped(machine: Machine) -> None:
    machine.hold("first")
    machine.task("often")
    for number in range(2):
        assert machine.start("often", SLOT + number * 60).wait(60) == 0
    skipped = machine.runs(task="often", statuses=("skipped",))
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


def test_what_waits_is_started_though_whoever_handed_out_turns_was_killed(machine: Machine) -> None:
    machine.hold("first")
    for name in ("a", "b"):
        machine.task(name)
        assert machine.start(name).wait(60) == 0
    server = machine.until(machine.server)
    os.kill(server, signal.SIGKILL)
    machine.let_go()
    machine.until(lambda: machine.statuses()["first"] == "success")
    # Any command that looks at the history sees to it, if the end of the run has not.
    assert machine.flows("history").wait(60) == 0
    runs = machine.ended(3)
    assert [run.task for run in runs] == ["first", "a", "b"]
    assert most_at_once(runs) == 1


def test_the_end_of_a_run_that_waited_sees_to_the_next_where_its_starter_was_killed(machine: Machine) -> None:
    machine.hold("first")
    machine.task("a", HOLD.replace("go", "on"))
    machine.task("b")
    for name in ("a", "b"):
        assert machine.start(name).wait(60) == 0
    machine.let_go()
    machine.until(lambda: machine.statuses().get("a") == "running")
    os.kill(machine.server(), signal.SIGKILL)
    (machine.workspace / "data" / "on").touch()
    assert [run.status for run in machine.ended(3)] == ["success"] * 3


@pytest.mark.parametrize(
    "broken",
    [{}, {"until": "x"}, {"until": 1e400}, {"mutexes": [5]}, {"lock": "a\0b"}],
)
def test_a_run_whose_file_is_broken_is_ended_and_holds_up_nobody(machine: Machine, broken: dict[str, Any]) -> None:
    machine.hold("first")
    for name in ("a", "b"):
        machine.task(name)
        assert machine.start(name).wait(60) == 0
    os.kill(machine.until(machine.server), signal.SIGKILL)
    folder = Path(machine.settings.state_path, "backlog")
    (path,) = folder.glob("*_a_*")
    path.write_text(json.dumps({**json.loads(path.read_text()), **broken}) if broken else "")
    (folder / "stray.left").touch()
    machine.let_go()
    machine.until(lambda: machine.statuses()["first"] == "success")
    assert machine.flows("history").wait(60) == 0
    machine.ended(3)
    assert {run.task: (run.status, run.reason) for run in machine.runs()} == {
        "first": ("success", ""),
        "a": ("failed", "refused"),
        "b": ("success", ""),
    }
    assert "broken" in machine.runs(task="a")[0].message
    machine.until(lambda: not machine.server() or not os.path.exists(f"/proc/{machine.server()}"))
    assert machine.start("a", SLOT + 60).wait(60) == 0
    assert machine.runs(task="a")[-1].status == "success"


def test_the_place_of_a_killed_run_is_taken_by_the_next(machine: Machine) -> None:
    machine.hold("first")
    machine.task("next")
    assert machine.start("next").wait(60) == 0
    machine.started[0].kill()
    machine.until(lambda: machine.statuses()["next"] == "success")
    assert machine.flows("history").wait(60) == 0
    assert machine.statuses()["first"] == "crashed"


def test_a_run_by_hand_starts_beyond_the_cap_and_waits_only_when_told_to(machine: Machine) -> None:
    machine.hold("first")
    (machine.workspace / "tasks" / "hand.yml").write_text(QUICK)
    assert machine.flows("run", "hand.yml").wait(60) == 0
    assert machine.statuses() == {"first": "running", "hand": "success"}
    waits = machine.flows("run", "hand.yml", "--wait")
    machine.until(lambda: any(run.status == "queued" for run in machine.runs(task="hand")))
    stopped = machine.flows("run", "first", "--wait")
    machine.until(lambda: any(run.status == "queued" for run in machine.runs(task="first")))
    stopped.send_signal(signal.SIGINT)
    assert stopped.wait(60) == 130
    assert [run.reason for run in machine.runs(task="first", statuses=("cancelled",))] == ["interrupted"]
    assert waits.poll() is None
    machine.let_go()
    assert waits.wait(60) == 0
    runs = machine.runs(task="hand", statuses=("success",))
    assert (runs[1].waited_for, runs[1].waited > 0) == ("a place", True)


def test_by_hand_a_flow_whose_mutex_is_held_is_skipped_or_waits(machine: Machine) -> None:
    machine.environment["MAX_RUNS"] = "4"
    machine.hold("first", text="mutex: db\n" + HOLD)
    (machine.workspace / "tasks" / "hand.yml").write_text("mutex: db\n" + QUICK)
    assert machine.flows("run", "hand.yml").wait(60) == 0
    assert [(run.status, run.reason) for run in machine.runs(task="hand")] == [("skipped", "mutex")]
    waits = machine.flows("run", "hand.yml", "--wait")
    machine.until(lambda: any(run.status == "queued" for run in machine.runs(task="hand")))
    machine.let_go()
    assert waits.wait(60) == 0
    first = machine.runs(task="first")[0]
    assert machine.runs(task="hand", statuses=("success",))[0].started >= (first.ended or 0)


def test_by_hand_a_flow_goes_by_its_overlap_too(machine: Machine) -> None:
    (machine.workspace / "tasks" / "hand.yml").write_text("schedule: {every: 1h, overlap: wait}\n" + HOLD)
    one = machine.flows("run", "hand.yml")
    machine.until(lambda: machine.statuses().get("hand") == "running")
    other = machine.flows("run", "hand.yml")
    machine.until(lambda: len(machine.runs(task="hand", statuses=("queued",))) == 1)
    machine.let_go()
    assert (one.wait(60), other.wait(60)) == (0, 0)
    first, second = machine.ended(2)
    assert (first.status, second.status) == ("success", "success")
    assert second.started >= (first.ended or 0)


def test_a_process_that_waits_has_its_turn_among_those_that_left(machine: Machine) -> None:
    machine.hold("first")
    machine.task("a", "priority: 10\n" + QUICK)
    machine.task("z", "priority: -10\n" + QUICK)
    for name in ("z", "a"):
        assert machine.start(name).wait(60) == 0
    (machine.workspace / "tasks" / "hand.yml").write_text(QUICK)
    hand = machine.flows("run", "hand.yml", "--wait")
    machine.until(lambda: machine.statuses().get("hand") == "queued")
    machine.let_go()
    assert hand.wait(60) == 0
    runs = machine.ended(4)
    assert [run.task for run in runs] == ["first", "a", "hand", "z"]
    assert most_at_once(runs) == 1


def test_a_process_that_waited_and_was_killed_keeps_nobody_waiting(machine: Machine) -> None:
    machine.hold("first")
    (machine.workspace / "tasks" / "hand.yml").write_text("priority: 10\n" + QUICK)
    hand = machine.flows("run", "hand.yml", "--wait")
    machine.until(lambda: machine.statuses().get("hand") == "queued")
    machine.task("next")
    assert machine.start("next").wait(60) == 0
    hand.kill()
    hand.wait()
    machine.let_go()
    machine.until(lambda: machine.statuses()["next"] == "success")
    assert machine.flows("history").wait(60) == 0
    assert machine.statuses()["hand"] == "crashed"


def test_a_process_that_waits_and_is_stopped_keeps_nobody_waiting(machine: Machine) -> None:
    machine.hold("first")
    (machine.workspace / "tasks" / "hand.yml").write_text("priority: 10\n" + QUICK)
    hand = machine.flows("run", "hand.yml", "--wait")
    machine.until(lambda: machine.statuses().get("hand") == "queued")
    hand.send_signal(signal.SIGSTOP)
    try:
        machine.task("next")
        assert machine.start("next").wait(60) == 0
        machine.let_go()
        machine.until(lambda: machine.statuses()["next"] == "success")
        assert machine.statuses()["hand"] == "queued"
    finally:
        hand.send_signal(signal.SIGCONT)
    # Python's `sigtimedwait`, interrupted in this way, told of a signal that nobody had sent.
    assert hand.wait(60) == 0
    assert machine.statuses()["hand"] == "success"


def test_whoever_hands_out_turns_and_was_stopped_is_woken_by_who_comes_next(machine: Machine) -> None:
    machine.hold("first")
    machine.task("next")
    assert machine.start("next").wait(60) == 0
    server = machine.until(machine.server)
    os.kill(server, signal.SIGSTOP)
    try:
        machine.until(lambda: Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()[0] == "T")
        machine.let_go()
        machine.until(lambda: machine.statuses()["first"] == "success")
        lock = Path(machine.settings.state_path, "turn.lock")
        a_while_ago = time.time() - 2 * backlog.ASLEEP
        os.utime(lock, (a_while_ago, a_while_ago))
        assert machine.flows("history").wait(60) == 0
        machine.until(lambda: machine.statuses()["next"] == "success")
    finally:
        with suppress(ProcessLookupError):
            os.kill(server, signal.SIGCONT)


def test_a_run_that_waits_is_taken_out_of_the_line_by_stop(machine: Machine) -> None:
    machine.hold("first")
    machine.task("next")
    assert machine.start("next").wait(60) == 0
    run = machine.runs(task="next")[0]
    assert machine.flows("runs", "stop", run.id).wait(60) == 0
    assert machine.statuses()["next"] == "cancelled"
    assert backlog.tickets(machine.settings.state_path) == []


def test_a_task_that_is_paused_or_removed_while_it_waits_does_not_start(machine: Machine) -> None:
    machine.hold("first")
    for name in ("paused", "removed"):
        machine.task(name)
        assert machine.start(name).wait(60) == 0
    machine.task("paused", enabled=False)
    TaskStore(machine.settings).remove("removed")
    machine.let_go()
    machine.ended(3)
    found = {run.task: (run.status, run.reason) for run in machine.runs()}
    assert found["paused"] == ("skipped", "paused")
    assert found["removed"] == ("skipped", "removed")


def test_a_hook_goes_on_in_the_place_of_its_run(machine: Machine) -> None:
    (machine.workspace / "tasks" / "hook.yml").write_text(QUICK)
    machine.task("told", "on_success: hook.yml\n" + QUICK)
    assert machine.start("told").wait(60) == 0
    assert machine.statuses() == {"told": "success", "hook": "success"}


@pytest.mark.parametrize("spoilt", ["places", "backlog"])
def test_a_state_that_cannot_be_written_stops_no_run_and_is_told(machine: Machine, flows: Any, spoilt: str) -> None:
    if spoilt == "backlog":
        machine.hold("first")
    (Path(machine.settings.state_path) / spoilt).parent.mkdir(parents=True, exist_ok=True)
    (Path(machine.settings.state_path) / spoilt).write_text("a file, where a folder should be")
    machine.task("next")
    answer = flows("run", "--task", "next", "--slot", str(SLOT))
    assert answer.code == 0
    assert f"{spoilt}" in answer.err
    assert "running beside whatever else runs" in answer.err
    assert machine.statuses()["next"] == "success"


@pytest.mark.parametrize(("spoilt", "told"), [("places/1", "beside whatever else"), ("mutexes/m.lock", "without it")])
def test_a_place_or_mutex_that_cannot_be_used_keeps_nobody_waiting(machine: Machine, spoilt: str, told: str) -> None:
    machine.hold("first", text="mutex: m\n" + HOLD)
    machine.task("next", "mutex: m\n" + QUICK)
    assert machine.start("next").wait(60) == 0
    folder = Path(machine.settings.state_path if told[0] == "b" else machine.settings.lock_path)
    (folder / spoilt).unlink()
    (folder / spoilt).mkdir()  # As for a file of another user, whoever wants to lock it cannot open it.
    machine.let_go()
    machine.ended(2)
    run = machine.runs(task="next")[0]
    assert run.status == "success"
    assert told in Path(run.log).read_text()


def test_a_turn_lock_that_cannot_be_opened_is_told_and_one_process_hands_out_turns_all_the_same(
    machine: Machine, environment: dict[str, str]
) -> None:
    state = machine.settings.state_path
    os.makedirs(state, exist_ok=True)
    Path(state, "turn.lock").mkdir()  # As for a file of another user, whoever wants to lock it cannot open it.
    # Whoever looks after the house would have turns handed out by a process that nobody hears.
    Path(state, "housekeeping").write_text(f"{time.time():<20.3f} {0.0:<20.3f}\n")
    place = take_place(state, 1)
    assert place is not None
    machine.task("next")
    command = [sys.executable, "-P", "-m", "scflows", "run", "--task", "next", "--state", state, "--slot", str(SLOT)]
    starter = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    assert starter.stderr is not None
    said = starter.stderr.readline()
    assert f"warning: {state}/turn.lock: Is a directory; turns are handed out without it" in said
    assert "flows check" in said
    assert starter.wait(60) == 0
    log = Path(machine.settings.tasks_path, "scheduler.log")
    assert "turns are handed out without it" in log.read_text()
    # Somebody does it, so that nobody else does.
    assert not backlog.is_left_alone(state)
    second = subprocess.run(
        [*command[:5], "--waiting", "--state", state], env=environment, capture_output=True, timeout=60, check=True
    )
    assert (second.stdout, second.stderr) == (b"", b"")
    assert machine.statuses() == {"next": "queued"}
    place.release()
    assert [run.status for run in machine.ended(1)] == ["success"]
    assert starter.stderr.read() == ""  # Whoever hands out turns had it open.
    starter.stderr.close()
    Path(state, "turn.lock").rmdir()


def test_history_and_show_tell_how_long_a_run_waited_and_for_what(machine: Machine, flows: Any) -> None:
    machine.hold("first")
    machine.task("next")
    assert machine.start("next").wait(60) == 0
    item = json.loads(flows("history", "next", "--json").out)["items"][0]
    assert (item["status"], item["why"], item["waited"]) == ("queued", "waits for a place", 0.0)
    machine.let_go()
    machine.ended(2)
    item = json.loads(flows("history", "next", "--json").out)["items"][0]
    assert item["waited"] > 0
    assert item["waited_for"] == "a place"
    assert "waited " in item["why"]
    assert "for a place" in flows("runs", "show", item["id"]).out
    assert json.loads(flows("history", "--status", "success", "--json").out)["items"][0]["waited"] > 0
    log = Path(item["log"]).read_text()
    assert f"run {item['id']} waits for a place" in log
    assert f"run {item['id']} started" in log


NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", fullmatch=True)
TICKETS = st.builds(
    backlog.Ticket,
    rank=st.integers(-100, 100),
    at=st.integers(0, 10**13).map(lambda milliseconds: milliseconds / 1000),
    task=NAMES,
    run=st.just("01ARZ3NDEKTSV4RR"),
    is_own=st.booleans(),
)


@given(st.lists(TICKETS, unique_by=lambda ticket: ticket.name, max_size=20))
@hypothesis.settings(max_examples=60, deadline=None)
def test_files_say_whose_turn_comes_first(given: list[backlog.Ticket]) -> None:
    with tempfile.TemporaryDirectory() as state:
        os.mkdir(os.path.join(state, "backlog"))
        for ticket in given:
            Path(state, "backlog", ticket.name).touch()
        found = backlog.tickets(state)
    assert sorted(found, key=lambda ticket: ticket.name) == sorted(given, key=lambda ticket: ticket.name)
    assert [ticket.key[:3] for ticket in found] == sorted(ticket.key[:3] for ticket in given)


def test_users_whose_places_are_one_folder_share_the_cap() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        shared = Path(folder, "places")
        shared.mkdir()
        shared.chmod(0o1777)
        mine, theirs = Path(folder, "mine"), Path(folder, "theirs")
        for state in (mine, theirs):
            state.mkdir()
            state.joinpath("places").symlink_to(shared)
        first = take_place(str(mine), 2)
        assert first is not None
        with another_user():
            second = take_place(str(theirs), 2)
            assert second is not None
            assert take_place(str(theirs), 2) is None
        assert take_place(str(mine), 2) is None
        first.release()
        with another_user():
            first = take_place(str(theirs), 2)
        assert first is not None
        first.release()
        second.release()


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_place_holds_up_nobody(kind: str) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as state:
        os.chmod(state, 0o755)
        place = Path(state, "places", "1")
        place.parent.mkdir()
        if kind == "link":
            place.symlink_to("nowhere")
        elif kind == "pipe":
            os.mkfifo(place, 0o444)
        else:
            place.mkdir()
        signal.alarm(10)  # The kernel may wait for ever for the other end of a pipe.
        try:
            with another_user(), pytest.raises(OSError, match="places"):
                take_place(state, 2)
            assert has_place(state, 1)
        finally:
            signal.alarm(0)


@contextmanager
def another_user() -> Iterator[None]:
    """Be somebody else, where that can be."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
