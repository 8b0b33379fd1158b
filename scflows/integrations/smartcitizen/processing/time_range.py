"""The time ranges of pieces; times are epochs in seconds, ends are exclusive.

The platform returns one value per minute, with the time of the minute's first reading. So pieces end between minutes
and include only complete minutes: each reading is used exactly once, whatever the kit's interval and gaps.
"""

from __future__ import annotations

from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

MINUTE = 60
#: The maximum of minutes to load before a piece, for functions that look back.
LONGEST_WARM_UP = 240


@dataclass(frozen=True)
class Piece:
    """A piece: the readings with `begin` <= time < `end`."""

    begin: int
    end: int
    is_last: bool  #: whether there are no later readings yet


def minute_of(at: float) -> int:
    """Return the begin of a time's minute."""
    return int(at // MINUTE) * MINUTE


def end_of_readings(last: float, now: float) -> int:
    """Return the end of the last complete minute of a device whose last reading is at `last`.

    Never later than `now`: otherwise one reading with a future time would move the date beyond all later readings.
    """
    return min(minute_of(last) + MINUTE, minute_of(now))


def next_piece(begin: int, minutes: int, end: int) -> Piece | None:
    """Return the next piece before `end`; None if there is none."""
    if begin >= end:
        return None
    cut = minute_of(begin) + minutes * MINUTE
    return Piece(begin, min(cut, end), cut >= end)


def next_date(last_row: int) -> int:
    """Return the new date after a last row at that time: the end of its minute.

    A full minute after the row would skip a reading that the kit publishes 45 s later.
    """
    return minute_of(last_row) + MINUTE


def warm_up(channels: Iterable[dict[str, Any]], begin: int) -> int:
    """Return how many seconds before `begin` to load, for functions that look back.

    Only for pieces that begin with a full minute, because otherwise the first minute would be split into two rows.
    """
    rows = max((_rows(channel.get("kwargs")) for channel in channels), default=0)
    return min(rows, LONGEST_WARM_UP) * MINUTE if rows > 1 and begin % MINUTE == 0 else 0


def _rows(kwargs: Any) -> int:
    """Return how many rows, at one per minute, a function of `scdata.device.process` looks back."""
    if not isinstance(kwargs, dict):
        return 0
    found = 0
    window = kwargs.get("window")
    if isinstance(window, int) and not isinstance(window, bool):
        found = window
    for key in ("window", "rolling_frequency"):
        if isinstance(kwargs.get(key), str):
            from pandas import Timedelta, to_timedelta

            try:
                span = to_timedelta(kwargs[key].replace("Min", "min").replace("H", "h"))
            except ValueError:
                continue
            if isinstance(span, Timedelta):
                found = max(found, -int(-span.total_seconds() // MINUTE))
    return found
