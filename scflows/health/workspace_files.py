"""Mistakes in `.env` and `config.yml` that no run reports: misspelt names, hooks without a flow."""

from __future__ import annotations

from scflows.errors import FlowError, Mistake, UsageError
from scflows.settings import DATABASES, REMEMBERED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from scflows.settings import Settings

#: The names in `.env` besides those that tasks remember: of scflows, its web service and its extras.
OTHER_NAMES = (
    *("XDG_STATE_HOME", "XDG_CACHE_HOME", "CRON_TIMEZONE", "SC_BEARER", "SECD_BEARER", "S3_DATA_BUCKET"),
    *("HASHICORP_VAULT_TOKEN", "HASHICORP_VAULT_NAMESPACE", "HASHICORP_VAULT_CACHE_TTL"),
    *("API_TOKEN", "API_PORT", "API_PROTOCOL", "FLASK_SECRET_KEY", "SCFLOWS_PROXY_HOPS", "SCFLOWS_URL_PREFIX"),
    *("CELERY_BROKER", "CELERY_RESULTS_BACKEND", "CELERY_TIMEZONE", "FLOWER_PORT", "FLOWER_BASIC_AUTH"),
    *("LOG_PATH", "LOG_FILE_NAME", "DOMAIN"),
)
KNOWN = (*REMEMBERED, *DATABASES, *OTHER_NAMES)
#: Names with these beginnings belong to scflows; other programs may read the other names in `.env`.
OWN_PREFIXES = ("SCFLOWS_", "FLOW_", "FLOWS_")
#: How similar a name must be to a known one to count as misspelt.
SIMILARITY = 0.8


def file_mistakes(settings: Settings) -> list[Mistake]:
    """Return all mistakes in `.env` and `config.yml`."""
    return [*env_mistakes(settings), *config_mistakes(settings)]


def env_mistakes(settings: Settings) -> Iterator[Mistake]:
    """Yield a warning for each name in `.env` that looks like a misspelt setting."""
    from scflows.storage import open_regular

    try:
        with open(open_regular(settings.env_file), encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError):
        return  # Without a file there are no mistakes; one that cannot be read ends every command.
    for number, line in enumerate(lines, 1):
        name = line.strip().removeprefix("export ").partition("=")[0].strip()
        if not name.startswith("#") and (hint := _hint(name)):
            yield Mistake(settings.env_file, f"unknown setting {name!r} is ignored{hint}", number, 1, "warning")


def config_mistakes(settings: Settings) -> Iterator[Mistake]:
    """Yield all mistakes in `config.yml`, including hooks whose flow does not exist."""
    from scflows.config import read_config
    from scflows.flows.missing import missing_shared_hooks

    try:
        found = read_config(settings)
    except UsageError as error:
        if isinstance(error.__cause__, FlowError):
            yield from error.__cause__.mistakes
        else:
            path = settings.config_file
            yield Mistake(path, str(error).removeprefix(f"{path}: "))
        return
    yield from found.warnings
    yield from missing_shared_hooks(found.hooks, settings)


def _hint(name: str) -> str:
    """Return what is wrong with a name in `.env`, empty if nothing."""
    from scflows.validation import did_you_mean

    known = name.removesuffix("_FILE")
    if name in KNOWN or known in KNOWN or name.startswith("SECRET_") or not name:
        return ""
    if name.startswith(OWN_PREFIXES):
        return f"; {did_you_mean(name, KNOWN) or 'list the settings with: flows config'}"
    near = did_you_mean(known.upper(), KNOWN, SIMILARITY)
    return f"; {near}" if near else ""
