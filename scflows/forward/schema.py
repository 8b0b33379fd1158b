"""The file that says what is forwarded from where to where; every mistake in it with its line."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

from scflows.config import parse_size
from scflows.errors import FlowError, NotFound, ScflowsError, UsageError
from scflows.forward.topic import TopicTemplate
from scflows.kind import described, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from scflows.located import Located

#: What each part of the file may say, with the kind of each value.
TOP = {
    "name": "text",
    "from": "mapping",
    "to": "mapping",
    "names": "mapping",
    "only": "mapping",
    "payload": "mapping",
} | {"spool": "mapping"}
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
NAMES = {
    **dict.fromkeys(("type", "key", "path", "uri", "row", "refresh", "unknown"), "text"),
    **dict.fromkeys(("headers", "authentication", "paginate", "collect"), "mapping"),
}
COLLECT = {"into": "text", "by": "text", "value": "text"}
ONLY = {"tags": "list"}
PAYLOAD = {"as": "text", "jq": "text", "template": "text", "observations": "text"}
SPOOL = {"max_bytes": ""}
TABLES = {"csv": ("path",), "rest": ("uri", "row"), "platform": ()}
#: The beginnings of a SensorThings service's address.
HTTP = ("http://", "https://")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
#: How much a sink that is away may leave on the disk.
SPOOL_BYTES = 2**30


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


@dataclass(frozen=True)
class Schema:
    """What is forwarded from where to where."""

    name: str
    file: str  #: absolute
    source: EndSpec
    topics: list[TopicTemplate]
    sink: EndSpec
    target: TopicTemplate
    names: Mapping[str, Any] | None = None
    refresh: float = 600.0  #: seconds
    tags: frozenset[str] = frozenset()
    payload: Mapping[str, str] = field(default_factory=dict)
    spool_bytes: int = SPOOL_BYTES

    @property
    def folder(self) -> str:
        """Where its relative paths begin."""
        return os.path.dirname(self.file)


def read_schema(path: str) -> Schema:
    """The schema of a file. Raises NotFound, UsageError, and FlowError with every mistake in it."""
    from scflows.located import Located
    from scflows.safefile import open_regular

    file = os.path.abspath(os.path.expanduser(path))
    try:
        with os.fdopen(open_regular(file), "rb") as opened:
            document = Located(opened.read(), path)
    except FileNotFoundError as error:
        raise NotFound(
            f"{path}: there is no such file", "examples are in the folder forward of the shipped flows"
        ) from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    schema = _schema(document, file)
    document.mistakes.sort(key=lambda mistake: (mistake.line, mistake.column))
    if schema is None or any(mistake.severity == "error" for mistake in document.mistakes):
        raise FlowError(document.mistakes)
    return schema


def _schema(document: Located, file: str) -> Schema | None:
    top = document.value
    if not isinstance(top, dict):
        document.mistake(f"a forwarding is a mapping with `from` and `to`, not {described(top)}")
        return None
    given = _section(document, top, TOP, (), needed=("from", "to"))
    name = str(given.get("name") or os.path.splitext(os.path.basename(file))[0].removesuffix(".forward"))
    if not NAME.fullmatch(name):
        document.mistake(f"the name {name!r} cannot be: letters, digits and . _ - are allowed", "name")
    source = _section(document, given.get("from", {}), FROM, ("from",))
    sink = _section(document, given.get("to", {}), TO, ("to",))
    if "topic" not in sink and str(sink.get("url", "")).startswith(HTTP):
        sink["topic"] = "Observations"
    elif "topic" not in sink:
        document.mistake("to: topic is missing", "to")
    names = _names(document, given.get("names"))
    topics = _topics(document, source)
    target = _topic(document, sink.get("topic"), "to", "topic")
    if topics and target is not None:
        known = {name for topic in topics for name in topic.names} if names is None else None
        try:
            # What a table gives is known only once it is read; it is checked then, message by message.
            target.check_target(known if known is not None else set(target.names))
        except UsageError as error:
            document.mistake(str(error), "to", "topic")
        if names is not None and names.get("key") and all(names["key"] not in topic.names for topic in topics):
            document.mistake(f"no topic has <{names['key']}>, the key of the names", "names", "key")
    payload = _section(document, given.get("payload", {}), PAYLOAD, ("payload",))
    _check_payload(document, payload)
    only = _section(document, given.get("only", {}), ONLY, ("only",))
    if only.get("tags") and names is None:
        document.mistake("only: tags are those of the names: say where `names` come from", "only", "tags")
    if not topics or target is None:
        return None
    return Schema(
        name=name,
        file=file,
        source=_end(document, source, "from"),
        topics=topics,
        sink=_end(document, sink, "to"),
        target=target,
        names=names,
        refresh=_refresh(document, names),
        tags=frozenset(str(tag) for tag in only.get("tags") or ()),
        payload=payload,
        spool_bytes=_size(document, given.get("spool", {})),
    )


def _section(
    document: Located,
    given: dict[Any, Any],
    known: Mapping[str, str],
    at: tuple[str, ...],
    needed: tuple[str, ...] = (),
) -> dict[str, Any]:
    title = ": ".join(at)
    found = {}
    for key in given:
        if key not in known:
            told = nearest(str(key), known) or f"; it has {', '.join(known)}"
            document.mistake(f"{title + ': ' if title else ''}unknown property {key!r}{told}", *at, key)
        elif not known[key]:
            found[key] = given[key]
        else:
            value = document.typed(given, key, known[key], None, title, at)
            if value is not None:
                found[key] = value
    for key in needed:
        if given.get(key) is None:
            document.mistake(f"{title + ': ' if title else ''}{key} is missing", *at)
    return found


def _end(document: Located, given: dict[str, Any], at: str) -> EndSpec:
    if not given.get("url") and not given.get("secret"):
        document.mistake(f"{at}: `url` or `secret` must say where it is", at)
    tls = given.get("tls")
    if given.get("protocol") not in (None, "5", "3.1.1"):
        document.mistake(f"{at}: protocol is '5' or '3.1.1'", at, "protocol")
    if given.get("qos") not in (None, 0, 1):
        document.mistake(f"{at}: qos is 0 or 1", at, "qos")
    if "status_topic" in given:
        _topic(document, given["status_topic"], at, "status_topic")
    kept = {key: value for key, value in given.items() if key not in ("topic", "topics", "tls")}
    return EndSpec(**kept, tls=None if tls is None else _section(document, tls, TLS, (at, "tls")))


def _topics(document: Located, given: dict[str, Any]) -> list[TopicTemplate]:
    written = given.get("topics") or ([given["topic"]] if "topic" in given else [])
    if not written:
        document.mistake("from: topic is missing", "from")
    found = []
    for each in written:
        topic = _topic(document, each, "from", "topic" if "topic" in given else "topics")
        if topic is None:
            continue
        try:
            topic.check_source()
            found.append(topic)
        except UsageError as error:
            document.mistake(str(error), "from")
    return found


def _topic(document: Located, text: Any, *at: str) -> TopicTemplate | None:
    if text is None:
        return None
    try:
        return TopicTemplate(str(text))
    except UsageError as error:
        document.mistake(f"{at[0]}: {error}", *at)
        return None


def _names(document: Located, given: dict[str, Any] | None) -> dict[str, Any] | None:
    if given is None:
        return None
    found = _section(document, given, NAMES, ("names",), needed=("key", "type"))
    kind = found.get("type")
    if kind is not None and kind not in TABLES:
        document.mistake(f"names: type is one of {', '.join(TABLES)}", "names", "type")
    if kind == "platform" and found.keys() & {"uri", "authentication", "headers", "paginate"}:
        document.mistake(
            "names: of the platform SC_API_URL and SC_BEARER say where it is and who asks; another API is of type rest",
            "names",
            "type",
        )
    for key in TABLES.get(str(kind), ()):
        if key not in found:
            document.mistake(f"names: {key} is missing, which type {kind} needs", "names")
    if "collect" in found:
        found["collect"] = _section(document, found["collect"], COLLECT, ("names", "collect"), tuple(COLLECT))
    if found.get("unknown") not in (None, "drop", "keep"):
        document.mistake("names: unknown is drop or keep", "names", "unknown")
    from scflows import authentication, pages
    from scflows.expression import compile_filter

    for name, check in (("authentication", authentication.mistakes_of), ("paginate", None)):
        if name in found:
            mistakes = check(found[name]) if check else pages.mistakes_of(found[name], compile_filter)
            for mistake in mistakes:
                document.mistake(f"names: {name}: {mistake}", "names", name)
    return found


def _refresh(document: Located, names: Mapping[str, Any] | None) -> float:
    text = (names or {}).get("refresh")
    if text is None:
        return 600.0
    from scflows.cron.asked import parse_every

    try:
        return float(parse_every(str(text)))
    except ScflowsError as error:
        document.mistake(f"names: refresh: {error}", "names", "refresh")
        return 600.0


def _check_payload(document: Located, given: dict[str, Any]) -> None:
    from scflows.expression import Expressions
    from scflows.forward.payload import DECODERS, from_json, shape_by_jq, shape_by_template

    if sum(way in given for way in ("jq", "template", "observations")) > 1:
        document.mistake("payload: only one of `jq`, `template` and `observations`", "payload")
    if given.get("as") not in (None, *DECODERS):
        document.mistake(f"payload: as is one of {', '.join(DECODERS)}", "payload", "as")
    for name, make in (("jq", shape_by_jq), ("template", shape_by_template)):
        if name in given:
            try:
                make(given[name], Expressions(), from_json)
            except ScflowsError as error:
                document.mistake(f"payload: {error}", "payload", name)


def _size(document: Located, given: dict[str, Any]) -> int:
    found = _section(document, given, SPOOL, ("spool",))
    if "max_bytes" not in found:
        return SPOOL_BYTES
    size = parse_size(found["max_bytes"])
    if size is None:
        told = described(found["max_bytes"])
        document.mistake(f"spool: max_bytes must be a size such as 500 MiB, not {told}", "spool", "max_bytes")
    return size or SPOOL_BYTES
