"""Settings: the environment, then `.env` of the workspace; read once, every path in one place."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from scflows.errors import Refused, UsageError
from scflows.storage import open_regular

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


#: What a scheduled task remembers of the settings that were in force; none of them is a secret.
REMEMBERED = (
    "BASE_POSTPROCESSING_URL",
    "CONFIG_FILE",
    "CRONTAB_PROGRAM",
    "DATA_PATH",
    "FLOWS_PATH",
    "FLOW_MAX_WORKERS",
    "FLOW_TIMEOUT_SECONDS",
    "LOCK_PATH",
    "LOG_LEVEL",
    "MAX_RUNS",
    "MAX_WAIT_SECONDS",
    "SC_ALLOWED_HOSTS",
    "SC_API_URL",
    "SC_RETRY_SECONDS",
    "SECRETS_PATH",
    "SYSTEM_CRON_PATH",
    "TASKS_PATH",
    "TEMPLATES_PATH",
    "TIMEZONE",
)
#: The same, where the history is a file: other URLs may hold a password.
DATABASES = ("SCFLOWS_DATABASE_URL", "SQLALCHEMY_DATABASE_URI")
#: How much a run may write into its log, in bytes, unless `config.yml` says otherwise.
RUN_LOG_BYTES = 4 * 2**20
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


@dataclass(frozen=True)
class Settings:
    """What is in force for one workspace. Paths are absolute; nothing is created by reading them."""

    home: str  #: the workspace
    environment: Mapping[str, str] = field(repr=False)  #: the process's variables over those of `.env`
    given: Mapping[str, str] | None = field(default=None, repr=False)  #: the process's variables alone

    @property
    def data_path(self) -> str:
        return self._path("DATA_PATH") or os.path.join(self.home, "data")

    @property
    def flows_path(self) -> str:
        """`FLOWS_PATH`; else `$DATA_PATH/flows` where that exists; else `tasks/` of the workspace."""
        named = self._path("FLOWS_PATH")
        if named:
            return named
        beside_data = os.path.join(self.data_path, "flows")
        return beside_data if os.path.isdir(beside_data) else os.path.join(self.home, "tasks")

    @property
    def flows_path_is_set(self) -> bool:
        return bool(self.environment.get("FLOWS_PATH"))

    @property
    def templates_path(self) -> str:
        return self._path("TEMPLATES_PATH") or os.path.join(self.data_path, "templates")

    @property
    def secrets_path(self) -> str:
        return self._path("SECRETS_PATH") or os.path.join(self.data_path, "secrets.yml")

    @property
    def config_file(self) -> str:
        return self._path("CONFIG_FILE") or os.path.join(self.data_path, "config.yml")

    @property
    def env_file(self) -> str:
        return os.path.join(self.home, ".env")

    @property
    def private_paths(self) -> tuple[str, ...]:
        """What no step that touches files may read or write: the settings, flows and templates."""
        return (
            self.secrets_path,
            self.config_file,
            self.env_file,
            self.flows_path,
            self.templates_path,
            self.state_path,
        )

    @property
    def tasks_path(self) -> str:
        """The folder of the tabfile and the tasks' logs."""
        named = self._path("TASKS_PATH")
        return named or os.path.join(self._base("XDG_CACHE_HOME", ".cache"), "scdata", "tasks")

    @property
    def tabfile(self) -> str:
        return os.path.join(self.tasks_path, "tabfile.tab")

    @property
    def system_cron_path(self) -> str:
        """The folder of the system's own `crontab` and `cron.d`."""
        return self._path("SYSTEM_CRON_PATH") or "/etc"

    @property
    def state_path(self) -> str:
        """The folder of history, task files, locks: what must outlive a cleaned cache."""
        return os.path.join(self._base("XDG_STATE_HOME", os.path.join(".local", "state")), "scflows")

    @property
    def lock_path(self) -> str:
        return self._path("LOCK_PATH") or os.path.join(self.state_path, "locks")

    @property
    def database_url(self) -> str:
        """Where the history is: `sqlite:///ABSOLUTE/PATH` unless set otherwise."""
        given = self.environment
        named = given.get("SCFLOWS_DATABASE_URL") or given.get("SQLALCHEMY_DATABASE_URI")
        return named or "sqlite:///" + os.path.join(self.state_path, "history.sqlite")

    @property
    def timezone(self) -> str:
        """The zone that times are shown in (an IANA name)."""
        return self.environment.get("TIMEZONE") or "UTC"

    @property
    def timeout_seconds(self) -> float:
        """How long a run may take when neither its flow nor its task says otherwise."""
        return self._number("FLOW_TIMEOUT_SECONDS", 600)

    @property
    def max_workers(self) -> int:
        return int(self._number("FLOW_MAX_WORKERS", 8, 1, whole=True))

    @property
    def max_runs(self) -> int:
        """How many runs go on at once on this machine; two for each core unless set."""
        return int(self._number("MAX_RUNS", 0, 1, whole=True)) or usual_runs()

    @property
    def max_wait_seconds(self) -> float:
        """How long a run waits for its turn before it is given up."""
        return self._number("MAX_WAIT_SECONDS", 3600)

    @property
    def log_level(self) -> str:
        level = (self.environment.get("LOG_LEVEL") or "INFO").upper()
        if level not in LOG_LEVELS:
            raise UsageError(f"LOG_LEVEL {level!r} is none of {', '.join(LOG_LEVELS)}")
        return level

    def remembered(self) -> dict[str, str]:
        """The settings a scheduled task needs to run as it would now; paths made absolute.

        What `.env` says is not among them: a run reads that file itself, as it is by then. Raises UsageError for
        a value that no run could use.
        """
        self._check()
        kept = {}
        given = self.environment if self.given is None else self.given
        for name in REMEMBERED:
            value = given.get(name)
            if value:
                is_path = name.endswith(("_PATH", "_FILE", "_HOME"))
                kept[name] = self._absolute(value) if is_path else value
        for name in DATABASES:
            if given.get(name, "").startswith("sqlite:"):
                kept[name] = given[name]
        # Cron's home is that of the password file, which need not be the one in force here.
        kept["XDG_STATE_HOME"] = self._base("XDG_STATE_HOME", os.path.join(".local", "state"))
        kept["XDG_CACHE_HOME"] = self._base("XDG_CACHE_HOME", ".cache")
        return kept

    def _check(self) -> None:
        for setting in ("timeout_seconds", "max_workers", "max_runs", "max_wait_seconds", "log_level"):
            getattr(self, setting)
        if self.timezone != "UTC":
            from zoneinfo import ZoneInfo

            try:
                ZoneInfo(self.timezone)
            except (KeyError, ValueError, OSError):
                raise UsageError(
                    f"TIMEZONE {self.timezone!r} is no time zone", "use a name such as Europe/Madrid"
                ) from None

    def _absolute(self, path: str) -> str:
        return os.path.normpath(os.path.join(self.home, os.path.expanduser(path)))

    def _path(self, name: str) -> str | None:
        value = self.environment.get(name)
        return self._absolute(value) if value else None

    def _base(self, variable: str, fallback: str) -> str:
        named = self.environment.get(variable)
        # The XDG specification has relative paths ignored.
        if named and os.path.isabs(named):
            return os.path.normpath(named)
        home = self.environment.get("HOME") or os.path.expanduser("~")
        return os.path.join(home, fallback)

    def _number(self, name: str, default: float, least: float = 0, whole: bool = False) -> float:
        text = self.environment.get(name)
        if not text:
            return default
        try:
            number = float(text)
        except ValueError:
            number = -1
        if not 0 < number < 1e9 or number < least or (whole and number % 1):
            kind = "whole number" if whole else "number"
            raise UsageError(f"{name} {text!r} is no {kind} {f'from {least:g} on' if least else 'above 0'}")
        return number


def usual_runs() -> int:
    """Two for each core that this process may use, at least two."""
    cores: float = len(os.sched_getaffinity(0))
    try:
        # In a container: how many microseconds of processor time it has in each period.
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = file.read().split()
        if quota != "max":
            cores = min(cores, int(quota) / int(period))
    except (OSError, ValueError):
        pass  # No container, or one that is not limited.
    return max(2, int(2 * cores))


def read_settings(home: str | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of a workspace: `home`, else the current folder.

    The environment wins over `.env`. Raises UsageError for a workspace that is no folder and an `.env`
    that cannot be read.
    """
    given = os.environ if environment is None else environment
    folder = os.path.abspath(os.path.expanduser(home) if home else os.curdir)
    if not os.path.isdir(folder):
        raise UsageError(f"workspace {folder!r} is no folder", "make it with: flows init DIR")
    found = read_env_file(os.path.join(folder, ".env"))
    found.update(given)
    return Settings(folder, found, given)


def read_env_file(path: str) -> dict[str, str]:
    """The `NAME=value` lines of an env file; `{}` where there is none.

    Only the form that the shell, compose, systemd and dotenv read alike: no expansion. A leading `export` and
    a pair of quotes around the whole value are taken off. Raises UsageError naming file and line.
    """
    try:
        with open(open_regular(path), encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UsageError(f"{path}: cannot be read: {reason}") from error
    values = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        name, equals, value = text.removeprefix("export ").partition("=")
        name, value = name.strip(), value.strip()
        if not equals or not name.isidentifier():
            raise UsageError(f"{path}:{number}: not of the form NAME=value")
        if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1]
        values[name] = value
    return values


def bare_settings(state: str = "") -> Settings:
    """Enough of the settings to find the tasks; `state` is the state folder, where it is not the usual one."""
    given = dict(os.environ)
    if state:
        given["XDG_STATE_HOME"] = os.path.dirname(state)
    return Settings("/", given)


def sound_settings(state: str = "") -> Settings:
    """The same for lines that stand for all tasks.

    Raises Refused where the folder is not there: a line with a wrong path, or a disk that is away, would start nothing
    for ever.
    """
    if state and not os.path.isdir(state):
        raise Refused(f"the state folder {state} is not there", "flows repair writes the crontab's lines anew")
    return bare_settings(state)
