"""Redis clients. The library is imported on first use."""

from __future__ import annotations

from scflows.connectors.endpoint import endpoint
from scflows.errors import MissingExtra, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scflows.connectors.endpoint import Fields

PORTS = {"redis": 6379, "rediss": 6379}


def client(url: str, secret: Fields | None, timeout: float) -> Any:
    """Return a client for the server of a URL or a secret; the path of the URL is the number of the database.

    Raises UsageError, MissingExtra.
    """
    try:
        import redis
    except ImportError as error:
        raise MissingExtra("redis", "redis") from error
    server = endpoint(url, PORTS, secret)
    if server.path and not server.path.isdigit():
        raise UsageError(f"{server.address}/{server.path}: the path must be the number of a database")
    tls_options: dict[str, Any] = {"ssl": True, "ssl_ca_certs": server.ca or None} if server.tls else {}
    return redis.Redis(
        server.host,
        server.port,
        int(server.path or 0),
        username=server.username or None,
        password=server.password or None,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        **tls_options,
    )
