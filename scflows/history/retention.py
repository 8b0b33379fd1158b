"""What is kept and what is not: runs, logs and run folders, by age, number and size."""

from __future__ import annotations

import os
import time

from scflows.config import Config, Retention, read_config
from scflows.errors import ScflowsError
from scflows.history.log_trim import cut_log
from scflows.history.task_log import log_files, scheduler_log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from scflows.history.contract import RunStore
    from scflows.settings import Settings

DAY = 24 * 3600.0
#: A run folder that is younger than this may belong to a run whose record is still on its way, in seconds.
SURELY_RECORDED = 3600.0


class RetentionLimits:
    """How much is kept of each task: what the settings of its own workspace say."""

    def __init__(self, settings: Settings) -> None:
        """Raises UsageError for settings that cannot be read: then nothing may be removed."""
        self._settings = settings
        self.here = read_config(settings)
        self._others: dict[str, Config | None] = {settings.home: self.here}

    def of(self, task: str) -> Retention | None:
        """None where the task's workspace cannot be asked."""
        path = os.path.join(self._settings.state_path, "tasks", f"{task}.json")
        if "/" in task or not os.path.exists(path):
            return self.here.retention_of(task)
        from scflows.cron.task import TaskStore, task_settings

        try:
            found = TaskStore(self._settings).read(task)
            if found.workspace not in self._others:
                self._others[found.workspace] = read_config(task_settings(found))
            config = self._others[found.workspace]
        except ScflowsError:
            return None
        return None if config is None else config.retention_of(task)


def excess(store: RunStore, settings: Settings, before: float | None = None, now: float | None = None) -> list[str]:
    """The ids of the runs that are not kept: those from before a moment, else those beyond what the settings keep.

    Raises UsageError for settings that cannot be read.
    """
    limits = RetentionLimits(settings)
    found: list[str] = []
    for task in store.tasks():
        kept = limits.of(task)
        if before is not None:
            found += store.excess(task, before)
        elif kept is not None:
            found += store.excess(task, (time.time() if now is None else now) - kept.days * DAY, kept.runs)
    return found


def prune(store: RunStore, settings: Settings, before: float | None = None) -> int:
    """Remove what is not kept, see `excess`, with the logs and run folders that belong to it; how many runs.

    Raises UsageError for settings that cannot be read, and what the history raises.
    """
    limits = RetentionLimits(settings)
    now = time.time()
    removed = store.remove(excess(store, settings, before, now))
    oldest = now - limits.here.retention.days * DAY
    if before is not None:
        oldest = before
    _prune_logs(limits, settings, before, now)
    for folder in ("claims", "checked-flows", "owed", "targets", "tracebacks"):
        for path in _files(os.path.join(settings.state_path, folder)):
            _remove_older(path, oldest)
    _prune_folders(store, settings, limits.here.retention.total_bytes)
    if removed:
        store.compact()
    return removed


def _prune_logs(limits: RetentionLimits, settings: Settings, before: float | None, now: float) -> None:
    for path in log_files(settings.tasks_path):
        folder, name = os.path.split(path)
        kept = limits.of(name.removesuffix(".log"))
        if kept is None:
            continue
        oldest = now - kept.days * DAY if before is None else before
        try:
            if _remove_older(path, oldest):
                os.rmdir(folder)
            else:
                cut_log(path, kept.log_bytes, oldest)
        except OSError:
            continue  # A log that cannot be cut is as good as before; a folder with other things in it stays.
    try:
        cut_log(scheduler_log(settings.tasks_path), limits.here.retention.log_bytes)
    except OSError:
        pass  # Nothing was scheduled yet.


def _prune_folders(store: RunStore, settings: Settings, total: int) -> None:
    """Remove the folders of runs that are gone, and the oldest ones while all together are too large."""
    top = os.path.join(settings.state_path, "runs")
    try:
        names = sorted(name for name in os.listdir(top) if os.path.isdir(os.path.join(top, name)))
    except OSError:
        return
    known = store.known(names)
    going_on = {run.id for run in store.unfinished()}
    kept: list[tuple[str, int]] = []
    for name in names:
        path = os.path.join(top, name)
        if name not in known and _is_older(path, time.time() - SURELY_RECORDED):
            _remove_folder(path)
        else:
            kept.append((name, sum(_size(each) for each in _files(path))))
    left = sum(size for _, size in kept)
    # The oldest first: a run's id begins with its time.
    for name, size in kept:
        if left <= total:
            return
        if name not in going_on:
            _remove_folder(os.path.join(top, name))
            left -= size


def _remove_folder(path: str) -> None:
    from shutil import rmtree

    rmtree(path, ignore_errors=True)


def _files(folder: str) -> Iterator[str]:
    for place, _, names in os.walk(folder):
        for name in names:
            yield os.path.join(place, name)


def _remove_older(path: str, before: float) -> bool:
    if not _is_older(path, before):
        return False
    try:
        os.unlink(path)
    except OSError:
        return False  # Somebody else was quicker, or it is not ours.
    return True


def _is_older(path: str, before: float) -> bool:
    try:
        return os.stat(path).st_mtime < before
    except OSError:
        return False


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
