"""Slots that nobody answered for, on their way into the history."""

from __future__ import annotations

from scflows.cron.task import task_settings
from scflows.errors import ScflowsError
from scflows.history.recorder import Recorder
from scflows.history.run import CANCELLED, SKIPPED
from scflows.scheduler.missed.detection import missed_run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from scflows.cron.task import Task
    from scflows.scheduler.due_slots import Slot

STOPPED = "the scheduler was stopped before its turn came"
LATE = "it waited for a place for longer than MAX_WAIT_SECONDS"
BEHIND = "an earlier slot of it waits for a place already"
SUPPLANTED = "a later slot of it came in its stead"
#: What these are recorded as; all others are missed.
ENDS = {LATE: (SKIPPED, "queue_timeout"), BEHIND: (SKIPPED, "locked"), SUPPLANTED: (CANCELLED, "overlap")}


class SkippedSlots:
    """Keeps missed slots until there is time to record each as a run that was skipped."""

    def __init__(self) -> None:
        self._slots: list[tuple[Slot, Task, str]] = []

    def __len__(self) -> int:
        return len(self._slots)

    def add(self, slots: Iterable[Slot], tasks: Mapping[str, Task], why: str) -> None:
        """Slots whose task is gone are nobody's business any more; those of a task that catches up stay open."""
        self._slots += [
            (slot, tasks[slot.name], why)
            for slot in slots
            if slot.name in tasks
            and (why in ENDS or (tasks[slot.name].catch_up == "none" and not tasks[slot.name].schedule.is_fine))
        ]

    def record(self, now: float, most: int | None = None) -> list[str]:
        """Record the first of them, `most` at once; what went wrong.

        A history that cannot be written is tried once: what it should have taken is given up, since the next
        slot must not wait for it.
        """
        chosen = self._slots[:most]
        del self._slots[:most]
        recorders: dict[str, Recorder] = {}
        problems: dict[str, str] = {}
        for slot, task, why in chosen:
            home = task.workspace
            if home in problems:
                continue
            try:
                recorder = recorders.get(home) or Recorder(task_settings(task))
                recorders[home] = recorder
                run = missed_run(task, slot.due, why, now, "scheduler")
                run.status, run.reason = ENDS.get(why, (run.status, run.reason))
                recorder.claim(run)
                if recorder.problem:
                    problems[home] = recorder.problem
            except ScflowsError as error:
                problems[home] = str(error)
        for recorder in recorders.values():
            recorder.close()
        self._slots = [each for each in self._slots if each[1].workspace not in problems]
        return list(problems.values())
