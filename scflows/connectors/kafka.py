"""The settings of Kafka clients. The library is imported on first use."""

from __future__ import annotations

from scflows.connectors.endpoint import endpoint
from scflows.errors import MissingExtra

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from scflows.connectors.endpoint import Fields

PORTS = {"kafka": 9092, "kafkas": 9093}


def library() -> Any:
    """Import and return `confluent_kafka`. Raises MissingExtra."""
    try:
        import confluent_kafka
    except ImportError as error:
        raise MissingExtra("confluent-kafka", "kafka") from error
    return confluent_kafka


def settings_of(url: str, secret: Fields | None = None, tls: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the librdkafka settings for the cluster of a URL or a secret.

    The URL may contain several brokers: `kafka://one:9092,two:9092`. The secret's username and password are used for
    SASL, with the mechanism in its field `mechanism` (default: PLAIN). Raises UsageError, MissingExtra.
    """
    library()
    fields = {} if secret is None else {name: secret[name] for name in secret}
    url = (
        url or fields.get("url") or fields.get("uri") or f"kafka://{fields.get('host', '')}:{fields.get('port', 9092)}"
    )
    first, *others = url.split(",")
    broker = endpoint(first, PORTS, secret, tls)
    settings: dict[str, Any] = {
        "bootstrap.servers": ",".join([broker.address, *others]),
        # Reconnect soon; librdkafka adds jitter so that clients do not reconnect at the same time.
        "reconnect.backoff.max.ms": 10_000,
        "socket.keepalive.enable": True,
    }
    protocol = "SSL" if broker.tls else "PLAINTEXT"
    if broker.username:
        protocol = f"SASL_{protocol}"
        settings |= {
            "sasl.mechanism": fields.get("mechanism", "PLAIN"),
            "sasl.username": broker.username,
            "sasl.password": broker.password,
        }
    settings["security.protocol"] = protocol
    for option, value in (("ca", broker.ca), ("certificate", broker.cert), ("key", broker.key)):
        if value:
            settings[f"ssl.{option}.location"] = value
    if broker.insecure:
        settings["enable.ssl.certificate.verification"] = False
    return settings
