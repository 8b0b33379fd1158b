"""Clocks that change, stand still and are set: one run per slot, whatever cron makes of them.

`tests/cron/schedule/fire_times` has what Debian's own cron started when, on a quick clock; each start is done over
here, with its time given. What is due is counted apart from the schedules' own arithmetic.
"""

from __future__ import annotations

import fcntl
import glob
import importlib.util
import json
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from scflows.cron.crontab.line import line
from scflows.cron.crontab.tabfile import Tabfile
from scflows.cron.schedule.schedule import OVERDUE, Schedule
from scflows.cron.task import Task, TaskStore
from scflows.execution.resources import Grant
from scflows.history.contract import Query
from scflows.history.store import open_store
from scflows.notifications.problems import late
from scflows.queue.permits import is_queue_empty
from scflows.queue.worker_process import worker_lock
from scflows.scheduler import worker
from scflows.scheduler.cron_entry import run_task_from_cron
from scflows.scheduler.loop import Scheduler
from scflows.scheduler.missed.detection import record_missed
from scflows.settings import Settings

#: Where a user's own PATH may not lead: cron is in a folder for the administrator.
SEARCHED = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
FIRE_TIMES = Path(__file__).parents[1] / "cron/schedule/fire_times"
MINUTE = 60
HOUR = 3600
DAY = 86400
#: Seconds around the moment that a window is about in which slots within minutes are looked at.
AROUND = 4 * MINUTE
#: Windows that the scheduler in the foreground goes through: each kind of change once.
FOREGROUND = ("madrid-spring", "madrid-autumn", "lord-howe-autumn", "sao-paulo-spring", "sleep", "set-back")
#: A clock that is set has two moments: that from which and that to which.
EDGES = (0, 1)


def load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, FIRE_TIMES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


windows = load("windows")
WINDOWS = windows.WINDOWS


def due(given: dict[str, Any], zone: str, after: int, until: int) -> set[int]:
    """The slots of a schedule later than `after` and up to `until`, counted by hand."""
    every, timezone = given.get("every"), ZoneInfo(given.get("timezone", zone))
    minute, hour = given["cron"].split(" ")[:2]
    if given["cron"] == "* * * * *":
        return {slot for slot in range(after + 1, until + 1) if (slot - given["anchor"]) % every == 0}
    minutes = [int(each) for each in minute.split(",")]
    if hour == "*":
        return {
            slot
            for slot in range((after // MINUTE + 1) * MINUTE, until + 1, MINUTE)
            if datetime.fromtimestamp(slot, timezone).minute in minutes
        }
    found = set()
    day = datetime.fromtimestamp(after, timezone).date()
    while day <= datetime.fromtimestamp(until, timezone).date():
        number = (day - datetime(1970, 1, 1).date()).days
        if not every or every < DAY or number % (every // DAY) == given.get("anchor", 0) // DAY:
            for each_hour in hour.split(","):
                for each in minutes:
                    found.add(moment_of(datetime(day.year, day.month, day.day, int(each_hour), each), timezone))
        day += timedelta(days=1)
    return {slot for slot in found if after < slot <= until}


def moment_of(local: datetime, zone: ZoneInfo) -> int:
    """A time of day: the first where there are two, the end of the gap where there is none."""
    moment = int(local.replace(tzinfo=zone).timestamp())
    while datetime.fromtimestamp(moment, zone).replace(tzinfo=None) < local:
        moment += MINUTE
    back = datetime.fromtimestamp(moment, zone).replace(tzinfo=None)
    if back == local:
        return moment
    # Made up in the first minute after the gap.
    while (before := datetime.fromtimestamp(moment - MINUTE, zone).replace(tzinfo=None)) > local or before == back:
        moment -= MINUTE
    return moment


class Clock:
    """A clock that stands where it is put, and goes on when it is waited for."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def wait(self, seconds: float) -> None:
        self.time += seconds


@pytest.fixture
def own_environment(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def no_housekeeping(settings: Settings) -> Iterator[None]:
    """Nobody looks at these tasks by the clock of the machine."""
    Path(settings.state_path).mkdir(parents=True)
    with (Path(settings.state_path) / "housekeeping").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture
def put(settings: Settings, workspace: Path, own_environment: None, no_housekeeping: None) -> Callable[..., None]:
    (workspace / "tasks" / "nothing.yml").write_text("steps: []\n")

    def put(window: Any) -> None:
        (Path(settings.state_path) / "watermark").write_text(
            json.dumps({"until": window.start, "open": {}, "behind": {}, "again": 0})
        )
        created = datetime.fromtimestamp(window.start - 5, ZoneInfo("UTC")).isoformat()
        for name, given in window.tasks.items():
            TaskStore(settings).write(
                Task(
                    name,
                    Schedule.from_dict(given),
                    str(workspace / "tasks" / "nothing.yml"),
                    workspace=str(workspace),
                    settings=settings.remembered(),
                    created=created,
                )
            )

    return put


def shown(window: Any, name: str, starts: list[tuple[int, str]]) -> list[tuple[int, int]]:
    """The spans in which the clock showed a task's minutes, each from its first to its last."""
    first, last = window.start + MINUTE, starts[-1][0]
    if name.endswith("seconds"):
        # Many short ones are looked at only where something happens.
        first, last = window.moment - AROUND, min(last, window.moment + window.step * MINUTE + AROUND)
    if not window.step:
        return [(first, last)]
    return [(first, window.moment - MINUTE), (window.moment + window.step * MINUTE, last)]


@pytest.mark.parametrize("name", WINDOWS)
def test_what_cron_starts_is_one_run_per_slot(name, put, settings, system_zone) -> None:
    window = WINDOWS[name]
    system_zone(window.zone)
    recorded = json.loads((FIRE_TIMES / f"{name}.json").read_text())
    put(window)
    clock = Clock()
    store = open_store(settings)
    worker = Worker(settings.state_path, clock)
    for minute, started in recorded["starts"]:
        for task, fields in recorded["lines"].items():
            if fields == started and any(a <= minute <= b for a, b in shown(window, task, recorded["starts"])):
                clock.time = minute + 1.2
                run_task_from_cron(task, now=clock.now, wait=clock.wait)
        worker.drain()
    last = recorded["starts"][-1][0]
    record_missed(store, settings, last + 59 + OVERDUE, at_once=True)
    for task, given in window.tasks.items():
        spans = shown(window, task, recorded["starts"])
        wanted = {slot for a, b in spans for slot in due(given, window.zone, a - 1, b + 59)}
        runs = store.find(Query(task=task, limit=0))
        assert {run.status for run in runs} <= {"success", "skipped"}
        ran = Counter(run.slot for run in runs if run.status == "success")
        missed = {run.slot for run in runs if run.reason == "missed"}
        # The two minutes around a clock that somebody sets are on neither side of it for certain.
        vague = {slot for slot in wanted | set(ran) for edge in EDGES if window.step and near(slot, window, edge)}
        assert set(ran.values()) <= {1}, task
        assert wanted - set(ran) - vague == set(), task
        late = set(ran) - wanted - vague
        if window.step > 0:
            # What was due in the sleep ran late, once, or was missed.
            asleep = due(given, window.zone, window.moment, window.moment + window.step * MINUTE)
            assert late <= asleep, task
            if not task.endswith("seconds"):
                # An interval of days or hours has its newest slot started late, by the next look of its line.
                to_come = set(json.loads((Path(settings.state_path) / "watermark").read_text())["open"].get(task, ()))
                assert to_come == set() or Schedule.from_dict(given).gated
                assert asleep - set(ran) - vague == (missed | to_come) - vague, task
        else:
            # So it has where the clock shows a time from before all.
            older = window.moment + window.step * MINUTE
            assert late <= {slot for slot in late if window.step and slot < older and "every" in given}, task
            assert missed - vague == set() or window.step < 0 or task.endswith("seconds"), task
    store.close()


def near(slot: float, window: Any, edge: int) -> bool:
    return abs(slot - window.moment - edge * window.step * MINUTE) <= 2 * MINUTE


class Worker(worker.Worker):
    """The queue worker on a clock of the test's own; what it starts is run here, and takes no time."""

    def __init__(self, state: str, clock: Clock) -> None:
        super().__init__(state, worker_lock(state), lambda *ended: None, print, now=clock.now)
        self.clock = clock

    def start(self, waiting: Any, grant: Grant) -> bool:
        worker.run_queued(self.state, waiting.entry, grant, lambda *ended: None)
        return True

    def drain(self) -> None:
        """Start all that waits, each at its second."""
        while not is_queue_empty(self.state):
            self.clock.wait(self.look())


class Embedded(Clock):
    """The clock of the scheduler in the foreground, which starts a worker here."""

    def __init__(self, window: Any, state: str) -> None:
        super().__init__()
        self.window = window
        self.worker = Worker(state, self)
        self.time = window.moment - 35 * MINUTE
        self.is_stepped = not window.step
        self.over: list[tuple[int, int]] = []

    def wait(self, seconds: float) -> None:
        self.time += max(0.01, min(seconds, self.worker.look()))
        if not self.is_stepped and self.time >= self.window.moment:
            self.time += self.window.step * MINUTE
            self.is_stepped = True

    def signals(self) -> list[int]:
        end = self.window.moment + (self.window.step + 35) * MINUTE
        return [signal.SIGTERM] if self.is_stepped and self.time > end else []

    def start(self, arguments: list[str]) -> int:
        assert arguments[:2] == ["run", "--waiting"]
        return 1000

    def stop(self, pid: int, number: int = 15) -> None:
        pass

    def ended(self) -> list[tuple[int, int]]:
        return []


@pytest.mark.parametrize("name", FOREGROUND)
def test_the_scheduler_in_the_foreground_starts_one_run_per_slot(name, put, settings, system_zone) -> None:
    window = WINDOWS[name]
    system_zone(window.zone)
    put(window)
    tabfile = Tabfile.read(settings.tabfile)
    begin = window.moment - 35 * MINUTE
    for task in list(window.tasks):
        found = TaskStore(settings).read(task)
        if task == "seconds":
            made = datetime.fromtimestamp(window.moment - AROUND, ZoneInfo("UTC")).isoformat()
            found = replace(found, created=made)
            TaskStore(settings).write(found)
        tabfile.put(task, line(found, sys.executable, settings.state_path))
    tabfile.write(settings.tabfile)
    account = {"until": begin, "open": {}, "behind": {}, "again": 0}
    (Path(settings.state_path) / "watermark").write_text(json.dumps(account))
    world = Embedded(window, settings.state_path)
    said: list[str] = []
    store = open_store(settings)
    Scheduler(settings, world, said.append, 50).run()
    end = window.moment + (window.step + 35) * MINUTE
    for task, given in window.tasks.items():
        # The minute in which it begins is the business of whoever was there before.
        first = window.moment - AROUND if task == "seconds" else begin + 59
        runs = store.find(Query(task=task, limit=0))
        ran = Counter(run.slot for run in runs if run.status == "success")
        answers = {run.slot for run in runs}
        wanted = due(given, window.zone, first, min(max(end, window.moment), int(world.time) // MINUTE * MINUTE))
        assert set(ran.values()) <= {1}, task
        if window.step > 0:
            assert {slot for slot in wanted if slot <= window.moment or slot > end - 30 * MINUTE} <= set(ran), task
            # Of very many missed ones a single record tells.
            if not task.endswith("seconds"):
                assert wanted <= answers, task
        else:
            assert wanted - set(ran) == set(), task
        assert set(ran) <= due(given, window.zone, first - MINUTE, max(end, window.moment) + MINUTE), task
    store.close()


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25"])
@pytest.mark.parametrize(
    ("system", "schedule"),
    [
        ("Europe/Madrid", Schedule("30 2 * * *")),
        ("Europe/Madrid", Schedule("30 2 * * *", every=2 * DAY, anchor=DAY * (20541 % 2))),
        ("Asia/Tokyo", Schedule("30 2 * * *", timezone="Europe/Madrid")),
        ("Europe/Madrid", Schedule("30 1 * * *", timezone="UTC")),
    ],
    ids=["list", "gated", "zone", "zone of a system that changes"],
)
def test_no_task_is_called_late_for_a_change_of_the_clocks(
    day, system, schedule, settings, workspace, own_environment, no_housekeeping, system_zone, monkeypatch
) -> None:
    system_zone(system)
    change = int(datetime.fromisoformat(f"{day}T01:00+00:00").timestamp())
    begin = change - 40 * HOUR
    # The line is the one that was written before.
    monkeypatch.setattr("scflows.cron.schedule.zones.time.time", lambda: float(begin))
    (workspace / "tasks" / "nothing.yml").write_text("steps: []\n")
    created = datetime.fromtimestamp(begin, ZoneInfo("UTC")).isoformat()
    given = {"workspace": str(workspace), "settings": settings.remembered(), "created": created}
    task = Task("one", schedule, str(workspace / "tasks" / "nothing.yml"), **given)
    TaskStore(settings).write(task)
    store = open_store(settings)
    clock = Clock()
    starts = [int(start.timestamp()) for start in Schedule(schedule.line).slots(moment(begin), moment(begin + 4 * DAY))]
    last = None
    for start in starts:
        # In the moment before the line looks again.
        assert late(task, last, store, start - 1.0, TaskStore(settings)) is None
        clock.time = start + 1.2
        run_task_from_cron("one", now=clock.now, wait=clock.wait)
        last = store.latest(["one"]).get("one", last)
    ran = sorted(run.slot for run in store.find(Query(task="one", limit=0)))
    assert ran == [slot.timestamp() for slot in schedule.slots(moment(begin), moment(starts[-1]))]
    # One that does not come is late all the same.
    coming = schedule.next_epoch(starts[-1])
    assert late(task, last, store, schedule.start_of(coming) + 11.0 * MINUTE, TaskStore(settings)) is not None
    store.close()


def moment(epoch: float) -> datetime:
    return datetime.fromtimestamp(epoch, UTC)


@pytest.mark.service
@pytest.mark.waits
def test_cron_still_starts_what_was_recorded() -> None:
    missing = [name for name in ("cron", "crontab", "unshare") if shutil.which(name, path=SEARCHED) is None]
    missing += [] if glob.glob(load("record").LIBRARIES) else ["libfaketime"]
    reason = f"needs {', '.join(missing)}" if missing else "needs root" if os.geteuid() != 0 else ""
    if reason:
        pytest.skip(reason)
    window = windows.Window("Europe/Madrid", WINDOWS["madrid-spring"].around, 15, 15)
    recorded = json.loads((FIRE_TIMES / "madrid-spring.json").read_text())
    found = load("record").record(window, speed=60)
    assert found["lines"] == recorded["lines"]
    first, last = found["starts"][0][0], found["starts"][-1][0]
    assert last - first > 20 * MINUTE
    then = [tuple(start) for start in recorded["starts"] if first < start[0] < last]
    now = [start for start in found["starts"] if first < start[0] < last]
    assert sorted(now) == sorted(then)
