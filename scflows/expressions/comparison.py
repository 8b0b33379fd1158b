"""Comparison of a flow's values: numbers exactly, times with an offset as instants, everything else as in Python."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from typing import Any

    #: The time to the second, and the digits of its fraction, which may be more than a datetime can hold.
    Moment = tuple[datetime, str]

#: The operators of a comparison, as Jinja names them.
ORDERS = {"lt": "<", "lteq": "<=", "gt": ">", "gteq": ">="}


def compare(operator: str, left: Any, right: Any) -> Any:
    """Return the result of `left OPERATOR right`. Raises TypeError for values that have no order."""
    if type(left) is str and type(right) is str and left != right:
        left, right = _comparable(operator, left, right)
    if operator == "eq":
        return left == right
    if operator == "ne":
        return left != right
    try:
        if operator == "lt":
            return left < right
        if operator == "lteq":
            return left <= right
        return left > right if operator == "gt" else left >= right
    except TypeError as error:
        raise TypeError(f"{error}; the filters int and float make a number of a text") from error


def contains(value: Any, container: Any) -> bool:
    """Return the result of `value in container`; in a list, times are found as instants."""
    if type(value) is str and isinstance(container, list | tuple) and value not in container:
        return moment(value) is not None and any(compare("eq", value, each) for each in container)
    return value in container


def moment(text: str) -> Moment | None:
    """Return the moment of an ISO 8601 date and time; None for any other text."""
    # The shortest one is 2026-10-25T02:30.
    if len(text) < 16 or text[4] != "-" or text[10] not in "Tt " or text[13] != ":":
        return None
    import re
    from datetime import datetime

    parts = re.fullmatch(
        r"(\d{4}-\d\d-\d\d).(\d\d:\d\d(?::\d\d)?)(?:[.,](\d+))? ?([Zz]|[+-]\d\d(?::?\d\d){0,2})?", text, re.A
    )
    if parts is None:
        return None
    day, time, fraction, offset = parts.groups()
    try:
        return datetime.fromisoformat(f"{day}T{time}{(offset or '').upper()}"), (fraction or "").rstrip("0")
    except ValueError:
        return None


def sort_keys(values: Sequence[Any]) -> Sequence[Any]:
    """Return what to compare values by: if all are date and time, their moments, otherwise the values.

    Raises TypeError if only some of the times have an offset.
    """
    if not all(type(value) is str for value in values):
        return values
    moments = [moment(value) for value in values]
    if any(each is None for each in moments):
        return values
    if len({each is not None and each[0].tzinfo is None for each in moments}) > 1:
        raise TypeError(MIXED)
    return moments


MIXED = "times with and without an offset have no order"


def _comparable(operator: str, left: str, right: str) -> tuple[Any, Any]:
    first = moment(left)
    second = None if first is None else moment(right)
    if first is None or second is None:
        return left, right
    if (first[0].tzinfo is None) != (second[0].tzinfo is None):
        if operator in ORDERS:
            raise TypeError(f"{MIXED}: {left} {ORDERS[operator]} {right}")
        return left, right
    return first, second
