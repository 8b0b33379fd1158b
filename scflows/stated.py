"""What a file of the state may say: such files are edited by hand, and cut short by full disks."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Seconds since the epoch, or of a duration, are less than this: the year 5138.
MOST_SECONDS = 1e11
#: What reading such a file raises when it is broken: one nested too deeply, too.
BROKEN = (OSError, ValueError, TypeError, KeyError, RecursionError)


def stated_seconds(value: Any) -> float:
    """A time or a duration, in seconds. Raises ValueError for what can be none, such as NaN."""
    # A bool is no number here.
    if type(value) not in (int, float) or not 0 <= value < MOST_SECONDS:
        raise ValueError(f"{value!r} is no number of seconds")
    return float(value)


def stated_number(value: Any) -> int:
    """A whole number that is not negative. Raises ValueError for what is none."""
    if type(value) is not int or not 0 <= value < MOST_SECONDS:
        raise ValueError(f"{value!r} is no whole number")
    return value


def stated_text(value: Any) -> str:
    """A text. Raises ValueError for what is none."""
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value
