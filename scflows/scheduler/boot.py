"""Boot tasks and catching up on missed slots: what the crontab's line for the boot starts, or a user."""

from __future__ import annotations

import os
import time

from scflows.cron.task_index import read_tasks
from scflows.history.store import FAULTS
from scflows.history.task_log import warn_in_scheduler_log
from scflows.scheduler.boot_tasks import start_boot_tasks
from scflows.scheduler.housekeeping import run_housekeeping
from scflows.scheduler.process_host import ProcessHost
from scflows.scheduler.reconcile import catch_up_slots
from scflows.scheduler.slot_queue import enqueue_catch_up, wait_for_runs
from scflows.scheduler.tick import work_on_queue
from scflows.settings import Settings, sound_settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


#: Seconds after the start of the cron daemon: by then the network is up, and the clock is set, on most machines.
SETTLED = 60.0


def catch_up(settings: Settings, host: ProcessHost, work: Callable[[], None], most: int | None = None) -> int:
    """Enqueue the slots that are caught up, wait until they have run, and return how many these were.

    `work` sees to a queue worker; `most` is how many run at the same time (default: one for each core). Raises FAULTS.
    """
    runs: list[str] = []
    while not host.is_stop_requested:
        found = catch_up_slots(settings)
        more = enqueue_catch_up(settings, found, read_tasks(settings)[0], time.time(), most)
        if not more:
            break
        runs += more
        work()
        wait_for_runs(settings, more, host.wait, lambda: host.is_stop_requested)
    return len(runs)


def start_after_boot(state: str = "", after: float = SETTLED) -> int:
    """Start boot tasks; then record and report the slots that were missed, and catch up; return how many slots.

    Catching up begins `after` seconds later; problems are in the scheduler's log. `state` is the state folder, if it is
    not the usual one. Raises Refused where that is not there.
    """
    with ProcessHost() as host:
        if not state or os.path.isdir(state):
            _start_boot_tasks(sound_settings(state), host)
        host.wait(after)
        if host.is_stop_requested:
            return 0
        # The disk with that folder may have been mounted meanwhile.
        settings = sound_settings(state)
        _start_boot_tasks(settings, host)

        def work() -> None:
            _start_worker(settings, host)

        try:
            number = catch_up(settings, host, work)
        except FAULTS as error:
            warn_in_scheduler_log(settings, f"cannot look for missed slots: {error}")
            number = 0
        is_stopped = host.is_stop_requested
    # After a request to stop, nothing else may start.
    if not is_stopped:
        run_housekeeping(settings)
        work_on_queue(settings.state_path, lambda text: None)
    return number


def _start_boot_tasks(settings: Settings, host: ProcessHost) -> None:
    def warn(text: str) -> None:
        warn_in_scheduler_log(settings, text)

    if start_boot_tasks(settings, host, warn):
        _start_worker(settings, host)


def _start_worker(settings: Settings, host: ProcessHost) -> None:
    host.start(["run", "--waiting", "--state", settings.state_path])
