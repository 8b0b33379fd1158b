"""Check a mapping in a schema: its keys and the kinds of their values."""

from __future__ import annotations

from scflows.validation import nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from scflows.validation import Located


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
