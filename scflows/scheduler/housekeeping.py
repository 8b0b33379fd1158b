"""Recurring work that is done by runs and commands, since there is no daemon.

Each run does it when it ends, and each command after it has printed: at most once a minute, behind a lock that no
process waits for. Its imports come late, because most starts by cron do not need them.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress

from scflows.history.store import FAULTS, ask
from scflows.locks import locked
from scflows.queue.permits import is_queue_empty
from scflows.storage import BROKEN, checked_seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scflows.history.contract import RunStore
    from scflows.scheduler.missed.detection import CatchUpSlot
    from scflows.settings import Settings

#: Seconds between two times, and between two prunings.
EVERY = 60.0
PRUNING_EVERY = 24 * 3600.0
#: After this many seconds without pruning it is postponed for a day: after a clock leapt ahead, all seems too old.
LEAP = 7 * 24 * 3600.0
#: It takes at most one twentieth of a machine's time: with very many tasks it is done less often.
SHARE = 20
#: The longest pause for that, in seconds: a process that was suspended meanwhile seems to have been slow.
LONGEST_PAUSE = 900.0
#: A command leaves it to a background process if it took longer than this many seconds the last time.
PATIENCE = 0.2


def run_housekeeping(settings: Settings, now: float | None = None, aside: bool = False, every: float = EVERY) -> None:
    """Do the work, unless it was done within the last minute. It never raises and never waits for other processes.

    `every` is a longer time than that minute, in seconds; `aside` is for a person who waits: what takes long is left to
    a process of its own.
    """
    moment = time.time() if now is None else now
    stamp = os.path.join(settings.state_path, "housekeeping")
    last, took = _read_stamp(stamp)
    if 0 <= moment - last < max(every, min(took * SHARE, LONGEST_PAUSE)):
        return
    if aside:
        from scflows.cron.task_index import are_very_many

        if took > PATIENCE or are_very_many(settings):
            _start_aside(lambda: _run_aside(settings, now, every))
            return
    try:
        with locked(stamp, wait=False) as descriptor:
            if _read_stamp(stamp) != (last, took):
                return  # Another process was quicker, and is done already.
            began = time.monotonic()
            # Before the work: what goes wrong in it must not be tried again by each run that ends.
            _write_stamp(descriptor, moment, took)
            _look_after(settings, moment)
            _write_stamp(descriptor, moment, time.monotonic() - began)
    except OSError:
        return
    if aside:
        ensure_worker(settings.state_path)
    # Without the lock: what is called here may take its time.
    from scflows.history.crashes import has_pending_hooks
    from scflows.notifications.deliver import has_undelivered_alerts
    from scflows.notifications.undelivered import has_due

    if has_pending_hooks(settings) or has_undelivered_alerts(settings) or has_due(settings, moment):
        _notify(settings, aside, moment)


def ensure_worker(state: str) -> None:
    """Start a queue worker in an environment like cron's, if runs wait and there is none."""
    if not is_queue_empty(state):
        from scflows.queue import worker_process

        worker_process.ensure_worker(state)


def _run_aside(settings: Settings, now: float | None, every: float) -> None:
    run_housekeeping(settings, now, every=every)
    ensure_worker(settings.state_path)


def _look_after(settings: Settings, now: float) -> None:
    """Do what needs the history. A part that fails does not stop the others."""
    from scflows.cron.task_index import read_tasks
    from scflows.notifications.monitor import update_incidents
    from scflows.scheduler.missed.detection import record_missed
    from scflows.scheduler.reconcile import open_reconciled_history

    to_catch_up: list[CatchUpSlot] = []

    def look_after(store: RunStore) -> None:
        tasks = read_tasks(settings)[0]
        with suppress(*FAULTS):
            to_catch_up.extend(record_missed(store, settings, now, tasks=tasks).to_catch_up)
        with suppress(*FAULTS):
            update_incidents(settings, store, now, [(each.task, each.slot) for each in to_catch_up], tasks)
        with suppress(*FAULTS):
            _prune_daily(store, settings, now)

    # Opening it takes in records that could not be written, and ends runs whose process died.
    ask(settings, look_after, None, lambda settings: open_reconciled_history(settings, looks_at_slots=False))
    if to_catch_up:
        from scflows.scheduler.slot_queue import enqueue_catch_up

        enqueue_catch_up(settings, to_catch_up, read_tasks(settings)[0], now)


def _prune_daily(store: RunStore, settings: Settings, now: float) -> None:
    stamp = os.path.join(settings.state_path, "pruning")
    last, _ = _read_stamp(stamp)
    if 0 <= now - last < PRUNING_EVERY:
        return
    from scflows.history.retention import prune

    with locked(stamp) as descriptor:
        _write_stamp(descriptor, now, 0.0)
    if not last or now - last < LEAP:
        prune(store, settings)


def _notify(settings: Settings, aside: bool, now: float) -> None:
    from scflows.execution.launch import start_hook
    from scflows.notifications.after_run import notify_crashed_runs
    from scflows.notifications.deliver import deliver_alerts
    from scflows.notifications.undelivered import retry_undelivered

    def notify() -> None:
        with suppress(*FAULTS):
            retry_undelivered(settings, start_hook, now=now)
        with suppress(*FAULTS):
            notify_crashed_runs(settings, start_hook)
        with suppress(*FAULTS):
            deliver_alerts(settings, start_hook)

    if aside:
        _start_aside(notify)
    else:
        notify()


def _start_aside(action: Callable[[], object]) -> None:
    from scflows.connectors.process import run_detached

    try:
        run_detached(action)
    except OSError:
        pass  # Too many processes: the next run or command does it.


def _read_stamp(path: str) -> tuple[float, float]:
    """Return when it was done last, and how many seconds that took."""
    try:
        with open(path, encoding="ascii") as file:
            at, took = file.read(64).split()
        return checked_seconds(float(at)), checked_seconds(float(took))
    except BROKEN:
        return 0.0, 0.0


def _write_stamp(descriptor: int, at: float, took: float) -> None:
    # Not the file's own time: a clock that tests and sandboxes set is not that of the file system.
    os.pwrite(descriptor, f"{at:<20.3f} {took:<20.3f}\n".encode(), 0)
