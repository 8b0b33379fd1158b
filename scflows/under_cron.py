"""What a line of the crontab has to go by: next to no environment, and the state folder where the line names it."""

from __future__ import annotations

import os

from scflows.errors import Refused
from scflows.settings import Settings


def bare_settings(state: str = "") -> Settings:
    """Enough of the settings to find the tasks; `state` is the state folder, where it is not the usual one."""
    given = dict(os.environ)
    if state:
        given["XDG_STATE_HOME"] = os.path.dirname(state)
    return Settings("/", given)


def sound_settings(state: str = "") -> Settings:
    """The same for lines that stand for all tasks.

    Raises Refused where the folder is not there: a line with a wrong path, or a disk that is away, would start nothing
    for ever.
    """
    if state and not os.path.isdir(state):
        raise Refused(f"the state folder {state} is not there", "flows repair writes the crontab's lines anew")
    return bare_settings(state)


def note(settings: Settings, text: str) -> None:
    """Write a warning into the scheduler's log: what is printed under cron is mailed, if it is not lost."""
    from scflows.logfile import TaskLog, scheduler_log

    log = TaskLog(scheduler_log(settings.tasks_path))
    log.warning(text)
    log.close()
