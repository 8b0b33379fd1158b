"""Report the settings in effect and where each comes from, with masked secrets."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.errors import NotFound
from scflows.settings import Settings, read_env_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


#: Words in the name of a setting whose value is a secret.
SECRET_WORDS = ("TOKEN", "SECRET", "PASSWORD", "PASSWD", "BEARER", "KEY", "AUTH", "CREDENTIAL")
#: Endings of names of paths, which are not secret: `API_TOKEN_FILE` says where a secret is.
PATH_ENDINGS = ("_PATH", "_FILE")
MASK = "***"
ENVIRONMENT = "environment"
ENV_FILE = ".env"
DEFAULT = "default"
WORKSPACE = "--home or here"


#: The settings from which the default of a path is derived.
_STATE, _CACHE = ("XDG_STATE_HOME",), ("XDG_CACHE_HOME",)
BASES = {
    "TASKS_PATH": _CACHE,
    "TABFILE": ("TASKS_PATH", *_CACHE),
    "STATE_PATH": _STATE,
    "LOCK_PATH": _STATE,
    "SCFLOWS_DATABASE_URL": _STATE,
    "TEMPLATES_PATH": ("DATA_PATH",),
    "SECRETS_PATH": ("DATA_PATH",),
    "CONFIG_FILE": ("DATA_PATH",),
}
#: Settings that are only shown by name.
UNLISTED = (
    "CRONTAB_PROGRAM",
    "CRON_TIMEZONE",
    "SYSTEM_CRON_PATH",
    "XDG_STATE_HOME",
    "XDG_CACHE_HOME",
    "SQLALCHEMY_DATABASE_URI",
)


@dataclass(frozen=True)
class Setting:
    """One setting in effect."""

    name: str
    value: str  #: with masked secrets
    source: str  #: `environment`, `.env` or `default`


def effective(settings: Settings, environment: Mapping[str, str]) -> list[Setting]:
    """Return the settings in effect: the known ones, then all others in `.env`.

    `environment` has only the process's variables, without `.env`. Raise UsageError for an invalid value.
    """
    from_file = read_env_file(settings.env_file)

    def source(*names: str) -> str:
        for name in names:
            if environment.get(name):
                return ENVIRONMENT
            if from_file.get(name) and name not in environment:
                return ENV_FILE
        return DEFAULT

    known = [Setting("WORKSPACE", settings.home, WORKSPACE)]
    for name, value in _values(settings).items():
        names = ("SCFLOWS_DATABASE_URL", "SQLALCHEMY_DATABASE_URI") if name.endswith("DATABASE_URL") else (name,)
        known.append(Setting(name, masked(name, value), source(*names, *BASES.get(name, ()))))
    done = {setting.name for setting in known} | {"SQLALCHEMY_DATABASE_URI"}
    rest = [name for name in from_file if name not in done]
    return known + [Setting(name, masked(name, settings.environment.get(name, "")), source(name)) for name in rest]


def find_setting(settings: Settings, environment: Mapping[str, str], name: str) -> Setting:
    """Return the setting of that name. Raise NotFound with the nearest name."""
    found = effective(settings, environment)
    variable = name.upper()
    for setting in found:
        if setting.name == variable:
            return setting
    if variable in UNLISTED:
        value = settings.environment.get(variable, "")
        source = ENVIRONMENT if environment.get(variable) else ENV_FILE if value else DEFAULT
        return Setting(variable, masked(variable, value), source)
    from scflows.validation import did_you_mean

    near = did_you_mean(variable, [setting.name for setting in found])
    raise NotFound(f"setting {name!r} not found", near or "list settings with: flows config")


def masked(name: str, value: str) -> str:
    """Return a value with secrets and the credentials in a URL replaced by `***`."""
    if not value:
        return value
    if not name.endswith(PATH_ENDINGS) and any(word in name.upper() for word in SECRET_WORDS):
        return MASK
    import re

    if not value.startswith("sqlite:"):
        # Up to the last @, because a password may contain one, or a slash, although it should not.
        value = re.sub(r"(?<=://)\S+@", f"{MASK}@", value)
    return re.sub(r"(?i)([?&][^=&]*(?:token|secret|password|key)[^=&]*=)[^&\s]+", rf"\1{MASK}", value)


def _values(settings: Settings) -> dict[str, str]:
    paths = ("DATA_PATH", "FLOWS_PATH", "TEMPLATES_PATH", "SECRETS_PATH", "CONFIG_FILE", "TASKS_PATH", "TABFILE")
    return {
        **{name: getattr(settings, name.lower()) for name in (*paths, "STATE_PATH", "LOCK_PATH")},
        "SCFLOWS_DATABASE_URL": settings.database_url,
        "TIMEZONE": settings.timezone,
        "FLOW_TIMEOUT_SECONDS": f"{settings.timeout_seconds:g}",
        "FLOW_MAX_WORKERS": str(settings.max_workers),
        "MAX_RUNS": str(settings.max_runs),
        "MAX_WAIT_SECONDS": f"{settings.max_wait_seconds:g}",
        "LOG_LEVEL": settings.log_level,
    }
