"""Find what `flows forward` would refuse, without connecting to anything."""

from __future__ import annotations

import os
from dataclasses import replace

from scflows.errors import FlowError, MissingExtra, ScflowsError, StepError, UsageError
from scflows.integrations.forward.factory import Opener
from scflows.integrations.forward.schema import Schema, has_errors, read_document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scflows.errors import Mistake
    from scflows.integrations.forward.end_spec import EndSpec
    from scflows.settings import Settings

    #: Where a problem is in the schema, what it is, and whether it is of this machine alone.
    Problem = tuple[tuple[str, ...], str, bool]

#: The schemes of each end.
SOURCES = ("mqtt", "kafka")
SINKS = ("mqtt", "kafka", "http", "staplus+http")


def schema_mistakes(path: str, shown: str, settings: Settings) -> list[Mistake]:
    """Return all mistakes in a schema file, each with its place; `shown` is its path in messages.

    What another machine may have, a secret or a library, is a warning. Raises NotFound and UsageError for a file that
    cannot be read.
    """
    try:
        document, schema = read_document(path, shown)
    except FlowError as error:
        return error.mistakes
    if schema is not None:
        # The other sections can only be tried if they are right.
        for keys, message, is_local in list(_problems(schema, settings, is_right=not has_errors(document))):
            document.mistake(message, *keys, severity="warning" if is_local else "error")
    return sorted(document.mistakes, key=lambda mistake: (mistake.line, mistake.column))


def _problems(schema: Schema, settings: Settings, is_right: bool) -> Iterator[Problem]:
    from scflows.secrets.masking import Mask

    opener = Opener(schema, settings, Mask(), lambda message: None)
    yield from _of_end(opener, "from", schema.source, SOURCES)
    yield from _of_end(opener, "to", schema.sink, SINKS)
    if not is_right:
        return
    yield from _of_names(opener, schema)
    yield from _caught(("payload",), lambda: opener.route(None))


def _of_end(opener: Opener, at: str, spec: EndSpec, schemes: tuple[str, ...]) -> Iterator[Problem]:
    if spec.scheme not in schemes:
        known = ", ".join(["mqtt://", "mqtts://", "kafka://", "kafkas://"]) + (
            ", http://, https://" if at == "to" else ""
        )
        yield (at, "url"), f"{at}: {spec.url}: must be one of {known}", False
        return
    for name, value in (spec.tls or {}).items():
        path = os.path.join(opener.folder, os.path.expanduser(str(value)))
        if name != "insecure" and not os.path.isfile(path):
            yield (at, "tls", name), f"{at}: tls: {name}: no such file: {value}", False
    secret = None
    try:
        secret = opener.secret(spec.secret)
    except UsageError as error:
        yield (at, "secret"), f"{at}: {error}", True
        if not spec.url:
            return
    where = (at, "url") if spec.url else (at, "secret")
    if any(name != "insecure" for name in spec.tls or {}):
        spec = replace(spec, tls={})  # Its files are reported above.
    yield from _caught(where, lambda: opener.check_end(spec, secret), at)


def _of_names(opener: Opener, schema: Schema) -> Iterator[Problem]:
    given = schema.names
    if given is None:
        return
    login = given.get("authentication")
    if login:
        try:
            opener.secret(login.get("secret") or "")
        except UsageError as error:
            yield ("names", "authentication", "secret"), f"names: {error}", True
    found = list(_caught(("names",), opener.table, "names"))
    yield from found
    if given["type"] == "csv" and not found:
        table = opener.table()
        if table is not None:
            table.read()
            if table.problem:
                keys = ("names", "key") if "column" in table.problem else ("names", "path")
                yield keys, f"names: {table.problem}", False


def _caught(at: tuple[str, ...], check: Callable[[], object], title: str = "") -> Iterator[Problem]:
    try:
        check()
    except MissingExtra as error:
        yield at[:1], str(error), True
    except (ScflowsError, StepError) as error:
        message = str(error)
        yield at, message if not title or message.startswith(title) else f"{title}: {message}", False
