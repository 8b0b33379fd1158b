"""The values of a flow's data: JSON types."""

from __future__ import annotations

from scflows.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def json_copy(value: Any) -> Any:
    """Return a deep copy of a JSON value."""
    if isinstance(value, dict):
        return {key: json_copy(item) for key, item in value.items()}
    if isinstance(value, list):
        return [json_copy(item) for item in value]
    return value


def json_value(value: Any) -> Any:
    """Return a value as the JSON value it is stored as.

    Dates and times become ISO 8601 text, keys become text, bytes are decoded as UTF-8, sets and tuples become lists.
    Raises StepError for a value that cannot be converted.
    """
    if value is None or value is True or value is False or type(value) in (str, int):
        return value
    if type(value) is float:
        if value - value != 0:
            raise StepError("a flow's data cannot hold NaN or Infinity")
        return value
    if isinstance(value, dict):
        return {key if type(key) is str else _key(key): json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((json_value(item) for item in value), key=str)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise StepError("bytes that are not UTF-8 cannot be stored") from None
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, str):
        return str(value)
    raise StepError(f"a value of type {type(value).__name__!r} cannot be stored")


def _key(key: Any) -> str:
    if key is None or isinstance(key, bool):
        return {None: "null", True: "true", False: "false"}[key]
    converted = json_value(key)
    return converted if isinstance(converted, str) else str(converted)
