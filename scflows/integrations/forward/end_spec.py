"""The description of the two ends in a schema."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.errors import UsageError
from scflows.integrations.forward.topic import TopicTemplate
from scflows.validation import Located, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


#: The properties of each end, with the kinds of their values.
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
#: The maximum of a client identifier, in bytes, and of a keepalive, in seconds (MQTT 5.0 §1.5.4, §3.1.2.10).
LONGEST = 65535


@dataclass(frozen=True)
class EndSpec:
    """One end as written in the schema."""

    url: str = ""
    secret: str = ""
    tls: Mapping[str, Any] | None = None
    client_id: str = ""
    protocol: str = "5"
    keepalive: int = 30  #: seconds
    group: str = ""  #: the consumer group
    retain: bool | None = None
    status_topic: str = ""
    qos: int = 1

    @property
    def scheme(self) -> str:
        """Return `mqtt`, `kafka`, `staplus`, …; `mqtt` if the address is in the secret."""
        return self.url.partition("://")[0].removesuffix("s") if self.url else "mqtt"

    def client_of(self, name: str, is_sink: bool) -> str:
        """Return its client identifier in a forwarding of that name."""
        return self.client_id or f"scflows-{name}{'-out' if is_sink else ''}"


def end_of(document: Located, given: dict[str, Any], at: str) -> EndSpec:
    """Return the end that a section describes; add mistakes to the document."""
    if not given.get("url") and not given.get("secret"):
        document.mistake(f"{at}: set `url` or `secret`", at)
    tls = given.get("tls")
    if given.get("protocol") not in (None, "5", "3.1.1"):
        document.mistake(f"{at}: protocol must be '5' or '3.1.1'", at, "protocol")
    if given.get("qos") not in (None, 0, 1):
        document.mistake(f"{at}: qos must be 0 or 1", at, "qos")
    if not 1 <= given.get("keepalive", 30) <= LONGEST:
        document.mistake(f"{at}: keepalive must be 1 to {LONGEST} seconds", at, "keepalive")
    if len(given.get("client_id", "").encode(errors="replace")) > LONGEST:
        document.mistake(f"{at}: client_id must not be longer than {LONGEST} bytes", at, "client_id")
    if "status_topic" in given:
        _check_status_topic(document, topic_at(document, given["status_topic"], at, "status_topic"), at)
    options = {key: value for key, value in given.items() if key not in ("topic", "topics", "tls")}
    return EndSpec(**options, tls=None if tls is None else section(document, tls, TLS, (at, "tls")))


def check_ends(document: Located, name: str, source: EndSpec, sink: EndSpec) -> None:
    """Add a mistake if both ends use the same client identifier at the same broker, which disconnects the other."""
    if source.scheme != "mqtt" or sink.scheme != "mqtt" or _address(source) != _address(sink):
        return
    if source.client_of(name, False) == sink.client_of(name, True):
        given = ("to", "client_id") if sink.client_id else ("from", "client_id")
        document.mistake(
            f"{given[0]}: both ends have the same client_id at the same broker; each needs its own", *given
        )


def check_loop(
    document: Located, source: EndSpec, topics: list[TopicTemplate], sink: EndSpec, target: TopicTemplate
) -> None:
    """Add a mistake if sent messages would be received again, in an endless loop."""
    is_same = source.scheme == sink.scheme and _address(source) == _address(sink)
    for topic in topics if is_same else ():
        if topic.overlaps(target):
            document.mistake(
                f"to: messages sent to {target.text!r} would be received again by {topic.text!r}, in an endless loop",
                "to",
                "topic",
            )


def _address(spec: EndSpec) -> object:
    """Return host and port of an end, or the secret that has them."""
    from urllib.parse import urlsplit

    from scflows.connectors.mqtt import PORTS

    if not spec.url:
        return spec.secret
    try:
        parts = urlsplit(spec.url)
        return parts.hostname, parts.port or PORTS.get(parts.scheme)
    except ValueError:
        return spec.url  # Reported when it is opened.


def _check_status_topic(document: Located, topic: TopicTemplate | None, at: str) -> None:
    try:
        if topic is not None:
            topic.check_target(set())
    except UsageError as error:
        document.mistake(f"{at}: status_{error}", at, "status_topic")


def topic_at(document: Located, text: Any, *at: str) -> TopicTemplate | None:
    """Return the topic of a text; None, after adding a mistake, if it is invalid."""
    if text is None:
        return None
    try:
        return TopicTemplate(str(text))
    except UsageError as error:
        document.mistake(f"{at[0]}: {error}", *at)
        return None


def section(
    document: Located,
    given: dict[Any, Any],
    known: Mapping[str, str],
    at: tuple[str, ...],
    needed: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Return the valid entries of a mapping and add its mistakes to the document.

    `known` maps the allowed keys to kinds; an empty kind allows any value. `at` is the path to the mapping.
    """
    title = ": ".join(at)
    found = {}
    for key in given:
        if key not in known:
            hint = nearest(str(key), known) or f"; use {', '.join(known)}"
            document.mistake(f"{title + ': ' if title else ''}unknown property {key!r}{hint}", *at, key)
        elif not known[key]:
            found[key] = given[key]
        else:
            value = document.typed(given, key, known[key], None, title, at)
            if isinstance(value, str) and "\0" in value:
                document.mistake(f"{title + ': ' if title else ''}{key} contains a NUL character", *at, key)
            if value is not None:
                found[key] = value
    for key in needed:
        if given.get(key) is None:
            document.mistake(f"{title + ': ' if title else ''}{key} is missing", *at)
    return found
