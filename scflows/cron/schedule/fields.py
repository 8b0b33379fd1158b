"""The five fields of a cron expression: checked strictly, written so that every cron reads them alike.

The daemons accept typing errors and make something else of them: `*5` is every minute, `5-3` is never. So all
is checked here, before anything is written.
"""

from __future__ import annotations

from functools import lru_cache

from scflows.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

#: What the fields are called, and their lowest and highest value; a Sunday is written 0.
FIELDS = (
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day of month", 1, 31),
    ("month", 1, 12),
    ("day of week", 0, 6),
)
MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)  #: days of each month at most


@lru_cache(maxsize=4096)
def normalised(expression: str) -> str:
    """The expression as five fields of `*`, numbers, ranges and lists.

    Steps become lists: `*/n` is skipped and doubled when the clocks change, a list is not. Raises UsageError
    naming the field.
    """
    text = expression.strip(" \t")
    macro = text.lower()
    if macro.startswith("@"):
        if macro in MACROS:
            return MACROS[macro]
        if macro == "@reboot":
            raise UsageError("cron '@reboot' is no time of day", "use a time, such as @hourly or '5 4 * * *'")
        raise UsageError(f"cron {expression!r} is unknown", _nearest_macro(macro))
    if "\n" in text or "\r" in text:
        raise UsageError(f"cron {expression!r} has more than one line", "write the five fields on one line")
    parts = text.replace("\t", " ").split(" ")
    parts = [part for part in parts if part]
    if len(parts) != 5:
        raise UsageError(
            f"cron {expression!r} has {len(parts)} fields instead of 5",
            "write minute, hour, day of month, month and day of week, such as '5 4 * * *'",
        )
    sets = [_parsed(part, place, expression) for place, part in enumerate(parts)]
    _check_days(parts, sets, expression)
    written = [write(values, place) for place, values in enumerate(sets)]
    if written[2] != "*" and written[4] != "*" and _is_and(parts):
        # Both days must match only as long as one of the fields begins with a star.
        place = 4 if parts[4].startswith("*") else 2
        if "," in parts[place]:
            raise _wrong(place, parts[place], expression, "a step of '*' in a list", "write the days one by one")
        written[place] = parts[place]
    elif parts[2][0] != "*" and parts[4][0] != "*" and "*" in (written[2], written[4]):
        # One of the two days suffices, and one of them is every day.
        written[2] = written[4] = "*"
    return " ".join(written)


def values(text: str, place: int) -> list[int]:
    """What a field of a normalised expression stands for; `place` counts the fields from 0."""
    return list(_values(text, place))


@lru_cache(maxsize=4096)
def _values(text: str, place: int) -> tuple[int, ...]:
    _, low, high = FIELDS[place]
    found: list[int] = []
    for item in text.split(","):
        if item[0] == "*":
            found.extend(range(low, high + 1, int(item[2:] or 1)))
            continue
        first, _, last = item.partition("-")
        found.extend(range(int(first), int(last or first) + 1))
    return tuple(found)


def write(numbers: Iterable[int], place: int) -> str:
    """A field for these values: `*` for all of them, runs of three and more as ranges."""
    _, low, high = FIELDS[place]
    kept = sorted(set(numbers))
    if len(kept) == high - low + 1:
        return "*"
    written = []
    start = 0
    for end in range(1, len(kept) + 1):
        if end < len(kept) and kept[end] == kept[end - 1] + 1:
            continue
        run = kept[start:end]
        written.append(f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run)))
        start = end
    return ",".join(written)


def _parsed(text: str, place: int, expression: str) -> set[int]:
    found: set[int] = set()
    for item in text.split(","):
        if item == "*" and "," in text:
            raise _wrong(place, text, expression, "'*' stands alone", "leave the list away, or the '*'")
        found.update(_item(item, place, text, expression))
    return {0 if place == 4 and value == 7 else value for value in found}


def _item(item: str, place: int, text: str, expression: str) -> Iterable[int]:
    _, low, high = FIELDS[place]
    top = 7 if place == 4 else high
    span, slash, step_text = item.partition("/")
    step = 1
    if slash:
        if not _is_number(step_text) or not 0 < int(step_text) <= top:
            raise _wrong(
                place,
                text,
                expression,
                f"{step_text!r} is no step",
                f"steps go from 1 to {high}: */{min(5, high)}",
            )
        step = int(step_text)
    if span == "*":
        return range(low, high + 1, step)
    first_text, dash, last_text = span.partition("-")
    first = _number(first_text, place, text, expression)
    if not dash:
        if slash:
            told = f"write {first}-{high}/{step}"
            raise _wrong(place, text, expression, f"{item!r} has a step without a range", told)
        return (first,)
    last = _number(last_text, place, text, expression)
    if place == 4 and last == 0 and first > 0:
        last = 7
    if last < first:
        told = f"write {first}-{high},{low}-{last}" if low != last else f"write {first}-{high},{low}"
        raise _wrong(place, text, expression, f"the range {span!r} runs backwards", told)
    return range(first, last + 1, step)


def _number(text: str, place: int, field: str, expression: str) -> int:
    title, low, high = FIELDS[place]
    word = text.lower()
    if place == 3 and word in MONTHS:
        return MONTHS.index(word) + 1
    if place == 4 and word in WEEKDAYS:
        return WEEKDAYS.index(word)
    top = 7 if place == 4 else high
    if not _is_number(text) or not low <= int(text) <= top:
        what = f"{text!r} is no {title}" if text else "a value is missing"
        if text[:1] == "*" and _is_number(text[1:]):
            raise _wrong(place, field, expression, what, f"did you mean '*/{text[1:]}' or {text[1:]!r}?")
        names = {3: ", or jan to dec", 4: ", or sun to sat"}.get(place, "")
        raise _wrong(place, field, expression, what, f"a {title} is {low} to {top}{names}; '*' is every one")
    return int(text)


def _is_number(text: str) -> bool:
    # isdigit() alone is true for the digits of every script, which no cron reads.
    return 0 < len(text) <= 4 and text.isascii() and text.isdigit()


def _is_and(parts: list[str]) -> bool:
    """Whether day of month and day of week must both match; else one suffices, as in Debian's cron."""
    return parts[2].startswith("*") or parts[4].startswith("*")


def _check_days(parts: list[str], sets: list[set[int]], expression: str) -> None:
    """Refuse a day that never comes, such as the 31st of February."""
    if not _is_and(parts):
        return
    longest = max(LONGEST[month - 1] for month in sets[3])
    if min(sets[2]) > longest:
        raise _wrong(
            2,
            parts[2],
            expression,
            f"month {parts[3]} never has a day {min(sets[2])}",
            f"the last day there is {longest}",
        )


def _wrong(place: int, text: str, expression: str, what: str, help: str) -> UsageError:
    shown = f" {text!r}" if text != expression else ""
    return UsageError(f"cron {expression!r}: {FIELDS[place][0]}{shown}: {what}", help)


def _nearest_macro(text: str) -> str:
    import difflib

    near = difflib.get_close_matches(text, MACROS, 1)
    return f"did you mean {near[0]}?" if near else f"use one of {', '.join(MACROS)}, or five fields"
