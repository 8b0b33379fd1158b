"""What somebody asks of a schedule: read strictly, before a slot is chosen for it."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.cron.schedule.fields import normalised
from scflows.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
WORDS = {"@minute": 60, "@hourly": 3600, "@daily": 86400, "@weekly": 7 * 86400}
LONGEST = 366 * 86400
KEYS = ("cron", "every", "every_seconds", "timezone", "catch_up", "overlap", "start_within", "end_within")
CATCH_UP = ("none", "last", "all")
#: How many missed slots `catch_up: all` makes up at most, unless it says so itself.
CATCH_UP_CAP = 24
MAX_CATCH_UP = 10000
OVERLAP = ("skip", "wait", "cancel")


@dataclass(frozen=True)
class ScheduleSpec:
    """A schedule as asked for. Either `cron` or `every` is set."""

    cron: str | None = None  #: normalised
    every: int | None = None  #: seconds
    timezone: str | None = None  #: an IANA name; None is the system's zone
    catch_up: str = "none"
    catch_up_cap: int = CATCH_UP_CAP
    overlap: str = "skip"
    start_within: float | None = None  #: seconds
    end_within: float | None = None  #: seconds


def parse_schedule(given: dict[str, Any]) -> ScheduleSpec:
    """What a flow's `schedule`, or its top-level `cron` or `every_seconds`, asks for.

    Raises UsageError naming the key, what it holds and what it could: the first of `mistakes`.
    """
    found, wrong = _read(given)
    if wrong:
        raise wrong[0][1]
    return found


def mistakes(given: dict[str, Any]) -> list[tuple[Any, UsageError]]:
    """All that is wrong with what somebody asks, each with its key; the key is empty where it is none alone."""
    return _read(given)[1]


def _read(given: dict[str, Any]) -> tuple[ScheduleSpec, list[tuple[Any, UsageError]]]:
    wrong: list[tuple[Any, UsageError]] = [
        (key, UsageError(f"schedule has no {key!r}", _nearest(str(key), KEYS))) for key in given if key not in KEYS
    ]
    named = [key for key in ("cron", "every", "every_seconds") if given.get(key) is not None]
    # A time that was misspelt is said.
    if len(named) > 1 or not (named or wrong):
        what = f"has {' and '.join(named)}" if named else "says no time"
        wrong.append(("", UsageError(f"schedule {what}", "give one of cron, every, every_seconds")))
    values: dict[str, Any] = {}
    for key in KEYS:
        if key not in given or (given[key] is None and key != "overlap"):
            continue
        try:
            values |= _value(key, given[key])
        except UsageError as error:
            wrong.append((key, error))
    return ScheduleSpec(**values), wrong


def _value(key: str, value: Any) -> dict[str, Any]:
    """What a key that holds something asks for. Raises UsageError."""
    if key == "cron":
        return {"cron": _cron(value)}
    if key in ("every", "every_seconds"):
        return {"every": _every(key, value)}
    if key == "timezone":
        return {"timezone": _timezone(value)}
    if key == "overlap":
        return {"overlap": _one_of(key, value, OVERLAP)}
    if key != "catch_up":
        return {key: _within(key, value)}
    if not isinstance(value, dict) or list(value) != ["all"]:
        return {key: _one_of(key, value, CATCH_UP)}
    cap = value["all"]
    if isinstance(cap, bool) or not isinstance(cap, int) or not 0 < cap <= MAX_CATCH_UP:
        raise UsageError(f"catch_up: all: {cap!r} is no number from 1 to {MAX_CATCH_UP}", "such as {all: 24}")
    return {key: "all", "catch_up_cap": cap}


def parse_every(text: str) -> int:
    """The seconds of an interval such as `15m`, `3h`, `1d`, `2w`, `@daily`. Raises UsageError."""
    word = text.strip().lower()
    if word.startswith("@"):
        if word in WORDS:
            return WORDS[word]
        told = f"write cron: '{word}'" if word in ("@monthly", "@yearly", "@midnight", "@annually") else ""
        raise UsageError(f"every {text!r} is no interval", told or _nearest(word, WORDS))
    number, unit = word[:-1].strip(), word[-1:]
    if word.isascii() and word.isdigit():
        raise UsageError(f"every {text!r} has no unit", f"write {word}m for minutes, {word}h for hours")
    if unit not in UNITS or not (number.isascii() and number.isdigit()) or len(number) > 9:
        raise UsageError(f"every {text!r} is no interval", _whole(number, unit))
    return _checked("every", text, int(number) * UNITS[unit])


def _cron(value: Any) -> str:
    if not isinstance(value, str):
        raise UsageError(f"cron {value!r} is no text", "write it in quotes, such as '5 4 * * *'")
    return normalised(value)


def _every(key: str, value: Any) -> int:
    if key == "every":
        if isinstance(value, str):
            return parse_every(value)
        told = f"write {value}m for minutes, {value}h for hours" if isinstance(value, int) else "such as 15m, 3h, 1d"
        raise UsageError(f"every {value!r} has no unit", told)
    if isinstance(value, bool) or not isinstance(value, int):
        raise UsageError(f"every_seconds {value!r} is no whole number", "such as 900")
    return _checked(key, value, value)


def _checked(key: str, shown: Any, seconds: int) -> int:
    if seconds < 1:
        raise UsageError(
            f"{key} {shown!r} is no interval", "the shortest is 1s" if key == "every" else "the shortest is 1"
        )
    if seconds > LONGEST:
        raise UsageError(f"{key} {shown!r} is longer than a year", "the longest interval is 366d")
    return seconds


def _timezone(value: Any) -> str:
    if not isinstance(value, str):
        raise UsageError(f"timezone {value!r} is no text", "use a name such as Europe/Madrid")
    from scflows.cron.schedule.zones import zone

    zone(value)
    return value


def _within(key: str, value: Any) -> float:
    if not isinstance(value, str):
        told = f"write {value}m for minutes, {value}h for hours" if isinstance(value, int) else "such as 10m, 2h"
        raise UsageError(f"{key} {value!r} has no unit", told)
    return parse_within(key, value)


def parse_within(key: str, text: str) -> float:
    """The seconds of a time limit such as `90s`, `10m`, `2h`. Raises UsageError that begins with `key`."""
    word = text.strip().lower()
    number, unit = word[:-1].strip(), word[-1:]
    if unit not in UNITS or not (number.isascii() and number.isdigit()) or len(number) > 9 or not int(number):
        raise UsageError(f"{key} {text!r} is no duration", "write a number and s, m, h, d or w, such as 90s, 10m, 2h")
    seconds = int(number) * UNITS[unit]
    if seconds > LONGEST:
        raise UsageError(f"{key} {text!r} is longer than a year")
    return float(seconds)


def _one_of(key: str, value: Any, known: Iterable[str]) -> str:
    if not isinstance(value, str) or value not in tuple(known):
        raise UsageError(f"{key} {value!r} is unknown", _nearest(str(value), known))
    return value


def _nearest(text: str, known: Iterable[str]) -> str:
    import difflib

    words = tuple(known)
    near = difflib.get_close_matches(text, words, 1)
    return f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(words)}"


def _whole(number: str, unit: str) -> str:
    """What to write instead of an interval that is nearly one, such as 1.5h."""
    try:
        minutes = float(number) * UNITS[unit] / 60
    except (ValueError, KeyError):
        minutes = 0.0
    if minutes >= 1 and minutes.is_integer():
        return f"write {int(minutes)}m"
    return "write a number and s, m, h, d or w, such as 15m, 3h, 1d; or @minute, @hourly, @daily, @weekly"
