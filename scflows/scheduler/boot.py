"""See to the slots that were missed while the machine was off: what the crontab's line for the boot starts."""

from __future__ import annotations

import os

from scflows.history.store import FAULTS
from scflows.history.task_log import warn_in_scheduler_log
from scflows.scheduler.housekeeping import run_housekeeping
from scflows.scheduler.missed.catch_up import catch_up
from scflows.scheduler.process_host import ProcessHost
from scflows.scheduler.reconcile import catch_up_slots
from scflows.settings import sound_settings

#: Seconds after the start of the cron daemon: by then the network is up, and the clock is set, on most machines.
SETTLED = 60.0


def catch_up_after_boot(state: str = "", after: float = SETTLED) -> int:
    """Record the slots that nobody answered, have them told, make up those that are owed; how many these were.

    It begins `after` so many seconds; what goes wrong is in the scheduler's log. `state` is the state folder, where it
    is not the usual one. Raises Refused where that is not there.
    """
    with ProcessHost() as world:
        world.wait(after)
        if world.is_told_to_stop:
            return 0
        # Not before: the disk with that folder may be mounted meanwhile.
        settings = sound_settings(state)
        try:
            made_up = catch_up(
                settings,
                lambda: catch_up_slots(settings),
                world,
                len(os.sched_getaffinity(0)),
                lambda text: None,
                lambda text: warn_in_scheduler_log(settings, text),
            )
        except FAULTS as error:
            warn_in_scheduler_log(settings, f"cannot look for missed slots: {error}")
            made_up = 0
    # What was missed is told also where another one makes up for it. Told to stop, it must not have another begin.
    if not world.is_told_to_stop:
        run_housekeeping(settings)
    return made_up
