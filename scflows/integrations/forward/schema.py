"""The schema file of a forwarding, with the line of every mistake."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

from scflows.config import parse_size
from scflows.errors import FlowError, NotFound, ScflowsError, UsageError
from scflows.integrations.forward.end_spec import FROM, TO, EndSpec, check_ends, check_loop, end_of, section, topic_at
from scflows.validation import Located, described

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from scflows.integrations.forward.topic import TopicTemplate

#: The properties of each section, with the kinds of their values.
TOP = {
    "name": "text",
    "from": "mapping",
    "to": "mapping",
    "names": "mapping",
    "only": "mapping",
    "payload": "mapping",
    "spool": "mapping",
}
NAMES = {
    **dict.fromkeys(("type", "key", "path", "uri", "row", "refresh", "unknown"), "text"),
    **dict.fromkeys(("headers", "authentication", "paginate", "collect"), "mapping"),
}
COLLECT = {"into": "text", "by": "text", "value": "text"}
ONLY = {"tags": "list"}
PAYLOAD = {"as": "text", "jq": "text", "template": "text", "observations": "text"}
SPOOL = {"max_bytes": ""}
TABLES = {"csv": ("path",), "rest": ("uri", "row"), "platform": ()}
#: The schemes of SensorThings services.
HTTP = ("http://", "https://")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
#: The default size of the spool, in bytes.
SPOOL_BYTES = 2**30


@dataclass(frozen=True)
class Schema:
    """The content of a schema file."""

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
        """Return the folder that relative paths start from."""
        return os.path.dirname(self.file)


def read_schema(path: str) -> Schema:
    """Return the schema of a file. Raises NotFound, UsageError, and FlowError with every mistake."""
    document, schema = read_document(path, path)
    if schema is None or has_errors(document):
        raise FlowError(document.mistakes)
    return schema


def read_document(path: str, shown: str) -> tuple[Located, Schema | None]:
    """Return the document of a file with its mistakes, and its schema if it has topics.

    `shown` is its path in messages. Raises NotFound, UsageError, and FlowError for invalid YAML.
    """
    from scflows.storage import open_regular
    from scflows.validation import Located

    file = os.path.abspath(os.path.expanduser(path))
    try:
        with os.fdopen(open_regular(file), "rb") as opened:
            document = Located(opened.read(), shown)
    except FileNotFoundError as error:
        raise NotFound(
            f"{shown}: file not found", "examples are in the folder `forward` of the example flows"
        ) from error
    except OSError as error:
        raise UsageError(f"{shown}: cannot be read: {error.strerror}") from error
    schema = _schema(document, file)
    document.mistakes.sort(key=lambda mistake: (mistake.line, mistake.column))
    return document, schema


def has_errors(document: Located) -> bool:
    """Return whether a document has mistakes other than warnings."""
    return any(mistake.severity == "error" for mistake in document.mistakes)


def _schema(document: Located, file: str) -> Schema | None:
    top = document.value
    if not isinstance(top, dict):
        document.mistake(f"a forwarding must be a mapping with `from` and `to`, not {described(top)}")
        return None
    given = section(document, top, TOP, (), needed=("from", "to"))
    name = str(given.get("name") or os.path.splitext(os.path.basename(file))[0].removesuffix(".forward"))
    if not NAME.fullmatch(name):
        document.mistake(f"invalid name {name!r}: use letters, digits and . _ -", "name")
    source = section(document, given.get("from", {}), FROM, ("from",))
    sink = section(document, given.get("to", {}), TO, ("to",))
    if "topic" not in sink and str(sink.get("url", "")).startswith(HTTP):
        sink["topic"] = "Observations"
    elif "topic" not in sink:
        document.mistake("to: topic is missing", "to")
    names = _names(document, given.get("names"))
    topics = _topics(document, source)
    target = topic_at(document, sink.get("topic"), "to", "topic")
    if topics and target is not None:
        known = {name for topic in topics for name in topic.names} if names is None else None
        try:
            # The columns of a table are unknown until it is read, so they are checked for each message.
            target.check_target(known if known is not None else set(target.names))
        except UsageError as error:
            document.mistake(str(error), "to", "topic")
        if names is not None and names.get("key") and all(names["key"] not in topic.names for topic in topics):
            document.mistake(f"no topic contains <{names['key']}>, the key of the names", "names", "key")
    payload = section(document, given.get("payload", {}), PAYLOAD, ("payload",))
    _check_payload(document, payload)
    only = section(document, given.get("only", {}), ONLY, ("only",))
    if only.get("tags") and names is None:
        document.mistake("only: tags come from the names, so `names` is required", "only", "tags")
    if not topics or target is None:
        return None
    ends = end_of(document, source, "from"), end_of(document, sink, "to")
    check_ends(document, name, *ends)
    if names is None:  # With a table, unknown names are not forwarded.
        check_loop(document, ends[0], topics, ends[1], target)
    return Schema(
        name=name,
        file=file,
        source=ends[0],
        topics=topics,
        sink=ends[1],
        target=target,
        names=names,
        refresh=_refresh(document, names),
        tags=frozenset(str(tag) for tag in only.get("tags") or ()),
        payload=payload,
        spool_bytes=_size(document, given.get("spool", {})),
    )


def _topics(document: Located, given: dict[str, Any]) -> list[TopicTemplate]:
    written = given.get("topics") or ([given["topic"]] if "topic" in given else [])
    if not written:
        document.mistake("from: topic is missing", "from")
    found = []
    for each in written:
        topic = topic_at(document, each, "from", "topic" if "topic" in given else "topics")
        if topic is None:
            continue
        try:
            topic.check_source()
            found.append(topic)
        except UsageError as error:
            document.mistake(str(error), "from")
    return found


def _names(document: Located, given: dict[str, Any] | None) -> dict[str, Any] | None:
    if given is None:
        return None
    found = section(document, given, NAMES, ("names",), needed=("key", "type"))
    kind = found.get("type")
    if kind is not None and kind not in TABLES:
        document.mistake(f"names: type must be one of {', '.join(TABLES)}", "names", "type")
    if kind == "platform" and found.keys() & {"uri", "authentication", "headers", "paginate"}:
        document.mistake(
            "names: the platform is configured by SC_API_URL and SC_BEARER; for another API use type rest",
            "names",
            "type",
        )
    for key in TABLES.get(str(kind), ()):
        if key not in found:
            document.mistake(f"names: {key} is missing; type {kind} needs it", "names")
    if "collect" in found:
        found["collect"] = section(document, found["collect"], COLLECT, ("names", "collect"), tuple(COLLECT))
    if found.get("unknown") not in (None, "drop", "keep"):
        document.mistake("names: unknown must be drop or keep", "names", "unknown")
    from scflows.connectors.http import pagination
    from scflows.expressions.jq import check_program
    from scflows.secrets import http_auth

    for name, check in (("authentication", http_auth.mistakes_of), ("paginate", None)):
        if name in found:
            mistakes = check(found[name]) if check else pagination.mistakes_of(found[name], check_program)
            for mistake in mistakes:
                document.mistake(f"names: {name}: {mistake}", "names", name)
    return found


def _refresh(document: Located, names: Mapping[str, Any] | None) -> float:
    text = (names or {}).get("refresh")
    if text is None:
        return 600.0
    from scflows.cron.schedule.spec import parse_every

    try:
        return float(parse_every(str(text)))
    except ScflowsError as error:
        document.mistake(f"names: refresh: {error}", "names", "refresh")
        return 600.0


def _check_payload(document: Located, given: dict[str, Any]) -> None:
    from scflows.expressions.templates import Expressions
    from scflows.integrations.forward.payload import DECODERS, from_json, shape_by_jq, shape_by_template

    if sum(way in given for way in ("jq", "template", "observations")) > 1:
        document.mistake("payload: use only one of `jq`, `template` and `observations`", "payload")
    if given.get("as") not in (None, *DECODERS):
        document.mistake(f"payload: as must be one of {', '.join(DECODERS)}", "payload", "as")
    for name, make in (("jq", shape_by_jq), ("template", shape_by_template)):
        if name in given:
            try:
                make(given[name], Expressions(), from_json)
            except ScflowsError as error:
                document.mistake(f"payload: {error}", "payload", name)


def _size(document: Located, given: dict[str, Any]) -> int:
    found = section(document, given, SPOOL, ("spool",))
    if "max_bytes" not in found:
        return SPOOL_BYTES
    size = parse_size(found["max_bytes"])
    if size is None:
        value = described(found["max_bytes"])
        document.mistake(f"spool: max_bytes must be a size such as 500 MiB, not {value}", "spool", "max_bytes")
    return size or SPOOL_BYTES
