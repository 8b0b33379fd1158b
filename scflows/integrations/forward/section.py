"""A mapping of a schema: which keys it may have, of which kinds."""

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
    """What a mapping says, of the keys that are `known` with their kinds; each mistake in it is noted.

    A kind that is empty stands for any. `at` leads to the mapping.
    """
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
            if isinstance(value, str) and "\0" in value:
                document.mistake(f"{title + ': ' if title else ''}{key} has a NUL in it", *at, key)
            if value is not None:
                found[key] = value
    for key in needed:
        if given.get(key) is None:
            document.mistake(f"{title + ': ' if title else ''}{key} is missing", *at)
    return found
