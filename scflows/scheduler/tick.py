"""Enqueue what is due: in the foreground, where there is no cron daemon; or once, for the one line for all tasks."""

from __future__ import annotations

import sys

from scflows.cron.schedule.schedule import OVERDUE
from scflows.cron.scheduler_lock import acquire_scheduler_lock, last_heartbeat, try_scheduler_lock
from scflows.history.task_log import warn_in_scheduler_log
from scflows.scheduler.housekeeping import EVERY, run_housekeeping
from scflows.scheduler.indexed_due_slots import IndexedDueSlots
from scflows.scheduler.loop import GRACE, Scheduler
from scflows.scheduler.process_host import ProcessHost
from scflows.settings import Settings, sound_settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scflows.execution.request import RunOutcome
    from scflows.scheduler.process_host import Host

#: Seconds between two times that a tick does the housekeeping, if no other process did.
QUIET = 900.0
#: A tick that stays for its minute exits this many seconds before its end, so that the next one finds the lock free.
LEAVES = 1.0


def serve(
    settings: Settings,
    report: Callable[[str], None],
    warn: Callable[[str], None],
    most: int | None = None,
    grace: float = GRACE,
) -> None:
    """Enqueue the tasks of the tabfile at their slots until a signal says to stop. Raises Busy and Refused.

    `warn` is called if the lock cannot be taken, as on a full disk; it then works without.
    """
    lock = acquire_scheduler_lock(settings, warn)
    try:
        with ProcessHost() as host:
            Scheduler(settings, host, report, most, grace).run()
    finally:
        lock.release()


def tick(
    settings: Settings,
    report: Callable[[str], None],
    warn: Callable[[str], None],
    work: Callable[[], None] = lambda: None,
) -> None:
    """Enqueue what is due, and call `work` to have it started; `report` gets only problems.

    Does nothing while another scheduler or tick is running: that one enqueues what is due. `warn` gets what
    cannot be written, as on a full disk; the tasks start nevertheless.
    """
    with ProcessHost() as host:
        before = last_heartbeat(settings)
        was_away = before is None or not 0 <= host.now() - before.tick < OVERDUE
        looked = -1
        while int(host.now()) // 60 != looked:
            lock = try_scheduler_lock(settings, warn)
            if lock is None:
                return
            is_alone = lock.is_held
            try:
                # Without the lock the next tick does not know of this one, and enqueues what is due then.
                with IndexedDueSlots(settings, host.now(), warn, only_now=not is_alone) as due_slots:
                    once = Scheduler(settings, host, lambda text: None, None, GRACE, report, due_slots)
                    once.tick()
                if once.is_mute and is_alone:
                    once.ensure_worker()
                    _stay(host, once.minute)
            finally:
                lock.release()
            # A tick that came in the moment of our end has left its minute to us.
            if not is_alone:
                break
            looked = once.minute
    # Not before: the worker must hold neither our lock nor our signal handlers.
    work()
    # The end of each run does it, but after a night without cron, or where tasks are few, there is none for hours.
    run_housekeeping(settings, every=EVERY if was_away else QUIET)
    work()


def _stay(host: Host, minute: int) -> None:
    """Keep the lock until the minute is nearly over, or a signal comes: nothing else tells another tick of this minute
    that its slots were enqueued."""
    ends = (minute + 1) * 60 - LEAVES
    while host.now() < ends and not host.signals():
        host.wait(ends - host.now())


def tick_here(
    warn: Callable[[str], None], state: str = "", on_end: Callable[[str, RunOutcome], None] | None = None
) -> None:
    """Do what the crontab's line does: a tick, with next to no environment, and its warnings in the scheduler's log.

    `warn` gets what cannot be written there, `on_end` the outcome of each run that the queue worker started; `state` is
    the state folder, if it is not the default one. Raises Refused if it does not exist.
    """
    settings = sound_settings(state)

    def work() -> None:
        work_on_queue(settings.state_path, warn, on_end)

    tick(settings, lambda text: warn_in_scheduler_log(settings, text), warn, work)


def work_on_queue(
    state: str, warn: Callable[[str], None], on_end: Callable[[str, RunOutcome], None] | None = None
) -> None:
    """Have what waits started by a process of its own, which this process forks."""
    from scflows.queue.permits import is_queue_empty

    if is_queue_empty(state):
        return
    from scflows.scheduler.worker import start_worker

    sys.stdout.flush()
    start_worker(state, on_end or (lambda task, outcome: None), warn)
