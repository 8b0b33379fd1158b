"""Tables that an operation reads, row by row and as often as it needs: of a file, or of the run's data."""

from __future__ import annotations

import os
from contextlib import contextmanager

from scflows.connectors.tables import OpenTable, find_format, format_name, names_of
from scflows.documents import NumberError, parse_number
from scflows.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from scflows.connectors.tables import Row
    from scflows.connectors.tables.column import Columns

    Rows = Iterator[tuple[int, Row]]


INFINITE = float("inf")


class TableSource:
    """A table. `shown` is its name in messages. Its rows belong to the reader, which may change them."""

    shown: str

    @contextmanager
    def open(self) -> Iterator[OpenTable]:
        """Open the table for one pass over its rows; the names of its columns are known."""
        raise NotImplementedError
        yield

    def size(self) -> int:
        """Return the size of the file in bytes; 0 without one."""
        return 0


class RowsSource(TableSource):
    """A list of mappings in the run's data."""

    def __init__(self, rows: Sequence[Row], shown: str) -> None:
        self.rows = rows
        self.shown = shown

    @contextmanager
    def open(self) -> Iterator[OpenTable]:
        yield OpenTable(names_of(self.rows), ((number, dict(row)) for number, row in enumerate(self.rows, 1)))


class FileSource(TableSource):
    """A table file."""

    def __init__(self, path: str, shown: str, format: str | None = None, delimiter: str | None = None) -> None:
        self.path = path
        self.shown = shown
        self.format = format_name(shown, format)
        self.delimiter = delimiter
        self._names: list[str] | None = None

    @contextmanager
    def open(self) -> Iterator[OpenTable]:
        handler = find_format(self.format, self.delimiter)
        with handler.open(self.path, self.shown) as table:
            self.delimiter = getattr(handler, "delimiter", None)
            yield OpenTable(table.names if table.names is not None else self._all_names(), table.rows)

    def size(self) -> int:
        return os.stat(self.path).st_size

    def _all_names(self) -> list[str]:
        """Return the columns of all rows of a format without a header, in one more pass."""
        if self._names is None:
            with find_format(self.format).open(self.path, self.shown) as table:
                self._names = list(dict.fromkeys(name for _, row in table.rows for name in row))
        return self._names


class TypedSource(TableSource):
    """Another table with the types of columns that a step names."""

    def __init__(self, source: TableSource, columns: Columns) -> None:
        self.source = source
        self.columns = columns
        self.shown = source.shown

    @contextmanager
    def open(self) -> Iterator[OpenTable]:
        with self.source.open() as table:
            names = table.names or []
            self.columns.check_known(names, self.shown)
            selected = list(self.columns.names) if self.columns.only else names
            convert, shown = self.columns.convert_row, self.shown
            yield OpenTable(selected, ((number, convert(row, shown, number)) for number, row in table.rows))

    def size(self) -> int:
        return self.source.size()


def check_columns(names: Sequence[str] | None, needed: Sequence[str], shown: str) -> None:
    """Raise StepError if a needed column is missing."""
    for name in needed:
        if name not in (names or ()):
            existing = ", ".join(names or ()) or "none"
            raise StepError(f"{shown}: column {name!r} not found; the columns are {existing}")


def check_new(names: Sequence[str] | None, new: str, shown: str) -> None:
    """Raise StepError if a new column exists already."""
    if new in (names or ()):
        raise StepError(f"{shown}: the column {new!r} exists already; name another one with `into`")


def is_blank(value: Any) -> bool:
    """Return whether a cell is blank: null, or text without anything but spaces."""
    return value is None or (isinstance(value, str) and not value.strip())


def number_in(row: Mapping[str, Any], name: str, number: int, shown: str) -> int | float | None:
    """Return the number in a cell, also if it is written as text; None for a blank cell. Raises StepError."""
    value = row.get(name)
    if is_blank(value):
        return None
    if isinstance(value, str):
        try:
            return parse_number(value.strip())
        except NumberError as error:
            raise StepError(f"{shown}: row {number}, column {name!r}: {error}") from None
        except (ValueError, OverflowError):
            pass
    elif isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise not_a_number(value, name, number, shown)


def float_in(row: Mapping[str, Any], name: str, number: int, shown: str) -> float | None:
    """Return the number in a cell as `number_in` does, but rounded to a float."""
    value = row.get(name)
    if type(value) is str:
        text = value.strip()
        if not text:
            return None
        # Python also accepts 1_000, the digits of other scripts, and words such as nan.
        if not text.strip("+-.0123456789eE"):
            try:
                return float(text)
            except ValueError:
                pass
    elif value is None:
        return None
    elif isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return INFINITE
    raise not_a_number(value, name, number, shown)


def not_a_number(value: Any, name: str, number: int, shown: str) -> StepError:
    """Return the error for a cell without a number."""
    return StepError(f"{shown}: row {number}, column {name!r}: {repr(value)[:80]} is not a number")
