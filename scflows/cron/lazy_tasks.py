"""Tasks by name, read one by one while only a few are needed and all together otherwise; and changes to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scflows.cron.task import Task

#: After this many single files, it is faster to read all tasks.
MAX_SINGLE_READS = 100


class LazyTasks(Mapping[str, "Task"]):
    """The current tasks. They must not change meanwhile: hold `file_lock`."""

    def __init__(
        self,
        read_all: Callable[[], dict[str, Task]],
        read: Callable[[str], Task | None],
        count: int | None = None,
        enabled: int = 0,
    ) -> None:
        """`count`: all tasks; `enabled`: those not paused. Without `count`, all tasks are read immediately."""
        self._read_all, self._read, self._count, self._enabled = read_all, read, count, enabled
        self._some: dict[str, Task | None] = {}
        self._all: dict[str, Task] | None = None
        if count is None:
            self.all()

    def all(self) -> dict[str, Task]:
        """Return all tasks by name, in the order of names."""
        if self._all is None:
            self._all = self._read_all()
        return self._all

    @property
    def enabled(self) -> int:
        """The number of tasks that are not paused."""
        return self._enabled if self._all is None else sum(task.enabled for task in self._all.values())

    def __getitem__(self, name: str) -> Task:
        if self._all is None and name not in self._some:
            if len(self._some) >= MAX_SINGLE_READS:
                self.all()
            else:
                self._some[name] = self._read(name)
        task = self._some.get(name) if self._all is None else self._all.get(name)
        if task is None:
            raise KeyError(name)
        return task

    def __iter__(self) -> Iterator[str]:
        return iter(self.all())

    def __len__(self) -> int:
        return len(self._all) if self._all is not None else self._count or 0


class TaskChanges(MutableMapping[str, "Task"]):
    """The tasks as they would be: the current ones with changes."""

    def __init__(self, before: LazyTasks) -> None:
        self._before = before
        self._changed: dict[str, Task | None] = {}
        self._added = 0

    def __getitem__(self, name: str) -> Task:
        task = self._changed[name] if name in self._changed else self._before[name]
        if task is None:
            raise KeyError(name)
        return task

    def __setitem__(self, name: str, task: Task) -> None:
        self._added += name not in self
        self._changed[name] = task

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)
        self._added -= 1
        self._changed[name] = None

    def __iter__(self) -> Iterator[str]:
        before = self._before.all()
        yield from (name for name in before if self._changed.get(name, True) is not None)
        yield from (name for name, task in self._changed.items() if task is not None and name not in before)

    def __len__(self) -> int:
        return len(self._before) + self._added

    @property
    def enabled(self) -> int:
        """The number of tasks that are not paused."""
        count = self._before.enabled
        for name, task in self._changed.items():
            before = self._before.get(name)
            count += (task is not None and task.enabled) - (before is not None and before.enabled)
        return count
