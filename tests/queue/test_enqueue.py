"""Any run can be enqueued, and its id is known before it starts."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from scflows.errors import FlowError
from scflows.execution.enqueue import SlotTaken, enqueue, request_of
from scflows.execution.request import RunRequest
from scflows.queue.entries import entries, read_queued_run
from tests.queue.conftest import QUICK, SLOT, Machine

KEEP = """
priority: 7
params: {day: {type: text}}
steps: [{name: keep, type: file, file: {path: kept.json, mode: write, type: json, data_key: params}}]
"""


def work(machine: Machine) -> None:
    machine.flows("run", "--waiting", "--state", machine.settings.state_path)


def test_a_task_is_enqueued_recorded_and_run_under_the_id_that_the_caller_was_given(machine: Machine) -> None:
    task = machine.task("one")
    run = enqueue(RunRequest(task=task, trigger="web", slot=float(SLOT)), machine.settings)
    (queued,) = machine.runs()
    assert (queued.id, queued.status, queued.task, queued.slot, queued.trigger) == (run, "queued", "one", SLOT, "web")
    work(machine)
    (ended,) = machine.ended(1)
    assert (ended.id, ended.status, ended.trigger) == (run, "success", "web")


def test_a_flow_is_enqueued_with_its_parameters_and_input_and_who_asked(machine: Machine) -> None:
    (machine.workspace / "tasks" / "flow.yml").write_text(KEEP)
    request = RunRequest(flow="flow.yml", params={"day": "today"}, payload={"rows": [1]}, trigger="web", by="ana")
    run = enqueue(request, machine.settings)
    state = machine.settings.state_path
    (entry,) = entries(state)
    assert (entry.run, entry.task, entry.rank) == (run, "flow", -7)
    queued = read_queued_run(state, entry)
    assert queued is not None
    asked, settings = request_of(state, entry, queued)
    assert replace(asked, grant=None).__dict__ == replace(request, grant=None).__dict__
    assert settings.home == machine.settings.home
    work(machine)
    (ended,) = machine.ended(1)
    assert (ended.id, ended.status, ended.params) == (run, "success", {"day": "today"})
    assert json.loads((machine.workspace / "data" / "kept.json").read_text()) == {"day": "today"}


def test_a_dry_run_and_one_that_is_done_again_are_enqueued_as_such(machine: Machine) -> None:
    task = machine.task("one")
    machine.environment["MAX_RUNS"] = "4"
    first = enqueue(RunRequest(task=task, slot=float(SLOT)), machine.settings)
    dry = enqueue(RunRequest(task=task, slot=float(SLOT), dry_run=True), machine.settings, overlap="")
    again = enqueue(RunRequest(task=task, slot=float(SLOT), again=True), machine.settings, overlap="")
    work(machine)
    runs = {run.id: run for run in machine.ended(3)}
    assert {runs[each].status for each in (first, dry, again)} == {"success"}
    assert [runs[each].dry_run for each in (first, dry, again)] == [False, True, False]


def test_a_slot_that_has_its_run_is_refused_and_nothing_is_enqueued(machine: Machine) -> None:
    task = machine.task("one")
    run = enqueue(RunRequest(task=task, slot=float(SLOT)), machine.settings)
    with pytest.raises(SlotTaken, match=rf"this slot was already run \({run}\)"):
        enqueue(RunRequest(task=task, slot=float(SLOT)), machine.settings)
    assert [entry.run for entry in entries(machine.settings.state_path)] == [run]
    work(machine)
    machine.ended(1)


def test_a_flow_that_is_not_there_or_has_mistakes_is_refused_and_leaves_no_trace(machine: Machine) -> None:
    (machine.workspace / "tasks" / "bad.yml").write_text("steps: 5\n")
    for flow in ("gone.yml", "bad.yml"):
        with pytest.raises(FlowError):
            enqueue(RunRequest(flow=flow), machine.settings)
    assert (entries(machine.settings.state_path), machine.runs()) == ([], [])


def test_a_queue_that_cannot_be_written_is_an_error_and_leaves_no_trace(machine: Machine) -> None:
    task = machine.task("one")
    Path(machine.settings.state_path, "queue").write_text("a file, where a folder should be")
    with pytest.raises(OSError, match="Not a directory"):
        enqueue(RunRequest(task=task), machine.settings)
    assert machine.runs() == []


def test_a_queued_run_whose_entry_is_lost_is_crashed_though_its_enqueuer_lives(machine: Machine) -> None:
    run = enqueue(RunRequest(task=machine.task("one")), machine.settings)
    state = machine.settings.state_path
    Path(state, "queue", entries(state)[0].name).unlink()
    assert machine.flows("history").wait(60) == 0
    assert {each.id: each.status for each in machine.runs()} == {run: "crashed"}


def test_a_run_that_waits_for_its_time_starts_then_without_another_word(machine: Machine) -> None:
    """The worker sleeps until then, and wakes up for what comes meanwhile."""
    soon, later = machine.task("soon"), machine.task("later")
    now = time.time()
    enqueue(RunRequest(task=later, begins=now + 2.5), machine.settings)
    work(machine)
    worker = machine.until(machine.worker)
    time.sleep(0.5)
    before = _seconds_of_processor(worker)
    enqueue(RunRequest(task=soon), machine.settings)
    runs = machine.ended(2)
    assert [run.task for run in runs] == ["soon", "later"]
    assert runs[0].started < now + 2.4
    assert 2.5 <= runs[1].started - now < 6
    # It did next to nothing meanwhile.
    assert before < 1.0


def _seconds_of_processor(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_worker_that_is_told_to_stop_starts_nothing_more_and_leaves_the_queue(machine: Machine) -> None:
    machine.hold("first")
    machine.task("next", QUICK)
    assert machine.start("next").wait(60) == 0
    worker = machine.until(machine.worker)
    os.kill(worker, signal.SIGTERM)
    machine.until(lambda: machine.worker() != worker)
    assert machine.statuses() == {"first": "running", "next": "queued"}
    machine.let_go()
    # The end of the first sees to another worker.
    assert [run.status for run in machine.ended(2)] == ["success", "success"]
