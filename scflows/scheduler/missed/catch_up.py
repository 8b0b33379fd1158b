"""Make up for missed slots where no scheduler of ours runs: a process of its own starts them, the oldest first."""

from __future__ import annotations

import os
import sys

from scflows import command_line
from scflows.cron.scheduler_lock import is_scheduler_busy
from scflows.cron.task import TaskStore, task_settings
from scflows.errors import ScflowsError, UsageError
from scflows.history.task_log import timestamp
from scflows.locks import Lock, holder
from scflows.queue.permits import acquire_permit, is_queue_empty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from scflows.cron.task import Task
    from scflows.scheduler.missed.detection import CatchUpSlot
    from scflows.scheduler.process_host import ProcessHost
    from scflows.settings import Settings

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
        command_line("cron", "catch-up", "--home", settings.home),
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
    owed: Callable[[], Iterable[CatchUpSlot]],
    world: ProcessHost,
    places: int,
    tell: Callable[[str], None],
    warn: Callable[[str], None],
) -> int:
    """Start what `owed` says, each slot once, one of a task at a time; how many. 0 while another one does it.

    Nothing else waits for it: a slot is made up when there is a place that no other run waits for. `tell` is told of
    each start, `warn` of those that cannot be.
    """
    lock = Lock(settings.state_path, LOCK)
    if not lock.acquire(""):
        return 0
    try:
        return _CatchUp(settings, world, places, tell, warn).run(owed)
    finally:
        lock.release()


class _CatchUp:
    def __init__(
        self,
        settings: Settings,
        world: ProcessHost,
        places: int,
        tell: Callable[[str], None],
        warn: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._state = settings.state_path
        self._world = world
        self._places = places
        self._tell = tell
        self._warn = warn
        self._store = TaskStore(settings)
        self._tried: set[CatchUpSlot] = set()
        self._waiting: list[CatchUpSlot] = []
        self._running: dict[int, str] = {}
        self._most: dict[str, int] = {}  #: how many places there are for a task, once that was asked

    def run(self, owed: Callable[[], Iterable[CatchUpSlot]]) -> int:
        world = self._world
        while not world.signals():
            for pid, _ in world.ended():
                self._running.pop(pid, None)
            if is_scheduler_busy(self._settings):
                # What waits with a scheduler, or a tick, comes first; who ends a run has it made up later.
                self._waiting.clear()
                if not self._running:
                    break
            elif not self._waiting and not self._running:
                self._waiting = sorted(each for each in owed() if each not in self._tried)
                if not self._waiting:
                    break
            self._start_some()
            world.wait(NAP)
        return len(self._tried)

    def _start_some(self) -> None:
        # Of a task the oldest slot is the first: younger ones wait with it.
        busy = {*self._running.values(), *_tasks_in_line(self._state)}
        full = 0  # so many places are taken: a task that has more of them may start all the same
        for each in list(self._waiting):
            if len(self._running) >= self._places:
                break
            if each.task in busy or 0 < self._most.get(each.task, 0) <= full:
                continue
            busy.add(each.task)
            try:
                task = self._store.read(each.task)
                theirs = task_settings(task)
                if holder(theirs.lock_path, task.name) is not None:
                    continue  # Another run of it would be skipped.
                most = self._most[each.task] = _places(theirs)
                if task.enabled and (most <= full or not self._start(each, task, most)):
                    full = max(full, most)
                    continue
            except (ScflowsError, OSError) as error:
                self._warn(f"{each.task}: {error}")
            self._tried.add(each)
            self._waiting.remove(each)

    def _start(self, owed: CatchUpSlot, task: Task, most: int) -> bool:
        """Start a task for a slot; False where there is no place for it. Raises OSError."""
        place = None
        if not task.command:
            try:
                place = acquire_permit(self._state, most, self._kept(most))
                if place is None:
                    return False
            except OSError:
                pass  # Its run says that it runs beside whatever else runs.
        try:
            pid = self._world.start(start_arguments(task, owed.slot, self._state), place)
        finally:
            # The child has it, and nobody else.
            if place is not None:
                place.release()
        self._running[pid] = task.name
        self._tell(f"{task.name}: making up for the slot of {timestamp(owed.slot)}")
        return True

    def _kept(self, most: int) -> int:
        """How many places are for those that wait: all of them come first."""
        if is_queue_empty(self._state):
            return 0
        from scflows.queue.entries import BIAS, QueueEntry
        from scflows.queue.files import permits_reserved_for_earlier

        now = self._world.now()
        return permits_reserved_for_earlier(self._state, now, QueueEntry(BIAS, now, "", ""), most)


def _places(settings: Settings) -> int:
    try:
        return settings.max_runs
    except UsageError:
        return 1  # Its run is refused, and says why.


def _tasks_in_line(state: str) -> set[str]:
    """The tasks that wait for their turn, so that another run of theirs would be skipped."""
    if is_queue_empty(state):
        return set()
    from scflows.queue.files import live_entries

    return {ticket.task for ticket in live_entries(state)}
