"""What keeps a task of the scheduler from starting: whether there is a place for it, and whether it runs already."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.cron.task import task_settings
from scflows.errors import ScflowsError
from scflows.locks import held
from scflows.queue.permits import acquire_permit, is_queue_empty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from scflows.cron.task import Task
    from scflows.queue.permits import Permit
    from scflows.scheduler.due_slots import DueSlots, Slot
    from scflows.settings import Settings


@dataclass(frozen=True)
class TaskLimits:
    """What the settings of a task say of its places."""

    places: int  #: how many there are for it
    patience: float  #: how many seconds it may wait for one
    lock_path: str  #: the folder of its lock


class Capacity:
    """Goes by each task's own settings; where `places` is given, it stands for what these say."""

    def __init__(self, settings: Settings, agenda: DueSlots, places: int | None) -> None:
        self.places = places
        self._settings = settings
        self._agenda = agenda
        self._known: dict[tuple[str, ...], TaskLimits] = {}

    def forget(self) -> None:
        """Read the settings anew from now on."""
        self._known.clear()

    def of(self, name: str) -> TaskLimits:
        """What holds for a task; for one that is gone, and one whose settings cannot be, what holds for us."""
        task = self._agenda.tasks.get(name)
        mine = self._limits(self._settings)
        if task is None:
            return mine
        named = ("MAX_RUNS", "MAX_WAIT_SECONDS", "LOCK_PATH", "XDG_STATE_HOME")
        key = (task.workspace, *(task.settings.get(name, "") for name in named))
        if key not in self._known:
            try:
                self._known[key] = self._limits(task_settings(task))
            except ScflowsError:
                self._known[key] = mine  # Its run is refused, and says why.
        return self._known[key]

    def _limits(self, settings: Settings) -> TaskLimits:
        return TaskLimits(self.places or settings.max_runs, settings.max_wait_seconds, settings.lock_path)

    def runs(self, names: Iterable[str]) -> set[str]:
        """Those of the tasks that run, whoever started them: their locks are held."""
        folders: dict[str, set[str]] = {}
        for name in names:
            folders.setdefault(self.of(name).lock_path, set()).add(name)
        return {name for folder, wanted in folders.items() for name in held(folder, wanted)}

    def is_light(self, name: str) -> bool:
        """Whether a task's process takes no place: it runs the slots of a minute, each of which asks for one."""
        task = self._agenda.tasks.get(name)
        return task is not None and task.schedule.is_fine

    def take(self, slot: Slot, task: Task, now: float, since: float, full: int = 0) -> tuple[bool, Permit | None]:
        """Whether there is room for a slot, and the place that it takes, if it takes one.

        It waits `since`; the first `full` places are for slots before it. Times are seconds since the epoch.
        """
        if task.command or task.schedule.is_fine:
            return True, None
        state, most = self._settings.state_path, self.of(task.name).places
        try:
            if not is_queue_empty(state):
                from scflows.queue.entries import QueueEntry
                from scflows.queue.files import permits_reserved_for_earlier

                before = QueueEntry(-task.priority, float(slot.due + task.schedule.second), slot.name, "")
                full = max(full, permits_reserved_for_earlier(state, now, before, most))
            place = acquire_permit(state, most, full)
            if place is not None:
                place.waited = max(0.0, now - since)
        except OSError:
            return True, None  # Its run says that it runs beside whatever else runs.
        return place is not None, place
