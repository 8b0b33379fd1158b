"""The kinds of JSON values, in the words that flow authors read."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

KIND_WORDS = {
    "text": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "list": "a list",
    "mapping": "a mapping",
    "null": "null",
}


def fits(value: Any, kinds: tuple[str, ...]) -> bool:
    """Whether a value is of one of these kinds; a whole number is a number too."""
    kind = kind_word(value)
    return kind in kinds or (kind == "integer" and "number" in kinds)


def kind_word(value: Any) -> str:
    """The kind of a value: a key of KIND_WORDS, or the name of its type."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    if isinstance(value, list):
        return "list"
    if isinstance(value, dict):
        return "mapping"
    return "text" if isinstance(value, str) else type(value).__name__


def described(value: Any) -> str:
    """A value in words, for messages: `a text ('x')`."""
    word = kind_word(value)
    shown = repr(value)
    known = KIND_WORDS.get(word, f"a {word}")
    if word == "null":
        return "null"
    if word == "boolean":
        return "true" if value else "false"
    return known + (f" ({shown})" if len(shown) <= 40 and word not in ("list", "mapping") else "")


def texts(value: Any) -> Iterable[str]:
    """Every text in a value; keys are not looked at."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` with the nearest of the known names, or nothing."""
    from difflib import get_close_matches

    near = get_close_matches(name, list(known), 1)
    return f"; did you mean {near[0]!r}?" if near else ""
