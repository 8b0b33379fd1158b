"""The scheduler in the foreground, on a clock of the test's own; and a few times as a real process."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from scflows.cron.crontab.line import line
from scflows.cron.crontab.tabfile import Tabfile
from scflows.cron.schedule.schedule import Schedule
from scflows.cron.scheduler_lock import Heartbeat, acquire_scheduler_lock, last_heartbeat, scheduler, write_heartbeat
from scflows.cron.task import Task, TaskStore
from scflows.errors import Busy
from scflows.execution.resources import Grant
from scflows.history.contract import Query
from scflows.history.run import Run
from scflows.history.store import open_store
from scflows.locks import Lock
from scflows.queue.entries import entries
from scflows.queue.permits import acquire_permit
from scflows.queue.worker_process import worker_lock
from scflows.scheduler.loop import Scheduler
from scflows.scheduler.process_host import ProcessHost
from scflows.scheduler.slot_queue import SlotQueue
from scflows.scheduler.tick import serve as serve_in_foreground
from scflows.scheduler.worker import Worker
from scflows.settings import Settings

MINUTE = 60
HOUR = 3600
#: A Monday, 12:00 UTC.
NOON = int(datetime(2026, 6, 1, 12, tzinfo=ZoneInfo("UTC")).timestamp())
EVERY_MINUTE = Schedule("* * * * *")


@dataclass
class World:
    """A clock that goes when it is waited for, a queue worker in this process, and runs that take as long as told."""

    clock: float = NOON
    takes: dict[str, float] = field(default_factory=dict)  #: seconds that a task runs; otherwise a moment
    begun: list[tuple[str, int]] = field(default_factory=list)  #: (task, slot) in the order of the starts
    times: list[float] = field(default_factory=list)  #: when each was started
    direct: list[list[str]] = field(default_factory=list)  #: what was started without the queue
    stopped: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    plan: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    runs: dict[int, SimulatedRun] = field(default_factory=dict)
    heard: list[int] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)  #: how long each waited for its permit
    fails: int = 0  #: how many starts go wrong
    most: int = 0  #: the most that ran side by side
    settings: Settings | None = None  #: whose history has the runs
    worker: SimulatedWorker | None = None

    def at(self, moment: float, action: Callable[[], None]) -> None:
        self.plan.append((moment, action))
        self.plan.sort(key=lambda each: each[0])

    def send(self, moment: float, number: int = signal.SIGTERM) -> None:
        self.at(moment, lambda: self.heard.append(number))

    def jump(self, moment: float, to: float) -> None:
        def set_clock() -> None:
            self.clock = to

        self.at(moment, set_clock)

    def now(self) -> float:
        return self.clock

    def wait(self, seconds: float) -> None:
        pause = self.work()
        until = min([self.clock + seconds, self.clock + pause, *(run.ends for run in self.runs.values())])
        while self.plan and self.plan[0][0] <= until:
            moment, action = self.plan.pop(0)
            self.clock = max(self.clock, moment)
            action()
            return
        self.clock = max(self.clock, until)
        self.work()

    def advance(self, until: float) -> None:
        """Let runs start and end up to a time."""
        while self.clock < until:
            self.wait(until - self.clock)
        self.clock = until

    def drain(self) -> None:
        """Start what waits, if there is a worker or one can be had."""
        if self.worker is None and entries(self._state):
            self.start(["run", "--waiting"])
        self.work()

    def signals(self) -> list[int]:
        heard, self.heard = self.heard, []
        return heard

    def start(self, arguments: list[str]) -> int:
        if self.fails:
            self.fails -= 1
            raise BlockingIOError(11, "Resource temporarily unavailable")
        if arguments[:2] == ["run", "--waiting"]:
            self.worker = SimulatedWorker(self)
        else:
            self.direct.append(arguments)
        return 999

    def work(self) -> float:
        """End the runs that are over, and have the worker look; the seconds until it looks again."""
        for pid, run in list(self.runs.items()):
            if run.ends <= self.clock:
                del self.runs[pid]
                run.end(self.clock)
        if self.worker is None:
            return 60.0
        pause = self.worker.look()
        if not self.runs and (self.worker.is_stopped or not entries(self._state)):
            self.worker.lock.release()
            self.worker = None
        return pause

    def ended(self) -> list[tuple[int, int]]:
        # A child that is ours only because we are the first process.
        return [(1, 0)]

    def stop(self, pid: int, number: int) -> None:
        """Stop the worker; on SIGINT also what it started."""
        assert self.worker is not None
        if number == signal.SIGINT:
            for run in self.runs.values():
                self.stopped.append(run.name)
                run.ends = self.clock + 1
        self.worker.is_stopped = True

    def slots(self, name: str) -> list[int]:
        return [slot for each, slot in self.begun if each == name]

    @property
    def _state(self) -> str:
        assert self.settings is not None
        return self.settings.state_path


class SimulatedWorker(Worker):
    """The queue worker on the clock of the test; what it starts ends when the clock says so."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.lock = worker_lock(world._state)
        assert self.lock.acquire("")
        super().__init__(world._state, self.lock, lambda *ended: None, print, world.said.append, world.now)

    def start(self, waiting: Any, grant: Grant) -> bool:
        self.world.begun.append((waiting.entry.task, int(waiting.queued.slot or 0)))
        self.world.times.append(self.world.clock)
        self.world.waited.append(grant.given - grant.since)
        takes = self.world.takes.get(waiting.entry.task, 0.5)
        assert self.world.settings is not None
        run = SimulatedRun(waiting, grant, self.world.settings, self.world.clock, takes)
        self.world.runs[len(self.world.begun)] = run
        self.world.most = max(self.world.most, len(self.world.runs))
        return True


class SimulatedRun:
    def __init__(self, waiting: Any, grant: Grant, settings: Settings, now: float, takes: float) -> None:
        self.name = waiting.entry.task
        self.ends = now + takes
        self.settings = settings
        self.resources = grant.resources
        assert self.resources.lock.acquire(waiting.entry.run)
        self.run = Run(waiting.entry.run, "f.yml", self.name, waiting.queued.trigger, waiting.queued.slot, started=now)
        with open_store(settings) as store:
            if store.begin(self.run) is None:
                store.claim(self.run)
        grant.held.remove()

    def end(self, now: float) -> None:
        self.run.status, self.run.ended = "success", now
        with open_store(self.settings) as store:
            store.finish(self.run)
        self.resources.release_locks()
        self.resources.leave()


@pytest.fixture
def world(settings: Settings) -> World:
    return World(settings=settings)


def accounted(settings: Settings, until: float) -> None:
    """All slots up to a time are accounted for."""
    path = Path(settings.state_path) / "watermark"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"until": until, "open": {}, "behind": {}, "again": 0.0}))


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    """What is started here must not see the environment of whoever runs the tests."""
    for name in set(os.environ) - set(environment):
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def put(settings: Settings, workspace: Path) -> Callable[..., Task]:
    """Put a task on the tabfile, or change it there."""

    def put(name: str, schedule: Schedule = EVERY_MINUTE, **given: object) -> Task:
        flow = given.pop("flow", str(workspace / "tasks" / f"{name}.yml"))
        task = Task(
            name=name,
            schedule=schedule,
            flow=str(flow),
            workspace=str(workspace),
            settings=settings.remembered(),
            created="2026-01-01T00:00:00+00:00",
        )
        task = replace(task, **given)  # type: ignore[arg-type]
        TaskStore(settings).write(task)
        tabfile = Tabfile.read(settings.tabfile)
        tabfile.put(name, line(task, sys.executable, settings.state_path))
        tabfile.write(settings.tabfile)
        return task

    return put


@pytest.fixture
def serve(settings: Settings, world: World) -> Iterator[Callable[..., list[str]]]:
    """Run the scheduler until a time of its clock; what it said."""

    def serve(until: float, places: int | None = 10, grace: float = 60.0) -> list[str]:
        world.send(until)
        if not (Path(settings.state_path) / "watermark").exists():
            accounted(settings, world.clock)
        said = world.said
        Scheduler(settings, world, said.append, places, grace).run()
        return said

    yield serve
    world.advance(world.clock + 1_000_000 if world.runs else world.clock)


def history(settings: Settings, **wanted: object) -> list[Run]:
    store = open_store(settings)
    try:
        return store.find(Query(limit=10_000, **wanted))  # type: ignore[arg-type]
    finally:
        store.close()


@pytest.mark.language("§7 Schedule")
def test_each_slot_is_started_once_at_its_minute(world, put, serve, settings) -> None:
    put("often")
    put("hourly", Schedule("30 * * * *", every=HOUR))
    world.clock = NOON + 20.0
    said = serve(NOON + 2 * HOUR + 1)
    assert world.slots("often") == list(range(NOON + MINUTE, NOON + 2 * HOUR + 1, MINUTE))
    assert world.slots("hourly") == [NOON + 30 * MINUTE, NOON + 90 * MINUTE]
    assert all(0 <= at - slot < 1 for at, (_, slot) in zip(world.times, world.begun, strict=True))
    assert world.direct == []
    assert {(run.status, run.trigger) for run in history(settings)} == {("success", "scheduler")}
    assert "started often (slot 2026-06-01T12:01:00+00:00)" in "\n".join(said)


def test_a_stall_of_minutes_is_made_up_one_after_another(world, put, serve) -> None:
    put("often")
    world.takes["often"] = 5.0
    world.jump(NOON + 90, NOON + 5 * MINUTE + 30)
    serve(NOON + 7 * MINUTE + 1)
    assert world.slots("often") == list(range(NOON + MINUTE, NOON + 7 * MINUTE + 1, MINUTE))
    made_up = world.times[1:5]
    assert [late - early for early, late in pairwise(made_up)] == [5.0, 5.0, 5.0]


def test_slots_of_a_night_asleep_are_recorded_as_missed(world, put, serve, settings) -> None:
    put("often")
    put("hourly", Schedule("30 * * * *", every=HOUR))
    world.jump(NOON + 90, NOON + 8 * HOUR)
    said = serve(NOON + 8 * HOUR + MINUTE + 1)
    assert world.slots("hourly") == []
    # Those of the last five minutes are made up.
    morning = NOON + 8 * HOUR
    assert world.slots("often") == [NOON + MINUTE, *range(morning - 5 * MINUTE, morning + 61, MINUTE)]
    missed = history(settings, task="hourly")
    assert sorted(run.slot for run in missed) == [NOON + 30 * MINUTE + hour * HOUR for hour in range(8)]
    assert {(run.status, run.reason, run.trigger) for run in missed} == {("skipped", "missed", "scheduler")}
    often = sorted((run.slot, run.message) for run in history(settings, task="often", statuses=("skipped",)))
    assert [slot for slot, _ in often] == list(range(morning - 106 * MINUTE, morning - 5 * MINUTE, MINUTE))
    # Of very many the newest have a record each, and one tells of all others.
    assert often[0][1].startswith("373 slots from 2026-06-01T12:02:00+00:00 on, this one the last of them")
    assert any("slots missed: 109 recorded" in each for each in said)


def test_a_missed_slot_can_still_be_claimed(world, put, serve, settings) -> None:
    put("hourly", Schedule("30 * * * *", every=HOUR))
    world.jump(NOON + 90, NOON + HOUR)
    serve(NOON + HOUR + 1)
    store = open_store(settings)
    try:
        later = Run(id="0" * 16, flow="f", task="hourly", slot=float(NOON + 30 * MINUTE))
        assert store.claim(later) is None
    finally:
        store.close()


def test_slots_from_before_a_task_was_made_are_not_missed(world, put, serve, settings) -> None:
    put("new", Schedule("30 * * * *", every=HOUR), created="2026-06-01T14:00:00+00:00")
    world.jump(NOON + 90, NOON + 4 * HOUR)
    serve(NOON + 4 * HOUR + 1)
    slots = sorted(run.slot - NOON for run in history(settings, task="new"))
    assert slots == [2.5 * HOUR, 3.5 * HOUR]


def test_a_clock_that_is_set_back_starts_no_slot_again(world, put, serve) -> None:
    put("often")
    world.jump(NOON + 10 * MINUTE + 1, NOON + 5 * MINUTE)
    said = serve(NOON + 15 * MINUTE + 1)
    assert world.slots("often") == list(range(NOON + MINUTE, NOON + 15 * MINUTE + 1, MINUTE))
    assert any("set back by 5 min" in each for each in said)


def test_a_clock_that_was_days_ahead_does_not_stop_the_tasks(world, put, serve) -> None:
    put("often")
    before = NOON - 3 * 86400

    def set_right() -> None:
        world.clock = before
        world.send(before + 2 * MINUTE + 1)

    world.at(NOON + 2 * MINUTE + 1, set_right)
    serve(NOON + HOUR)
    assert world.slots("often") == [
        *(NOON + MINUTE, NOON + 2 * MINUTE),
        *(before + MINUTE, before + 2 * MINUTE),
    ]


def test_what_waits_for_a_place_is_started_in_the_order_of_the_slots(world, put, serve) -> None:
    for name in ("c", "a", "b"):
        put(name, Schedule("1 * * * *"))
    put("early", Schedule("0 * * * *"))
    world.takes = {"early": 100.0, "a": 30.0, "b": 30.0, "c": 30.0}
    world.clock = NOON - 30.0
    serve(NOON + 10 * MINUTE, places=1)
    assert [name for name, _ in world.begun] == ["early", "a", "b", "c"]
    assert world.most == 1
    assert world.times == [NOON, NOON + 100, NOON + 130, NOON + 160]


def test_a_slot_that_meets_a_run_of_its_task_is_skipped(world, put, serve, settings) -> None:
    put("slow")
    world.takes["slow"] = 90.0
    serve(NOON + 3 * MINUTE + 1)
    assert world.times == [NOON + MINUTE, NOON + 3 * MINUTE]
    (skipped,) = history(settings, statuses=("skipped",))
    assert (skipped.slot, skipped.reason) == (NOON + 2 * MINUTE, "locked")
    assert skipped.message.startswith("it is already running (run 0")


@pytest.mark.parametrize("overlap", ["skip", "wait", "cancel"])
def test_a_slot_that_comes_while_an_earlier_one_waits_goes_by_the_overlap(world, put, serve, settings, overlap) -> None:
    put("often", replace(EVERY_MINUTE, second=5), overlap=overlap, catch_up="all")
    put("hog", Schedule("0 12 * * *"))
    world.clock = NOON - 30.0
    world.takes["hog"] = 3.5 * MINUTE
    serve(NOON + 5 * MINUTE + 6, places=1)
    minutes = {run.slot: (run.status, run.reason) for run in history(settings, task="often")}
    answers = [minutes[NOON + number * MINUTE] for number in range(6)]
    ran, skipped, cancelled = ("success", ""), ("skipped", "locked"), ("cancelled", "overlap")
    # With `skip` and `wait` one run of a task waits at a time.
    first = [cancelled, cancelled, cancelled, ran] if overlap == "cancel" else [ran, skipped, skipped, skipped]
    assert answers == [*first, ran, ran]
    assert world.times[1] == pytest.approx(NOON + 3.5 * MINUTE)


def test_a_slot_whose_task_runs_is_skipped_though_there_is_no_permit(world, put, serve, settings) -> None:
    put("slow")
    put("other", Schedule("2 12 * * *"))
    world.takes = {"slow": 150.0, "other": 1.0}
    serve(NOON + 3 * MINUTE + 1, places=1)
    assert world.begun == [("slow", NOON + MINUTE)]
    skipped = history(settings, statuses=("skipped",))
    assert [(run.task, run.slot, run.reason) for run in skipped] == [
        ("slow", NOON + 3 * MINUTE, "locked"),
        ("slow", NOON + 2 * MINUTE, "locked"),
    ]


def test_a_slot_whose_task_runs_in_a_process_of_others_is_skipped_too(world, put, serve, settings) -> None:
    put("long", Schedule("1 12 * * *"))
    put("often", Schedule("2-3 12 * * *"))
    world.takes = {"long": 1000.0}
    lock = Lock(settings.lock_path, "often")
    assert lock.acquire("another")
    world.at(NOON + 2.5 * MINUTE, lock.release)
    serve(NOON + 4 * MINUTE, places=1)
    assert world.begun == [("long", NOON + MINUTE)]
    answers = {run.slot: (run.status, run.reason) for run in history(settings, task="often")}
    assert answers == {NOON + 2 * MINUTE: ("skipped", "locked"), NOON + 3 * MINUTE: ("queued", "")}


def test_slots_that_wait_together_wait_for_a_run_of_others(world, put, serve, settings) -> None:
    put("often")
    lock = Lock(settings.lock_path, "often")
    world.at(NOON + 10, lambda: lock.acquire("another"))
    world.jump(NOON + 20, NOON + 3 * MINUTE + 5)
    world.at(NOON + 3 * MINUTE + 30, lock.release)
    serve(NOON + 3 * MINUTE + 50)
    assert world.slots("often") == [NOON + MINUTE, NOON + 2 * MINUTE, NOON + 3 * MINUTE]
    assert [moment - NOON - 3 * MINUTE for moment in world.times] == pytest.approx([30.0, 30.5, 31.0], abs=0.5)


def test_a_start_that_fails_is_tried_again(world, put, serve) -> None:
    put("often", Schedule("1 * * * *"))
    world.fails = 2
    said = serve(NOON + 3 * MINUTE)
    assert world.slots("often") == [NOON + MINUTE]
    assert (
        sum("cannot start the queue worker: Resource temporarily unavailable; trying again" in each for each in said)
        == 2
    )


@pytest.mark.parametrize("told", [False, True], ids=["at the next minute", "on SIGHUP"])
def test_changes_of_tabfile_and_tasks_are_taken_in(world, put, serve, settings, told) -> None:
    put("stays")
    put("goes")
    put("pauses")
    put("resumes")
    put("ends-early", paused_until=NOON + 24 * HOUR)
    put("moves", Schedule("5 * * * *"))

    def change() -> None:
        put("comes")
        put("pauses", enabled=False)
        put("resumes", paused_until=NOON + 5 * MINUTE)
        put("ends-early")
        put("moves", Schedule("4 * * * *"))
        TaskStore(settings).remove("goes")
        tabfile = Tabfile.read(settings.tabfile)
        tabfile.remove("goes")
        tabfile.write(settings.tabfile)

    world.at(NOON + 2 * MINUTE + 10, change)
    if told:
        world.send(NOON + 2 * MINUTE + 20, signal.SIGHUP)
    serve(NOON + 5 * MINUTE + 1)
    assert world.slots("stays") == [NOON + number * MINUTE for number in range(1, 6)]
    assert world.slots("goes") == world.slots("pauses") == [NOON + MINUTE, NOON + 2 * MINUTE]
    assert world.slots("comes") == [NOON + number * MINUTE for number in range(3, 6)]
    assert world.slots("moves") == [NOON + 4 * MINUTE]
    assert world.slots("resumes") == [NOON + number * MINUTE for number in (1, 2, 5)]
    assert world.slots("ends-early") == [NOON + number * MINUTE for number in (3, 4, 5)]


def test_a_task_file_that_cannot_be_read_is_told_and_stops_no_other(world, put, serve, settings) -> None:
    put("good")
    put("bad")
    Path(TaskStore(settings).path("bad")).write_text("{")
    put("gone")
    TaskStore(settings).remove("gone")
    said = "\n".join(serve(NOON + MINUTE + 1))
    assert "cannot schedule bad: " in said
    assert "cannot schedule gone: task 'gone' not found" in said
    assert [name for name, _ in world.begun] == ["good"]


def test_it_starts_nothing_more_when_told_to_stop_and_waits(world, put, serve, settings) -> None:
    put("often", Schedule("3 * * * *"))
    put("hog", Schedule("1 * * * *"))
    put("hog-2", Schedule("2 * * * *"))
    world.takes = {"hog": 150.0, "hog-2": 150.0}
    said = serve(NOON + 3 * MINUTE + 5, places=2, grace=200.0)
    assert world.begun == [("hog", NOON + MINUTE), ("hog-2", NOON + 2 * MINUTE)]
    assert world.stopped == []
    assert world.runs == {}
    # What waits is started by the next scheduler.
    assert [(entry.task, entry.at) for entry in entries(settings.state_path)] == [("often", NOON + 3 * MINUTE)]
    assert [run.status for run in history(settings, task="often")] == ["queued"]
    assert "stopping; runs have 200 s to end, queued runs stay in the queue" in "\n".join(said)
    assert "ended" in said[-1]
    serve(world.clock + 30)
    assert world.slots("often") == [NOON + 3 * MINUTE]


def test_the_minutes_of_the_grace_are_those_of_the_next_scheduler(world, put, serve) -> None:
    put("often")
    world.takes = {"often": 130.0}
    serve(NOON + MINUTE + 5, grace=200.0)
    assert world.clock == NOON + 190
    world.takes.clear()
    serve(NOON + 5 * MINUTE + 1)
    assert world.slots("often") == [NOON + number * MINUTE for number in range(1, 6)]


def test_it_asks_what_still_runs_to_stop_after_the_grace(world, put, serve) -> None:
    put("long")
    world.takes["long"] = 10_000.0
    serve(NOON + MINUTE + 5, grace=30.0)
    assert world.stopped == ["long"]
    assert world.clock == pytest.approx(NOON + MINUTE + 36, abs=1)


def test_a_second_signal_asks_at_once(world, put, serve) -> None:
    put("long")
    world.takes["long"] = 10_000.0
    world.send(NOON + MINUTE + 8, signal.SIGINT)
    serve(NOON + MINUTE + 5, grace=3000.0)
    assert world.stopped == ["long"]
    assert world.clock == pytest.approx(NOON + MINUTE + 9, abs=1)


def test_a_task_that_does_not_stop_is_left_behind_in_the_end(world, put, serve, monkeypatch) -> None:
    put("deaf")
    world.takes["deaf"] = 10_000.0
    monkeypatch.setattr(world, "stop", lambda pid, number: None)
    said = serve(NOON + MINUTE + 5, grace=30.0)
    assert "some runs are still running" in said[-1]


def test_minutes_between_two_schedulers_are_made_up(world, put, serve) -> None:
    put("often")
    serve(NOON + 2 * MINUTE + 30)
    world.clock = NOON + 4 * MINUTE + 10.0
    serve(NOON + 5 * MINUTE + 1)
    assert world.slots("often") == [NOON + number * MINUTE for number in range(1, 6)]


def test_a_scheduler_that_was_away_for_long_begins_anew(world, put, serve, settings) -> None:
    put("often")
    serve(NOON + MINUTE + 30)
    world.clock = NOON + HOUR + 10.0
    serve(NOON + HOUR + 2 * MINUTE + 1)
    assert world.slots("often") == [NOON + each * MINUTE for each in (1, 61, 62)]
    missed = history(settings, statuses=("skipped",))
    assert sorted(run.slot for run in missed) == [NOON + each * MINUTE for each in range(2, 59)]


@pytest.mark.parametrize(("policy", "made_up"), [("last", [5]), ("all", [0, 1, 2, 3, 4, 5])])
def test_slots_of_a_sleep_are_made_up_as_the_task_says(world, put, serve, settings, policy, made_up) -> None:
    put("hourly", Schedule("30 * * * *", every=HOUR), catch_up=policy)
    world.takes["hourly"] = 100.0
    world.jump(NOON + 90, NOON + 6 * HOUR)
    serve(NOON + 6 * HOUR + 20 * MINUTE)
    slots = [NOON + 30 * MINUTE + hour * HOUR for hour in range(6)]
    # The oldest first, one after another.
    assert world.slots("hourly") == [slots[hour] for hour in made_up]
    assert all(late - early >= 100 for early, late in pairwise(world.times))
    assert {run.trigger for run in history(settings, statuses=("success",))} == {"catch_up"}
    answers = {run.slot: run.status for run in history(settings)}
    assert answers == {slot: "success" if hour in made_up else "skipped" for hour, slot in enumerate(slots)}


def test_what_was_missed_before_it_began_is_made_up_too(world, put, serve, settings) -> None:
    put("hourly", Schedule("30 * * * *", every=HOUR), catch_up="all")
    accounted(settings, NOON - 2 * HOUR)
    serve(NOON + 5 * MINUTE)
    assert world.slots("hourly") == [NOON - 90 * MINUTE, NOON - 30 * MINUTE]


def test_what_is_made_up_comes_after_all_else_that_waits(world, put, serve, settings) -> None:
    put("hourly", Schedule("30 * * * *", every=HOUR), catch_up="all")
    put("unimportant", Schedule("0 12 * * *"), priority=-100)
    accounted(settings, NOON - 2 * HOUR)
    world.clock = NOON - 30.0
    world.takes["hourly"] = 100.0
    serve(NOON + 5 * MINUTE, places=1)
    assert world.begun == [
        ("hourly", NOON - 90 * MINUTE),
        ("unimportant", NOON),
        ("hourly", NOON - 30 * MINUTE),
    ]


def test_slots_within_a_minute_start_at_their_seconds(world, put, serve) -> None:
    put("fine", Schedule("* * * * *", every=20, anchor=13))
    put("ninety", Schedule("* * * * *", every=90, anchor=0))
    put("plain")
    serve(NOON + 6 * MINUTE + 1)
    span = range(NOON + MINUTE, NOON + 6 * MINUTE + 1)
    assert world.slots("fine") == [slot for slot in span if (slot - 13) % 20 == 0]
    assert world.slots("ninety") == [slot for slot in span if slot % 90 == 0]
    assert world.slots("plain") == [slot for slot in span if slot % MINUTE == 0]
    assert all(0 <= at - slot < 0.6 for at, (_, slot) in zip(world.times, world.begun, strict=True))


def test_a_slot_within_a_minute_that_meets_a_run_of_its_task_is_skipped(world, put, serve, settings) -> None:
    put("fine", Schedule("* * * * *", every=20, anchor=NOON))
    world.takes["fine"] = 50.0
    serve(NOON + 2 * MINUTE + 59)
    assert [slot - NOON for slot in world.slots("fine")] == [60, 120]
    skipped = history(settings, statuses=("skipped",))
    assert sorted(run.slot - NOON for run in skipped) == [80, 100, 140, 160]
    assert {run.reason for run in skipped} == {"locked"}


@pytest.mark.language("§7 Schedule")
@pytest.mark.parametrize(
    ("day", "cron", "hours"),
    [
        ("2026-03-29", "30 2 * * *", [1]),  # made up at the jump
        ("2026-03-29", "30 * * * *", list(range(23))),
        ("2026-10-25", "30 2 * * *", [0]),  # the first of the two
        ("2026-10-25", "30 * * * *", list(range(25))),
    ],
    ids=["forward, fixed", "forward, hourly", "back, fixed", "back, hourly"],
)
def test_a_change_of_the_clocks_brings_one_start_a_slot(world, put, serve, day, cron, hours) -> None:
    madrid = ZoneInfo("Europe/Madrid")
    midnight = datetime.fromisoformat(day).replace(tzinfo=madrid).timestamp()
    schedule = Schedule(cron, timezone="Europe/Madrid")
    put("task", schedule)
    world.clock = midnight - 30
    serve(midnight + len(range(25)) * HOUR - (2 * HOUR if day == "2026-03-29" else 0))
    slots = world.slots("task")
    assert len(slots) == len(set(slots)) == len(hours)
    if cron.startswith("30 *"):
        assert slots == [midnight + 30 * MINUTE + hour * HOUR for hour in hours]
    else:
        local = datetime.fromtimestamp(slots[0], madrid)
        assert f"{local:%H:%M}" == ("03:00" if day == "2026-03-29" else "02:30")


def test_the_heartbeat_says_when_the_clock_was_looked_at(world, put, serve, settings) -> None:
    put("a", Schedule("1 12 * * *"))
    seen: list[Heartbeat | None] = []
    world.at(NOON + MINUTE + 0.1, lambda: seen.append(last_heartbeat(settings)))
    serve(NOON + MINUTE + 10, grace=1)
    assert seen == [Heartbeat(os.getpid(), NOON + MINUTE, NOON + MINUTE)]


def test_the_status_says_what_runs_and_what_waits(flows, put, settings) -> None:
    tasks = [put(name, Schedule("0 0 29 2 *")) for name in ("a", "b", "c")]
    scheduler_lock = acquire_scheduler_lock(settings)
    locks = [Lock(settings.lock_path, name) for name in ("a", "b")]
    assert all(lock.acquire("another") for lock in locks)
    now = time.time()
    with SlotQueue(settings) as slots:
        slots.add(tasks[2], now, "scheduler", now, now)
    write_heartbeat(settings, Heartbeat(os.getpid(), now, now))
    status = json.loads(flows("cron", "status", "--json").out)["scheduler"]
    assert (status["pid"], status["running"], status["waiting"]) == (os.getpid(), ["a", "b"], 1)
    assert "2 running, 1 waiting (a, b)" in flows("cron", "status").out
    for lock in (*locks, scheduler_lock):
        lock.release()


def test_a_state_that_cannot_be_written_stops_no_task(world, put, serve, settings, monkeypatch) -> None:
    def refuse(*given: object, **named: object) -> None:
        raise OSError(28, "No space left on device")

    put("often")
    monkeypatch.setattr("scflows.cron.scheduler_lock.replace", refuse)
    said = serve(NOON + 3 * MINUTE + 1)
    assert world.slots("often") == [NOON + MINUTE, NOON + 2 * MINUTE, NOON + 3 * MINUTE]
    assert sum("cannot write the heartbeat: No space left" in each for each in said) == 1


NAP = "steps: [{name: nap, type: sleep, sleep: {seconds: 3}}]\n"


@pytest.fixture
def foreground(
    put: Callable[..., Task], settings: Settings, workspace: Path, environment: dict[str, str]
) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """`flows cron run` with a task that naps, of which a slot is to be made up at once."""
    processes: list[subprocess.Popen[str]] = []

    def start(*arguments: str, text: str = NAP) -> subprocess.Popen[str]:
        (workspace / "tasks" / "nap.yml").write_text(text)
        put("nap")
        minute = time.time() // 60 * 60
        accounted(settings, minute - 60)
        write_heartbeat(settings, Heartbeat(0, minute - 20, minute - 60))
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "scflows", "cron", "run", *arguments],
            cwd=workspace,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        processes.append(process)
        read_until(process, "started nap")
        if text == NAP:
            wait_for(lambda: any(run.steps for run in running(settings)))
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def read_until(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout
    said = ""
    while text not in said:
        read = process.stdout.readline()
        assert read, said
        said += read


def running(settings: Settings) -> list[Run]:
    store = open_store(settings)
    try:
        return [run for each in store.unfinished() if (run := store.run(each.id)) is not None]
    finally:
        store.close()


def wait_for(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_real_run_answers_for_its_slot(foreground, settings, workspace) -> None:
    text = "steps: [{name: at, type: file, file: {path: at.json, mode: write, type: json, data_key: __slot__}}]\n"
    before = time.time() // 60 * 60
    process = foreground(text=text)
    read_until(process, "ended nap (slot ")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    run = history(settings, task="nap")[-1]
    assert (run.status, run.trigger) == ("success", "scheduler")
    assert run.slot in (before, before + 60)
    moment = datetime.fromisoformat(json.loads((workspace / "data" / "at.json").read_text()))
    assert moment.timestamp() >= before


def test_sigterm_waits_for_the_run_and_ends_well(foreground, settings) -> None:
    process = foreground()
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert [run.status for run in history(settings, task="nap") if run.status != "queued"][-1] == "success"
    assert scheduler(settings) is None


def test_the_second_sigterm_cancels_the_run(foreground, settings) -> None:
    process = foreground()
    process.send_signal(signal.SIGTERM)
    read_until(process, "stopping;")
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert [run.status for run in history(settings, task="nap") if run.status != "queued"][-1] == "cancelled"


def test_a_run_gets_no_more_than_the_grace(foreground, settings) -> None:
    process = foreground("--grace", "0.1")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert [run.status for run in history(settings, task="nap") if run.status != "queued"][-1] == "cancelled"


def test_only_one_scheduler_runs(flows, settings) -> None:
    lock = acquire_scheduler_lock(settings)
    try:
        answer = flows("cron", "run")
    finally:
        lock.release()
    assert answer.code == 6
    assert f"a scheduler is already running (process {os.getpid()})" in answer.err


def test_only_one_scheduler_runs_also_where_it_cannot_be_named(settings) -> None:
    in_the_way = Path(settings.state_path, "scheduler.lock", "full")
    in_the_way.mkdir(parents=True)
    said: list[str] = []
    first = acquire_scheduler_lock(settings, said.append)
    assert first.is_held
    assert said == []
    with pytest.raises(Busy):
        acquire_scheduler_lock(settings)
    in_the_way.rmdir()
    in_the_way.parent.rmdir()
    first.release()
    acquire_scheduler_lock(settings).release()
    assert not in_the_way.parent.exists()


def test_a_state_folder_that_cannot_be_locked_keeps_no_scheduler_from_its_work(settings, monkeypatch) -> None:
    def fail(*given: object, **named: object) -> int:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("scflows.locks.open_locked", fail)
    ran: list[Scheduler] = []
    monkeypatch.setattr(Scheduler, "run", lambda self: ran.append(self))
    said: list[str] = []
    serve_in_foreground(settings, lambda text: None, said.append)
    assert len(ran) == 1
    assert said == [f"{settings.state_path}: cannot be locked: No locks available; continuing without a lock"]


def test_children_of_others_are_reaped(settings) -> None:
    with ProcessHost() as world:
        pid = os.fork()
        if not pid:
            os._exit(7)
        found: list[tuple[int, int]] = []
        while not found:
            world.wait(10)
            found = world.ended()
    assert found == [(pid, 7)]


def test_slots_of_a_minute_start_at_their_seconds_the_urgent_first(world, put, serve) -> None:
    put("later", Schedule("1 * * * *", second=30))
    put("a", Schedule("1 * * * *"))
    put("b", Schedule("1 * * * *", second=10))
    put("urgent", Schedule("1 * * * *", second=5), priority=1)
    world.takes = {"a": 20.0, "b": 20.0, "urgent": 1.0, "later": 1.0}
    serve(NOON + 5 * MINUTE, places=1)
    assert [name for name, _ in world.begun] == ["a", "urgent", "b", "later"]
    assert world.times == [NOON + 60, NOON + 80, NOON + 81, NOON + 101]
    assert {slot for _, slot in world.begun} == {NOON + MINUTE}


def test_a_place_that_another_process_has_is_waited_for(world, put, serve, settings) -> None:
    put("often", Schedule("1 * * * *"))
    other = acquire_permit(settings.state_path, 1)
    assert other is not None
    world.at(NOON + MINUTE + 7, other.release)
    serve(NOON + 3 * MINUTE, places=1)
    assert world.slots("often") == [NOON + MINUTE]
    assert world.times[0] == pytest.approx(NOON + MINUTE + 7, abs=0.5)
    assert world.waited[0] == pytest.approx(7, abs=0.5)


def test_each_task_has_the_places_and_the_patience_that_its_own_settings_say(world, put, serve, settings) -> None:
    kept = settings.remembered()
    put("a-narrow", Schedule("1 * * * *"), settings={**kept, "MAX_RUNS": "1"})
    put("b-hasty", Schedule("1 * * * *"), settings={**kept, "MAX_RUNS": "1", "MAX_WAIT_SECONDS": "30"})
    put("c-wide", Schedule("1 * * * *"), settings={**kept, "MAX_RUNS": "3"})
    other = acquire_permit(settings.state_path, 1)
    assert other is not None
    world.at(NOON + 3 * MINUTE + 7, other.release)
    serve(NOON + 5 * MINUTE, places=None)
    assert [name for name, _ in world.begun] == ["c-wide", "a-narrow"]
    assert world.times[0] == NOON + MINUTE
    assert world.times[1] == pytest.approx(NOON + 3 * MINUTE + 7, abs=0.5)
    waited = history(settings, statuses=("skipped",))
    assert [(run.task, run.reason) for run in waited] == [("b-hasty", "queue_timeout")]


def test_a_slot_that_waits_for_too_long_is_given_up_and_recorded(world, put, serve, settings) -> None:
    put("hog", Schedule("1 * * * *"))
    put("late", Schedule("1 * * * *"), settings={**settings.remembered(), "MAX_WAIT_SECONDS": "90"})
    world.takes["hog"] = 600.0
    serve(NOON + 5 * MINUTE, places=1)
    assert [name for name, _ in world.begun] == ["hog"]
    waited = history(settings, statuses=("skipped",))
    assert [(run.task, run.reason) for run in waited] == [("late", "queue_timeout")]
