"""The neutral post: the same columns for each service. Blank means unknown, never 0; ids are texts."""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    Post = dict[str, Any]

#: The columns, in the order of `posts.csv`.
COLUMNS = (
    "source",
    "post_uri",
    "post_id",
    "created_at",
    "author_id",
    "author_handle",
    "author_followers",
    "author_following",
    "text",
    "lang",
    "hashtags",
    "urls",
    "mentions",
    "media",
    "likes",
    "reposts",
    "replies",
    "quotes",
    "repost_of",
    "reply_to",
    "quote_of",
    "place",
    "lon",
    "lat",
    "sensitive",
    "client",
    "url",
)
LISTS = ("hashtags", "urls", "mentions", "media")
COUNTS = ("author_followers", "author_following", "likes", "reposts", "replies", "quotes")
NUMBERS = ("lon", "lat")
#: Control characters, which terminals and mail programs would act on. Line breaks and tabs are kept.
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffe\uffff]")


def neutral(found: dict[str, Any]) -> Post:
    """Return a post with all columns: cleaned texts, lists without blanks, counts as integers, blank otherwise."""
    post: Post = {}
    for name in COLUMNS:
        value = found.get(name)
        if name in LISTS:
            post[name] = [each for each in map(clean, value if isinstance(value, list) else []) if each]
        elif name in COUNTS:
            post[name] = count(value)
        elif name in NUMBERS:
            post[name] = value if isinstance(value, int | float) and not isinstance(value, bool) else None
        elif name == "sensitive":
            post[name] = value if isinstance(value, bool) else None
        else:
            post[name] = clean(value) or None
    return post


def clean(value: Any) -> str:
    """Return a value as text without control characters and halves of characters; empty for other values."""
    if not isinstance(value, str):
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""
    if value.isascii() and value.isprintable():
        return value
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            value = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return CONTROLS.sub("", value.replace("\r\n", "\n").replace("\r", "\n"))


def count(value: Any) -> int | None:
    """Return a count, or None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def unique(values: Iterable[Any]) -> list[Any]:
    """Return values in their order, each once."""
    return list(dict.fromkeys(values))


def utc(text: Any, format: str | None = None) -> str | None:
    """Return a time as ISO 8601 in UTC with `Z`; None for anything else. Without `format` it is ISO 8601."""
    from datetime import UTC, datetime

    if not isinstance(text, str):
        return None
    try:
        moment = datetime.strptime(text, format) if format else datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment.isoformat(timespec="seconds" if not moment.microsecond else "milliseconds").replace("+00:00", "Z")


def mapping(value: Any, *names: str) -> dict[str, Any]:
    """Return the mapping that a path of keys leads to; an empty one if something else is there."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def mappings(value: Any, name: str) -> list[dict[str, Any]]:
    """Return the mappings in the list of a key."""
    found = value.get(name) if isinstance(value, dict) else None
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def word(value: Any, name: str) -> str:
    """Return the text of a key; empty if something else is there."""
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, str) else ""
