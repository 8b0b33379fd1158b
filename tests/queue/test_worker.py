"""The queue worker is killed, stopped or gone; what waits is stopped, paused or broken."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import scflows
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


#: What an upgrade changes: a module that the worker has loaded, and one that only a run loads, which needs the change.
CHANGED = {
    "errors.py": "{}\n\n\ndef added() -> None: ...\n",
    "steps/builtin/set_fact.py": "{}\n\nfrom scflows.errors import added  # noqa\n",
}


@pytest.mark.waits
@pytest.mark.parametrize("kept", [False, True], ids=["worker", "long run"])
def test_after_an_upgrade_the_queue_goes_on_with_the_new_code(
    machine: Machine, environment: dict[str, str], tmp_path: Path, kept: bool
) -> None:
    package = tmp_path / "lib" / "scflows"
    shutil.copytree(scflows.__path__[0], package, ignore=shutil.ignore_patterns("__pycache__", "shipped"))
    environment["PYTHONPATH"] = str(package.parent)
    machine.hold("first")
    machine.task("other", HOLD.replace("go", "on"), mutex=[])
    machine.task("then")
    for name in ("other", "then"):
        assert machine.start(name).wait(60) == 0
    if kept:
        # The end of a run that began before the upgrade starts the worker.
        os.kill(machine.until(machine.worker), signal.SIGKILL)
    worker = machine.worker()
    for name, text in CHANGED.items():
        path = package / name
        content = text.format(path.read_text())
        path.unlink()
        path.write_text(content)
    machine.let_go()
    machine.until(lambda: machine.statuses().get("other") == "running")
    assert kept or machine.worker() == worker, "the same process"
    (machine.workspace / "data" / "on").touch()
    runs = machine.ended(3)
    assert [run.message for run in runs] == [""] * 3
    assert [(run.task, run.status) for run in runs] == [("first", "success"), ("other", "success"), ("then", "success")]


def _queued(machine: Machine, name: str) -> None:
    """Queue a run that may start, without a worker."""
    state = machine.settings.state_path
    lock, place = worker_lock(state), acquire_permit(state, 1)
    assert lock.acquire("")
    assert place is not None
    machine.task(name)
    assert machine.start(name).wait(60) == 0
    place.release()
    lock.release()


#: Runs a command while the folder of the state is on a read-only disk.
READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root and unshare")
def test_a_queue_that_becomes_read_only_is_reported_and_its_runs_start_once_it_can_be_written(
    machine: Machine, environment: dict[str, str], tmp_path: Path
) -> None:
    state = machine.settings.state_path
    _queued(machine, "next")
    command = [sys.executable, "-P", "-m", "scflows", "run", "--waiting", "--state", state]
    with (tmp_path / "err").open("w") as err:
        worker = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", READ_ONLY, state, *command], env=environment, stderr=err
        )
        log = Path(machine.settings.tasks_path, "scheduler.log")
        machine.until(lambda: log.exists() and "queued runs are not started" in log.read_text())
        worker.kill()
        worker.wait(60)
    assert "Read-only file system" in log.read_text()
    assert "queued runs are not started" in (tmp_path / "err").read_text()
    assert machine.statuses() == {"next": "queued"}
    assert machine.flows("run", "--waiting", "--state", state).wait(60) == 0
    assert machine.statuses() == {"next": "success"}


#: A worker that cannot remove entries, as those of another user in a folder such as /tmp.
STUCK = """
import os, sys
from scflows.scheduler import worker
unlink = os.unlink
def refuse(path, *given, **named):
    if str(path).endswith(".run"):
        raise PermissionError(1, "Operation not permitted", path)
    return unlink(path, *given, **named)
os.unlink = refuse
worker.run_worker(sys.argv[1], lambda task, outcome: None, print)
"""


def test_an_entry_that_cannot_be_removed_is_started_once(machine: Machine) -> None:
    state = machine.settings.state_path
    _queued(machine, "next")
    assert machine.python(STUCK, state).wait(60) == 0
    assert "cannot be removed from the queue" in Path(machine.settings.tasks_path, "scheduler.log").read_text()
    assert [run.status for run in machine.runs()] == ["success"]
    # The history knows that it was run.
    assert machine.flows("run", "--waiting", "--state", state).wait(60) == 0
    assert [run.status for run in machine.runs()] == ["success"]
    assert is_queue_empty(state)
