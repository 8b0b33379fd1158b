"""Which readings a piece of work takes; times are epochs in whole seconds, ends are not included.

The platform gives one value for each minute, at the time of the minute's first reading. So pieces end between two
minutes, and a minute is taken once it is over: whatever a kit's interval and however many holes a sensor has, each
reading goes into one value, once.
"""

from __future__ import annotations

from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

MINUTE = 60
#: The most that is loaded before a piece for functions that look back, in minutes.
LONGEST_WARM_UP = 240


@dataclass(frozen=True)
class Piece:
    """The readings of `begin` <= time < `end`."""

    begin: int
    end: int
    is_last: bool  #: whether there are none after it yet


def minute_of(at: float) -> int:
    """The begin of the minute that a time is in."""
    return int(at // MINUTE) * MINUTE


def end_of_readings(last: float, now: float) -> int:
    """The end of the last minute that is over, for a device that published last at `last`.

    Never later than `now`: one reading from a clock that is ahead would take the date beyond all that is still to come.
    """
    return min(minute_of(last) + MINUTE, minute_of(now))


def next_piece(begin: int, minutes: int, end: int) -> Piece | None:
    """What is to be taken next of the readings before `end`; None when nothing is left."""
    if begin >= end:
        return None
    cut = minute_of(begin) + minutes * MINUTE
    return Piece(begin, min(cut, end), cut >= end)


def next_date(last_row: int) -> int:
    """From when on readings have not been taken, after a row at that time.

    Not a minute after the row, which would leave out what a kit publishes 45 s after it.
    """
    return minute_of(last_row) + MINUTE


def warm_up(channels: Iterable[dict[str, Any]], begin: int) -> int:
    """How many seconds before `begin` to load, for functions that look back at earlier rows.

    A row of the minute in which a piece begins could be cut in two by that, so only for a piece that begins with one.
    """
    rows = max((_rows(channel.get("kwargs")) for channel in channels), default=0)
    return min(rows, LONGEST_WARM_UP) * MINUTE if rows > 1 and begin % MINUTE == 0 else 0


def _rows(kwargs: Any) -> int:
    """How many rows a function of `scdata.device.process` looks back, taking a row a minute."""
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
