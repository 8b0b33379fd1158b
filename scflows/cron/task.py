"""A task on the crontab, and its file, which holds everything that the crontab line does not."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from functools import lru_cache

from scflows.cron.schedule.schedule import Schedule
from scflows.errors import NotFound, ScflowsError, UsageError
from scflows.settings import Settings, read_settings
from scflows.storage import MAX_SECONDS, open_regular, replace_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
NAME_CHARACTERS = LETTERS | frozenset("._-")
MAX_NAME_LENGTH = 100
#: The end of the year 9999, in seconds since the epoch.
MAX_EPOCH = 253402300800

#: The types of the values in a task file.
KINDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("name", "flow", "workspace", "source", "kind", "created", "since", "catch_up", "overlap"), str),
    **dict.fromkeys(("params", "settings", "schedule"), dict),
    **dict.fromkeys(("dry", "enabled"), bool),
    **dict.fromkeys(("command", "mutex"), list),
    **dict.fromkeys(("timeout", "start_within", "end_within"), (int, float, type(None))),
    **dict.fromkeys(("catch_up_cap", "priority", "max_active_runs"), int),
    "paused_until": (int, float),
}


@dataclass(frozen=True)
class Task:
    """One entry of the crontab."""

    name: str  #: unique for the user; also the name of the log
    schedule: Schedule
    flow: str = ""  #: absolute; empty if the task runs `command`
    command: tuple[str, ...] = ()  #: the arguments of a `flows` command line, such as ("auto-schedule",)
    workspace: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)  #: the settings in force when it was scheduled
    timeout: float | None = None  #: seconds
    dry: bool = False  #: its runs publish nothing
    source: str = "flows"  #: what created it; only that source changes it automatically
    enabled: bool = True  #: a paused task has a file but no line
    #: Seconds since the epoch; slots before it do not count. The line stays, so that nothing has to resume the task.
    paused_until: float = 0.0
    kind: str = ""
    created: str = ""  #: ISO 8601, UTC
    since: str = ""  #: since when its slots count, if later than `created`: when it was rescheduled or enabled
    catch_up: str = "none"
    catch_up_cap: int = 24
    overlap: str = "skip"
    priority: int = 0  #: that of its flow when it was scheduled; `flows cron run` orders by it
    mutex: tuple[str, ...] = ()  #: that of its flow when it was scheduled; a run uses the current flow
    max_active_runs: int = 1  #: how many of its runs may be active at the same time
    start_within: float | None = None  #: seconds from the slot to the latest start of a run; None: from the history
    end_within: float | None = None  #: seconds after which a running run is reported; None: from the history

    @property
    def begins(self) -> float:
        """Since when its slots count, in seconds since the epoch."""
        return max(_epoch(self.since or self.created), self.paused_until)

    @property
    def made(self) -> float:
        """When it was scheduled, in seconds since the epoch; 0 if unknown."""
        return _epoch(self.created)

    def is_paused(self, moment: float) -> bool:
        """Return whether slots at a moment (seconds since the epoch) are not run."""
        return not self.enabled or moment < self.paused_until

    def next_slot(self, after: float) -> int | None:
        """Return the next slot after a moment that will be run, in seconds since the epoch."""
        if not self.enabled:
            return None
        return self.schedule.next_epoch(max(after, self.paused_until - 1))

    def to_dict(self) -> dict[str, Any]:
        """Return the task as JSON values."""
        lists = {"command": list(self.command), "mutex": list(self.mutex)}
        return {**self.__dict__, "schedule": self.schedule.to_dict(), **lists}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Task:
        """Return the task of `to_dict`, ignoring unknown keys, which a newer version may have added.

        Raises UsageError, TypeError, ValueError or KeyError if it is invalid.
        """
        for key, value in values.items():
            if key in KINDS and not isinstance(value, KINDS[key]):
                raise UsageError(f"{key!r} has the wrong type")
        for key in ("timeout", "start_within", "end_within"):
            seconds = values.get(key)
            # Python reads NaN and Infinity in JSON.
            if seconds is not None and not 0 <= seconds < MAX_SECONDS:
                raise UsageError(f"{key!r} must be a number of seconds, not {seconds!r}")
        if not 0 <= values.get("paused_until", 0) < MAX_EPOCH:
            raise UsageError(f"'paused_until' must be a time in seconds, not {values['paused_until']!r}")
        known = {key: value for key, value in values.items() if key in cls.__dataclass_fields__}
        texts = [*values.get("command", ()), *values.get("mutex", ()), *values.get("settings", {}).values()]
        if not all(isinstance(each, str) for each in texts):
            raise UsageError("'command', 'mutex' or 'settings' has a value that is not text")
        if values.get("max_active_runs", 1) < 1:
            raise UsageError("'max_active_runs' must be at least 1")
        known["schedule"] = Schedule.from_dict(values["schedule"])
        known["command"] = tuple(values.get("command", ()))
        known["mutex"] = tuple(values.get("mutex", ()))
        return cls(**known)

    @classmethod
    def from_checked(cls, values: dict[str, Any]) -> Task:
        """Return the task of `to_dict`, given values that `from_dict` has validated before."""
        task = object.__new__(cls)
        schedule = Schedule.from_checked(values["schedule"])
        task.__dict__.update(values, schedule=schedule, command=tuple(values["command"]), mutex=tuple(values["mutex"]))
        return task


@lru_cache(maxsize=1024)
def _epoch(text: str) -> float:
    """Return a time in a task file as seconds since the epoch; 0 if there is none."""
    if not text:
        return 0.0
    from datetime import datetime

    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return 0.0  # A user edited the file; an invalid time counts as none.


class TaskStore:
    """The task files of a user, one per task, in the folder `tasks` of the state."""

    def __init__(self, settings: Settings) -> None:
        self.folder = os.path.join(settings.state_path, "tasks")

    def path(self, name: str) -> str:
        return os.path.join(self.folder, f"{check_name(name)}.json")

    def read(self, name: str) -> Task:
        """Return the task of a name. Raises NotFound, or UsageError if the name or the file is invalid."""
        path = self.path(name)
        try:
            with open(open_regular(path), "rb") as file:
                content = file.read()
        except FileNotFoundError as error:
            raise NotFound(f"task {name!r} not found", "list the tasks: flows list-tasks") from error
        except OSError as error:
            raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
        try:
            task = Task.from_dict(json.loads(content))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, UsageError) as error:
            raise UsageError(
                f"{path}: invalid task file: {error}",
                f"remove the task with: flows remove-task {name}; then schedule its flow again",
            ) from error
        if task.name != name:
            raise UsageError(f"{path}: this is the file of task {task.name!r}", "restore the name of the file")
        return task

    def read_all(self) -> tuple[list[Task], list[ScflowsError]]:
        """Return all tasks by name, and an error for each file that cannot be read."""
        try:
            names = os.listdir(self.folder)
        except (FileNotFoundError, NotADirectoryError):
            return [], []
        except OSError as error:
            return [], [UsageError(f"{self.folder}: cannot be read: {error.strerror}")]
        tasks, problems = [], []
        for name in sorted(name[:-5] for name in names if name.endswith(".json") and name[0] != "."):
            try:
                tasks.append(self.read(name))
            except NotFound:
                pass  # removed since the folder was listed
            except ScflowsError as error:
                problems.append(error)
        return tasks, problems

    def write(self, *tasks: Task) -> None:
        """Write task files, each of which is on the disk before it replaces the old one. Raises OSError."""
        # Parameters may be confidential.
        replace_all(((self.path(task.name), _content(task)) for task in tasks), mode=0o600)

    def remove(self, name: str) -> bool:
        """Remove a task file; return False if there was none."""
        try:
            os.unlink(self.path(name))
        except FileNotFoundError:
            return False
        return True


def task_settings(task: Task, state: str = "") -> Settings:
    """Return the settings that a task runs under: those in force when it was scheduled, over the environment.

    `state` is the state folder, if it is already known. Raises UsageError if the workspace is gone or its `.env` cannot
    be read.
    """
    known = {"XDG_STATE_HOME": os.path.dirname(state)} if state else {}
    return read_settings(task.workspace, {**os.environ, **task.settings, **known})


def _content(task: Task) -> bytes:
    # One value per line for readers. `indent` would disable the C code of `json`, which is five times faster.
    return json.dumps(task.to_dict(), ensure_ascii=False, separators=(",\n ", ": ")).encode() + b"\n"


def check_name(name: str) -> str:
    """Return the name. Raises UsageError if it cannot be used in a crontab or as a file name."""
    if is_name(name):
        return name
    problem = f"is longer than {MAX_NAME_LENGTH} characters" if len(name) > MAX_NAME_LENGTH else "is not valid"
    raise UsageError(
        f"the task name {name[: MAX_NAME_LENGTH + 20]!r} {problem}",
        f"use letters, digits and . _ - only, starting with a letter or digit, e.g. {_valid(name)}",
    )


def is_name(name: str) -> bool:
    """Return whether a task may have this name."""
    return bool(name) and name[0] in LETTERS and NAME_CHARACTERS.issuperset(name) and len(name) <= MAX_NAME_LENGTH


def task_name(flow_path: str, flows_path: str) -> str:
    """Return the task name of a flow: its path in the flows folder as words, for example `weather-report`."""
    relative = os.path.relpath(flow_path, flows_path)
    if relative.startswith("../") or os.path.isabs(relative):
        relative = os.path.basename(flow_path)
    stem, suffix = os.path.splitext(relative)
    return _valid(stem if suffix in (".yml", ".yaml", ".json") else relative)


def no_such_task(name: str, known: Iterable[str]) -> NotFound:
    """Return the error for an unknown task name."""
    from scflows.validation import did_you_mean

    return NotFound(f"task {name!r} not found", did_you_mean(name, known) or "list the tasks: flows list-tasks")


def _valid(text: str) -> str:
    """Return the most similar valid name."""
    if not text.isascii():
        import unicodedata

        text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = "".join(letter if letter in NAME_CHARACTERS else "-" for letter in text.replace("/", "-"))
    while "--" in name:
        name = name.replace("--", "-")
    name = name.strip("-").lstrip("._-") or "task"
    if len(name) > MAX_NAME_LENGTH:
        import hashlib

        # The hash distinguishes long paths with the same beginning.
        name = name[: MAX_NAME_LENGTH - 9] + "-" + hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
    return name
