"""The address and credentials of servers other than HTTP servers."""

from __future__ import annotations

from dataclasses import dataclass, field

from scflows.errors import StepError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Protocol

    class Fields(Protocol):
        """The fields of a secret by name, for example a `Secret`."""

        def __getitem__(self, field: str, /) -> str: ...

        def __contains__(self, field: object, /) -> bool: ...

        def __iter__(self) -> Iterator[str]: ...


#: The options of an encrypted connection.
TLS_OPTIONS = ("ca", "cert", "key", "insecure")


@dataclass(frozen=True)
class Endpoint:
    """The address of a server, with credentials and TLS options."""

    host: str
    port: int
    tls: bool = False
    username: str = ""
    password: str = field(default="", repr=False)
    ca: str = ""  #: a file with trusted certificates (default: the system's)
    cert: str = ""  #: a file with the client certificate
    key: str = ""  #: the file of the certificate's key
    insecure: bool = False  #: whether to accept any certificate
    path: str = ""  #: the path of the URL, without the leading slash

    @property
    def address(self) -> str:
        """Return `HOST:PORT`, for messages."""
        return f"{self.host}:{self.port}"


def endpoint(
    url: str, ports: Mapping[str, int], secret: Fields | None = None, tls: Mapping[str, str] | None = None
) -> Endpoint:
    """Return the endpoint of a URL or of a secret's `url`, with credentials and TLS files from the secret.

    `ports` maps the allowed schemes to their default ports. Schemes that end in `s` are encrypted, and so are
    connections with `tls`. Raises UsageError for a URL that is invalid or contains a password.
    """
    from urllib.parse import unquote, urlsplit

    fields = _fields(secret)
    url = url or fields.get("url") or fields.get("uri") or _build_url(fields, next(iter(ports)))
    known = ", ".join(f"{scheme}://" for scheme in ports)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"{_without_login(url)}: not a valid URL: {error}") from error
    if parts.scheme not in ports or not parts.hostname:
        raise UsageError(f"{_without_login(url)}: must be one of {known} with a host")
    if parts.password and not (fields.get("url") or fields.get("uri")):
        raise UsageError(
            f"{_without_login(url)}: a URL must not contain a password", "use a secret with username and password"
        )
    options = {**{name: fields[name] for name in TLS_OPTIONS if name in fields}, **(tls or {})}
    return Endpoint(
        host=parts.hostname,
        port=port or ports[parts.scheme],
        tls=tls is not None or (parts.scheme.endswith("s") and parts.scheme[:-1] in ports) or "ca" in fields,
        username=fields.get("username") or unquote(parts.username or ""),
        password=fields.get("password") or unquote(parts.password or ""),
        ca=str(options.get("ca") or ""),
        cert=str(options.get("cert") or ""),
        key=str(options.get("key") or ""),
        insecure=str(options.get("insecure", "")).lower() in ("true", "1", "yes"),
        path=parts.path.lstrip("/"),
    )


def login_in(uri: str) -> tuple[str, str]:
    """Return user and password in a URI, as written and whatever characters they have; two empty texts without a login.

    A password that is not percent-encoded may contain `/`, `?`, `#` or `@`. Then what precedes the first of these is
    not a host.
    """
    _, separator, rest = uri.strip().partition("://")
    if not separator or "@" not in rest:
        return "", ""
    end = min((place for sign in "/?#" if (place := rest.find(sign)) >= 0), default=len(rest))
    login, at, host = rest[:end].rpartition("@")
    if "@" in rest[end:] and not _is_host(host, is_after_login=bool(at)):
        login = rest.rpartition("@")[0]
    user, _, password = login.partition(":")
    return user, password


def _is_host(text: str, is_after_login: bool) -> bool:
    """Return True if a text can be a host with a port, rather than a part of a login."""
    host, colon, port = (text, "", "") if text.endswith("]") else text.rpartition(":")
    if not colon:
        host = text
    elif not port.isdecimal() or int(port[:9]) > 65535:
        return False
    if not colon and not is_after_login:
        return True
    return "." in host or host.startswith("[") or host == "localhost"


def _fields(secret: Fields | None) -> dict[str, str]:
    return {} if secret is None else {name: secret[name] for name in secret}


def _build_url(fields: Mapping[str, str], scheme: str) -> str:
    host = fields.get("host")
    if not host:
        raise StepError("no server: set a URL, or `url` or `host` in the secret")
    return f"{scheme}://{host}" + (f":{fields['port']}" if fields.get("port") else "")


def _without_login(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    return repr(f"{scheme}{separator}{rest.rpartition('@')[2]}")
