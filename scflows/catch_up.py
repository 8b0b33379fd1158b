"""Make up for missed slots where no scheduler of ours runs: a process of its own starts them, the oldest first."""

from __future__ import annotations

import os
import sys

from scflows.cron.task import TaskStore
from scflows.errors import ScflowsError
from scflows.lock.file import FileLock, holder
from scflows.logfile import timestamp
from scflows.place import nobody_waits
from scflows.settings import read_settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from scflows.cron.task import Task
    from scflows.processes import Processes
    from scflows.settings import Settings
    from scflows.unanswered import Owed

LOCK = "catch-up"
#: Seconds between two looks at the processes, and at a task that is busy.
NAP = 1.0


def begin(settings: Settings) -> None:
    """Have a process of its own make up for what is owed, unless one is at it. Raises OSError."""
    if holder(settings.state_path, LOCK) is not None:
        return
    null = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1, 2)]
    # A session of its own: it goes on when whoever noticed it has ended.
    os.posix_spawn(
        sys.executable,
        [sys.executable, "-P", "-m", "scflows", "cron", "catch-up", "--home", settings.home],
        {**os.environ, "XDG_STATE_HOME": os.path.dirname(settings.state_path)},
        file_actions=null,
        setsid=True,
    )


def start_arguments(task: Task, slot: float, state: str) -> list[str]:
    """The arguments of `flows` that make up for a slot."""
    flow = [task.flow] if task.flow else []
    return ["run", *flow, "--task", task.name, "--state", state, "--slot", f"{slot:.0f}", "--trigger", "catch_up"]


def catch_up(
    settings: Settings,
    owed: Callable[[], Iterable[Owed]],
    world: Processes,
    places: int,
    tell: Callable[[str], None],
    warn: Callable[[str], None],
) -> int:
    """Start what `owed` says, each slot once, one of a task at a time; how many. 0 while another one does it.

    `tell` is told of each start, `warn` of those that cannot be.
    """
    lock = FileLock(settings.state_path, LOCK)
    if not lock.acquire(""):
        return 0
    store = TaskStore(settings)
    tried: set[Owed] = set()
    waiting: list[Owed] = []
    running: dict[int, str] = {}
    try:
        while not world.signals():
            for pid, _ in world.ended():
                running.pop(pid, None)
            if not waiting and not running:
                waiting = sorted(each for each in owed() if each not in tried)
                if not waiting:
                    break
            # Of a task the oldest slot is the first: younger ones wait with it.
            busy = set(running.values())
            for each in list(waiting):
                if len(running) >= places:
                    break
                if each.task in busy:
                    continue
                busy.add(each.task)
                try:
                    task = store.read(each.task)
                    if _is_busy(task, settings.state_path):
                        continue
                    if task.enabled:
                        pid = world.start(start_arguments(task, each.slot, settings.state_path))
                        running[pid] = task.name
                        tell(f"{task.name}: making up for the slot of {timestamp(each.slot)}")
                except (ScflowsError, OSError) as error:
                    warn(f"{each.task}: {error}")
                tried.add(each)
                waiting.remove(each)
            world.wait(NAP)
    finally:
        lock.release()
    return len(tried)


def _is_busy(task: Task, state: str) -> bool:
    """Whether the task runs or waits for its turn, so that another run of it would be skipped."""
    if not nobody_waits(state):
        from scflows.backlog import of_task

        if of_task(state, task.name):
            return True
    settings = read_settings(task.workspace, {**os.environ, **task.settings})
    return holder(settings.lock_path, task.name) is not None
