"""The addresses of the platform and its file host, and the token."""

from __future__ import annotations

from dataclasses import dataclass, field

from scflows.errors import UsageError
from scflows.validation import duration_seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scflows.settings import Settings

API_URL = "https://api.smartcitizen.me/v0/"
FILES_URL = "https://raw.githubusercontent.com/fablabbcn/smartcitizen-data/master/"
#: The name of the secret to use if `SC_BEARER` is not set.
SECRET = "smartcitizen"
#: How long to retry a failed request, in seconds: longer than the platform's rate limit of one minute.
RETRY_SECONDS = 90.0


@dataclass(frozen=True)
class Access:
    """The addresses, which end in `/`, and the token."""

    api_url: str
    files_url: str
    token: str = field(default="", repr=False)  #: for the API only, never for the file host
    hosts: frozenset[str] = frozenset()  #: allowed file hosts besides that of `files_url`
    retry_seconds: float = RETRY_SECONDS

    def is_platform(self, url: str) -> bool:
        """Return True for addresses of the API, which alone get the token and are trusted."""
        from urllib.parse import urlsplit

        try:
            api, asked = urlsplit(self.api_url), urlsplit(url)
            is_same = (asked.scheme, asked.netloc.lower()) == (api.scheme, api.netloc.lower())
        except ValueError:
            return False
        return is_same and asked.path.startswith(api.path)

    def is_file_host(self, url: str) -> bool:
        """Return True for addresses on the file host or on a host that the settings allow."""
        from urllib.parse import urlsplit

        try:
            parts, base = urlsplit(url), urlsplit(self.files_url)
            if (parts.scheme, parts.netloc) == (base.scheme, base.netloc):
                return True
            is_web = parts.scheme in ("http", "https") and parts.username is None
            return is_web and (parts.hostname or "").lower() in self.hosts
        except ValueError:
            return False


def read_access(settings: Settings, remember: Callable[[str], object] = lambda token: None) -> Access:
    """Return the access that the settings describe; `remember` is called with the token, to mask it.

    Raises UsageError, and StepError for a secret that cannot be read.
    """
    given = settings.environment
    retry = given.get("SC_RETRY_SECONDS") or str(RETRY_SECONDS)
    seconds = duration_seconds(retry)
    if seconds is None or not 0 <= seconds < 1e6:
        raise UsageError(f"SC_RETRY_SECONDS must be a duration, not {retry!r}", "for example 90 or 2m")
    token = find_token(settings)
    if token:
        remember(token)
    hosts = (given.get("SC_ALLOWED_HOSTS") or "").replace(",", " ").split()
    return Access(
        _url(given.get("SC_API_URL") or API_URL, "SC_API_URL"),
        _url(given.get("BASE_POSTPROCESSING_URL") or FILES_URL, "BASE_POSTPROCESSING_URL"),
        token,
        frozenset(host.lower() for host in hosts),
        seconds,
    )


def find_token(settings: Settings) -> str:
    """Return `SC_BEARER`, the content of the file `SC_BEARER_FILE`, or the secret `smartcitizen`; "" if none is set.

    Raises StepError for a file or secret that cannot be read, UsageError for an invalid token.
    """
    from scflows.secrets.env import from_file

    token = settings.environment.get("SC_BEARER") or from_file(settings, "SC_BEARER") or _secret(settings)
    token = token.strip()
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise UsageError("SC_BEARER is not a valid token: it contains spaces or other invalid characters")
    return token


def _secret(settings: Settings) -> str:
    from scflows.secrets.masking import Mask
    from scflows.secrets.resolver import Secrets

    secrets = Secrets(settings, Mask(), lambda message: None, lambda expression, value: value)
    return secrets.find(SECRET)["token"] if secrets.has(SECRET) else ""


def _url(text: str, name: str) -> str:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(text.strip())
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query and not parts.fragment
    except ValueError:
        is_one = False
    if not is_one:
        raise UsageError(f"{name} must be an http or https address, not {text!r}")
    return text.strip().rstrip("/") + "/"
