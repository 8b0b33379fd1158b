"""What makes up for missed slots keeps no other run waiting."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from scflows.cron.schedule.schedule import Schedule
from scflows.cron.scheduler_lock import Heartbeat, try_scheduler_lock, write_heartbeat
from scflows.locks import holder
from scflows.queue import files as backlog
from scflows.scheduler.missed.catch_up import catch_up, start_arguments
from scflows.scheduler.missed.detection import CatchUpSlot
from scflows.scheduler.process_host import ProcessHost
from tests.queue.conftest import HOLD, SLOT, Machine, most_at_once


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
    assert backlog.entries(machine.settings.state_path) == []
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
    owed = [CatchUpSlot(SLOT, "a")]
    lock = try_scheduler_lock(settings)
    assert lock is not None
    write_heartbeat(settings, Heartbeat(os.getpid(), time.time(), time.time(), (), 1))
    problems: list[str] = []
    with ProcessHost() as world:
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
