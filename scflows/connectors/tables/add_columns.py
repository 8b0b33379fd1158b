"""Operations that add a column: one value for all rows, an expression, the z-score of another column."""

from __future__ import annotations

from scflows.connectors.tables.source import INFINITE, check_columns, check_new, float_in
from scflows.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Iterator
    from typing import Any

    from scflows.connectors.tables import Row
    from scflows.connectors.tables.source import TableSource

#: Stands for a blank cell in an array of numbers.
BLANK = float("nan")


def column_added(
    source: TableSource, into: str, value: Callable[[Row, int], Any]
) -> tuple[list[str], Iterator[tuple[int, Row]]]:
    """Return the columns and rows of a table with one more column; `value` gets a row and its number."""
    with source.open() as table:
        check_new(table.names, into, source.shown)
        names = [*(table.names or ()), into]

    def rows() -> Iterator[tuple[int, Row]]:
        with source.open() as table:
            for number, row in table.rows:
                row[into] = value(row, number)
                yield number, row

    return names, rows()


def zscore_added(source: TableSource, column: str, into: str, ddof: int) -> tuple[list[str], Iterator[tuple[int, Row]]]:
    """Return the columns and rows of a table with the z-score of a column: (value - mean) / deviation.

    The deviation is divided by n - `ddof`. Blank cells have no score, and all scores are blank if the values do not
    differ. The first pass keeps 8 bytes per row.
    """
    with source.open() as table:
        check_columns(table.names, [column], source.shown)
        check_new(table.names, into, source.shown)
        names = [*(table.names or ()), into]
        values = _values(table.rows, column, source.shown)
    mean, deviation = _spread(values, ddof, f"{source.shown}: column {column!r}")

    def rows() -> Iterator[tuple[int, Row]]:
        count = 0
        with source.open() as table:
            for number, row in table.rows:
                if count == len(values):
                    break
                value = values[count]
                count += 1
                row[into] = None if value != value or deviation == 0 else (value - mean) / deviation
                yield number, row
            else:
                if count == len(values):
                    return
        raise StepError(f"{source.shown}: changed while it was read")

    return names, rows()


def _values(rows: Iterator[tuple[int, Row]], column: str, shown: str) -> array[float]:
    from array import array

    values = array("d")
    for number, row in rows:
        value = float_in(row, column, number, shown)
        if value is None:
            value = BLANK
        elif abs(value) == INFINITE:
            raise StepError(f"{shown}: row {number}, column {column!r}: the number is too large")
        values.append(value)
    return values


def _spread(values: array[float], ddof: int, title: str) -> tuple[float, float]:
    """Return mean and standard deviation; a deviation of 0 if the values do not differ."""
    from math import fsum, isfinite, sqrt

    filled = [value for value in values if value == value]
    # The computed mean of equal values may differ from them, so the values themselves are compared.
    if len(filled) <= ddof or not filled or min(filled) == max(filled):
        return 0.0, 0.0
    try:
        mean = fsum(filled) / len(filled)
        # Scaled by the largest difference, so that no square is too large or too small.
        largest = max(max(filled) - mean, mean - min(filled))
        deviation = largest * sqrt(fsum(((value - mean) / largest) ** 2 for value in filled) / (len(filled) - ddof))
    except (OverflowError, ZeroDivisionError):
        deviation = float("inf")
    if not isfinite(deviation):
        raise StepError(f"{title}: the numbers are too large for a standard deviation")
    return mean, deviation
