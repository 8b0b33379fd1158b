"""Places: as many runs go on at once, whatever a state folder is like and whose it is."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from scflows.queue.permits import acquire_permit, has_free_permit
from scflows.queue.worker_process import needs_worker
from scflows.scheduler.worker import run_worker
from tests.queue.conftest import HOLD, QUICK, SLOT, Machine


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


def test_the_place_of_a_killed_run_is_taken_by_the_next(machine: Machine) -> None:
    machine.hold("first")
    machine.task("next")
    assert machine.start("next").wait(60) == 0
    machine.started[0].kill()
    machine.until(lambda: machine.statuses()["next"] == "success")
    assert machine.flows("history").wait(60) == 0
    assert machine.statuses()["first"] == "crashed"


@pytest.mark.parametrize("spoilt", ["permits", "queue"])
def test_a_state_that_cannot_be_written_stops_no_run_and_is_told(machine: Machine, flows: Any, spoilt: str) -> None:
    if spoilt == "queue":
        machine.hold("first")
    (Path(machine.settings.state_path) / spoilt).parent.mkdir(parents=True, exist_ok=True)
    (Path(machine.settings.state_path) / spoilt).write_text("a file, where a folder should be")
    machine.task("next")
    answer = flows("run", "--task", "next", "--slot", str(SLOT))
    assert answer.code == 0
    assert f"{spoilt}" in answer.err
    assert "running without a permit" in answer.err
    assert machine.statuses()["next"] == "success"


@pytest.mark.parametrize(("spoilt", "told"), [("permits/1", "without a permit"), ("mutexes/m.lock", "without it")])
def test_a_place_or_mutex_that_cannot_be_used_keeps_nobody_waiting(machine: Machine, spoilt: str, told: str) -> None:
    machine.hold("first", text="mutex: m\n" + HOLD)
    machine.task("next", "mutex: m\n" + QUICK)
    assert machine.start("next").wait(60) == 0
    folder = Path(machine.settings.state_path if spoilt.startswith("permits") else machine.settings.lock_path)
    (folder / spoilt).unlink()
    (folder / spoilt).mkdir()  # As for a file of another user, whoever wants to lock it cannot open it.
    machine.let_go()
    machine.ended(2)
    run = machine.runs(task="next")[0]
    assert run.status == "success"
    assert told in Path(run.log).read_text()


def test_where_its_holder_cannot_be_named_the_worker_is_locked_all_the_same(
    machine: Machine, environment: dict[str, str]
) -> None:
    state = machine.settings.state_path
    os.makedirs(state, exist_ok=True)
    Path(state, "worker.lock").mkdir()  # As on a full disk, nothing can be written there.
    # Whoever looks after the house would have turns handed out by a process that nobody hears.
    Path(state, "housekeeping").write_text(f"{time.time():<20.3f} {0.0:<20.3f}\n")
    place = acquire_permit(state, 1)
    assert place is not None
    machine.task("next")
    command = [sys.executable, "-P", "-m", "scflows", "run", "--task", "next", "--state", state, "--slot", str(SLOT)]
    starter = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    assert starter.wait(60) == 0
    # Somebody does it, so that nobody else does.
    assert not needs_worker(state)
    second = subprocess.run(
        [*command[:5], "--waiting", "--state", state], env=environment, capture_output=True, timeout=60, check=True
    )
    assert (second.stdout, second.stderr) == (b"", b"")
    assert machine.statuses() == {"next": "queued"}
    place.release()
    assert [run.status for run in machine.ended(1)] == ["success"]
    assert starter.stderr is not None
    assert starter.stderr.read() == ""  # The worker had it open.
    starter.stderr.close()
    Path(state, "worker.lock").rmdir()


def test_a_queue_that_cannot_be_locked_is_reported(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: object, **named: object) -> int:
        raise OSError(errno.ENOLCK, "No locks available", "queue")

    monkeypatch.setattr("scflows.locks.open_locked", fail)
    said: list[str] = []
    run_worker(machine.settings.state_path, lambda *given: None, said.append)
    assert len(said) == 1
    assert "queue: No locks available; the queue worker cannot run" in said[0]


def test_users_whose_places_are_one_folder_share_the_cap() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        shared = Path(folder, "permits")
        shared.mkdir()
        shared.chmod(0o1777)
        mine, theirs = Path(folder, "mine"), Path(folder, "theirs")
        for state in (mine, theirs):
            state.mkdir()
            state.joinpath("permits").symlink_to(shared)
        first = acquire_permit(str(mine), 2)
        assert first is not None
        with another_user():
            second = acquire_permit(str(theirs), 2)
            assert second is not None
            assert acquire_permit(str(theirs), 2) is None
        assert acquire_permit(str(mine), 2) is None
        first.release()
        with another_user():
            first = acquire_permit(str(theirs), 2)
        assert first is not None
        first.release()
        second.release()


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_place_holds_up_nobody(kind: str) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as state:
        os.chmod(state, 0o755)
        place = Path(state, "permits", "1")
        place.parent.mkdir()
        if kind == "link":
            place.symlink_to("nowhere")
        elif kind == "pipe":
            os.mkfifo(place, 0o444)
        else:
            place.mkdir()
        signal.alarm(10)  # The kernel may wait for ever for the other end of a pipe.
        try:
            with another_user(), pytest.raises(OSError, match="permits"):
                acquire_permit(state, 2)
            assert has_free_permit(state, 1)
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
