"""Clients of Redis; the library of its extra is loaded with the first of them."""

from __future__ import annotations

from scflows.connectors.endpoint import endpoint
from scflows.errors import MissingExtra, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scflows.connectors.endpoint import Fields

PORTS = {"redis": 6379, "rediss": 6379}


def client(url: str, secret: Fields | None, timeout: float) -> Any:
    """A client for the server that a URL or a secret names; what follows the port is the number of its database.

    Raises UsageError, MissingExtra.
    """
    try:
        import redis
    except ImportError as error:
        raise MissingExtra("redis", "redis") from error
    where = endpoint(url, PORTS, secret)
    if where.path and not where.path.isdigit():
        raise UsageError(f"{where.address}/{where.path}: the number of a database follows the port")
    encrypted: dict[str, Any] = {"ssl": True, "ssl_ca_certs": where.ca or None} if where.tls else {}
    return redis.Redis(
        where.host,
        where.port,
        int(where.path or 0),
        username=where.username or None,
        password=where.password or None,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        **encrypted,
    )
