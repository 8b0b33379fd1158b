"""The columns of a table and their types."""

from __future__ import annotations

from dataclasses import dataclass, field

from scflows.documents import NumberError, parse_integer, parse_number
from scflows.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

KINDS = ("text", "integer", "number", "boolean", "date", "datetime")
TRUE_WORDS = ("true", "yes", "1")
FALSE_WORDS = ("false", "no", "0")


@dataclass(frozen=True)
class Columns:
    """The option `columns`: a list selects columns, a mapping gives some columns types."""

    names: tuple[str, ...] = ()  #: in order
    kinds: Mapping[str, str] = field(default_factory=dict)
    only: bool = False

    @classmethod
    def of(cls, value: Mapping[str, str] | list[str] | None) -> Columns:
        """Return the columns for a value of the option."""
        if value is None:
            return cls()
        if isinstance(value, list):
            return cls(tuple(value), only=True)
        return cls(tuple(value), dict(value))

    def header(self, seen: Iterable[str]) -> list[str]:
        """Return the header of a table whose rows have the columns `seen`: named columns come first."""
        return list(self.names if self.only else dict.fromkeys((*self.names, *seen)))

    def convert_row(self, row: Mapping[str, Any], shown: str, number: int) -> dict[str, Any]:
        """Return a row with these columns and converted values. Raises StepError with row and column."""
        if not self.names:
            return dict(row)
        # A mapping does not change the order of columns, a list does.
        names = self.names if self.only else dict.fromkeys((*row, *self.names))
        return {name: self.value(name, row.get(name), shown, number) for name in names}

    def value(self, name: str, value: Any, shown: str, number: int) -> Any:
        """Return a cell's value converted to the type of its column. Raises StepError."""
        kind = self.kinds.get(name)
        if kind is None or value is None:
            return value
        try:
            return convert(kind, value)
        except NumberError as error:
            raise StepError(f"{shown}: row {number}, column {name!r}: {error}") from None
        except (ValueError, TypeError, OverflowError):
            text = repr(value)
            text = text if len(text) <= 80 else text[:79] + "…"
            raise StepError(f"{shown}: row {number}, column {name!r}: {text} is not a valid {kind}") from None

    def check_known(self, known: Iterable[str], shown: str) -> None:
        """Raise StepError if a column does not exist."""
        existing = list(known)
        for name in self.names:
            if name not in existing:
                raise StepError(f"{shown}: column {name!r} not found; the columns are {', '.join(existing)}")


def column_mistakes(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the mistakes in the options of a step that name columns: the option, and what is wrong."""
    columns = options.get("columns")
    if isinstance(columns, dict):
        for name, kind in columns.items():
            if kind not in KINDS:
                yield "columns", f"column {name!r}: unknown type {kind!r}; use one of {', '.join(KINDS)}"
    for option_name in ("columns", "unique", "by", "key"):
        names = options.get(option_name)
        if isinstance(names, list) and not all(isinstance(name, str) for name in names):
            yield option_name, f"{option_name!r} must be a list of column names; put numbers in quotes"


def convert(kind: str, value: Any) -> Any:
    """Convert a value to a type in KINDS, as JSON; empty text is null. Raises ValueError or TypeError."""
    if isinstance(value, str):
        if kind == "text":
            return value or None
        value = value.strip()
        if not value:
            return None
    return _CONVERTERS[kind](value)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        raise ValueError(value)
    return str(value)


def _integer(value: Any) -> int:
    if isinstance(value, str):
        return parse_integer(value)
    number = _number(value)
    if number != int(number):
        raise ValueError(value)
    return int(number)


def _number(value: Any) -> int | float:
    if isinstance(value, str):
        return parse_number(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or value - value != 0:
        raise ValueError(value)
    return value


def _boolean(value: Any) -> bool:
    word = _text(value).lower()
    if word in TRUE_WORDS:
        return True
    if word in FALSE_WORDS:
        return False
    raise ValueError(value)


def _date(value: Any) -> str:
    from datetime import date, datetime

    text = _iso(value)
    if len(text) <= 10:
        return date.fromisoformat(text).isoformat()
    moment = datetime.fromisoformat(text)
    if moment.hour or moment.minute or moment.second or moment.microsecond:
        raise ValueError(value)
    return moment.date().isoformat()


def _datetime(value: Any) -> str:
    from datetime import datetime

    return datetime.fromisoformat(_iso(value)).isoformat()


def _iso(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(value)
    # 2010/01/31 is unambiguous; other orders of day, month and year are not.
    return value[:10].replace("/", "-") + value[10:] if value[4:5] == "/" else value


_CONVERTERS = {
    "text": _text,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "date": _date,
    "datetime": _datetime,
}
