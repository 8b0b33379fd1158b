"""The five fields of a cron expression: validated strictly, written so that every cron reads them the same way.

Cron daemons accept typing errors and misread them: `*5` means every minute, `5-3` never. So expressions are validated
here, before anything is written.
"""

from __future__ import annotations

from functools import lru_cache

from scflows.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

#: The names of the fields with their lowest and highest value; Sunday is written as 0.
FIELDS = (
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day of month", 1, 31),
    ("month", 1, 12),
    ("day of week", 0, 6),
)
#: Not a time: the task starts once after each boot.
REBOOT = "@reboot"
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
UNITS = ("m", "h", "d")  #: of an interval, for the first three fields
#: For the day fields, the step with which a star has one value.
LAST = {2: 31, 4: 7}
LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)  #: the most days of each month


@lru_cache(maxsize=4096)
def normalised(expression: str) -> str:
    """Normalise an expression to five fields of `*`, numbers, ranges and lists.

    Steps become lists, because crons skip and repeat slots of `*/n` when the clocks change, but not those of a list.
    `@reboot` stays as it is.
    Raises UsageError, which names the field.
    """
    text = expression.strip(" \t")
    macro = text.lower()
    if macro.startswith("@"):
        if macro in MACROS:
            return MACROS[macro]
        if macro == REBOOT:
            return REBOOT
        raise UsageError(f"cron {expression!r} is unknown", _nearest_macro(macro))
    if "\n" in text or "\r" in text:
        raise UsageError(f"cron {expression!r} has more than one line", "put the five fields on one line")
    parts = text.replace("\t", " ").split(" ")
    parts = [part for part in parts if part]
    if len(parts) != 5:
        raise UsageError(
            f"cron {expression!r} has {len(parts)} fields instead of 5",
            "use minute, hour, day of month, month and day of week, e.g. '5 4 * * *'",
        )
    sets = [_parse_field(part, index, expression) for index, part in enumerate(parts)]
    _check_days(parts, sets, expression)
    written = [write(values, index) for index, values in enumerate(sets)]
    if written[2] != "*" and written[4] != "*" and _is_and(parts):
        # Both days must match only while one of the fields starts with a star.
        index = 4 if parts[4].startswith("*") else 2
        # For example the first Monday, `*/100,1-7 * mon`. A step as long as the field only adds its first value.
        written[index] = f"*/{LAST[index]},{written[index]}" if "," in parts[index] else parts[index]
    elif parts[2][0] != "*" and parts[4][0] != "*" and "*" in (written[2], written[4]):
        # One of the two days suffices, and one of the fields means every day.
        written[2] = written[4] = "*"
    return " ".join(written)


def values(text: str, index: int) -> list[int]:
    """Return the values of a field of a normalised expression; `index` counts the fields from 0."""
    return list(_values(text, index))


@lru_cache(maxsize=4096)
def _values(text: str, index: int) -> tuple[int, ...]:
    _, low, high = FIELDS[index]
    found: list[int] = []
    for item in text.split(","):
        if item[0] == "*":
            found.extend(range(low, high + 1, int(item[2:] or 1)))
            continue
        first, _, last = item.partition("-")
        found.extend(range(int(first), int(last or first) + 1))
    return tuple(sorted(set(found)) if "*" in text else found)


def write(numbers: Iterable[int], index: int) -> str:
    """Write a field for these values: `*` for all, ranges for three or more consecutive ones."""
    _, low, high = FIELDS[index]
    ordered = sorted(set(numbers))
    if len(ordered) == high - low + 1:
        return "*"
    written = []
    start = 0
    for end in range(1, len(ordered) + 1):
        if end < len(ordered) and ordered[end] == ordered[end - 1] + 1:
            continue
        run = ordered[start:end]
        written.append(f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run)))
        start = end
    return ",".join(written)


def _parse_field(text: str, index: int, expression: str) -> set[int]:
    found: set[int] = set()
    for item in text.split(","):
        if item == "*" and "," in text:
            _, low, high = FIELDS[index]
            # If a day field begins with a star, both days have to match, otherwise one of them.
            every = "'*' alone" if text[0] == "*" else f"{low}-{high}"
            raise _wrong(index, text, expression, "'*' in a list means every value", f"write {every} for that")
        found.update(_item(item, index, text, expression))
    return {0 if index == 4 and value == 7 else value for value in found}


def _item(item: str, index: int, text: str, expression: str) -> Iterable[int]:
    _, low, high = FIELDS[index]
    top = 7 if index == 4 else high
    span, slash, step_text = item.partition("/")
    step = 1
    if slash:
        is_number = _is_number(step_text) and int(step_text) > 0
        # Debian's cron takes any step. In a list of days it has a use: `*/100,1-7 * mon` is the first Monday.
        if is_number and int(step_text) > top and not (index in LAST and span == "*" and "," in text):
            lowest = span.partition("-")[0] if span != "*" else str(low)
            only = f"*/{LAST[index]}" if index in LAST and span == "*" else lowest
            help = (
                f"write {only}; for an interval use every, e.g. every: {step_text}{UNITS[index]}" if index < 3 else ""
            )
            raise _wrong(index, text, expression, f"the step {step_text} leaves only {lowest}", help or f"write {only}")
        if not is_number:
            raise _wrong(
                index,
                text,
                expression,
                f"{step_text!r} is not a valid step",
                f"use a step from 1 to {high}, e.g. */{min(5, high)}",
            )
        step = int(step_text)
    if span == "*":
        return range(low, high + 1, step)
    first_text, dash, last_text = span.partition("-")
    first = _number(first_text, index, text, expression)
    if not dash:
        if slash:
            raise _wrong(index, text, expression, f"{item!r} has a step without a range", f"use {first}-{high}/{step}")
        return (first,)
    last = _number(last_text, index, text, expression)
    if index == 4 and last == 0 and first > 0:
        last = 7
    if last < first:
        days = [*range(first, high + 1), *range(low, last + 1)][::step] if first <= high else range(low, last + 1, step)
        wrapped = write(days, index)
        # A star would change how the day fields go together.
        wrapped = f"{low}-{high}" if wrapped == "*" else wrapped
        raise _wrong(index, text, expression, f"the range {span!r} is reversed", f"use {wrapped}")
    return range(first, last + 1, step)


def _number(text: str, index: int, field: str, expression: str) -> int:
    title, low, high = FIELDS[index]
    word = text.lower()
    if index == 3 and word in MONTHS:
        return MONTHS.index(word) + 1
    if index == 4 and word in WEEKDAYS:
        return WEEKDAYS.index(word)
    top = 7 if index == 4 else high
    if not _is_number(text) or not low <= int(text) <= top:
        message = f"{text!r} is not a valid {title}" if text else "a value is missing"
        if text[:1] == "*" and _is_number(text[1:]):
            raise _wrong(index, field, expression, message, f"did you mean '*/{text[1:]}' or {text[1:]!r}?")
        names = {3: ", or jan to dec", 4: ", or sun to sat"}.get(index, "")
        raise _wrong(index, field, expression, message, f"use {low} to {top}{names}; '*' means every {title}")
    return int(text)


def _is_number(text: str) -> bool:
    # isdigit() alone also accepts digits of other scripts, which no cron reads.
    return 0 < len(text) <= 4 and text.isascii() and text.isdigit()


def _is_and(parts: list[str]) -> bool:
    """Return whether day of month and day of week must both match; otherwise one suffices, as in Debian's cron."""
    return parts[2].startswith("*") or parts[4].startswith("*")


def _check_days(parts: list[str], sets: list[set[int]], expression: str) -> None:
    """Refuse a day that does not exist, for example the 31st of February."""
    if not _is_and(parts):
        return
    longest = max(LONGEST[month - 1] for month in sets[3])
    if min(sets[2]) > longest:
        raise _wrong(
            2,
            parts[2],
            expression,
            f"month {parts[3]} never has a day {min(sets[2])}",
            f"its last day is {longest}",
        )


def _wrong(index: int, text: str, expression: str, message: str, help: str) -> UsageError:
    shown = f" {text!r}" if text != expression else ""
    return UsageError(f"cron {expression!r}: {FIELDS[index][0]}{shown}: {message}", help)


def _nearest_macro(text: str) -> str:
    import difflib

    known = (*MACROS, REBOOT)
    near = difflib.get_close_matches(text, known, 1)
    return f"did you mean {near[0]}?" if near else f"use one of {', '.join(known)}, or five fields"
