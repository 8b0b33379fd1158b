"""A task: what is on the crontab under a name, and its file, which says what the crontab's line does not."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from functools import lru_cache

from scflows.cron.schedule.schedule import Schedule
from scflows.errors import NotFound, ScflowsError, UsageError
from scflows.settings import read_settings
from scflows.storage import MAX_SECONDS, open_regular, replace_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from scflows.settings import Settings

LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
NAME_CHARACTERS = LETTERS | frozenset("._-")
LONGEST_NAME = 100


#: What a task file's values must be.
KINDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(
        ("name", "flow", "workspace", "source", "kind", "created", "since", "catch_up", "overlap"),
        str,
    ),
    **dict.fromkeys(("params", "settings", "schedule"), dict),
    **dict.fromkeys(("dry", "enabled"), bool),
    "command": list,
    **dict.fromkeys(("timeout", "start_within", "end_within"), (int, float, type(None))),
    "catch_up_cap": int,
    "priority": int,
    "mutex": list,
}


@dataclass(frozen=True)
class Task:
    """One entry of the crontab."""

    name: str  #: unique for the user; also names the log
    schedule: Schedule
    flow: str = ""  #: absolute; empty when `command` says what to do
    command: tuple[str, ...] = ()  #: the arguments of a `flows` command line, such as ("auto-schedule",)
    workspace: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)  #: those in force when it was scheduled
    timeout: float | None = None  #: seconds
    dry: bool = False  #: its runs publish nothing
    source: str = "flows"  #: who made it; only that source changes it by itself
    enabled: bool = True  #: a paused task keeps its file and has no line
    kind: str = ""
    created: str = ""  #: ISO 8601, UTC
    since: str = ""  #: from when on its slots count, where that is later: it was scheduled anew, or enabled
    catch_up: str = "none"
    catch_up_cap: int = 24
    overlap: str = "skip"
    priority: int = 0  #: of its flow when it was scheduled, by which `flows cron run` orders
    mutex: tuple[str, ...] = ()  #: of its flow when it was scheduled; a run goes by the flow itself
    start_within: float | None = None  #: seconds after its slot in which a run begins; None: as history says
    end_within: float | None = None  #: seconds that a run takes at most before somebody is told

    @property
    def begins(self) -> float:
        """From when on its slots are its own, in seconds since the epoch; earlier ones are nobody's."""
        return _epoch(self.since or self.created)

    @property
    def made(self) -> float:
        """When it was scheduled, in seconds since the epoch; 0 where that is not known."""
        return _epoch(self.created)

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            **self.__dict__,
            "schedule": self.schedule.to_dict(),
            "command": list(self.command),
            "mutex": list(self.mutex),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Task:
        """The task of `to_dict`. What a newer version added is left out.

        Raises UsageError, TypeError, ValueError or KeyError for what cannot be one.
        """
        for key, value in values.items():
            if key in KINDS and not isinstance(value, KINDS[key]):
                raise UsageError(f"{key!r} is of the wrong kind")
        for key in ("timeout", "start_within", "end_within"):
            seconds = values.get(key)
            # JSON as Python reads it has NaN and Infinity.
            if seconds is not None and not 0 <= seconds < MAX_SECONDS:
                raise UsageError(f"{key!r} is no number of seconds: {seconds!r}")
        kept = {key: value for key, value in values.items() if key in cls.__dataclass_fields__}
        texts = [*values.get("command", ()), *values.get("mutex", ()), *values.get("settings", {}).values()]
        if not all(isinstance(each, str) for each in texts):
            raise UsageError("'command', 'mutex' or 'settings' holds what is no text")
        kept["schedule"] = Schedule.from_dict(values["schedule"])
        kept["command"] = tuple(values.get("command", ()))
        kept["mutex"] = tuple(values.get("mutex", ()))
        return cls(**kept)

    @classmethod
    def from_checked(cls, values: dict[str, Any]) -> Task:
        """The task of `to_dict` whose values were checked before; not looked at again, which takes its time."""
        task = object.__new__(cls)
        schedule = Schedule.from_checked(values["schedule"])
        task.__dict__.update(values, schedule=schedule, command=tuple(values["command"]), mutex=tuple(values["mutex"]))
        return task


@lru_cache(maxsize=1024)
def _epoch(text: str) -> float:
    """A time of a task file in seconds since the epoch; 0 for none."""
    if not text:
        return 0.0
    from datetime import datetime

    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return 0.0  # Somebody edited the file, and may remove the line as well.


class TaskStore:
    """The task files of a user, one for each task, in the folder `tasks` of the state."""

    def __init__(self, settings: Settings) -> None:
        self.folder = os.path.join(settings.state_path, "tasks")

    def path(self, name: str) -> str:
        return os.path.join(self.folder, f"{check_name(name)}.json")

    def read(self, name: str) -> Task:
        """The task of that name. Raises NotFound, and UsageError for a name or a file that cannot be."""
        path = self.path(name)
        try:
            with open(open_regular(path), "rb") as file:
                content = file.read()
        except FileNotFoundError as error:
            raise NotFound(f"there is no task {name!r}", "see them with: flows list-tasks") from error
        except OSError as error:
            raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
        try:
            task = Task.from_dict(json.loads(content))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, UsageError) as error:
            raise UsageError(
                f"{path}: the task file is broken: {error}",
                f"remove it with: flows remove-task {name}; then schedule the flow again",
            ) from error
        if task.name != name:
            raise UsageError(f"{path}: the task file is of {task.name!r}", "give the file its old name")
        return task

    def read_all(self) -> tuple[list[Task], list[ScflowsError]]:
        """All tasks by name, and what is wrong with the files that cannot be read."""
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
        """Keep tasks, each of which is on the disk before it takes the place of the old one. Raises OSError."""
        # Parameters may hold what is nobody else's business.
        replace_all(((self.path(task.name), _content(task)) for task in tasks), mode=0o600)

    def remove(self, name: str) -> bool:
        """Forget a task; False when there was none."""
        try:
            os.unlink(self.path(name))
        except FileNotFoundError:
            return False
        return True


def task_settings(task: Task, state: str = "") -> Settings:
    """Return the settings that a task runs under: those in force when it was scheduled, over the environment.

    `state` is the state folder, if it is already known. Raises UsageError for a workspace that is gone and an `.env`
    that cannot be read.
    """
    known = {"XDG_STATE_HOME": os.path.dirname(state)} if state else {}
    return read_settings(task.workspace, {**os.environ, **task.settings, **known})


def _content(task: Task) -> bytes:
    # One value a line for who reads it; `indent` would do that without the C of `json`, five times slower.
    return json.dumps(task.to_dict(), ensure_ascii=False, separators=(",\n ", ": ")).encode() + b"\n"


def check_name(name: str) -> str:
    """The name itself. Raises UsageError for one that could not stand in a crontab or as a file."""
    if is_name(name):
        return name
    what = "is longer than 100 characters" if len(name) > LONGEST_NAME else "cannot be"
    raise UsageError(
        f"the task name {name[: LONGEST_NAME + 20]!r} {what}",
        f"letters, digits and . _ - are allowed, the first a letter or digit; such as {_valid(name)}",
    )


def is_name(name: str) -> bool:
    """Whether a task may have this name."""
    return bool(name) and name[0] in LETTERS and NAME_CHARACTERS.issuperset(name) and len(name) <= LONGEST_NAME


def task_name(flow_path: str, flows_path: str) -> str:
    """The name for a flow: its path below the flows folder as words, such as `weather-report`."""
    relative = os.path.relpath(flow_path, flows_path)
    if relative.startswith("../") or os.path.isabs(relative):
        relative = os.path.basename(flow_path)
    stem, suffix = os.path.splitext(relative)
    return _valid(stem if suffix in (".yml", ".yaml", ".json") else relative)


def no_such_task(name: str, known: Iterable[str]) -> NotFound:
    """The error for a name that no task has."""
    from difflib import get_close_matches

    near = get_close_matches(name, list(known), 1)
    return NotFound(
        f"there is no task {name!r}",
        f"did you mean {near[0]!r}?" if near else "see them with: flows list-tasks",
    )


def _valid(text: str) -> str:
    """The nearest name that is allowed."""
    if not text.isascii():
        import unicodedata

        text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    kept = "".join(letter if letter in NAME_CHARACTERS else "-" for letter in text.replace("/", "-"))
    while "--" in kept:
        kept = kept.replace("--", "-")
    kept = kept.strip("-").lstrip("._-") or "task"
    if len(kept) > LONGEST_NAME:
        import hashlib

        # The end keeps two long paths apart.
        kept = kept[: LONGEST_NAME - 9] + "-" + hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
    return kept
