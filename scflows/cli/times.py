"""Read and format times and durations."""

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
    """Return the local time in a zone. Raise UsageError for an unknown zone."""
    from datetime import UTC, datetime

    if zone == "UTC":
        return datetime.fromtimestamp(epoch, UTC)
    from scflows.cron.schedule.zones import zone as find_zone

    return datetime.fromtimestamp(epoch, find_zone(zone))


def iso(epoch: float, zone: str) -> str:
    """Return ISO 8601 to the second, with the zone's offset."""
    return in_zone(epoch, zone).isoformat(timespec="seconds")


def clock(epoch: float, zone: str, now: float, seconds: bool = False) -> str:
    """Return the time with as much of the date as necessary: `today 13:42`, `2026-11-12 09:10`."""
    moment, today = in_zone(epoch, zone), in_zone(now, zone)
    time = moment.strftime("%H:%M:%S" if seconds else "%H:%M")
    days = (moment.date() - today.date()).days
    day = {-1: "yesterday", 0: "today", 1: "tomorrow"}.get(days)
    if day is None:
        return f"{moment.date().isoformat()} {time}"
    return time if seconds and days == 0 else f"{day} {time}"


def relative(epoch: float, now: float) -> str:
    """Return the distance from now: `12 min ago`, `in 38 min`."""
    distance = epoch - now
    if abs(distance) < 1:
        return "now"
    return f"in {words(distance)}" if distance > 0 else f"{words(-distance)} ago"


def words(seconds: float) -> str:
    """Return a duration with two or three digits: `0.4 s`, `41 s`, `12 min`, `3 days`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 120 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86400:.0f} days"


def parse_duration(text: str, option: str, may_be_zero: bool = False) -> float:
    """Return the seconds of `90`, `45s`, `30m`, `2h`, `7d` or `2w`; of `0` if it may be zero.

    Raise UsageError that names the option.
    """
    number, unit = (text[:-1], text[-1:]) if text[-1:] in UNITS else (text, "s")
    try:
        seconds = float(number) * UNITS[unit]
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e10 or (seconds == 0 and not may_be_zero):
        raise UsageError(f"{option} must be a duration, not {text!r}", "for example 90s, 30m, 2h or 7d")
    return seconds


def parse_moment(text: str, option: str, zone: str) -> float:
    """Return the epoch seconds of an ISO 8601 time (in `zone` if it has no offset) or of a number of seconds.

    Raise UsageError that names the option.
    """
    from datetime import datetime

    if text.isascii() and text.isdigit() and 9 <= len(text) <= 11:
        return float(text)
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(
            f"{option} must be a time, not {text!r}",
            "for example 2026-11-20T13:42, with an offset for another time zone",
        ) from None
    if moment.tzinfo is None:
        zoned = in_zone(0, zone).tzinfo
        moment = moment.replace(tzinfo=zoned)
    return moment.timestamp()


def parse_coming(text: str, option: str, zone: str, now: float) -> float:
    """Return the epoch seconds of a time in the future; `18:30` is the next one. Raise UsageError."""
    from datetime import timedelta

    hour, colon, minute = text.strip().partition(":")
    if colon and len(hour) <= 2 and len(minute) == 2 and (hour + minute).isdigit():
        today = in_zone(now, zone)
        if int(hour) < 24 and int(minute) < 60:
            moment = today.replace(hour=int(hour), minute=int(minute), second=0, microsecond=0)
            return moment.timestamp() if moment > today else (moment + timedelta(days=1)).timestamp()
    epoch = parse_moment(text, option, zone)
    if epoch <= now:
        raise UsageError(f"{option} must be a time in the future, not {text!r}", "for example 18:30")
    return epoch


def parse_since(text: str, option: str, zone: str, now: float) -> float:
    """Return the epoch seconds of a time, or of a duration before now such as `7d`."""
    if text[-1:] in UNITS and text[:-1].replace(".", "", 1).isdigit():
        return now - parse_duration(text, option)
    try:
        return parse_moment(text, option, zone)
    except UsageError as error:
        help = "for example 7d, 2h or 2026-11-20T13:42, with an offset for another time zone"
        raise UsageError(str(error), help) from None
