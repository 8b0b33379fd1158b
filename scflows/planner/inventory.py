"""The tasks that there are, and the load that they make: as kept when they were written last, or counted anew."""

from __future__ import annotations

import os
import time
from functools import cached_property

from scflows.cron.lazy_tasks import LazyTasks
from scflows.cron.task_index import read_tasks
from scflows.errors import NotFound, ScflowsError
from scflows.planner.load.durations import measured_durations
from scflows.planner.load.load import Load, load_of
from scflows.planner.load_cache import CachedLoad, read_cached_load, write_cached_load
from scflows.planner.plan import KEEP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from scflows.cron.task import Task, TaskStore
    from scflows.planner.load.durations import Durations
    from scflows.planner.load.other_crontabs import BusyMinutes
    from scflows.planner.plan import Plan
    from scflows.planner.sources.base import TaskRequest
    from scflows.planner.write_intent import WriteIntent
    from scflows.settings import Settings


class TaskInventory:
    """The tasks with their load, for as long as nobody else changes them: hold `file_lock`."""

    def __init__(
        self, settings: Settings, store: TaskStore, left_over: WriteIntent, is_dry: bool, one_line: bool, foreign: bytes
    ) -> None:
        """`left_over` is what a command that was killed had begun; `foreign` are the lines of the crontab that are not
        ours. With `one_line` the tasks need not be read to write the crontab."""
        self.broken: list[str] = []  #: what is wrong with tasks that cannot be read
        self._settings = settings
        self._store = store
        self._removed = left_over.removed
        self._is_dry = is_dry
        self._foreign = foreign
        self._kept: CachedLoad | None = None
        self._load: Load | None = None
        self._durations: Durations | None = None
        self._weighed = time.time()  #: when the durations were measured
        kept = None if left_over.names else read_cached_load(settings)
        # With a line for each all tasks are read anyway.
        if kept is not None and (one_line or not kept.is_old):
            self._kept, self._weighed = kept, kept.weighed
        known = (None, 0) if self._kept is None else (self._kept.count, self._kept.enabled)
        self.tasks = LazyTasks(self._read_all, self._read, *known)

    def keep(self, plan: Plan) -> None:
        """Keep the load that a plan makes, once it is written."""
        if plan.load_after is not None and not self.broken:
            kept = CachedLoad(plan.load_after, self.durations, len(plan.tasks), plan.tasks.enabled, self._weighed)
            write_cached_load(self._settings, kept)

    def weigh_anew(self) -> None:
        """Count all tasks, by what their runs take now."""
        self._kept = self._load = self._durations = None
        self._weighed = time.time()

    @property
    def durations(self) -> Durations:
        """What runs of the tasks that are there are expected to take."""
        if self._durations is None and self._kept is not None:
            self._durations = self._kept.durations
        if self._durations is None:
            self._durations = measured_durations(self._settings, self.tasks.values())
        return self._durations

    def seconds(self, task: Task | TaskRequest) -> float:
        """How long a run of a task is expected to take."""
        return self.durations.of(task.name, task.source, task.kind)

    @property
    def load(self) -> Load:
        """The load of the tasks that are there, and of those planned so far."""
        if self._load is None:
            self._load = self._load_of(self.tasks.values()) if self._kept is None else self._kept.load
            self._load.avoided = self.avoided
            self._load_before = self._load.copy()
        return self._load

    @cached_property
    def avoided(self) -> BusyMinutes:
        """The minutes that are left to others where it costs nothing."""
        from scflows.planner.load.other_crontabs import busy_minutes

        return busy_minutes(self._settings.system_cron_path, self._foreign, time.time())

    def load_after(self, plan: Plan) -> Load:
        """The load once a plan is carried out."""
        changed = [change.task.name for change in plan.changes if change.action != KEEP]
        if len(changed) > len(plan.tasks) // 10 or self._load is None:
            return self._load_of(plan.tasks.values())
        load = self._load_before.copy()
        for name in dict.fromkeys(changed):
            for task, times in ((self.tasks.get(name), -1), (plan.tasks.get(name), 1)):
                if task is not None and task.enabled:
                    load.count(task.schedule, self.seconds(task), times)
        return load

    def make_room(self, task: Task) -> None:
        """Count a task no more that is about to be placed anew."""
        if task.enabled:
            self.load.count(task.schedule, self.seconds(task), -1)

    def _load_of(self, tasks: Iterable[Task]) -> Load:
        return load_of((task.schedule, self.seconds(task)) for task in tasks if task.enabled)

    def _read_all(self) -> dict[str, Task]:
        if self._kept is not None and self._kept.is_old and self._load is None:
            self.weigh_anew()
        tasks, problems = read_tasks(self._settings, keep=not self._is_dry)
        self.broken = [str(problem) for problem in problems]
        return {task.name: task for task in tasks if task.name not in self._removed}

    def _read(self, name: str) -> Task | None:
        try:
            task = self._store.read(name)
            changed = os.stat(self._store.path(name)).st_ctime_ns
        except NotFound:
            return None
        except (ScflowsError, OSError):
            self.weigh_anew()
            return self.tasks.all().get(name)
        if self._kept is not None and changed > self._kept.kept:
            # Somebody wrote into the file: what was counted for it is not what it says.
            self.weigh_anew()
        return task
