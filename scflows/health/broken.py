"""Find tasks that cannot run because something of them is gone: their workspace, their flow, or their line's Python."""

from __future__ import annotations

import os

from scflows.cron.crontab.line import TICK
from scflows.cron.crontab.tabfile import Tabfile
from scflows.errors import ScflowsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from scflows.cron.task import Task
    from scflows.settings import Settings


def broken_tasks(settings: Settings, tasks: Iterable[Task]) -> dict[str, str]:
    """Return what is gone, by the names of those tasks that lack something, with what to do."""
    try:
        tabfile = Tabfile.read(settings.tabfile)
        pythons = {entry.name: entry.python for entry in (*tabfile.entries, *filter(None, [tabfile.tick]))}
    except ScflowsError:
        pythons = {}  # The command that needs it reports the error.
    is_there: dict[str, bool] = {}

    def exists(path: str, mode: int = os.F_OK) -> bool:
        if path not in is_there:
            is_there[path] = os.access(path, mode)
        return is_there[path]

    found = {}
    for task in tasks:
        python = pythons.get(task.name) or pythons.get(TICK, "")
        if not exists(task.workspace):
            found[task.name] = f"its workspace {task.workspace} is gone; remove it: flows remove-task {task.name}"
        elif task.flow and not os.path.exists(task.flow):
            found[task.name] = f"its flow {task.flow} is gone; remove it: flows remove-task {task.name}"
        elif python and not exists(python, os.X_OK):
            found[task.name] = f"the Python of its crontab line is gone ({python}); rewrite the line: flows repair"
    return found
