"""The inventory: the current tasks and their load, from the cache if it is still valid, otherwise recomputed."""

from __future__ import annotations

import os
import time
from functools import cached_property

from scflows.cron.lazy_tasks import LazyTasks
from scflows.cron.task_index import read_tasks
from scflows.errors import NotFound, ScflowsError
from scflows.planner.load.durations import Durations, measured_durations
from scflows.planner.load.load import Load, load_of
from scflows.planner.load_cache import CachedLoad, read_cached_load, write_cached_load
from scflows.planner.plan import KEEP, Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from scflows.cron.task import Task, TaskStore
    from scflows.planner.load.other_crontabs import BusyMinutes
    from scflows.planner.sources.base import TaskRequest
    from scflows.planner.write_intent import WriteIntent
    from scflows.settings import Settings


class TaskInventory:
    """The tasks with their load. Hold `file_lock`, so that no other process changes them."""

    def __init__(
        self,
        settings: Settings,
        store: TaskStore,
        unfinished: WriteIntent,
        is_dry: bool,
        one_line: bool,
        foreign: bytes,
    ) -> None:
        """`unfinished` is the intent of a killed command, `foreign` the crontab without our lines. With `one_line`,
        writing the crontab does not need to read the tasks."""
        self.broken: list[str] = []  #: messages about tasks that cannot be read
        self._settings = settings
        self._store = store
        self._removed = unfinished.removed
        self._is_dry = is_dry
        self._foreign = foreign
        self._cached: CachedLoad | None = None
        self._load: Load | None = None
        self._durations: Durations | None = None
        self._measured = time.time()  #: when the durations were measured
        cached = None if unfinished.names else read_cached_load(settings)
        # With a line for each task, all tasks are read anyway.
        if cached is not None and (one_line or not cached.is_old):
            self._cached, self._measured = cached, cached.measured
        known = (None, 0) if self._cached is None else (self._cached.count, self._cached.enabled)
        self.tasks = LazyTasks(self._read_all, self._read, *known)

    def cache_load(self, plan: Plan) -> None:
        """Cache the load after a plan that was written."""
        if plan.load_after is not None and not self.broken:
            cached = CachedLoad(plan.load_after, self.durations, len(plan.tasks), plan.tasks.enabled, self._measured)
            write_cached_load(self._settings, cached)

    def measure_again(self) -> None:
        """Count all tasks again, by the current durations of their runs."""
        self._cached = self._load = self._durations = None
        self._measured = time.time()

    @property
    def durations(self) -> Durations:
        """The expected durations of the current tasks' runs."""
        if self._durations is None and self._cached is not None:
            self._durations = self._cached.durations
        if self._durations is None:
            self._durations = measured_durations(self._settings, self.tasks.values())
        return self._durations

    def seconds(self, task: Task | TaskRequest) -> float:
        """Return how long a run of a task is expected to take."""
        return self.durations.of(task.name, task.source, task.kind)

    @property
    def load(self) -> Load:
        """The load of the current tasks and of those planned so far."""
        if self._load is None:
            self._load = self._load_of(self.tasks.values()) if self._cached is None else self._cached.load
            self._load.busy_minutes = self.busy_minutes
            self._load_before = self._load.copy()
        return self._load

    @cached_property
    def busy_minutes(self) -> BusyMinutes:
        """The minutes that are avoided where that costs nothing."""
        from scflows.planner.load.other_crontabs import busy_minutes

        return busy_minutes(self._settings.system_cron_path, self._foreign, time.time())

    def load_after(self, plan: Plan) -> Load:
        """Return the load after a plan."""
        changed = [change.task.name for change in plan.changes if change.action != KEEP]
        if len(changed) > len(plan.tasks) // 10 or self._load is None:
            return self._load_of(plan.tasks.values())
        load = self._load_before.copy()
        for name in dict.fromkeys(changed):
            for task, times in ((self.tasks.get(name), -1), (plan.tasks.get(name), 1)):
                if task is not None and task.enabled:
                    load.count(task.schedule, self.seconds(task), times)
        return load

    def uncount(self, task: Task) -> None:
        """Remove a task from the load before it is placed again."""
        if task.enabled:
            self.load.count(task.schedule, self.seconds(task), -1)

    def _load_of(self, tasks: Iterable[Task]) -> Load:
        return load_of((task.schedule, self.seconds(task)) for task in tasks if task.enabled)

    def _read_all(self) -> dict[str, Task]:
        if self._cached is not None and self._cached.is_old and self._load is None:
            self.measure_again()
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
            self.measure_again()
            return self.tasks.all().get(name)
        if self._cached is not None and changed > self._cached.written:
            # The file was changed by hand since, so the cached load is wrong.
            self.measure_again()
        return task
