"""Start boot tasks: those with `cron: "@reboot"`, once after each boot of the machine or container."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack

from scflows.cron.task import TaskStore
from scflows.cron.task_index import read_tasks
from scflows.history.run import BOOT
from scflows.locks import FOLDER, locked, this_boot
from scflows.scheduler.slot_queue import SlotQueue
from scflows.storage import BROKEN, open_regular, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scflows.cron.task import Task
    from scflows.scheduler.process_host import Host
    from scflows.settings import Settings


def start_boot_tasks(settings: Settings, host: Host, warn: Callable[[str], None], most: int | None = None) -> int:
    """Enqueue the enabled boot tasks that were not started since the last boot, and return how many.

    A task that cannot be enqueued, as on a full disk, is started in a process of its own. `most` is how many permits
    there are, in place of what each task's settings say.
    """
    tasks = [task for task in read_tasks(settings)[0] if task.schedule.is_boot and not task.is_paused(host.now())]
    if not tasks:
        return 0
    with ExitStack() as stack:
        try:
            # Of the boot line and `flows cron run`, which may both start now, one starts each task.
            stack.enter_context(locked(TaskStore(settings).folder, how=FOLDER))
        except OSError as error:
            warn(f"boot tasks are started without a lock: {error.strerror}")
        started = _started(settings)
        due = [task for task in tasks if task.name not in started]
        with SlotQueue(settings, most) as queue:
            for task in due:
                try:
                    queue.add(task, None, BOOT, host.now(), host.now())
                except OSError:
                    _start_directly(task, settings, host, warn)
        # Afterwards: if this process is killed before, tasks are started again rather than never.
        if due:
            _note(settings, started | {task.name for task in due}, warn)
    return len(due)


def _start_directly(task: Task, settings: Settings, host: Host, warn: Callable[[str], None]) -> None:
    flow = [task.flow] if task.flow else []
    try:
        host.start(["run", *flow, "--task", task.name, "--state", settings.state_path, "--trigger", BOOT])
    except OSError as error:
        warn(f"cannot start {task.name}: {error.strerror}")


def _started(settings: Settings) -> set[str]:
    """Return the names of the boot tasks that were started since the last boot."""
    try:
        with open(open_regular(_path(settings)), encoding="utf-8") as file:
            values = json.load(file)
        return set(values["started"]) if values["boot"] == this_boot() else set()
    except BROKEN:
        return set()


def _note(settings: Settings, names: set[str], warn: Callable[[str], None]) -> None:
    content = json.dumps({"boot": this_boot(), "started": sorted(names)}).encode()
    try:
        replace(_path(settings), content, mode=0o600)
    except OSError as error:
        warn(f"{_path(settings)}: cannot be written: {error.strerror}; boot tasks may be started again before a reboot")


def _path(settings: Settings) -> str:
    return os.path.join(settings.state_path, "boot.json")
