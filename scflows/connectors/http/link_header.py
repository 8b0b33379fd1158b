"""The `Link` header of an HTTP response (RFC 8288)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

BLANK = " \t"


def next_link(header: str) -> str | None:
    """Return the target of the first link with the relation `next`; it may be relative. None without such a link."""
    for target, parameters in _links(header):
        # Of a repeated parameter only the first counts; a link with an anchor is about another resource.
        if "next" in parameters.get("rel", "").lower().split() and not parameters.get("anchor"):
            return target
    return None


def _links(header: str) -> Iterator[tuple[str, dict[str, str]]]:
    position = 0
    while (start := header.find("<", position)) >= 0 and (end := header.find(">", start)) >= 0:
        parameters, position = _parameters(header, end + 1)
        yield header[start + 1 : end].strip(), parameters


def _parameters(header: str, position: int) -> tuple[dict[str, str], int]:
    """Return the parameters that follow a target, and the position after them."""
    found: dict[str, str] = {}
    while position < len(header) and header[position] != ",":
        start = position
        while position < len(header) and header[position] not in "=;,":
            position += 1
        name, value = header[start:position].strip(BLANK).lower(), ""
        if header[position : position + 1] == "=":
            value, position = _value(header, position + 1)
        if name:
            found.setdefault(name, value)
        if header[position : position + 1] == ";":
            position += 1
    return found, position + 1


def _value(header: str, position: int) -> tuple[str, int]:
    """Return the value at this position, quoted or not, and the position of the sign that ends it."""
    while header[position : position + 1] in tuple(BLANK):
        position += 1
    text = ""
    if header[position : position + 1] == '"':
        position += 1
        while position < len(header) and header[position] != '"':
            position += header[position] == "\\"
            text += header[position : position + 1]
            position += 1
        position += 1
    start = position
    while position < len(header) and header[position] not in ";,":
        position += 1
    return text or header[start:position].strip(BLANK), position
