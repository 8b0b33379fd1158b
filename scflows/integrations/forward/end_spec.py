"""What a schema says of each of the two ends."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.errors import UsageError
from scflows.integrations.forward.section import section
from scflows.integrations.forward.topic import TopicTemplate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from scflows.validation import Located

#: What each end may say, with the kind of each value.
END = {
    "url": "text",
    "secret": "text",
    "tls": "mapping",
    "client_id": "text",
    "protocol": "text",
    "keepalive": "integer",
}
FROM = {**END, "topic": "text", "topics": "list", "group": "text"}
TO = {**END, "topic": "text", "retain": "boolean", "status_topic": "text", "qos": "integer"}
TLS = {"ca": "text", "cert": "text", "key": "text", "insecure": "boolean"}
#: What a client identifier may have at most, in bytes, and a keepalive, in seconds (MQTT 5.0 §1.5.4, §3.1.2.10).
LONGEST = 65535


@dataclass(frozen=True)
class EndSpec:
    """One end as written."""

    url: str = ""
    secret: str = ""
    tls: Mapping[str, Any] | None = None
    client_id: str = ""
    protocol: str = "5"
    keepalive: int = 30  #: seconds
    group: str = ""  #: of consumers
    retain: bool | None = None
    status_topic: str = ""
    qos: int = 1

    @property
    def scheme(self) -> str:
        """`mqtt`, `kafka`, `staplus`, …; of an end whose secret says where it is, `mqtt`."""
        return self.url.partition("://")[0].removesuffix("s") if self.url else "mqtt"

    def client_of(self, name: str, is_sink: bool) -> str:
        """As whom it connects, in a forwarding of that name."""
        return self.client_id or f"scflows-{name}{'-out' if is_sink else ''}"


def end_of(document: Located, given: dict[str, Any], at: str) -> EndSpec:
    """The end that a section of the file describes; each mistake in it is noted."""
    if not given.get("url") and not given.get("secret"):
        document.mistake(f"{at}: `url` or `secret` must say where it is", at)
    tls = given.get("tls")
    if given.get("protocol") not in (None, "5", "3.1.1"):
        document.mistake(f"{at}: protocol is '5' or '3.1.1'", at, "protocol")
    if given.get("qos") not in (None, 0, 1):
        document.mistake(f"{at}: qos is 0 or 1", at, "qos")
    if not 1 <= given.get("keepalive", 30) <= LONGEST:
        document.mistake(f"{at}: keepalive is 1 to {LONGEST} seconds", at, "keepalive")
    if len(given.get("client_id", "").encode(errors="replace")) > LONGEST:
        document.mistake(f"{at}: client_id may have {LONGEST} bytes", at, "client_id")
    if "status_topic" in given:
        _check_status_topic(document, topic_at(document, given["status_topic"], at, "status_topic"), at)
    kept = {key: value for key, value in given.items() if key not in ("topic", "topics", "tls")}
    return EndSpec(**kept, tls=None if tls is None else section(document, tls, TLS, (at, "tls")))


def check_ends(document: Located, name: str, source: EndSpec, sink: EndSpec) -> None:
    """Note where both ends would throw each other off the same broker."""
    if source.scheme != "mqtt" or sink.scheme != "mqtt" or _where(source) != _where(sink):
        return
    if source.client_of(name, False) == sink.client_of(name, True):
        given = ("to", "client_id") if sink.client_id else ("from", "client_id")
        document.mistake(
            f"{given[0]}: client_id is that of the other end at the same broker: each needs its own", *given
        )


def check_loop(
    document: Located, source: EndSpec, topics: list[TopicTemplate], sink: EndSpec, target: TopicTemplate
) -> None:
    """Note where what is sent would be taken again, without an end."""
    is_same = source.scheme == sink.scheme and _where(source) == _where(sink)
    for topic in topics if is_same else ():
        if topic.overlaps(target):
            document.mistake(
                f"to: what is sent to {target.text!r} would be taken again by {topic.text!r}, and go round for ever",
                "to",
                "topic",
            )


def _where(spec: EndSpec) -> object:
    """The host and port of an end, or the secret that has them."""
    from urllib.parse import urlsplit

    from scflows.connectors.mqtt import PORTS

    if not spec.url:
        return spec.secret
    try:
        parts = urlsplit(spec.url)
        return parts.hostname, parts.port or PORTS.get(parts.scheme)
    except ValueError:
        return spec.url  # It is told of when it is opened.


def _check_status_topic(document: Located, topic: TopicTemplate | None, at: str) -> None:
    try:
        if topic is not None:
            topic.check_target(set())
    except UsageError as error:
        document.mistake(f"{at}: status_{error}", at, "status_topic")


def topic_at(document: Located, text: Any, *at: str) -> TopicTemplate | None:
    """The topic of a text; None, and a mistake noted, where it is none."""
    if text is None:
        return None
    try:
        return TopicTemplate(str(text))
    except UsageError as error:
        document.mistake(f"{at[0]}: {error}", *at)
        return None
