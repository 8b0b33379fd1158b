"""MQTT clients; the library of its extra is loaded with the first of them."""

from __future__ import annotations

import contextlib

from scflows.connectors.endpoint import Endpoint, endpoint
from scflows.errors import MissingExtra, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from scflows.connectors.endpoint import Fields

PORTS = {"mqtt": 1883, "mqtts": 8883}
#: The versions of the protocol that can be asked for, by their numbers in a CONNECT packet.
PROTOCOLS = {"5": 5, "3.1.1": 4}


def library() -> Any:
    """The module `paho.mqtt.client`. Raises MissingExtra."""
    try:
        from paho.mqtt import client
    except ImportError as error:
        raise MissingExtra("paho-mqtt", "mqtt") from error
    return client


def broker(url: str, secret: Fields | None = None, tls: Mapping[str, str] | None = None) -> Endpoint:
    """The broker that a URL or a secret names. Raises UsageError."""
    return endpoint(url, PORTS, secret, tls)


def new_client(
    where: Endpoint, client_id: str, protocol: str = "5", manual_ack: bool = False, clean: bool = True
) -> Any:
    """A client that is not connected yet. Raises UsageError for TLS files that cannot be used, MissingExtra."""
    paho = library()
    more = {} if protocol == "5" else {"clean_session": clean}
    client = paho.Client(
        paho.CallbackAPIVersion.VERSION2,
        client_id=client_id,
        protocol=PROTOCOLS[protocol],
        manual_ack=manual_ack,
        reconnect_on_failure=False,
        **more,
    )
    if where.username:
        client.username_pw_set(where.username, where.password or None)
    if where.tls:
        _encrypt(client, where)
    return client


def _encrypt(client: Any, where: Endpoint) -> None:
    import ssl

    try:
        client.tls_set(
            ca_certs=where.ca or None,
            certfile=where.cert or None,
            keyfile=where.key or None,
            cert_reqs=ssl.CERT_NONE if where.insecure else ssl.CERT_REQUIRED,
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or getattr(error, "reason", None) or error
        files = ", ".join(each for each in (where.ca, where.cert, where.key) if each)
        raise UsageError(f"TLS for {where.address}: {files}: {reason}") from error
    if where.insecure:
        with contextlib.suppress(ValueError):
            client.tls_insecure_set(True)
