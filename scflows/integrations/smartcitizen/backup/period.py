"""The periods of a backup: calendar months or days in UTC."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from scflows.errors import StepError

NAME = r"\d{4}-\d{2}(-\d{2})?"


@dataclass(frozen=True)
class Period:
    """A month or a day. Times are epochs; `end` is exclusive."""

    name: str  #: `2026-03` or `2026-03-05`
    begin: int
    end: int


def period_at(moment: float, length: str) -> Period:
    """Return the month or day that contains a time (epoch)."""
    at = datetime.fromtimestamp(moment, UTC)
    return period_of(at.strftime("%Y-%m" if length == "month" else "%Y-%m-%d"))


def period_of(name: str) -> Period:
    """Return the period of a name. Raises StepError for an invalid name."""
    try:
        if not re.fullmatch(NAME, name):
            raise ValueError
        begin = datetime.fromisoformat(name if len(name) > 7 else f"{name}-01").replace(tzinfo=UTC)
        if len(name) > 7:
            end = begin + timedelta(days=1)
        else:
            end = begin.replace(year=begin.year + begin.month // 12, month=begin.month % 12 + 1)
    except (ValueError, OverflowError):
        raise StepError(f"{name!r} is not a valid period; use for example 2026-03 or 2026-03-05") from None
    return Period(name, int(begin.timestamp()), int(end.timestamp()))


def read_stamp(text: object, where: str) -> float:
    """Parse a time and return its epoch. Raises StepError, beginning with `where`."""
    try:
        at = datetime.fromisoformat(str(text))
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise StepError(f"{where}: {str(text)[:60]!r} is not a valid time") from None
