"""MQTT clients. The library is imported on first use."""

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
#: The supported protocol versions, with their numbers in a CONNECT packet.
PROTOCOLS = {"5": 5, "3.1.1": 4}


def library() -> Any:
    """Import and return `paho.mqtt.client`. Raises MissingExtra."""
    try:
        from paho.mqtt import client
    except ImportError as error:
        raise MissingExtra("paho-mqtt", "mqtt") from error
    return client


def broker_of(url: str, secret: Fields | None = None, tls: Mapping[str, str] | None = None) -> Endpoint:
    """Return the broker that a URL or a secret names. Raises UsageError."""
    return endpoint(url, PORTS, secret, tls)


def new_client(
    broker: Endpoint, client_id: str, protocol: str = "5", manual_ack: bool = False, clean: bool = True
) -> Any:
    """Return a client that is not connected yet. Raises UsageError for invalid TLS files, MissingExtra."""
    paho = library()
    options = {} if protocol == "5" else {"clean_session": clean}
    client = paho.Client(
        paho.CallbackAPIVersion.VERSION2,
        client_id=client_id,
        protocol=PROTOCOLS[protocol],
        manual_ack=manual_ack,
        reconnect_on_failure=False,
        **options,
    )
    if broker.username:
        client.username_pw_set(broker.username, broker.password or None)
    if broker.tls:
        _encrypt(client, broker)
    return client


def _encrypt(client: Any, broker: Endpoint) -> None:
    import ssl

    try:
        client.tls_set(
            ca_certs=broker.ca or None,
            certfile=broker.cert or None,
            keyfile=broker.key or None,
            cert_reqs=ssl.CERT_NONE if broker.insecure else ssl.CERT_REQUIRED,
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or getattr(error, "reason", None) or error
        files = ", ".join(each for each in (broker.ca, broker.cert, broker.key) if each)
        raise UsageError(f"TLS for {broker.address}: {files}: {reason}") from error
    if broker.insecure:
        with contextlib.suppress(ValueError):
            client.tls_insecure_set(True)
