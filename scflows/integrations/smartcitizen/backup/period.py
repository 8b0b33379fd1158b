"""Calendar months and days, in UTC: how a backup is cut."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from scflows.errors import StepError

MONTH, DAY = "month", "day"
LENGTHS = (MONTH, DAY)
NAME = r"\d{4}-\d{2}(-\d{2})?"


@dataclass(frozen=True)
class Period:
    """Times are epochs; `end` is not part of it."""

    name: str  #: `2026-03` or `2026-03-05`
    begin: int
    end: int


def period_at(moment: float, length: str) -> Period:
    """The month or day that a moment (epoch) lies in."""
    at = datetime.fromtimestamp(moment, UTC)
    return period_of(at.strftime("%Y-%m" if length == MONTH else "%Y-%m-%d"))


def period_of(name: str) -> Period:
    """The period of that name. Raises StepError for what is none."""
    try:
        if not re.fullmatch(NAME, name):
            raise ValueError
        begin = datetime.fromisoformat(name if len(name) > 7 else f"{name}-01").replace(tzinfo=UTC)
        if len(name) > 7:
            end = begin + timedelta(days=1)
        else:
            end = begin.replace(year=begin.year + begin.month // 12, month=begin.month % 12 + 1)
    except (ValueError, OverflowError):
        raise StepError(f"{name!r} is no period, such as 2026-03 or 2026-03-05") from None
    return Period(name, int(begin.timestamp()), int(end.timestamp()))


def read_stamp(text: object, where: str) -> float:
    """The epoch of such a time. Raises StepError that begins with `where`."""
    try:
        at = datetime.fromisoformat(str(text))
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise StepError(f"{where}: {str(text)[:60]!r} is no time") from None
