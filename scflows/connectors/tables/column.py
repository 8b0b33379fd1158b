"""The types that the columns of a table can have, and which columns there are."""

from __future__ import annotations

from dataclasses import dataclass, field

from scflows.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

KINDS = ("text", "integer", "number", "boolean", "date", "datetime")
TRUE_WORDS = ("true", "yes", "1")
FALSE_WORDS = ("false", "no", "0")


@dataclass(frozen=True)
class Columns:
    """What an option `columns` says: a list names the only ones wanted, a mapping gives some of them types."""

    names: tuple[str, ...] = ()  #: in order
    kinds: Mapping[str, str] = field(default_factory=dict)
    only: bool = False

    @classmethod
    def of(cls, said: Mapping[str, str] | list[str] | None) -> Columns:
        if said is None:
            return cls()
        if isinstance(said, list):
            return cls(tuple(said), only=True)
        return cls(tuple(said), dict(said))

    def header(self, seen: Iterable[str]) -> list[str]:
        """The columns of a table that is written, where the rows have those: the named ones first."""
        return list(self.names if self.only else dict.fromkeys((*self.names, *seen)))

    def shaped(self, row: Mapping[str, Any], shown: str, number: int) -> dict[str, Any]:
        """A row with these columns, values converted. Raises StepError naming row and column."""
        if not self.names:
            return dict(row)
        # Types alone do not move columns; a list says their order too.
        names = self.names if self.only else dict.fromkeys((*row, *self.names))
        return {name: self.value(name, row.get(name), shown, number) for name in names}

    def value(self, name: str, value: Any, shown: str, number: int) -> Any:
        """A cell's value converted to the type of its column. Raises StepError."""
        kind = self.kinds.get(name)
        if kind is None or value is None:
            return value
        try:
            return converted(kind, value)
        except (ValueError, TypeError, OverflowError):
            text = repr(value)
            text = text if len(text) <= 80 else text[:79] + "…"
            raise StepError(f"{shown}: row {number}, column {name!r}: {text} is no {kind}") from None

    def check_known(self, known: Iterable[str], shown: str) -> None:
        """Raises StepError when a column that is named is not among those."""
        there = list(known)
        for name in self.names:
            if name not in there:
                raise StepError(f"{shown}: there is no column {name!r}; its columns are {', '.join(there)}")


def converted(kind: str, value: Any) -> Any:
    """A value as a type of KINDS has it, as JSON; an empty text is null. Raises ValueError or TypeError."""
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
    number = _number(value)
    if number != int(number):
        raise ValueError(value)
    return int(number)


def _number(value: Any) -> int | float:
    if isinstance(value, bool):
        raise ValueError(value)
    if isinstance(value, str):
        # Python also reads 1_000 and the digits of other scripts.
        if not value.isascii() or "_" in value:
            raise ValueError(value)
        if value.lstrip("+-").isdigit():
            return int(value)
        value = float(value)
    if not isinstance(value, int | float) or value - value != 0:
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
    # 2010/01/31 is as clear as 2010-01-31; any other order of day, month and year is a guess.
    return value[:10].replace("/", "-") + value[10:] if value[4:5] == "/" else value


_CONVERTERS = {
    "text": _text,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "date": _date,
    "datetime": _datetime,
}
