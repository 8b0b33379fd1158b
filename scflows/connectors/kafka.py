"""Settings of Kafka clients; the library of its extra is loaded with the first of them."""

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
    """The module `confluent_kafka`. Raises MissingExtra."""
    try:
        import confluent_kafka
    except ImportError as error:
        raise MissingExtra("confluent-kafka", "kafka") from error
    return confluent_kafka


def settings_of(url: str, secret: Fields | None = None, tls: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The settings of librdkafka for the cluster that a URL or a secret names.

    The URL may name several brokers: `kafka://one:9092,two:9092`. A secret's username and password log in by
    SASL, its field `mechanism` says how (PLAIN unless it does). Raises UsageError, MissingExtra.
    """
    library()
    fields = {} if secret is None else {name: secret[name] for name in secret}
    url = (
        url or fields.get("url") or fields.get("uri") or f"kafka://{fields.get('host', '')}:{fields.get('port', 9092)}"
    )
    first, *others = url.split(",")
    where = endpoint(first, PORTS, secret, tls)
    found: dict[str, Any] = {
        "bootstrap.servers": ",".join([where.address, *others]),
        # A broker that is away is tried again soon, and not by all clients at once.
        "reconnect.backoff.max.ms": 10_000,
        "socket.keepalive.enable": True,
    }
    protocol = "SSL" if where.tls else "PLAINTEXT"
    if where.username:
        protocol = f"SASL_{protocol}"
        found |= {
            "sasl.mechanism": fields.get("mechanism", "PLAIN"),
            "sasl.username": where.username,
            "sasl.password": where.password,
        }
    found["security.protocol"] = protocol
    for option, value in (("ca", where.ca), ("certificate", where.cert), ("key", where.key)):
        if value:
            found[f"ssl.{option}.location"] = value
    if where.insecure:
        found["enable.ssl.certificate.verification"] = False
    return found
