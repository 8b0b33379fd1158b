"""Times and durations as people write and read them."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import datetime

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@dataclass(frozen=True)
class Moment:
    """A time in a table."""

    epoch: float
    zone: str = ""  #: an IANA name; empty for the zone that times are shown in
    seconds: bool = False  #: whether people need to see the seconds


class Seconds(float):
    """A duration in a table."""


class Status(str):
    """A state in a table: a word that has a colour."""

    __slots__ = ()


def in_zone(epoch: float, zone: str) -> datetime:
    """The moment on the clocks of a zone. Raises UsageError for a zone nobody knows."""
    from datetime import UTC, datetime

    if zone == "UTC":
        return datetime.fromtimestamp(epoch, UTC)
    from scflows.cron.schedule.zones import zone as find_zone

    return datetime.fromtimestamp(epoch, find_zone(zone))


def iso(epoch: float, zone: str) -> str:
    """ISO 8601 to the second, with the zone's offset."""
    return in_zone(epoch, zone).isoformat(timespec="seconds")


def clock(epoch: float, zone: str, now: float, seconds: bool = False) -> str:
    """The time with as much of its date as is needed: `today 13:42`, `2026-11-12 09:10`."""
    moment, today = in_zone(epoch, zone), in_zone(now, zone)
    time = moment.strftime("%H:%M:%S" if seconds else "%H:%M")
    days = (moment.date() - today.date()).days
    named = {-1: "yesterday", 0: "today", 1: "tomorrow"}.get(days)
    if named is None:
        return f"{moment.date().isoformat()} {time}"
    return time if seconds and days == 0 else f"{named} {time}"


def relative(epoch: float, now: float) -> str:
    """How long ago, or in how long: `12 min ago`, `in 38 min`."""
    distance = epoch - now
    if abs(distance) < 1:
        return "now"
    return f"in {words(distance)}" if distance > 0 else f"{words(-distance)} ago"


def words(seconds: float) -> str:
    """A duration to two or three digits: `0.4 s`, `41 s`, `12 min`, `3 days`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 120 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86400:.0f} days"


def parse_duration(text: str, option: str, may_be_none: bool = False) -> float:
    """The seconds of `90`, `45s`, `30m`, `2h`, `7d` or `2w`; of `0` if it may be none at all.

    Raises UsageError that names the option.
    """
    number, unit = (text[:-1], text[-1:]) if text[-1:] in UNITS else (text, "s")
    try:
        seconds = float(number) * UNITS[unit]
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e10 or (seconds == 0 and not may_be_none):
        raise UsageError(f"{option} {text!r} is no duration", "such as 90s, 30m, 2h or 7d")
    return seconds


def parse_moment(text: str, option: str, zone: str) -> float:
    """The seconds since the epoch of an ISO 8601 time (in `zone` unless it says its own), or as a number.

    Raises UsageError that names the option.
    """
    from datetime import datetime

    if text.isascii() and text.isdigit() and 9 <= len(text) <= 11:
        return float(text)
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(
            f"{option} {text!r} is no time", "such as 2026-11-20T13:42, with an offset if in another zone"
        ) from None
    if moment.tzinfo is None:
        zoned = in_zone(0, zone).tzinfo
        moment = moment.replace(tzinfo=zoned)
    return moment.timestamp()


def parse_since(text: str, option: str, zone: str, now: float) -> float:
    """The seconds since the epoch of a time, or of a duration before now: `7d`."""
    if text[-1:] in UNITS and text[:-1].replace(".", "", 1).isdigit():
        return now - parse_duration(text, option)
    try:
        return parse_moment(text, option, zone)
    except UsageError as error:
        raise UsageError(str(error), "such as 7d, 2h or 2026-11-20T13:42, with an offset if in another zone") from None
