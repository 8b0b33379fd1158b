"""What makes up for missed slots keeps no other run waiting."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from scflows.cron.schedule.schedule import Schedule
from scflows.queue import entries as queue
from scflows.scheduler.missed.detection import CatchUpSlot
from scflows.scheduler.slot_queue import SlotQueue, enqueue_catch_up
from tests.queue.conftest import HOLD, SLOT, Machine, most_at_once


def test_what_makes_up_for_slots_keeps_no_other_run_waiting(machine: Machine) -> None:
    now = time.time()
    made = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(now - 3.5 * 3600))
    hourly = Schedule(f"{int(now // 60 + 30) % 60} * * * *", 3600)
    machine.hold("first")
    for name in ("a", "b"):
        machine.task(name, schedule=hourly, created=made, catch_up="all")
    account = {"until": now - 4 * 3600, "open": {}, "behind": {}, "again": 0}
    Path(machine.settings.state_path, "watermark").write_text(json.dumps(account))
    catching_up = machine.flows("cron", "catch-up")
    machine.until(lambda: len(queue.entries(machine.settings.state_path)) == 6)
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


def test_what_is_owed_is_enqueued_once_and_after_everything_else(machine: Machine) -> None:
    settings = machine.settings
    task = machine.task("a", "priority: -100\n" + HOLD)
    owed = [CatchUpSlot(SLOT - number * 60, "a") for number in range(3)]
    now = time.time()
    runs = enqueue_catch_up(settings, owed, [task], now)
    assert (len(runs), enqueue_catch_up(settings, owed, [task], now)) == (3, [])
    with SlotQueue(settings) as slots:
        regular = slots.add(task, SLOT + 60, "scheduler", now, now)
    assert [entry.run for entry in queue.entries(settings.state_path)] == [regular, *runs]
    assert {run.status for run in machine.runs()} == {"queued"}
    machine.let_go()
    machine.flows("run", "--waiting", "--state", settings.state_path)
    assert [run.slot for run in machine.ended(4)] == [SLOT + 60, SLOT - 120, SLOT - 60, SLOT]


@pytest.mark.parametrize("overlap", ["skip", "cancel"])
def test_what_makes_up_for_a_slot_waits_for_a_run_that_began_in_the_same_moment(machine: Machine, overlap: str) -> None:
    machine.environment["MAX_RUNS"] = "4"
    task = machine.task("often", HOLD, overlap=overlap)
    machine.start("often", SLOT)
    machine.until(lambda: machine.statuses().get("often") == "running")
    for number in (2, 1):
        enqueue_catch_up(machine.settings, [CatchUpSlot(SLOT - number * 60, "often")], [task], time.time())
    machine.flows("run", "--waiting", "--state", machine.settings.state_path)
    time.sleep(0.5)  # some looks of the worker
    assert sorted(run.status for run in machine.runs()) == ["queued", "queued", "running"]
    machine.let_go()
    runs = machine.ended(3)
    assert {(run.slot, run.status) for run in runs} == {(SLOT - number * 60, "success") for number in range(3)}
    assert (runs[0].slot, most_at_once(runs)) == (SLOT, 1)
