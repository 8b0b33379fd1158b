"""Settings from the environment and the workspace's `.env`; every path is defined here."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from scflows.errors import Refused, UsageError
from scflows.storage import open_regular

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


#: The settings that a scheduled task remembers from the time it was scheduled; none of them is a secret.
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
#: Also remembered if the history is a file; other URLs may contain a password.
DATABASES = ("SCFLOWS_DATABASE_URL", "SQLALCHEMY_DATABASE_URI")
#: How many bytes a run may write to its log, unless `config.yml` sets another limit.
RUN_LOG_BYTES = 4 * 2**20
#: The same for the log of a task, and for all run folders together.
LOG_BYTES = 10 * 2**20
TOTAL_BYTES = 2**30
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


@dataclass(frozen=True)
class Settings:
    """The settings in effect for one workspace. Paths are absolute; reading them creates nothing."""

    home: str  #: the workspace
    environment: Mapping[str, str] = field(
        repr=False
    )  #: the process's variables, which take precedence, and those of `.env`
    given: Mapping[str, str] | None = field(default=None, repr=False)  #: only the process's variables

    @property
    def data_path(self) -> str:
        return self._path("DATA_PATH") or os.path.join(self.home, "data")

    @property
    def flows_path(self) -> str:
        """`FLOWS_PATH`; if unset, `$DATA_PATH/flows` if that exists, otherwise `tasks/` of the workspace."""
        path = self._path("FLOWS_PATH")
        if path:
            return path
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
        """The settings, flows, templates and state, which no step may read or write as files."""
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
        path = self._path("TASKS_PATH")
        return path or os.path.join(self._base("XDG_CACHE_HOME", ".cache"), "scdata", "tasks")

    @property
    def tabfile(self) -> str:
        return os.path.join(self.tasks_path, "tabfile.tab")

    @property
    def system_cron_path(self) -> str:
        """The folder of the system-wide `crontab` and `cron.d`."""
        return self._path("SYSTEM_CRON_PATH") or "/etc"

    @property
    def state_path(self) -> str:
        """The folder of history, task files and locks, which must survive a cleared cache."""
        return os.path.join(self._base("XDG_STATE_HOME", os.path.join(".local", "state")), "scflows")

    @property
    def lock_path(self) -> str:
        return self._path("LOCK_PATH") or os.path.join(self.state_path, "locks")

    @property
    def database_url(self) -> str:
        """The URL of the history (default: `sqlite:///ABSOLUTE/PATH` in the state folder)."""
        variables = self.environment
        url = variables.get("SCFLOWS_DATABASE_URL") or variables.get("SQLALCHEMY_DATABASE_URI")
        return url or "sqlite:///" + os.path.join(self.state_path, "history.sqlite")

    @property
    def timezone(self) -> str:
        """The time zone (an IANA name) in which times are shown."""
        return self.environment.get("TIMEZONE") or "UTC"

    @property
    def cron_timezone(self) -> str:
        """The time zone of the machine's cron, where it cannot be found; empty otherwise."""
        return self.environment.get("CRON_TIMEZONE") or ""

    @property
    def timeout_seconds(self) -> float:
        """The time limit of runs whose flow and task set none."""
        return self._seconds("FLOW_TIMEOUT_SECONDS", 600)

    @property
    def max_workers(self) -> int:
        return int(self._number("FLOW_MAX_WORKERS", 8, 1, is_integer=True))

    @property
    def max_runs(self) -> int:
        """How many runs may be in progress at the same time on this machine (default: two per core)."""
        return int(self._number("MAX_RUNS", 0, 1, is_integer=True)) or default_max_runs()

    @property
    def max_wait_seconds(self) -> float:
        """How long a run may wait in the queue before it is skipped."""
        return self._seconds("MAX_WAIT_SECONDS", 3600)

    @property
    def log_level(self) -> str:
        level = (self.environment.get("LOG_LEVEL") or "INFO").upper()
        if level not in LOG_LEVELS:
            raise UsageError(f"LOG_LEVEL must be one of {', '.join(LOG_LEVELS)}, not {level!r}")
        return level

    def remembered(self) -> dict[str, str]:
        """Return the settings that a scheduled task needs to run as it would now, with absolute paths.

        Variables from `.env` are not included, because a run reads that file itself. Raise UsageError for an
        invalid value.
        """
        self._check()
        values = {}
        variables = self.environment if self.given is None else self.given
        for name in REMEMBERED:
            value = variables.get(name)
            if value:
                is_path = name.endswith(("_PATH", "_FILE", "_HOME"))
                values[name] = self._absolute(value) if is_path else value
        for name in DATABASES:
            if variables.get(name, "").startswith("sqlite:"):
                values[name] = variables[name]
        # Cron takes the home directory from the password file, which may differ from HOME here.
        values["XDG_STATE_HOME"] = self._base("XDG_STATE_HOME", os.path.join(".local", "state"))
        values["XDG_CACHE_HOME"] = self._base("XDG_CACHE_HOME", ".cache")
        return values

    def _check(self) -> None:
        for setting in ("timeout_seconds", "max_workers", "max_runs", "max_wait_seconds", "log_level"):
            getattr(self, setting)
        if self.timezone != "UTC":
            from zoneinfo import ZoneInfo

            try:
                ZoneInfo(self.timezone)
            except (KeyError, ValueError, OSError):
                raise UsageError(
                    f"TIMEZONE must be a time zone, not {self.timezone!r}", "use a name such as Europe/Madrid"
                ) from None

    def _absolute(self, path: str) -> str:
        return os.path.normpath(os.path.join(self.home, os.path.expanduser(path)))

    def _path(self, name: str) -> str | None:
        value = self.environment.get(name)
        return self._absolute(value) if value else None

    def _base(self, variable: str, fallback: str) -> str:
        path = self.environment.get(variable)
        # The XDG specification says to ignore relative paths.
        if path and os.path.isabs(path):
            return os.path.normpath(path)
        home = self.environment.get("HOME") or os.path.expanduser("~")
        return os.path.join(home, fallback)

    def _seconds(self, name: str, default: float) -> float:
        """Return a duration, a number of seconds or a text such as `30m`."""
        text = self.environment.get(name)
        if not text:
            return default
        from scflows.validation import duration_seconds

        seconds = duration_seconds(text)
        if seconds is None or not 0 < seconds < 1e9:
            raise UsageError(f"{name} must be a duration above 0, not {text!r}", "use for example 90, 30m or 2h")
        return float(seconds)

    def _number(self, name: str, default: float, minimum: float = 0, is_integer: bool = False) -> float:
        text = self.environment.get(name)
        if not text:
            return default
        try:
            number = float(text)
        except ValueError:
            number = -1
        if not 0 < number < 1e9 or number < minimum or (is_integer and number % 1):
            kind = "an integer" if is_integer else "a number"
            bound = f"of at least {minimum:g}" if minimum else "above 0"
            raise UsageError(f"{name} must be {kind} {bound}, not {text!r}")
        return number


def default_max_runs() -> int:
    """Return two for each core that this process may use, at least two."""
    cores: float = len(os.sched_getaffinity(0))
    try:
        # In a container: the microseconds of processor time that it may use in each period.
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = file.read().split()
        if quota != "max":
            cores = min(cores, int(quota) / int(period))
    except (OSError, ValueError):
        pass  # Not in a container, or without a limit.
    return max(2, int(2 * cores))


def read_settings(home: str | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings of a workspace: `home` or, by default, the current folder.

    The environment takes precedence over `.env`. Raise UsageError if the workspace is not a directory or `.env`
    cannot be read.
    """
    variables = os.environ if environment is None else environment
    folder = os.path.abspath(os.path.expanduser(home) if home else os.curdir)
    if not os.path.isdir(folder):
        raise UsageError(f"workspace {folder!r} is not a directory", f"create a workspace: flows init {folder}")
    merged = read_env_file(os.path.join(folder, ".env"))
    merged.update(variables)
    return Settings(folder, merged, variables)


def folder_settings(folder: str, environment: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of a working folder of folder pairs: a workspace whose files are in the folder itself.

    Its `config.yml` is the workspace's. Raise UsageError as `read_settings` does, or if it has no `config.yml`.
    """
    path = os.path.realpath(os.path.expanduser(folder))
    config = os.path.join(path, "config.yml")
    variables = os.environ if environment is None else environment
    if not os.path.isdir(path):
        raise UsageError(f"working folder {folder!r} is not a directory")
    if not os.path.exists(config):
        raise UsageError(f"{folder}: the working folder has no config.yml", "name its jobs there: docs/folder-pairs.md")
    return read_settings(path, {**variables, "DATA_PATH": path, "CONFIG_FILE": config})


def read_env_file(path: str) -> dict[str, str]:
    """Return the `NAME=value` lines of an env file; `{}` if there is no file.

    The format is the subset that the shell, Compose, systemd and dotenv read in the same way: no expansion. A
    leading `export` and quotes around the whole value are removed. Raise UsageError with file and line.
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
            raise UsageError(f"{path}:{number}: must be of the form NAME=value")
        if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1]
        values[name] = value
    return values


def bare_settings(state: str = "") -> Settings:
    """Return settings that suffice to find the tasks; `state` is the state folder if not the default one."""
    variables = dict(os.environ)
    if state:
        variables["XDG_STATE_HOME"] = os.path.dirname(state)
    return Settings("/", variables)


def sound_settings(state: str = "") -> Settings:
    """Return the same for crontab lines that serve all tasks.

    Raise Refused if the folder does not exist: with a wrong path or an unmounted disk the line would silently start
    nothing.
    """
    if state and not os.path.isdir(state):
        raise Refused(f"the state folder {state} does not exist", "rewrite the crontab lines: flows repair")
    return bare_settings(state)
