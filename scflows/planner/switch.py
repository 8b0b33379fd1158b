"""Changes of tasks that a user names: pause, resume, remove."""

from __future__ import annotations

import time
from dataclasses import replace

from scflows.cron.task_selection import is_pattern, select_tasks
from scflows.planner.plan import KEEP, REPLACE, Change
from scflows.planner.planner import Planner, written_now
from scflows.storage import is_below

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def selected(planner: Planner, given: Iterable[str], is_everywhere: bool) -> list[str]:
    """Return the tasks of these names and patterns, each once; see `select_tasks`."""
    names = list(dict.fromkeys(given))
    if any(map(is_pattern, names)):
        return select_tasks(names, planner.before.values(), "" if is_everywhere else planner.settings.home)
    return names


def resumed(planner: Planner, name: str) -> Change:
    """Return the change that resumes a task. Raises NotFound."""
    old = planner.task(name)
    if not old.is_paused(time.time()):
        return Change(KEEP, old, "already enabled")
    new = replace(old, enabled=True, paused_until=0.0, since=written_now())
    return Change(REPLACE, new, verb="enable")


def paused(planner: Planner, name: str, until: float = 0.0) -> Change:
    """Return the change that pauses a task, by default until it is resumed. Raises NotFound.

    With a time (seconds since the epoch) the task keeps its line, which does nothing before that time.
    """
    old = planner.task(name)
    new = replace(old, enabled=bool(until), paused_until=until)
    if new == old:
        return Change(KEEP, old, "already paused")
    return Change(REPLACE, new, verb="pause")


def removals(planner: Planner, pattern: str, is_everywhere: bool) -> list[Change]:
    """Return the removals of all tasks that match a pattern, of this workspace or of all.

    A line without a readable task file belongs to the workspace that its flow is in.
    """
    from fnmatch import fnmatchcase

    changes = [planner.removal(name) for name in planner.names() if fnmatchcase(name, pattern)]
    home = planner.settings.home
    if is_everywhere:
        return changes
    return [
        each
        for each in changes
        if each.task.workspace == home or (not each.task.workspace and is_below(each.task.flow, [home]))
    ]
