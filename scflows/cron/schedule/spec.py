"""The spec of a schedule: what a user asks for, validated strictly before the planner chooses slots."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.cron.schedule.fields import REBOOT, normalised
from scflows.errors import UsageError
from scflows.validation import UNITS, duration_seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

WORDS = {"@minute": 60, "@hourly": 3600, "@daily": 86400, "@weekly": 7 * 86400}
LONGEST = 366 * 86400
KEYS = ("cron", "every", "every_seconds", "timezone", "catch_up", "overlap", "start_within", "end_within")
CATCH_UP = ("none", "last", "all")
#: The default cap of `catch_up: all`.
CATCH_UP_CAP = 24
MAX_CATCH_UP = 10000
OVERLAP = ("skip", "wait", "cancel")


@dataclass(frozen=True)
class ScheduleSpec:
    """A schedule as requested. Either `cron` or `every` is set."""

    cron: str | None = None  #: normalised
    every: int | None = None  #: seconds
    timezone: str | None = None  #: an IANA name; None is the system's zone
    catch_up: str = "none"
    catch_up_cap: int = CATCH_UP_CAP
    overlap: str = "skip"
    start_within: float | None = None  #: seconds
    end_within: float | None = None  #: seconds


def parse_schedule(given: dict[str, Any]) -> ScheduleSpec:
    """Parse a flow's `schedule`, or its top-level `cron` or `every_seconds`.

    Raises UsageError, the first of `mistakes`.
    """
    spec, errors = _read(given)
    if errors:
        raise errors[0][1]
    return spec


def mistakes(given: dict[str, Any]) -> list[tuple[Any, UsageError]]:
    """Return all mistakes in a schedule, each with its key; the key is empty if several are involved."""
    return _read(given)[1]


def _read(given: dict[str, Any]) -> tuple[ScheduleSpec, list[tuple[Any, UsageError]]]:
    errors: list[tuple[Any, UsageError]] = [
        (key, UsageError(f"schedule has no {key!r}", _nearest(str(key), KEYS))) for key in given if key not in KEYS
    ]
    named = [key for key in ("cron", "every", "every_seconds") if given.get(key) is not None]
    # An unknown key may be a misspelt time, so it is the only mistake to report.
    if len(named) > 1 or not (named or errors):
        problem = f"has {' and '.join(named)}" if named else "has no time"
        errors.append(("", UsageError(f"schedule {problem}", "use one of cron, every, every_seconds")))
    values: dict[str, Any] = {}
    for key in KEYS:
        if key not in given or (given[key] is None and key != "overlap"):
            continue
        try:
            values |= _value(key, given[key])
        except UsageError as error:
            errors.append((key, error))
    if values.get("cron") == REBOOT:
        errors += [
            (
                key,
                UsageError(f"{key} has no effect with cron '@reboot': the task starts once per boot", f"remove {key}"),
            )
            for key in ("timezone", "catch_up", "start_within")
            if values.get(key, "none") not in ("none", None)
        ]
    return ScheduleSpec(**values), errors


def _value(key: str, value: Any) -> dict[str, Any]:
    """Parse the value of a key. Raises UsageError."""
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
        raise UsageError(f"catch_up: all must be an integer from 1 to {MAX_CATCH_UP}, not {cap!r}", "e.g. {all: 24}")
    return {key: "all", "catch_up_cap": cap}


def parse_every(text: str) -> int:
    """Return the seconds of an interval such as `15m`, `3h`, `1d`, `2w`, `@daily`. Raises UsageError."""
    word = text.strip().lower()
    if word.startswith("@"):
        if word in WORDS:
            return WORDS[word]
        is_cron = word in ("@monthly", "@yearly", "@midnight", "@annually", REBOOT)
        help = f"use cron: '{word}'" if is_cron else ""
        raise UsageError(f"every: {text!r} is not a valid interval", help or _nearest(word, WORDS))
    number, unit = word[:-1].strip(), word[-1:]
    if word.isascii() and word.isdigit():
        raise UsageError(f"every: {text!r} has no unit", f"use {word}m for minutes, {word}h for hours")
    if unit not in UNITS or not (number.isascii() and number.isdigit()) or len(number) > 9:
        raise UsageError(f"every: {text!r} is not a valid interval", _interval_help(number, unit))
    return _checked("every", text, int(number) * UNITS[unit])


def _cron(value: Any) -> str:
    if not isinstance(value, str):
        raise UsageError(f"cron must be text, not {value!r}", "put it in quotes, e.g. '5 4 * * *'")
    return normalised(value)


def _every(key: str, value: Any) -> int:
    if key == "every":
        if isinstance(value, str):
            return parse_every(value)
        help = f"use {value}m for minutes, {value}h for hours" if isinstance(value, int) else "e.g. 15m, 3h, 1d"
        raise UsageError(f"every: {value!r} has no unit", help)
    if isinstance(value, bool) or not isinstance(value, int):
        help = f"use every: {value}" if isinstance(value, str) and value[-1:] in UNITS else "e.g. 900"
        raise UsageError(f"every_seconds must be an integer, not {value!r}", help)
    return _checked(key, value, value)


def _checked(key: str, shown: Any, seconds: int) -> int:
    if seconds < 1:
        shortest = "1s" if key == "every" else "1"
        raise UsageError(f"{key}: {shown!r} is not a valid interval", f"the shortest is {shortest}")
    if seconds > LONGEST:
        raise UsageError(f"{key}: {shown!r} is longer than a year", "the longest interval is 366d")
    return seconds


def _timezone(value: Any) -> str:
    if not isinstance(value, str):
        raise UsageError(f"timezone must be text, not {value!r}", "use a name such as Europe/Madrid")
    from scflows.cron.schedule.zones import zone

    zone(value)
    return value


def _within(key: str, value: Any) -> float:
    if not isinstance(value, str):
        help = f"use {value}m for minutes, {value}h for hours" if isinstance(value, int) else "e.g. 10m, 2h"
        raise UsageError(f"{key}: {value!r} has no unit", help)
    return parse_within(key, value)


def parse_within(key: str, text: str) -> float:
    """Return the seconds of a time limit such as `90s`, `10m`, `2h`. Raises UsageError that starts with `key`."""
    word = text.strip().lower()
    if word[-1:] not in UNITS or not duration_seconds(word):
        raise UsageError(
            f"{key}: {text!r} is not a valid duration", "use a number and s, m, h, d or w, e.g. 90s, 10m, 2h"
        )
    seconds = duration_seconds(word) or 0.0
    if seconds > LONGEST:
        raise UsageError(f"{key}: {text!r} is longer than a year")
    return float(seconds)


def _one_of(key: str, value: Any, known: Collection[str]) -> str:
    if not isinstance(value, str) or value not in known:
        raise UsageError(f"{key}: {value!r} is unknown", _nearest(str(value), known))
    return value


def _nearest(text: str, known: Collection[str]) -> str:
    from scflows.validation import did_you_mean

    return did_you_mean(text, known) or f"use one of {', '.join(known)}"


def _interval_help(number: str, unit: str) -> str:
    """Suggest an interval for an invalid one, for example 90m for 1.5h."""
    try:
        minutes = float(number) * UNITS[unit] / 60
    except (ValueError, KeyError):
        minutes = 0.0
    if minutes >= 1 and minutes.is_integer():
        return f"use {int(minutes)}m"
    return "use a number and s, m, h, d or w, e.g. 15m, 3h, 1d; or @minute, @hourly, @daily, @weekly"
