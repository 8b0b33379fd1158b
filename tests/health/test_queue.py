"""Runs that wait for their turn are started, or it is told that they are not."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from scflows.health import FAIL, OK, queue
from scflows.health.tasks import condition
from scflows.history.store import open_store
from scflows.locks import Lock
from scflows.queue.entries import QueuedRun, QueueEntry, mutex_folder, write_entry
from scflows.queue.permits import acquire_permit
from scflows.queue.worker_process import worker_lock

SLOT = 1790000000.0
LATER = 600.0


@pytest.fixture
def waits(machine) -> Iterator[QueueEntry]:
    """A queued run that could start, and a queue worker, this process, that does not respond."""
    settings = machine.settings
    ticket = QueueEntry(0, SLOT, "report", "0" * 16)
    waiting = QueuedRun(
        "cron", SLOT, SLOT, SLOT * 2, most=1, lock_path=settings.lock_path, lock="report", mutexes=["db"],
        overlap="skip", why="a permit", request={},
    )  # fmt: skip
    os.makedirs(settings.state_path, exist_ok=True)
    lock = worker_lock(settings.state_path)
    assert lock.acquire("")
    write_entry(settings.state_path, ticket, waiting).leave()
    yield ticket
    lock.release()


def test_a_queue_worker_that_does_not_respond_is_named(machine, waits, one) -> None:
    assert one(queue.queue).level == OK
    silent = os.stat(os.path.join(machine.settings.state_path, "worker.lock")).st_mtime
    machine.now = silent + LATER
    finding = one(queue.queue)
    assert finding.level == FAIL
    assert finding.text.startswith(f"the queue worker (process {os.getpid()}) has not responded since 20")
    assert finding.text.endswith("; 1 run is waiting although a permit is free")
    assert finding.help.startswith(f"kill it: kill -9 {os.getpid()}; ")
    store = open_store(machine.settings)
    try:
        found = condition(machine.settings, store, machine.now)
    finally:
        store.close()
    assert [(each.kind, each.since) for each in found.problems] == [("hangs", silent)]
    assert finding.text in found.problems[0].message


def test_it_is_no_standstill_where_nothing_could_be_started(machine, waits, one) -> None:
    state = machine.settings.state_path
    machine.now += LATER
    assert one(queue.queue).level == FAIL
    place = acquire_permit(state, 1)
    assert place is not None
    assert one(queue.queue).level == OK
    place.release()
    mutex = Lock(mutex_folder(machine.settings.lock_path), "db")
    assert mutex.acquire("other")
    assert one(queue.queue).level == OK
    mutex.release()
    os.unlink(os.path.join(state, "queue", waits.name))
    assert list(queue.queue(machine.installation())) == []
