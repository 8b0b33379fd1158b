"""The queue worker is killed, stopped or gone; what waits is stopped, paused or broken."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from scflows.cron.task import TaskStore
from scflows.queue import entries as queue
from scflows.queue.permits import acquire_permit, is_queue_empty
from scflows.queue.worker_process import ASLEEP, worker_lock
from tests.queue.conftest import HOLD, QUICK, SLOT, Machine, most_at_once


def test_what_waits_is_started_though_the_worker_was_killed(machine: Machine) -> None:
    machine.hold("first")
    for name in ("a", "b"):
        machine.task(name)
        assert machine.start(name).wait(60) == 0
    server = machine.until(machine.worker)
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
    os.kill(machine.worker(), signal.SIGKILL)
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
    os.kill(machine.until(machine.worker), signal.SIGKILL)
    folder = Path(machine.settings.state_path, "queue")
    (path,) = folder.glob("*_a_*")
    path.write_text(json.dumps({**json.loads(path.read_text()), **broken}) if broken else "")
    (folder / "stray.run").touch()
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
    machine.until(lambda: not machine.worker() or not os.path.exists(f"/proc/{machine.worker()}"))
    assert machine.start("a", SLOT + 60).wait(60) == 0
    assert machine.runs(task="a")[-1].status == "success"


def _stray(folder: Path) -> None:
    """Put into the queue's folder whatever does not belong there."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README").write_text("notes")
    (folder / "stray.run").touch()
    name = "5000_01790000000000_a_01M8QCMGMJVA3AA{}.run"
    os.mkfifo(folder / name.format("A"))
    (folder / name.format("B")).mkdir()
    (folder / name.format("C")).symlink_to("nowhere")


def test_a_pipe_in_the_queue_holds_up_nobody(machine: Machine) -> None:
    machine.hold("first")
    machine.task("a")
    _stray(Path(machine.settings.state_path, "queue"))
    assert machine.start("a").wait(60) == 0
    assert machine.flows("history").wait(60) == 0
    machine.let_go()
    runs = machine.ended(2)
    assert [(run.task, run.status) for run in runs] == [("first", "success"), ("a", "success")]
    assert is_queue_empty(machine.settings.state_path)


def test_a_folder_with_foreign_files_alone_is_an_empty_queue(machine: Machine) -> None:
    folder = Path(machine.settings.state_path, "queue")
    _stray(folder)
    assert queue.entries(machine.settings.state_path) == []
    assert is_queue_empty(machine.settings.state_path)
    machine.task("a")
    assert machine.start("a").wait(60) == 0
    assert machine.statuses() == {"a": "success"}
    assert not machine.worker()


def test_a_worker_that_was_stopped_is_woken_by_the_next_command(machine: Machine) -> None:
    machine.hold("first")
    machine.task("next")
    assert machine.start("next").wait(60) == 0
    server = machine.until(machine.worker)
    os.kill(server, signal.SIGSTOP)
    try:
        machine.until(lambda: Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()[0] == "T")
        machine.let_go()
        machine.until(lambda: machine.statuses()["first"] == "success")
        lock = Path(machine.settings.state_path, "worker.lock")
        a_while_ago = time.time() - 2 * ASLEEP
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
    assert queue.entries(machine.settings.state_path) == []


def test_a_task_that_is_paused_or_removed_while_it_waits_does_not_start(machine: Machine) -> None:
    machine.hold("first")
    for name in ("paused", "resumes", "removed"):
        machine.task(name)
        assert machine.start(name).wait(60) == 0
    machine.task("paused", enabled=False)
    machine.task("resumes", paused_until=time.time() + 3600)
    TaskStore(machine.settings).remove("removed")
    machine.let_go()
    machine.ended(4)
    found = {run.task: (run.status, run.reason) for run in machine.runs()}
    assert found["paused"] == found["resumes"] == ("skipped", "paused")
    assert found["removed"] == ("skipped", "removed")


def test_a_hook_that_hangs_keeps_no_other_run_from_starting(machine: Machine) -> None:
    (machine.workspace / "tasks" / "hook.yml").write_text(HOLD)
    machine.task("told", "on_success: hook.yml\n" + QUICK)
    machine.start("told")
    machine.until(lambda: machine.statuses().get("hook") == "running")
    machine.task("other")
    assert machine.start("other").wait(60) == 0
    assert machine.statuses() == {"told": "success", "hook": "running", "other": "success"}
    machine.let_go()
    machine.ended(3)
    assert machine.statuses()["hook"] == "success"


def test_a_ping_that_hangs_keeps_no_other_run_from_starting(machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        machine.task("pings", f'ping: {{success: "http://127.0.0.1:{silent.getsockname()[1]}/x"}}\n' + QUICK)
        pinging = machine.start("pings")
        connection, _ = silent.accept()
        machine.task("other")
        assert machine.start("other").wait(60) == 0
        assert machine.statuses() == {"pings": "success", "other": "success"}
        assert pinging.poll() is None
        connection.close()
        again, _ = silent.accept()
        again.close()
    assert pinging.wait(60) == 0


#: A worker; the start of a run is a bug.
BUG = """
import sys
from scflows.scheduler import worker
def run(*given):
    raise RuntimeError("that cannot be")
worker.run_queued = run
worker.run_worker(sys.argv[1], lambda task, outcome: None, print)
"""


def test_a_bug_at_the_start_of_a_run_ends_it_and_is_in_the_log(machine: Machine) -> None:
    state = machine.settings.state_path
    lock = worker_lock(state)
    place = acquire_permit(state, 1)
    assert lock.acquire("")
    assert place is not None
    machine.task("next")
    assert machine.start("next").wait(60) == 0
    place.release()
    lock.release()
    assert machine.python(BUG, state).wait(60) == 0
    (run,) = machine.ended(1)
    assert (run.status, run.reason) == ("crashed", "bug")
    log = Path(machine.settings.tasks_path, "scheduler.log").read_text()
    assert log.count("RuntimeError: that cannot be") == 1


@pytest.mark.parametrize("name", ["README", "stray.run", "5000_01796081280000_next_01M8QCMG4RZGEDQ0.run"])
def test_a_file_in_the_queue_that_is_not_an_entry_keeps_no_worker_busy(machine: Machine, name: str) -> None:
    machine.hold("first")
    machine.task("next")
    stray = Path(machine.settings.state_path, "queue", name)
    stray.parent.mkdir(exist_ok=True)
    if name.startswith("5000"):
        stray.mkdir()  # As a file of another user, it can be neither read nor removed.
    else:
        stray.touch()
    assert machine.start("next").wait(60) == 0
    machine.let_go()
    machine.until(lambda: machine.statuses() == {"first": "success", "next": "success"})
    worker = machine.worker()
    machine.until(lambda: not worker or not os.path.exists(f"/proc/{worker}"))
    # One that is started for it ends as well.
    assert machine.flows("run", "--waiting", "--state", machine.settings.state_path).wait(60) == 0
    stray.rmdir() if stray.is_dir() else stray.unlink()
