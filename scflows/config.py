"""`config.yml` of a workspace: allowed step types, notifications and retention."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field

from scflows import __version__
from scflows.errors import FlowError, Mistake, UsageError
from scflows.settings import LOG_BYTES, RUN_LOG_BYTES, TOTAL_BYTES, Settings
from scflows.storage import open_regular, replace
from scflows.validation import Located, described, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any


HOOKS = ("on_failure", "on_success", "on_recovery")
PINGS = ("start", "success", "failure")
SIZES = {"": 1, "B": 1, "kB": 1000, "KiB": 1024, "MB": 10**6, "MiB": 2**20, "GB": 10**9, "GiB": 2**30}
TOP = ("allow", "env", *HOOKS, "ping", "retention", "jobs", "autostart_flows", "autostart")
#: Accepted but without effect on a crontab: a service reads them.
LATER = ("autostart_flows", "autostart")
HELP = "fix the file, or move it away to use the defaults"


@dataclass(frozen=True)
class Retention:
    """How much to keep. Sizes are in bytes."""

    days: float = 90  #: for runs, logs and run folders
    runs: int = 10_000  #: per task
    log_bytes: int = LOG_BYTES  #: per task
    run_log_bytes: int = RUN_LOG_BYTES  #: per run
    total_bytes: int = TOTAL_BYTES  #: all run folders together


LIMITS = tuple(Retention.__dataclass_fields__)
#: `total_bytes` is a limit for the machine, not for a task.
TASK_LIMITS = tuple(name for name in LIMITS if name != "total_bytes")


@dataclass(frozen=True)
class Config:
    """The content of `config.yml`, or the defaults."""

    allow: tuple[str, ...] = ()  #: restricted step types that any flow may use
    env: dict[str, Any] = field(default_factory=dict)  #: variables of all programs that steps start
    hooks: dict[str, str] = field(default_factory=dict)  #: flow paths by the names of HOOKS
    ping: dict[str, str] = field(default_factory=dict)  #: addresses by the names of PINGS
    retention: Retention = field(default_factory=Retention)
    tasks: dict[str, Retention] = field(default_factory=dict)  #: for tasks with limits of their own
    warnings: tuple[Mistake, ...] = ()

    def retention_of(self, task: str) -> Retention:
        """Return the retention limits of a task."""
        return self.tasks.get(task, self.retention)


NOTHING = Config()
_cache: dict[str, tuple[tuple[int, ...], Config]] = {}


def read_config(settings: Settings) -> Config:
    """Return the workspace's `config.yml`, read once and again after each change.

    Raise UsageError with file, line and column of every mistake.
    """
    path = settings.config_file
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return NOTHING
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    state = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
    cached = _cache.get(path)
    if cached is not None and cached[0] == state:
        return cached[1]
    # Every start by cron reads this, and loading YAML would make it a fifth slower.
    checked = os.path.join(
        settings.state_path, "checked-config", path.replace("%", "%25").replace("/", "%2F") + ".json"
    )
    found = _read_checked(checked, state)
    config = found or _parsed(path)
    _cache[path] = (state, config)
    if found is None and not config.warnings:
        _write_checked(checked, state, config)
    return config


def _parsed(path: str) -> Config:
    try:
        with open(open_regular(path), "rb") as file:
            content = file.read()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        return parse_config(content, path)
    except FlowError as error:
        raise UsageError(str(error), HELP) from error


def _read_checked(path: str, state: tuple[int, ...]) -> Config | None:
    """Return the cached result of the last check if the file has not changed since."""
    try:
        with open(path, encoding="utf-8") as file:
            values = json.load(file)
        if values["key"] != [__version__, *state]:
            return None
        tasks = {name: Retention(**each) for name, each in values["tasks"].items()}
        retention = Retention(**values["retention"])
        return Config(tuple(values["allow"]), values["env"], values["hooks"], values["ping"], retention, tasks)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _write_checked(path: str, state: tuple[int, ...], config: Config) -> None:
    values = {
        "key": [__version__, *state],
        "allow": config.allow,
        "env": config.env,
        "hooks": config.hooks,
        "ping": config.ping,
        "retention": config.retention.__dict__,
        "tasks": {name: each.__dict__ for name, each in config.tasks.items()},
    }
    try:
        replace(path, json.dumps(values).encode(), mode=0o600, durable=False)
    except OSError:
        pass  # The next start is slower, nothing more.


def parse_config(content: bytes, path: str) -> Config:
    """Parse the text of a `config.yml`. Raise FlowError with all mistakes."""
    from scflows.validation import Located

    document = Located(content, path)
    top = {} if document.value is None else document.value
    config = NOTHING
    if not isinstance(top, dict):
        document.mistake(f"config.yml must contain a mapping, not {described(top)}")
    else:
        config = config_of(document, top)
    mistakes = sorted(document.mistakes, key=lambda mistake: (mistake.line, mistake.column))
    if any(mistake.severity == "error" for mistake in mistakes):
        raise FlowError(mistakes)
    return Config(**{**config.__dict__, "warnings": tuple(mistakes)})


def config_of(document: Located, top: dict[Any, Any]) -> Config:
    """Return the content of a `config.yml` except its `jobs`; mistakes are added to the document."""
    document.warn_unknown(top, TOP)
    for name in LATER:
        if top.get(name) is not None:
            message = f"{name} has no effect: schedule flows with `flows auto-schedule`"
            document.mistake(message, name, severity="warning")
    retention, tasks = _retention(document, top)
    return Config(
        _allow(document, top), env_of(document, top), hooks_of(document, top), pings_of(document, top), retention, tasks
    )


def env_of(document: Located, top: dict[Any, Any]) -> dict[str, Any]:
    """Return the `env` at the top of a flow file or of `config.yml`; mistakes are added to the document."""
    given: dict[str, Any] = document.typed(top, "env", "mapping", {})
    for name, value in given.items():
        for message in variable_mistakes({name: value}):
            document.mistake(f"env: {message}", "env", name)
    # YAML reads 2026-03-05 as a date.
    return {name: value.isoformat() if hasattr(value, "isoformat") else value for name, value in given.items()}


def variable_mistakes(env: Mapping[Any, Any] | None) -> Iterator[str]:
    """Yield the mistakes in the variables that a flow file or `config.yml` sets."""
    for name, value in (env or {}).items():
        if isinstance(value, list | dict):
            yield f"the variable {name!r} must be text, a number, true or false"
        if not isinstance(name, str) or not name or "=" in name or "\0" in name:
            yield f"{name!r} is not a valid name of a variable"


def hooks_of(document: Located, top: dict[Any, Any]) -> dict[str, str]:
    """Return the hooks at the top of a document (a flow file or `config.yml`); add mistakes to the document."""
    found = {}
    for name in HOOKS:
        path = document.typed(top, name, "text")
        if path is not None and (not path.strip() or "\0" in path or "\n" in path):
            document.mistake(f"{name} must be the path of a flow", name)
        elif path is not None:
            found[name] = path
    return found


def pings_of(document: Located, top: dict[Any, Any]) -> dict[str, str]:
    """Return the pings at the top of a document; an empty text means that the ping is disabled."""
    given = document.typed(top, "ping", "mapping", {})
    found = {}
    for key in given:
        if key not in PINGS:
            hint = nearest(str(key), PINGS) or f"; it has {', '.join(PINGS)}"
            document.mistake(f"ping: unknown property {key!r}{hint}", "ping", key)
        elif given[key] is None:
            found[key] = ""
        elif not isinstance(given[key], str) or not _is_address(given[key]):
            document.mistake(f"ping: {key} must be an http or https address", "ping", key)
        else:
            found[key] = given[key]
    return found


def _is_address(text: str) -> bool:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and text.isprintable() and " " not in text


def _allow(document: Located, top: dict[Any, Any]) -> tuple[str, ...]:
    given = document.typed(top, "allow", "list", [])
    for index, each in enumerate(given):
        if not isinstance(each, str):
            document.mistake(f"allow must list step types, not {described(each)}", "allow", index)
    return tuple(str(each) for each in given)


def _retention(document: Located, top: dict[Any, Any]) -> tuple[Retention, dict[str, Retention]]:
    given = document.typed(top, "retention", "mapping", {})
    limits = _limits(document, given, (*LIMITS, "tasks"), ("retention",))
    tasks = {}
    named = document.typed(given, "tasks", "mapping", {}, "retention", ("retention",))
    for name, each in named.items():
        at = ("retention", "tasks", name)
        if not isinstance(each, dict):
            document.mistake(f"retention: tasks: {name} must be a mapping, not {described(each)}", *at)
        else:
            tasks[str(name)] = Retention(**{**limits, **_limits(document, each, TASK_LIMITS, at)})
    return Retention(**limits), tasks


def _limits(
    document: Located, given: dict[Any, Any], known: tuple[str, ...], at: tuple[str | int, ...]
) -> dict[str, Any]:
    title = ": ".join(str(each) for each in at)
    found: dict[str, Any] = {}
    for key, value in given.items():
        if key not in known:
            hint = nearest(str(key), known) or f"; it has {', '.join(known)}"
            document.mistake(f"{title}: unknown property {key!r}{hint}", *at, key)
        elif key == "tasks" or value is None:
            continue
        elif key.endswith("_bytes"):
            size = parse_size(value)
            if size is None:
                document.mistake(f"{title}: {key} must be a size such as 10 MiB, not {described(value)}", *at, key)
            else:
                found[key] = size
        else:
            kind, least = ("number", 0.001) if key == "days" else ("integer", 1)
            number = document.typed(given, key, kind, None, title, at, least=least)
            if number is not None:
                found[key] = number
    return found


def parse_size(value: Any) -> int | None:
    """Return a size in bytes from a number or a text such as `10 MiB`; None if it is not a size."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if value > 0 else None
    if not isinstance(value, str):
        return None
    number = value.strip().rstrip("BbKkMmGgIi ")
    unit = value.strip()[len(number) :].strip()
    try:
        size = float(number) * SIZES[unit]
    except (ValueError, KeyError):
        return None
    return int(size) if 0 < size < 2**60 else None
