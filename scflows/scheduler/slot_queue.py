"""Due slots on their way into the queue."""

from __future__ import annotations

import os

from scflows.cron.schedule.schedule import STARTABLE
from scflows.cron.task import Task, task_settings
from scflows.errors import ScflowsError
from scflows.execution.enqueue import SlotTaken, enqueue
from scflows.execution.request import RunRequest
from scflows.history.recorder import Recorder
from scflows.history.run import CATCH_UP, RUNNING
from scflows.history.store import ask
from scflows.history.task_log import warn_in_scheduler_log
from scflows.locks import is_alive
from scflows.queue.entries import entry_of_run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from scflows.scheduler.due_slots import Slot
    from scflows.scheduler.missed.detection import CatchUpSlot
    from scflows.settings import Settings

#: How many catch-up slots are enqueued together; with very many tasks the others follow at the next look.
MOST_CATCH_UP = 1000


class SlotQueue:
    """Enqueues slots; settings and histories are opened once for all tasks that share them. A context manager."""

    def __init__(self, settings: Settings, most: int | None = None, limit: int | None = None) -> None:
        """`most` is how many permits there are, in place of what each task's settings say; `limit` bounds that."""
        self._settings = settings
        self._most = most
        self._limit = limit
        self._known: dict[tuple[str, ...], tuple[Settings, Recorder]] = {}
        self.problems: list[str] = []  #: histories that cannot be written

    def __enter__(self) -> SlotQueue:
        return self

    def __exit__(self, *ended: object) -> None:
        for _, recorder in self._known.values():
            recorder.close()
            if recorder.problem:
                self.problems.append(recorder.problem)

    def add_due(self, slots: Iterable[Slot], tasks: Mapping[str, Task], now: float) -> list[Slot]:
        """Enqueue due slots, each at its second; return those that could not be, as the queue cannot be written.

        Slots that became due while no scheduler looked run one after another; all others go by `overlap`.
        """
        minute = now // 60 * 60
        given = list(slots)
        seen: dict[str, int] = {}
        for slot in given:
            seen[slot.name] = seen.get(slot.name, 0) + 1
        failed = []
        for slot in given:
            task = tasks.get(slot.name)
            # A task that is gone was removed or paused meanwhile.
            if task is None:
                continue
            overlap = "" if slot.due < minute or seen[slot.name] > 1 else None
            try:
                if task.schedule.is_fine:
                    self.add_minute(task, slot.due, "scheduler", now, overlap)
                else:
                    self.add(task, slot.due, "scheduler", slot.due + task.schedule.second, now, overlap)
            except OSError:
                failed.append(slot)
        return failed

    def add_minute(self, task: Task, minute: float, trigger: str, now: float, overlap: str | None = None) -> list[str]:
        """Enqueue the slots of a minute, for a task that has several within one; return the runs. Raises OSError."""
        return [
            self.add(task, slot, trigger, slot, now, overlap)
            for slot in task.schedule.within(minute)
            if not slot < task.begins <= now and now - slot <= STARTABLE and not task.is_paused(slot)
        ]

    def add_catch_up(self, slots: Iterable[CatchUpSlot], tasks: Mapping[str, Task], now: float) -> list[str]:
        """Enqueue slots that are caught up, the oldest first; return the ids of the runs. Raises OSError."""
        runs = []
        for each in sorted(slots)[:MOST_CATCH_UP]:
            task = tasks.get(each.task)
            run = "" if task is None else self.add(task, each.slot, CATCH_UP, each.slot, now)
            if run:
                runs.append(run)
        return runs

    def add(
        self, task: Task, slot: float | None, trigger: str, begins: float, now: float, overlap: str | None = None
    ) -> str:
        """Enqueue a run that begins at a time; return its id, empty if its slot has a run already. Raises OSError.

        `slot` is None for a boot task.
        """
        settings, recorder = self._of(task)
        due = None if slot is None else float(slot)
        request = RunRequest(task=task, trigger=trigger, slot=due, begins=float(begins))
        try:
            return enqueue(request, settings, recorder, self._permits(task, settings), overlap, now)
        except SlotTaken:
            return ""

    def _of(self, task: Task) -> tuple[Settings, Recorder]:
        """Return the settings of a task and its history; where they cannot be read, its run is refused and says why."""
        key = (task.workspace, *(f"{name}={value}" for name, value in sorted(task.settings.items())))
        if key not in self._known:
            try:
                settings = task_settings(task)
                # The queue belongs to the scheduler's state folder, whatever a task remembers.
                environment = {"XDG_STATE_HOME": os.path.dirname(self._settings.state_path)}
                settings = type(settings)(settings.home, {**settings.environment, **environment}, settings.given)
            except ScflowsError:
                settings = self._settings
            self._known[key] = settings, Recorder(settings)
        return self._known[key]

    def _permits(self, task: Task, settings: Settings) -> int:
        try:
            most = self._most or settings.max_runs
        except ScflowsError:
            return 1  # Its run is refused, and says why.
        return min(most, self._limit or most)


def enqueue_catch_up(
    settings: Settings, slots: Iterable[CatchUpSlot], tasks: Iterable[Task], now: float, most: int | None = None
) -> list[str]:
    """Enqueue slots that are caught up; return the ids of the runs.

    At most as many of them run at the same time as there are cores (or `most`), and no more than permits.
    """
    found = list(slots)
    if not found:
        return []
    try:
        with SlotQueue(settings, limit=most or len(os.sched_getaffinity(0))) as queue:
            return queue.add_catch_up(found, {task.name: task for task in tasks}, now)
    except OSError as error:
        warn_in_scheduler_log(settings, f"cannot catch up on missed slots: {error}")
        return []


def wait_for_runs(
    settings: Settings, runs: list[str], wait: Callable[[float], None], is_stop_requested: Callable[[], bool]
) -> None:
    """Return when some enqueued runs have ended, or when a stop is requested."""
    left = runs
    while left and not is_stop_requested():
        left = [run for run in left if entry_of_run(settings.state_path, run) is not None or _is_running(settings, run)]
        if left:
            wait(0.2)


def _is_running(settings: Settings, id: str) -> bool:
    run = ask(settings, lambda store: store.run(id), None)
    return run is not None and run.status == RUNNING and is_alive(run.holder) is not False
