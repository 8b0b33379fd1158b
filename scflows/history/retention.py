"""Retention: remove old runs, logs and run folders by age, number and size."""

from __future__ import annotations

import os
import time

from scflows.config import Config, Retention, read_config
from scflows.errors import ScflowsError
from scflows.history.growth import note_size
from scflows.history.log_trim import trim_log
from scflows.history.run import first_id, latest_start
from scflows.history.store import ask
from scflows.history.task_log import log_path, logged_tasks, run_logs, scheduler_log
from scflows.storage import discard, names_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from scflows.history.contract import RunStore
    from scflows.settings import Settings

DAY = 24 * 3600.0
#: Seconds after which a run folder without a record is removed; a younger one may belong to a run not recorded yet.
RECORDING_SECONDS = 3600.0


class RetentionLimits:
    """The retention of each task, from the settings of its own workspace."""

    def __init__(self, settings: Settings) -> None:
        """Read the settings of this workspace. Raises UsageError if they are invalid: then nothing may be removed."""
        self._settings = settings
        self.here = read_config(settings)
        self._others: dict[str, Config | None] = {settings.home: self.here}

    def of(self, task: str) -> Retention | None:
        """Return the retention of a task, or None if its workspace's settings cannot be read."""
        path = os.path.join(self._settings.state_path, "tasks", f"{task}.json")
        if "/" in task or not os.path.exists(path):
            return self.here.retention_of(task)
        from scflows.cron.task import TaskStore, task_settings

        try:
            stored = TaskStore(self._settings).read(task)
            if stored.workspace not in self._others:
                self._others[stored.workspace] = read_config(task_settings(stored))
            config = self._others[stored.workspace]
        except ScflowsError:
            return None
        return None if config is None else config.retention_of(task)


def excess(store: RunStore, settings: Settings, before: float | None = None, now: float | None = None) -> list[str]:
    """Return the ids of the runs to remove: those before a moment or, without one, those beyond the retention.

    Raises UsageError if the settings are invalid.
    """
    limits = RetentionLimits(settings)
    ids: list[str] = []
    for task in store.tasks():
        retention = limits.of(task)
        if before is not None:
            ids += store.excess(task, before)
        elif retention is not None:
            moment = time.time() if now is None else now
            ids += store.excess(task, moment - retention.days * DAY, retention.runs, latest_start(moment))
    return ids


def prune(store: RunStore, settings: Settings, before: float | None = None) -> int:
    """Remove the runs that `excess` returns, with their logs and run folders; return how many runs.

    Raises UsageError if the settings are invalid, and errors of the history.
    """
    limits = RetentionLimits(settings)
    now = time.time()
    removed = store.remove(excess(store, settings, before, now))
    oldest = now - limits.here.retention.days * DAY
    if before is not None:
        oldest = before
    _prune_logs(limits, store, settings, before, now)
    for folder in ("claims", "checked-flows", "pending-hooks", "targets", "tracebacks"):
        for path in _files(os.path.join(settings.state_path, folder)):
            _remove_older(path, oldest)
    note_size(settings, prune_folders(store, settings, limits.here.retention.total_bytes))
    if removed:
        store.compact()
    return removed


def _prune_logs(limits: RetentionLimits, store: RunStore, settings: Settings, before: float | None, now: float) -> None:
    for task in list(logged_tasks(settings.tasks_path)):
        retention = limits.of(task)
        if retention is None:
            continue
        path = log_path(settings.tasks_path, task)
        oldest = now - retention.days * DAY if before is None else before
        try:
            is_removed = _prune_run_logs(run_logs(settings.tasks_path, task), store, oldest, retention.log_bytes)
            if _remove_older(path, oldest):
                is_removed = True
            elif os.path.isfile(path):
                trim_log(path, retention.log_bytes, oldest)
            if is_removed:
                os.rmdir(os.path.dirname(path))
        except OSError:
            continue  # The log cannot be trimmed, or its folder holds other files.
    try:
        trim_log(scheduler_log(settings.tasks_path), limits.here.retention.log_bytes)
    except OSError:
        pass  # The log does not exist yet.


def _prune_run_logs(paths: list[str], store: RunStore, oldest: float, total: int) -> bool:
    """Remove logs of single runs: of removed and of old runs, then the oldest until their total size is `total`.

    Return whether any was removed.
    """
    if not paths:
        return False
    runs = {os.path.basename(path).removesuffix(".log"): path for path in paths}
    known, unfinished = store.known(list(runs)), {run.id for run in store.unfinished()}
    size_of_all = sum(_size(path) for path in paths)
    is_removed = False
    for run, path in runs.items():
        size = _size(path)
        is_lost = run not in known and _is_older(path, time.time() - RECORDING_SECONDS)
        if run not in unfinished and (is_lost or size_of_all > total or _is_older(path, oldest)):
            discard(path)
            size_of_all -= size
            is_removed = True
    return is_removed


def shrink_folders(settings: Settings, total: int) -> None:
    """Remove the oldest run folders so that their total size is somewhat below a limit."""

    def shrink(store: RunStore) -> None:
        # Somewhat below, so that not each of the next runs has to do it again.
        note_size(settings, prune_folders(store, settings, int(total * 0.9)))

    ask(settings, shrink, None)


def prune_folders(store: RunStore, settings: Settings, total: int) -> int:
    """Remove the folders of removed runs, then the oldest folders until their total size is within the limit.

    Returns the remaining size.
    """
    top = os.path.join(settings.state_path, "runs")
    names = [name for name in names_in(top) if os.path.isdir(os.path.join(top, name))]
    known = store.known(names)
    unfinished = {run.id for run in store.unfinished()}
    folders: list[tuple[str, int]] = []
    for name in names:
        path = os.path.join(top, name)
        if name not in known and _is_older(path, time.time() - RECORDING_SECONDS):
            _remove_folder(path)
        else:
            folders.append((name, sum(_size(each) for each in _files(path))))
    size_of_all = sum(size for _, size in folders)
    # Run ids sort by time, so the oldest folder is first, after those of a clock that was ahead.
    ahead = first_id(latest_start(time.time()))
    for name, size in sorted(folders, key=lambda folder: (folder[0] < ahead, folder[0])):
        if size_of_all <= total:
            break
        if name not in unfinished:
            _remove_folder(os.path.join(top, name))
            size_of_all -= size
    return size_of_all


def _remove_folder(path: str) -> None:
    from shutil import rmtree

    rmtree(path, ignore_errors=True)


def _files(folder: str) -> Iterator[str]:
    for parent, _, names in os.walk(folder):
        for name in names:
            yield os.path.join(parent, name)


def _remove_older(path: str, before: float) -> bool:
    if not _is_older(path, before):
        return False
    try:
        os.unlink(path)
    except OSError:
        return False  # Another process removed it, or we may not.
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
