"""Read and format times and durations."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.errors import UsageError
from scflows.validation import UNITS, duration_seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import datetime

#: The names of days, as tables show them.
DAYS = {"yesterday": -1, "today": 0, "tomorrow": 1}


@dataclass(frozen=True)
class Moment:
    """A time in a table, shown in TIMEZONE like all others, so that a column can be read and sorted."""

    epoch: float
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
    day = {distance: name for name, distance in DAYS.items()}.get(days)
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
    seconds = duration_seconds(text)
    if seconds is None or not 0 <= seconds < 1e10 or (seconds == 0 and not may_be_zero):
        raise UsageError(f"{option} must be a duration, not {text!r}", "for example 90s, 30m, 2h or 7d")
    return float(seconds)


def parse_moment(text: str, option: str, zone: str, now: float) -> float:
    """Return the epoch seconds of a time (in `zone` if it has no offset) or of a number of seconds.

    A time is ISO 8601, or as tables show it: `today`, `yesterday 13:42`, and `13:42` for the last one.
    Raise UsageError that names the option.
    """
    from datetime import datetime

    word = text.strip().lower()
    if word.isascii() and word.isdigit() and 9 <= len(word) <= 11:
        return float(word)
    found = _by_day(word, zone, now)
    if found is not None:
        return found
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(
            f"{option} must be a time, not {text!r}",
            "for example 2026-11-20T13:42, with an offset for another time zone, or yesterday 13:42",
        ) from None
    if moment.tzinfo is None:
        zoned = in_zone(0, zone).tzinfo
        moment = moment.replace(tzinfo=zoned)
    return moment.timestamp()


def parse_coming(text: str, option: str, zone: str, now: float) -> float:
    """Return the epoch seconds of a time in the future; `18:30` is the next one. Raise UsageError."""
    if _time_of_day(text.strip()) is not None:
        today = _by_day(f"today {text.strip()}", zone, now) or 0.0
        return today if today > now else _by_day(f"tomorrow {text.strip()}", zone, now) or 0.0
    epoch = parse_moment(text, option, zone, now)
    if epoch <= now:
        raise UsageError(f"{option} must be a time in the future, not {text!r}", "for example 18:30")
    return epoch


def parse_since(text: str, option: str, zone: str, now: float) -> float:
    """Return the epoch seconds of a time, or of a duration before now such as `7d`."""
    if text.strip().lower()[-1:] in UNITS and duration_seconds(text) is not None:
        return now - parse_duration(text, option)
    try:
        return parse_moment(text, option, zone, now)
    except UsageError as error:
        help = "for example 7d, 2h, 13:42, yesterday or 2026-11-20T13:42, with an offset for another time zone"
        raise UsageError(str(error), help) from None


def _by_day(word: str, zone: str, now: float) -> float | None:
    """Return the epoch seconds of `yesterday`, `today 13:42` or `13:42`, the last one; None for other texts."""
    from datetime import timedelta

    day, _, rest = word.partition(" ")
    time = _time_of_day(rest.strip() if day in DAYS else word)
    if day in DAYS and not rest:
        time = (0, 0, 0)
    if time is None:
        return None
    hour, minute, second = time
    moment = in_zone(now, zone).replace(hour=hour, minute=minute, second=second, microsecond=0)
    days = DAYS[day] if day in DAYS else -1 if moment.timestamp() > now else 0
    return (moment + timedelta(days=days)).timestamp()


def _time_of_day(text: str) -> tuple[int, int, int] | None:
    """Return hour, minute and second of `9:05` or `13:42:07`; None for other texts."""
    parts = text.split(":")
    if len(parts) not in (2, 3) or not all(part.isascii() and part.isdigit() and len(part) <= 2 for part in parts):
        return None
    if len(parts[1]) != 2 or len(parts[-1]) != 2:
        return None
    hour, minute, second = (*map(int, parts), 0)[:3]
    return (hour, minute, second) if hour < 24 and minute < 60 and second < 60 else None
