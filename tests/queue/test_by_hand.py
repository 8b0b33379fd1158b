"""Runs that a person starts, beside the cap or in the line."""

from __future__ import annotations

import signal

from tests.queue.conftest import HOLD, QUICK, Machine, most_at_once


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
    assert (runs[1].waited_for, runs[1].waited > 0) == ("a permit", True)


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


def test_a_process_that_waits_passes_no_earlier_run_of_the_queue(machine: Machine) -> None:
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
    # It waits outside of the queue, so a later run may be quicker.
    assert [run.task for run in runs][:2] == ["first", "a"]
    assert {run.task for run in runs[2:]} == {"hand", "z"}
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
