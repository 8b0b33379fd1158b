"""Start what is due: in the foreground, where no cron daemon is; or once, for the crontab's one line for all tasks."""

from __future__ import annotations

from scflows.cron.schedule.schedule import OVERDUE
from scflows.cron.scheduler_lock import acquire_scheduler_lock, last_heartbeat, try_scheduler_lock
from scflows.history.task_log import warn_in_scheduler_log
from scflows.scheduler.housekeeping import EVERY, run_housekeeping
from scflows.scheduler.indexed_due_slots import IndexedDueSlots
from scflows.scheduler.loop import GRACE, Scheduler
from scflows.scheduler.process_host import ProcessHost
from scflows.settings import sound_settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scflows.scheduler.process_host import Host
    from scflows.settings import Settings

#: Seconds between two times that a tick looks after the house, if nobody else did.
QUIET = 900.0
#: A tick that stays for its minute goes so many seconds before its end: the next one is to find the lock free.
LEAVES = 1.0


def serve(
    settings: Settings,
    tell: Callable[[str], None],
    warn: Callable[[str], None],
    places: int | None = None,
    grace: float = GRACE,
) -> None:
    """Start the tasks of the tabfile at their slots until a signal says to stop. Raises Busy and Refused.

    `warn` is told that it goes on without its lock, as on a full disk.
    """
    lock = acquire_scheduler_lock(settings, warn)
    try:
        with ProcessHost() as world:
            Scheduler(settings, world, tell, places, grace).run()
    finally:
        lock.release()


def tick(
    settings: Settings, tell: Callable[[str], None], warn: Callable[[str], None], places: int | None = None
) -> None:
    """Start what is due, wait for it, and start what becomes due meanwhile; told is only what goes wrong.

    Does nothing where a scheduler, or a tick from before, is at work: that one starts what is due. `warn` is told what
    cannot be written, as on a full disk; the tasks start all the same.
    """
    with ProcessHost() as world:
        before = last_heartbeat(settings)
        was_away = before is None or not 0 <= world.now() - before.tick < OVERDUE
        looked = -1
        while int(world.now()) // 60 != looked:
            lock = try_scheduler_lock(settings, warn)
            if lock is None:
                return
            is_alone = lock.is_held
            try:
                # Without the lock the next tick does not know of this one, and starts what is due then.
                with IndexedDueSlots(settings, world.now(), warn, only_now=not is_alone) as agenda:
                    once = Scheduler(settings, world, _nobody, places, GRACE, tell, agenda)
                    once.run()
                if once.is_mute and is_alone and not once.is_stopping:
                    _stay(world, once.minute)
            finally:
                lock.release()
            # A tick that came in the moment of our end has left its minute to us.
            if once.is_stopping or not is_alone:
                return
            looked = once.minute
    # Whoever ends a run does it, but after a night without cron, or where tasks are few, there is none for hours.
    run_housekeeping(settings, every=EVERY if was_away else QUIET)


def _stay(world: Host, minute: int) -> None:
    """Keep the lock until the minute is nearly over, or a signal comes: nothing else tells another tick of this minute
    that its slots were started."""
    ends = (minute + 1) * 60 - LEAVES
    while world.now() < ends and not world.signals():
        world.wait(ends - world.now())


def tick_here(warn: Callable[[str], None], state: str = "") -> None:
    """A tick as cron starts it: with next to no environment, its warnings in the scheduler's log.

    `warn` is told what cannot be written there; `state` is the state folder, where it is not the default one. Raises
    Refused where that is not there.
    """
    settings = sound_settings(state)
    tick(settings, lambda text: warn_in_scheduler_log(settings, text), warn)


def _nobody(text: str) -> None:
    pass
