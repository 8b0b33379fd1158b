"""Notifications that failed: each is stored, and tried again until it was delivered once.

Each has one file in the folder `undelivered` of the state. Runs and commands try those that are due; the time between
two attempts doubles, up to an hour. After a day it is given up, which `flows health` shows for a week.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace

from scflows.errors import ScflowsError
from scflows.history.run import new_run_id
from scflows.history.task_log import TaskLog, log_path
from scflows.locks import locked
from scflows.settings import Settings, read_settings
from scflows.storage import BROKEN, checked_number, checked_seconds, checked_text, inside, json_names
from scflows.storage import replace as replace_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    #: Run a hook: (path of the flow, its input, the task it concerns, settings). Return what went wrong.
    Start = Callable[[str, dict[str, Any], str, Settings], str]

#: Seconds until the second attempt, the longest time between two attempts, and until it is given up.
FIRST_WAIT = 60.0
LONGEST_WAIT = 3600.0
GIVE_UP_AFTER = 24 * 3600.0
#: How many are stored for each task; beyond it, the oldest is given up.
MAX_PER_TASK = 20
#: Seconds for which one that was given up is stored.
RETENTION_SECONDS = 7 * 24 * 3600.0
#: What is tried again. An `on_success` hook is not a notification: a second start might repeat its work.
RETRIED = ("on_failure", "on_recovery", "ping success", "ping failure")


@dataclass(frozen=True)
class Notification:
    """A hook or ping to call. Times are seconds since the epoch."""

    kind: str  #: the name of the hook, or `ping success` and the like
    task: str
    target: str  #: the path of the hook, or the address of the ping
    values: dict[str, Any]  #: the input of the hook; of a ping `run` and `body`
    folder: str = ""  #: for a flow's own hook: the folder in which it must be
    log: str = ""  #: path of the log of the run that it is about
    home: str = ""
    settings: dict[str, str] = field(default_factory=dict)  #: those in force when it failed
    first: float = 0.0  #: when it failed first
    due: float = 0.0  #: when to try it again
    attempts: int = 0
    problem: str = ""  #: why the last attempt failed
    is_over: bool = False  #: whether it was given up

    @property
    def is_ping(self) -> bool:
        return self.kind.startswith("ping")

    @property
    def title(self) -> str:
        # The address of a ping is often a key.
        return self.kind if self.is_ping else f"{self.kind} {self.target}"


def send(notification: Notification, settings: Settings, start: Start) -> str:
    """Call the hook or ping; return what went wrong, or an empty text."""
    try:
        if notification.is_ping:
            from scflows.notifications.pings import Ping

            values = notification.values
            return Ping(notification.target, values["run"], notification.task, values["body"]).wait()
        path = notification.target
        if notification.folder:
            # Like the flows that a flow runs, its hooks must be in its folder.
            path = inside(notification.folder, path)
        problem = start(path, notification.values, notification.task, settings)
    except (ScflowsError, OSError) as error:
        problem = str(error)
    return f"{notification.title}: {problem}" if problem else ""


def deliver(notification: Notification, settings: Settings, start: Start) -> str:
    """Call the hook or ping, and store it for another attempt if that fails; return what went wrong."""
    if has_undelivered(settings):
        if notification.is_ping:
            _drop_pings(settings, notification.task)
        else:
            # In the order of events: a failure is reported before the recovery from it.
            retry_undelivered(settings, start, earlier_than=notification)
    problem = send(notification, settings, start)
    if not problem:
        _drop_given_up(settings, notification)
    elif notification.kind in RETRIED:
        now = time.time()
        with suppress(ScflowsError):
            notification = replace(notification, home=settings.home, settings=settings.remembered())
        stored = replace(notification, first=now, due=now + FIRST_WAIT, attempts=1, problem=problem)
        try:
            os.makedirs(_folder(settings), mode=0o700, exist_ok=True)
            _make_room(settings, notification.task)
            _write(os.path.join(_folder(settings), f"{new_run_id(now)}.json"), stored)
        except OSError as error:
            return f"{problem}; it is not tried again: {error.strerror}"
        return f"{problem}; it will be tried again for a day"
    return problem


def has_undelivered(settings: Settings) -> bool:
    """Return whether there are notifications that were not delivered."""
    return next(iter(json_names(_folder(settings))), None) is not None


def undelivered(settings: Settings) -> Iterator[Notification]:
    """Yield the notifications that were not delivered, including those given up, the oldest first."""
    for path in _paths(settings):
        found = _read(path)
        if found is not None:
            yield found


def retry_undelivered(
    settings: Settings, start: Start, now: float | None = None, earlier_than: Notification | None = None
) -> None:
    """Try the notifications that are due again; or those of the same task and hook as a new one, due or not.

    Tasks whose notifications another process is trying are skipped, so that a hook that hangs only delays its own task.
    After one that fails, the later ones of the same task wait, too.
    """
    moment = time.time() if now is None else now
    failing: set[str] = set()
    for path in list(_paths(settings)):
        found = _read(path)
        if found is None or found.task in failing:
            continue
        is_wanted = _is_due(found, moment) if earlier_than is None else _is_earlier(found, earlier_than)
        if not is_wanted:
            continue
        try:
            with locked(os.path.join(_folder(settings), f".{found.task}"), wait=False):
                current = _read(path)
                if current == found and not _retry(path, found, start, moment):
                    failing.add(found.task)
        except OSError:
            continue  # Another process is trying it, or nothing can be written.


def _is_earlier(stored: Notification, new: Notification) -> bool:
    return not stored.is_over and (stored.task, stored.target) == (new.task, new.target)


def _retry(path: str, notification: Notification, start: Start, now: float) -> bool:
    """Try it again; return whether it is settled."""
    if notification.is_over:
        os.unlink(path)
        return True
    attempts = notification.attempts + 1
    # After a clock that was ahead, the first attempt seems to be in the future.
    first = min(notification.first, now)
    wait = min(FIRST_WAIT * 2.0 ** min(attempts - 1, 10), LONGEST_WAIT)
    # Written before the attempt: a process that is killed during each attempt must not try forever.
    tried = replace(notification, first=first, attempts=attempts, due=now + wait)
    _write(path, tried)
    settings: Settings | None = None
    try:
        settings = read_settings(notification.home, {**os.environ, **notification.settings})
        problem = send(notification, settings, start)
    except ScflowsError as error:
        problem = f"{notification.title}: {error}"
    if not problem:
        os.unlink(path)
        _log(tried, settings, f"{tried.title}: delivered with attempt {attempts}")
        return True
    if now - first + wait > GIVE_UP_AFTER:
        _write(path, replace(tried, problem=problem, is_over=True))
        _log(tried, settings, f"{problem}; given up after {attempts} attempts")
    else:
        _write(path, replace(tried, problem=problem))
        _log(tried, settings, f"{problem}; attempt {attempts} failed")
    return False


def _is_due(notification: Notification, now: float) -> bool:
    if notification.is_over:
        return now - notification.first > RETENTION_SECONDS
    return now >= notification.due or notification.due - now > LONGEST_WAIT


def has_due(settings: Settings, now: float) -> bool:
    """Return whether there are notifications to try again."""
    return any(_is_due(each, now) for each in undelivered(settings))


def _make_room(settings: Settings, task: str) -> None:
    """Remove the oldest notifications of a task if there are too many."""
    of_task = [path for path in _paths(settings) if (found := _read(path)) is not None and found.task == task]
    for path in of_task[: max(0, len(of_task) + 1 - MAX_PER_TASK)]:
        os.unlink(path)


def _drop_pings(settings: Settings, task: str) -> None:
    """Remove the older pings of a task, because a service would take them for the state after the newest one."""
    for path in _paths(settings):
        found = _read(path)
        if found is not None and found.is_ping and found.task == task:
            with suppress(OSError):
                os.unlink(path)


def _drop_given_up(settings: Settings, delivered: Notification) -> None:
    """Remove what was given up, now that a notification of the same task arrives again."""
    for path in _paths(settings):
        found = _read(path)
        if found is not None and found.is_over and (found.task, found.target) == (delivered.task, delivered.target):
            with suppress(OSError):
                os.unlink(path)


def _paths(settings: Settings) -> Iterator[str]:
    folder = _folder(settings)
    return (os.path.join(folder, f"{name}.json") for name in sorted(json_names(folder)))


def _read(path: str) -> Notification | None:
    try:
        with open(path, "rb") as file:
            found = Notification(**json.loads(file.read()))
        for text in (found.kind, found.task, found.target, found.folder, found.log, found.home, found.problem):
            checked_text(text)
        for moment in (found.first, found.due):
            checked_seconds(moment)
        checked_number(found.attempts)
        if not isinstance(found.values, dict) or not isinstance(found.settings, dict):
            return None
        return found
    except BROKEN:
        return None


def _write(path: str, notification: Notification) -> None:
    content = json.dumps(notification.__dict__, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
    replace_file(path, content, mode=0o600, durable=False)


def _log(notification: Notification, settings: Settings | None, text: str) -> None:
    path = notification.log
    if not path and settings is not None:
        path = log_path(settings.tasks_path, notification.task)
    log = TaskLog(path) if settings is None else TaskLog(path, settings.log_level, zone=settings.timezone)
    log.warning(text)
    log.close()


def _folder(settings: Settings) -> str:
    return os.path.join(settings.state_path, "undelivered")
