"""Tasks grouped by the settings under which they run, each group with its history."""

from __future__ import annotations

import time
from dataclasses import dataclass

from scflows.cron.task import Task, task_settings
from scflows.history.store import FAULTS, history_location, open_store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from scflows.history.contract import RunStore
    from scflows.settings import Settings


@dataclass(frozen=True)
class TaskGroup:
    """Tasks of one workspace that run under the same settings and therefore have the same history."""

    settings: Settings
    store: RunStore
    tasks: list[Task]


def task_groups(
    settings: Settings,
    store: RunStore,
    tasks: Iterable[Task],
    give_up: Callable[[list[Task], Exception], object] = lambda tasks, error: None,
) -> Iterator[TaskGroup]:
    """Yield the tasks that are not paused in groups.

    `store` is the history of `settings`; those of other workspaces are opened, and closed after their group.
    `give_up` is called with the tasks whose workspace or history cannot be used; their runs report that.
    """
    now = time.time()
    groups: dict[tuple[str, tuple[tuple[str, str], ...]], list[Task]] = {}
    for task in tasks:
        if not task.is_paused(now):
            groups.setdefault((task.workspace, tuple(task.settings.items())), []).append(task)
    for group in groups.values():
        try:
            of_group = task_settings(group[0], settings.state_path)
            if history_location(of_group) == history_location(settings):
                yield TaskGroup(of_group, store, group)
                continue
            other = open_store(of_group)
        except FAULTS as error:
            give_up(group, error)
            continue
        with other:
            yield TaskGroup(of_group, other, group)
