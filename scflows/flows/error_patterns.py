"""The patterns of `ignore_errors` and of `on` in `retry`: regular expressions and HTTP statuses."""

from __future__ import annotations

from scflows.validation import described

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

STATUS = "status"
#: The classes of statuses that may be written instead of one status.
CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")


def pattern_mistakes(given: Any) -> Iterator[str]:
    """Yield the mistakes in one or more patterns as written."""
    import re

    for pattern in given if isinstance(given, list) else [given]:
        if isinstance(pattern, dict):
            statuses = pattern.get(STATUS)
            if list(pattern) != [STATUS] or not all(_is_status(each) for each in _list(statuses)) or statuses == []:
                yield "a mapping must be {status: 404}, with a status, a class such as 5xx, or a list of them"
            continue
        if isinstance(pattern, bool) or not isinstance(pattern, str | int):
            yield f"must be patterns, not {described(pattern)}"
            continue
        try:
            re.compile(str(pattern))
        except (re.error, RecursionError, OverflowError) as error:
            yield f"{str(pattern)!r} is not a valid regular expression: {error}"


def matching(given: Any, texts: list[str], details: Mapping[str, Any]) -> str | None:
    """Return the first pattern that matches an error, as text; None if none does. `texts` are those to search.

    An integer is a status if the error has one: a number in an address or a response does not match.
    """
    for pattern in given if isinstance(given, list) else [given]:
        if isinstance(pattern, dict):
            if any(_has_status(details, each) for each in _list(pattern[STATUS])):
                return f"{STATUS}: {details['status_code']}"
        elif isinstance(pattern, int) and "status_code" in details:
            if _has_status(details, pattern):
                return str(pattern)
        else:
            import re

            if any(re.search(str(pattern), text) for text in texts):
                return str(pattern)
    return None


def _has_status(details: Mapping[str, Any], wanted: int | str) -> bool:
    status = details.get("status_code")
    if not isinstance(status, int):
        return False
    return status == wanted if isinstance(wanted, int) else f"{status // 100}xx" == wanted.lower()


def _is_status(value: Any) -> bool:
    if isinstance(value, str):
        return value.lower() in CLASSES
    return isinstance(value, int) and not isinstance(value, bool) and 100 <= value <= 599


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
