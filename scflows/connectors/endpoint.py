"""Connections to servers other than HTTP's: where they are, and who logs in."""

from __future__ import annotations

from dataclasses import dataclass, field

from scflows.errors import StepError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Protocol

    class Fields(Protocol):
        """What a login says, by the names of its fields; a `Secret` is such."""

        def __getitem__(self, field: str, /) -> str: ...

        def __contains__(self, field: object, /) -> bool: ...

        def __iter__(self) -> Iterator[str]: ...


#: The files and switches of an encrypted connection.
TLS_OPTIONS = ("ca", "cert", "key", "insecure")


@dataclass(frozen=True)
class Endpoint:
    """A server and how to log in there."""

    host: str
    port: int
    tls: bool = False
    username: str = ""
    password: str = field(default="", repr=False)
    ca: str = ""  #: a file with the certificates to trust; else the system's
    cert: str = ""  #: a file with our own certificate, for servers that ask for one
    key: str = ""  #: the file of its key
    insecure: bool = False  #: whether any certificate will do
    path: str = ""  #: what follows the port, without the first slash

    @property
    def address(self) -> str:
        """`HOST:PORT`, for messages."""
        return f"{self.host}:{self.port}"


def endpoint(
    url: str, ports: Mapping[str, int], secret: Fields | None = None, tls: Mapping[str, str] | None = None
) -> Endpoint:
    """The place that a URL names, or a secret's `url`; login and TLS files from the secret, too.

    `ports` maps the schemes that can be to their usual ports; one that ends in `s` is encrypted, and so is what has
    `tls`. Raises UsageError for a URL that cannot be, or that holds a password.
    """
    from urllib.parse import unquote, urlsplit

    fields = _fields(secret)
    url = url or fields.get("url") or fields.get("uri") or _built(fields, next(iter(ports)))
    known = ", ".join(f"{scheme}://" for scheme in ports)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"{_shown(url)}: no URL: {error}") from error
    if parts.scheme not in ports or not parts.hostname:
        raise UsageError(f"{_shown(url)}: not one of {known} with a host")
    if parts.password and not (fields.get("url") or fields.get("uri")):
        raise UsageError(
            f"{_shown(url)}: a password may not stand here", "name a secret that has username and password"
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


def _fields(secret: Fields | None) -> dict[str, str]:
    return {} if secret is None else {name: secret[name] for name in secret}


def _built(fields: Mapping[str, str], scheme: str) -> str:
    host = fields.get("host")
    if not host:
        raise StepError("neither a URL nor a secret with `url` or `host` says where the server is")
    return f"{scheme}://{host}" + (f":{fields['port']}" if fields.get("port") else "")


def _shown(url: str) -> str:
    before, mark, rest = url.partition("://")
    return repr(f"{before}{mark}{rest.rpartition('@')[2]}")
