"""Join two tables: every row of the left one once, in order, with columns of the right one."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from scflows.connectors.tables.source import check_columns, is_blank
from scflows.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from scflows.connectors.tables import Row
    from scflows.connectors.tables.source import TableSource

    Key = tuple[str, ...]

HOW = ("left", "inner")
DUPLICATES = ("last", "first", "error")
COMBINE = ("min", "max")
#: How many keys a warning names.
SHOWN_KEYS = 10


@dataclass(frozen=True)
class Join:
    """The options of a join."""

    on: Sequence[str]
    how: str = "left"
    columns: Sequence[str] | None = None  #: of the right table; None: all that the left one lacks
    defaults: dict[str, Any] = field(default_factory=dict)  #: for rows without a partner
    duplicates: str = "last"  #: which of several right rows with one key counts
    combine: dict[str, str] = field(default_factory=dict)  #: columns of both tables, with `min` or `max`


def joined(
    left: TableSource, right: TableSource, join: Join, warn: Callable[[str], None], info: Callable[[str], None]
) -> tuple[list[str], Iterator[tuple[int, Row]]]:
    """Return the columns and rows of a join, many to one. The needed columns of the right table are kept in memory.

    A blank key matches nothing. `warn` gets a message about keys that the right table has twice, `info` one about its
    keys without a partner.
    """
    with left.open() as table:
        left_names = list(table.names or ())
    check_columns(left_names, [*join.on, *join.combine], left.shown)
    with right.open() as table:
        right_names = list(table.names or ())
        check_columns(right_names, [*join.on, *join.combine, *(join.columns or ())], right.shown)
        new = _new_columns(left_names, right_names, join, left.shown)
        unknown = [name for name in join.defaults if name not in new]
        if unknown:
            raise StepError(f"defaults: {unknown[0]!r} is not a column that the join adds; they are {', '.join(new)}")
        partners = _partners(table.rows, join, [*new, *join.combine], right.shown, warn)
    width, combined = len(new), list(join.combine.items())
    blank = [join.defaults.get(name) for name in new]

    def rows() -> Iterator[tuple[int, Row]]:
        used: set[Key] = set()
        with left.open() as table:
            for number, row in table.rows:
                key = _key(row, join.on)
                partner = None if key is None else partners.get(key)
                if partner is None:
                    if join.how == "left":
                        row.update(zip(new, blank, strict=True))
                        yield number, row
                    continue
                assert key is not None
                used.add(key)
                row.update(zip(new, partner[:width], strict=True))
                for (name, function), value in zip(combined, partner[width:], strict=True):
                    if row[name] != value:
                        row[name] = _combined(row[name], value, function, f"{left.shown}: row {number}", name)
                yield number, row
        alone = len(partners) - len(used)
        if alone:
            info(f"{alone} of {len(partners)} keys of {right.shown} have no partner in {left.shown}")

    return [*left_names, *new], rows()


def _new_columns(left: list[str], right: list[str], join: Join, shown: str) -> list[str]:
    if join.columns is None:
        return [name for name in right if name not in left]
    for name in join.columns:
        if name in left:
            raise StepError(f"{shown} has a column {name!r} too; leave it out of `columns`, or use `combine`")
    return list(join.columns)


def _partners(
    rows: Iterator[tuple[int, Row]], join: Join, columns: list[str], shown: str, warn: Callable[[str], None]
) -> dict[Key, tuple[Any, ...]]:
    found: dict[Key, tuple[Any, ...]] = {}
    twice: dict[Key, None] = {}
    for number, row in rows:
        key = _key(row, join.on)
        if key is None:
            continue
        if key in found:
            if join.duplicates == "error":
                raise StepError(f"{shown}: row {number}: the key {_shown(key)} appears twice")
            twice[key] = None
            if join.duplicates == "first":
                continue
        found[key] = tuple(row.get(name) for name in columns)
    if twice:
        keys = ", ".join(_shown(key) for key in list(twice)[:SHOWN_KEYS])
        more = f" and {len(twice) - SHOWN_KEYS} more" if len(twice) > SHOWN_KEYS else ""
        warn(f"{shown}: keys that appear more than once, of which the {join.duplicates} row counts: {keys}{more}")
    return found


def _key(row: Row, on: Sequence[str]) -> Key | None:
    """Return the key of a row as text, as a number in Excel and its text in CSV are the same; None if one is blank."""
    parts = []
    for name in on:
        value = row.get(name)
        if is_blank(value):
            return None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        parts.append(value if isinstance(value, str) else str(value))
    return tuple(parts)


def _shown(key: Key) -> str:
    return " ".join(key)[:80]


def _combined(left: Any, right: Any, function: str, place: str, name: str) -> Any:
    """Return the smaller or larger of two cells; the filled one if the other is blank."""
    if is_blank(right):
        return left
    if is_blank(left):
        return right
    a = _moment_or_number(left) if isinstance(left, str) else left
    b = _moment_or_number(right) if isinstance(right, str) else right
    try:
        is_right = b < a if function == "min" else b > a
    except TypeError:
        raise StepError(f"{place}, column {name!r}: {left!r} and {right!r} cannot be compared") from None
    return right if is_right else left


@lru_cache(maxsize=4096)
def _moment_or_number(text: str) -> Any:
    """Return the number or the moment that a text is, otherwise the text."""
    from datetime import datetime

    from scflows.documents import parse_number

    for parse in (parse_number, datetime.fromisoformat):
        try:
            return parse(text.strip())
        except ValueError:
            continue
    return text
